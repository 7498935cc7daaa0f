//! Clocks that jump, go back, or are read late.

use mainstay::rate::{KeyedRateLimiter, Quota, RateLimiter};
use mainstay::time::{Clock, Instant, ManualClock, TimeSource};
use std::future::{Future, pending};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn limiter(time: &ManualClock, quota: Quota) -> RateLimiter {
    RateLimiter::builder(quota).clock(time.clock()).build().unwrap()
}

/// Takes all tokens that are available.
fn drain(limiter: &RateLimiter) -> u32 {
    limiter.try_acquire_up_to(u32::MAX).map_or(0, |grant| grant.granted())
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// golang/go#71360: a caller with an old reading set the bucket's time back, and the next refilled
/// it.
#[test]
fn a_clock_that_jumps_back_and_forth_does_not_refill_the_bucket() {
    let time = ManualClock::new();
    let limiter = limiter(&time, Quota::per_second(1).burst(10));
    let (late, early) = (time.now() + 100 * SECOND, time.now());
    let mut granted = 0;
    for _ in 0..5_000 {
        for at in [late, early] {
            time.set(at);
            granted += drain(&limiter);
        }
    }
    assert_eq!(granted, 10);
}

#[test]
fn a_limiter_does_not_wait_for_the_former_time_after_the_clock_was_set_back() {
    let time = ManualClock::new();
    let limiter = limiter(&time, Quota::per_second(10).burst(5));
    let now = time.now();
    for ahead in [10 * HOUR, 100_000 * HOUR] {
        time.set(now + ahead);
        assert_eq!(drain(&limiter), 5);
        time.set(now);
        let denied = limiter.try_acquire().unwrap_err();
        assert_eq!((denied.retry_after(), denied.reset_after()), (Some(100 * MS), 500 * MS));
        assert_eq!((limiter.peek().remaining(), limiter.peek().reset_after()), (0, 500 * MS));
    }
    // The limiter continues from the earlier time.
    time.advance(300 * MS);
    assert_eq!(drain(&limiter), 3);
    assert_eq!(limiter.reserve().unwrap().delay(), 100 * MS);
    time.advance(HOUR);
    assert_eq!(limiter.debit(7).reset_after(), 700 * MS);
    // If the clock returns to the later time, the tokens granted there still count as used.
    time.set(now + 100_000 * HOUR);
    assert_eq!((limiter.peek().remaining(), drain(&limiter)), (0, 0));
    time.advance(100 * MS);
    assert_eq!(drain(&limiter), 1);
    time.advance(HOUR);
    assert_eq!(drain(&limiter), 5);
}

#[test]
fn waiters_do_not_wait_for_the_former_time_after_the_clock_was_set_back() {
    let time = ManualClock::new();
    let limiter = limiter(&time, Quota::per_second(10).burst(1));
    let now = time.now();
    time.set(now + 10 * HOUR);
    drain(&limiter);
    let mut first = pin!(limiter.acquire());
    assert!(poll(first.as_mut()).is_pending());
    time.set(now);
    // The next request detects the change, and the first waiter is due in 100 ms.
    assert_eq!(limiter.try_acquire().unwrap_err().retry_after(), Some(200 * MS));
    assert!(poll(first.as_mut()).is_pending());
    time.drive(first).unwrap();
    assert_eq!(time.now() - now, 100 * MS);
    time.drive(limiter.acquire()).unwrap();
    assert_eq!(time.now() - now, 200 * MS);
}

#[test]
fn debts_and_reservations_are_not_mistaken_for_a_clock_that_was_set_back() {
    let time = ManualClock::new();
    let limiter = limiter(&time, Quota::per_second(1).burst(2));
    let keyed: KeyedRateLimiter<u32> = KeyedRateLimiter::builder(Quota::per_second(1).burst(2))
        .clock(time.clock())
        .build()
        .unwrap();
    limiter.debit(100);
    keyed.debit(&1, 100).unwrap();
    assert_eq!(limiter.try_acquire().unwrap_err().retry_after(), Some(99 * SECOND));
    assert_eq!(keyed.try_acquire(&1).unwrap_err().retry_after(), Some(99 * SECOND));
    for i in 0..10 {
        assert_eq!(limiter.reserve().unwrap().commit().reset_after(), (101 + i) * SECOND);
    }
    limiter.reconfigure(Quota::per_hour(1)).unwrap();
    assert_eq!(limiter.try_acquire().unwrap_err().retry_after(), Some(110 * HOUR));
    keyed.reconfigure(Quota::per_hour(1)).unwrap();
    assert_eq!(keyed.try_acquire(&1).unwrap_err().retry_after(), Some(100 * HOUR));
    // Setting the clock back does not lengthen the wait.
    time.set(Instant::ORIGIN);
    assert_eq!(limiter.try_acquire().unwrap_err().retry_after(), Some(110 * HOUR));
}

#[test]
fn a_key_does_not_wait_for_the_former_time_after_the_clock_was_set_back() {
    for own in [false, true] {
        let time = ManualClock::new();
        let quota = Quota::per_second(10).burst(5);
        let mut builder = KeyedRateLimiter::builder(quota).clock(time.clock());
        if own {
            builder = builder.quota_by(move |_: &u32| quota);
        }
        let limiter = builder.build().unwrap();
        let now = time.now();
        time.set(now + 10 * HOUR);
        limiter.try_acquire_n(&1, 5).unwrap();
        time.set(now);
        assert_eq!(limiter.peek(&1).reset_after(), 500 * MS);
        assert_eq!(limiter.try_acquire(&1).unwrap_err().retry_after(), Some(100 * MS));
        time.advance(300 * MS);
        assert_eq!(limiter.try_acquire_up_to(&1, 9).unwrap().granted(), 3);
    }
}

/// A clock that can return one reading that is older than those of other threads.
#[derive(Clone, Debug, Default)]
struct StaleClock {
    nanos: Arc<AtomicU64>,
    /// The old reading, which is returned once.
    stale: Arc<Mutex<Option<u64>>>,
}

impl TimeSource for StaleClock {
    fn now(&self) -> Duration {
        let stale = self.stale.lock().unwrap().take();
        Duration::from_nanos(stale.unwrap_or_else(|| self.nanos.load(Ordering::Relaxed)))
    }

    fn sleep(&self, _: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(pending())
    }
}

#[test]
fn an_old_reading_of_the_clock_is_not_mistaken_for_a_clock_that_was_set_back() {
    let clock = StaleClock::default();
    let quota = Quota::per_second(1).burst(10);
    let builder = RateLimiter::builder(quota).clock(Clock::custom(clock.clone()));
    let limiter = builder.build().unwrap();
    let keyed: KeyedRateLimiter<u32> =
        KeyedRateLimiter::builder(quota).clock(Clock::custom(clock.clone())).build().unwrap();
    clock.nanos.store(1_000_000_000_000, Ordering::Relaxed);
    assert_eq!(drain(&limiter), 10);
    keyed.try_acquire_n(&1, 10).unwrap();
    for old in [0, 500_000_000_000] {
        *clock.stale.lock().unwrap() = Some(old);
        assert_eq!(drain(&limiter), 0);
        assert_eq!(limiter.peek().reset_after(), 10 * SECOND);
        *clock.stale.lock().unwrap() = Some(old);
        assert!(keyed.try_acquire(&1).is_err());
        assert_eq!(keyed.peek(&1).reset_after(), 10 * SECOND);
    }
}
