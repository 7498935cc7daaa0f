//! Tasks and threads that wait for tokens.

use futures::future::{join4, try_join};
use mainstay::rate::{Quota, RateLimiter, RateLimiterAcquireFuture};
use mainstay::time::{Clock, ManualClock};
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn limiter(time: &ManualClock, quota: Quota) -> RateLimiter {
    RateLimiter::builder(quota).clock(time.clock()).build().unwrap()
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Takes all tokens that are available.
fn drain(limiter: &RateLimiter) -> u32 {
    limiter.try_acquire_up_to(u32::MAX).map_or(0, |grant| grant.granted())
}

/// governor's `until_ready` sleeps and tries again, so the first to wake up wins.
#[test]
fn waiters_are_granted_tokens_in_fifo_order() {
    let time = ManualClock::new();
    let limiter = limiter(&time, Quota::per_second(10).burst(2));
    assert_eq!(drain(&limiter), 2);
    let start = time.now();
    let served = Mutex::new(Vec::new());
    let wait = |name: u32, cost: u32| {
        let (limiter, served, time) = (&limiter, &served, &time);
        async move {
            limiter.acquire_n(cost).await.unwrap();
            served.lock().unwrap().push((name, time.now() - start));
        }
    };
    // The second waiter needs more tokens than those behind it, and is not overtaken.
    time.drive(join4(wait(1, 1), wait(2, 2), wait(3, 1), wait(4, 1)));
    let expected = [(1, 100), (2, 300), (3, 400), (4, 500)].map(|(name, ms)| (name, ms * MS));
    assert_eq!(served.into_inner().unwrap(), expected);
    assert_eq!(limiter.snapshot().waiters, 0);
}

/// leaky-bucket#39: dropping a future that waits held up the other waiters.
#[test]
fn a_dropped_waiter_does_not_hold_up_the_others() {
    for drop_head in [true, false] {
        let time = ManualClock::new();
        let limiter = limiter(&time, Quota::per_second(10).burst(1));
        drain(&limiter);
        let start = time.now();
        let mut head = Box::pin(limiter.acquire());
        let mut middle = Box::pin(limiter.acquire());
        let mut last = pin!(limiter.acquire());
        for waiter in [&mut head, &mut middle] {
            assert!(poll(waiter.as_mut()).is_pending());
        }
        assert!(time.drive_for(Duration::ZERO, last.as_mut()).is_pending());
        assert_eq!(limiter.snapshot().waiters, 3);
        if drop_head {
            drop(head);
            drop(middle);
        } else {
            drop(middle);
            time.drive(head).unwrap();
        }
        time.drive(last).unwrap();
        assert_eq!(time.now(), start + if drop_head { 100 } else { 200 } * MS);
        assert_eq!((limiter.snapshot().waiters, limiter.snapshot().queued_tokens), (0, 0));
        time.advance(100 * MS);
        limiter.try_acquire().unwrap();
    }
}

#[test]
fn requests_that_do_not_wait_are_denied_while_there_are_waiters() {
    let time = ManualClock::new();
    let limiter = limiter(&time, Quota::per_second(10).burst(4));
    drain(&limiter);
    let mut heavy = pin!(limiter.acquire_n(3));
    assert!(poll(heavy.as_mut()).is_pending());
    time.advance(250 * MS);
    // Two tokens are available, but the waiter needs three, in 50 ms; this request comes after it.
    let denied = limiter.try_acquire().unwrap_err();
    assert_eq!((denied.retry_after(), denied.remaining()), (Some(150 * MS), 0));
    assert!(limiter.try_acquire_up_to(1).is_err() && limiter.reserve().is_err());
    assert!(limiter.try_acquire_n(0).is_ok());
    let mut light = pin!(limiter.acquire());
    assert!(poll(light.as_mut()).is_pending());
    assert_eq!((limiter.snapshot().waiters, limiter.snapshot().queued_tokens), (2, 4));
    assert_eq!(limiter.try_acquire().unwrap_err().retry_after(), Some(250 * MS));
    let start = time.now();
    time.drive(try_join(heavy, light)).unwrap();
    assert_eq!(time.now() - start, 150 * MS);
    time.advance(100 * MS);
    assert!(limiter.try_acquire().is_ok());
}

#[test]
fn a_wait_that_cannot_end_in_time_is_denied_immediately() {
    let time = ManualClock::new();
    let limiter = limiter(&time, Quota::per_second(10).burst(1));
    drain(&limiter);
    let start = time.now();
    let denied = time.drive(limiter.acquire_timeout(99 * MS)).unwrap_err();
    assert_eq!((time.now(), denied.retry_after()), (start, Some(100 * MS)));
    assert!(limiter.acquire_blocking_timeout(99 * MS).is_err());
    assert_eq!(time.now(), start);
    // A timeout of exactly the wait is sufficient.
    assert!(time.drive(limiter.acquire_timeout(100 * MS)).is_ok());
    assert!(limiter.acquire_blocking_timeout(100 * MS).is_ok());
    assert_eq!(time.now(), start + 200 * MS);
    // The wait for the waiters in front is included.
    let mut first = pin!(limiter.acquire());
    assert!(poll(first.as_mut()).is_pending());
    assert!(matches!(poll(pin!(limiter.acquire_timeout(199 * MS))), Poll::Ready(Err(_))));
    assert!(poll(pin!(limiter.acquire_timeout(200 * MS))).is_pending());
    assert_eq!(limiter.snapshot().waiters, 1, "the second future was dropped");
}

#[test]
fn a_wait_ends_at_its_timeout_even_if_a_later_debit_lengthens_it() {
    let time = ManualClock::new();
    let limiter = limiter(&time, Quota::per_second(10).burst(1));
    drain(&limiter);
    let start = time.now();
    let mut head = pin!(limiter.acquire());
    let mut second = pin!(limiter.acquire_timeout(200 * MS));
    assert!(poll(head.as_mut()).is_pending());
    assert!(poll(second.as_mut()).is_pending());
    limiter.debit(5);
    let denied = time.drive(second).unwrap_err();
    assert_eq!((time.now(), limiter.snapshot().waiters), (start + 200 * MS, 1));
    assert_eq!(
        denied.retry_after(),
        Some(500 * MS),
        "the debit, the first waiter's token and this one's, minus the time that has passed"
    );
    time.drive(head).unwrap();
    assert_eq!(time.now(), start + 600 * MS);
}

#[test]
fn waiters_follow_a_new_quota() {
    let time = ManualClock::new();
    let limiter = limiter(&time, Quota::per_hour(1));
    drain(&limiter);
    let start = time.now();
    let mut first = pin!(limiter.acquire());
    let mut second = pin!(limiter.acquire());
    assert!(poll(first.as_mut()).is_pending());
    assert!(poll(second.as_mut()).is_pending());
    limiter.reconfigure(Quota::per_second(10).burst(1)).unwrap();
    time.drive(try_join(first, second)).unwrap();
    assert_eq!(time.now() - start, 200 * MS);
    // The waiter is not overtaken under the new quota either.
    limiter.reconfigure(Quota::per_second(10).burst(2)).unwrap();
    drain(&limiter);
    let mut both = pin!(limiter.acquire_n(2));
    assert!(poll(both.as_mut()).is_pending());
    limiter.reconfigure(Quota::per_second(10).burst(3)).unwrap();
    time.advance(150 * MS);
    assert!(limiter.try_acquire().is_err());
    time.drive(both).unwrap();
    // A request above the new limit is denied.
    limiter.reconfigure(Quota::per_second(10).burst(4)).unwrap();
    let mut heavy = pin!(limiter.acquire_n(4));
    let mut light = pin!(limiter.acquire_n(2));
    assert!(poll(heavy.as_mut()).is_pending());
    assert!(poll(light.as_mut()).is_pending());
    limiter.reconfigure(Quota::per_second(10).burst(3)).unwrap();
    let Poll::Ready(Err(denied)) = poll(heavy.as_mut()) else { panic!("granted 4 of 3") };
    assert_eq!(denied.retry_after(), None);
    time.drive(light).unwrap();
    // Without a limit the waiter is granted its tokens.
    drain(&limiter);
    let mut last = pin!(limiter.acquire_n(3));
    assert!(poll(last.as_mut()).is_pending());
    limiter.reconfigure(Quota::unlimited()).unwrap();
    assert!(poll(last.as_mut()).is_ready());
    assert!(limiter.reconfigure(Quota::per_second(1).burst(0)).is_err());
    assert_eq!(limiter.quota(), Quota::unlimited());
}

#[test]
fn a_refund_is_granted_to_waiters() {
    let time = ManualClock::new();
    let limiter = limiter(&time, Quota::per_minute(1).burst(3));
    let grant = limiter.try_acquire_n(3).unwrap();
    let mut waiter = pin!(limiter.acquire_n(2));
    assert!(poll(waiter.as_mut()).is_pending());
    let start = time.now();
    limiter.refund(&grant, 1);
    assert!(poll(waiter.as_mut()).is_pending());
    limiter.refund(&grant, 1);
    time.drive(waiter).unwrap();
    assert_eq!(time.now(), start);
    // The tokens of a dropped reservation are granted to waiters too.
    let reservation = {
        time.advance(3600 * SECOND);
        drain(&limiter);
        limiter.reserve_n(3).unwrap()
    };
    let mut waiter = pin!(limiter.acquire());
    assert!(poll(waiter.as_mut()).is_pending());
    drop(reservation);
    let start = time.now();
    time.drive(waiter).unwrap();
    assert_eq!(time.now() - start, 60 * SECOND);
}

#[test]
fn threads_and_tasks_wait_in_one_queue() {
    let limiter = RateLimiter::new(Quota::per_second(2_000).burst(1)).unwrap();
    let clock = Clock::system();
    let start = clock.now();
    let granted = AtomicU64::new(0);
    thread::scope(|scope| {
        for i in 0..8 {
            let (limiter, granted) = (&limiter, &granted);
            scope.spawn(move || {
                for _ in 0..20 {
                    if i % 2 == 0 {
                        limiter.acquire_blocking().unwrap();
                    } else {
                        futures::executor::block_on(limiter.acquire()).unwrap();
                    }
                    granted.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(granted.into_inner(), 160);
    assert!(clock.now() - start >= 159 * SECOND / 2_000);
    assert_eq!((limiter.snapshot().waiters, limiter.snapshot().queued_tokens), (0, 0));
}

/// Waiters are cancelled at random moments. Each token is granted once, and the queue is empty in
/// the end.
#[test]
fn cancelled_waiters_waste_no_tokens() {
    let time = ManualClock::new();
    let limiter = limiter(&time, Quota::per_second(100).burst(3));
    let mut random = fastrand::Rng::with_seed(7);
    let mut waiting: Vec<(u32, Pin<Box<RateLimiterAcquireFuture<'_>>>)> = Vec::new();
    let (mut granted, start) = (0_u32, time.now());
    for _ in 0..20_000 {
        match random.u8(0..8) {
            0..3 if waiting.len() < 12 => {
                let cost = random.u32(1..4);
                waiting.push((cost, Box::pin(limiter.acquire_n(cost))));
            }
            3 if !waiting.is_empty() => drop(waiting.swap_remove(random.usize(..waiting.len()))),
            4 => time.advance(random.u32(0..30) * MS),
            _ => {}
        }
        waiting.retain_mut(|(cost, future)| match poll(future.as_mut()) {
            Poll::Ready(Ok(_)) => {
                granted += *cost;
                false
            }
            Poll::Ready(Err(_)) => panic!("denied"),
            Poll::Pending => true,
        });
        let elapsed = (time.now() - start).as_millis() as u32;
        assert!(granted <= 3 + elapsed / 10);
    }
    drop(waiting);
    assert_eq!((limiter.snapshot().waiters, limiter.snapshot().queued_tokens), (0, 0));
    time.advance(SECOND);
    assert_eq!(drain(&limiter), 3);
}

#[test]
fn wakers_may_panic_and_use_the_limiter() {
    struct Wake(RateLimiter, bool);
    impl std::task::Wake for Wake {
        fn wake(self: Arc<Self>) {
            assert!(!self.1, "woken");
        }
    }
    impl Drop for Wake {
        fn drop(&mut self) {
            assert!(self.0.snapshot().waiters < 3);
        }
    }
    let time = ManualClock::new();
    let limiter = limiter(&time, Quota::per_hour(1));
    drain(&limiter);
    let poll_with = |future: Pin<&mut RateLimiterAcquireFuture<'_>>, panics| {
        let waker = Waker::from(Arc::new(Wake(limiter.clone(), panics)));
        future.poll(&mut Context::from_waker(&waker)).is_pending()
    };
    let mut first = Box::pin(limiter.acquire());
    let mut second = Box::pin(limiter.acquire());
    assert!(poll_with(first.as_mut(), false) && poll_with(second.as_mut(), true));
    assert!(poll_with(first.as_mut(), false), "the old waker is dropped outside the lock");
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(first)));
    assert!(panicked.is_err(), "the waker of the next waiter was called");
    assert_eq!(limiter.snapshot().waiters, 1);
    time.drive(second).unwrap();
    assert_eq!(limiter.snapshot().waiters, 0);
}

/// Sentinel#1615: rates above 1,000 a second were counted in whole milliseconds.
#[test]
fn rates_above_a_thousand_a_second_are_exact() {
    for rate in [1_500, 7_000, 333_333] {
        let time = ManualClock::new();
        let limiter = limiter(&time, Quota::per_second(rate).burst(1));
        let start = time.now();
        for _ in 0..1_000 {
            time.drive(limiter.acquire()).unwrap();
        }
        let exact = 999.0 / f64::from(rate);
        let took = (time.now() - start).as_secs_f64();
        assert!(took >= exact && took < exact + 1e-6, "{rate}: {took} instead of {exact}");
    }
}
