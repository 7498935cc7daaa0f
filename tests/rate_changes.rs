//! A quota that changes while something else goes on: a taking, a waking, a refund of what was granted before.

use mainstay::rate::{Keyed, Quota, RateLimiter};
use mainstay::time::{Clock, Instant, ManualClock, TimeSource};
use std::fmt;
use std::future::{Future, pending};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context as Task, Wake};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn limiter(time: &ManualClock, quota: Quota) -> RateLimiter {
    RateLimiter::builder(quota).clock(time.clock()).build().unwrap()
}

/// A clock with which something happens between a reading and its use.
#[derive(Clone, Default)]
struct Slow {
    nanos: Arc<AtomicU64>,
    meanwhile: Arc<Mutex<Option<Meanwhile>>>,
}

type Meanwhile = Box<dyn FnOnce() + Send>;

impl Slow {
    fn advance(&self, duration: Duration) {
        self.nanos.fetch_add(duration.as_nanos() as u64, Ordering::Relaxed);
    }

    /// Once, with the next reading.
    fn meanwhile(&self, act: impl FnOnce() + Send + 'static) {
        *self.meanwhile.lock().unwrap() = Some(Box::new(act));
    }
}

impl fmt::Debug for Slow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slow")
    }
}

impl TimeSource for Slow {
    fn now(&self) -> Duration {
        let now = Duration::from_nanos(self.nanos.load(Ordering::Relaxed));
        let meanwhile = self.meanwhile.lock().unwrap().take();
        if let Some(act) = meanwhile {
            act();
        }
        now
    }

    fn sleep(&self, _: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(pending())
    }
}

/// Who took after the change had read the clock is not credited by the new rate with the time between.
#[test]
fn a_change_is_not_as_old_as_its_first_look_at_the_clock() {
    let time = Slow::default();
    time.advance(SECOND);
    let limiter = RateLimiter::builder(Quota::per_second(1).burst(10))
        .clock(Clock::custom(time.clone()))
        .build();
    let limiter = limiter.unwrap();
    time.meanwhile({
        let (time, limiter) = (time.clone(), limiter.clone());
        move || {
            time.advance(10 * MS);
            assert_eq!(limiter.try_acquire_n(10).unwrap().remaining(), 0);
        }
    });
    limiter.reconfigure(Quota::per_second(1000).burst(10)).unwrap();
    assert_eq!(limiter.peek().remaining(), 0);
    time.advance(10 * MS);
    assert_eq!(limiter.peek().remaining(), 10);
}

/// The same for each key, with one quota for all and with its own.
#[test]
fn nor_is_a_change_for_keys() {
    for own in [false, true] {
        let time = Slow::default();
        time.advance(SECOND);
        let rate = Arc::new(AtomicU64::new(1));
        let quota = |rate: u64| Quota::per_second(rate as u32).burst(10);
        let mut builder = Keyed::builder(quota(1)).clock(Clock::custom(time.clone()));
        if own {
            let rate = rate.clone();
            builder = builder.quota_by(move |_: &u32| quota(rate.load(Ordering::Relaxed)));
        }
        let limits: Arc<Keyed<u32>> = Arc::new(builder.build().unwrap());
        limits.try_acquire(&1).unwrap();
        time.meanwhile({
            let (time, limits) = (time.clone(), limits.clone());
            move || {
                time.advance(10 * MS);
                assert_eq!(limits.at_most(&1, 10).unwrap().granted(), 9);
            }
        });
        rate.store(1000, Ordering::Relaxed);
        match own {
            true => limits.resolve_again(&1).unwrap(),
            false => limits.reconfigure(quota(1000)).unwrap(),
        }
        // What came back of a token is rounded down.
        assert_eq!(limits.peek(&1).remaining(), 0, "{own}");
        time.advance(10 * MS);
        assert_eq!(limits.peek(&1).remaining(), 10, "{own}");
    }
}

/// The clock is the user's own: it may ask for the key that the call is about.
#[test]
fn the_clock_is_read_under_no_lock_of_keys() {
    let time = Slow::default();
    let limits: Keyed<u32> =
        Keyed::builder(Quota::per_second(10)).clock(Clock::custom(time.clone())).build().unwrap();
    let limits = Arc::new(limits);
    let answer = limits.try_acquire(&1).unwrap();
    type Call = fn(&Keyed<u32>, &mainstay::rate::Answer);
    let calls: [Call; 5] = [
        |limits, answer| limits.refund(&1, answer, 1),
        |limits, _| assert!(limits.try_acquire(&1).is_ok()),
        |limits, _| assert!(limits.debit(&1, 1).is_ok()),
        |limits, _| assert_eq!(limits.peek(&1).limit(), 10),
        |limits, _| limits.reconfigure(Quota::per_second(7)).unwrap(),
    ];
    let looks = Arc::new(AtomicU64::new(0));
    for call in calls {
        time.meanwhile({
            let (limits, looks) = (limits.clone(), looks.clone());
            move || {
                assert_eq!(limits.peek(&1).limit(), 10);
                looks.fetch_add(1, Ordering::Relaxed);
            }
        });
        call(&limits, &answer);
    }
    assert_eq!(looks.load(Ordering::Relaxed), 5);
}

/// However many changes: none of them brings back an answer from before, or a reservation.
#[test]
fn an_answer_from_before_a_change_gives_back_nothing() {
    for changes in 1..=40 {
        let time = ManualClock::at(Instant::ORIGIN);
        let limiter = limiter(&time, Quota::per_second(10));
        time.advance(1000 * SECOND);
        let answer = limiter.try_acquire_n(6).unwrap();
        let reservation = limiter.reserve(2).unwrap();
        for _ in 0..changes {
            limiter.reconfigure(Quota::per_second(10)).unwrap();
        }
        limiter.refund(&answer, 6);
        drop(reservation);
        assert_eq!(limiter.peek().remaining(), 2, "after {changes}");
        // Nor what had come back by itself, in units that differ.
        limiter.reconfigure(Quota::with_period(100 * MS).burst(10)).unwrap();
        time.advance(100 * SECOND);
        assert_eq!(limiter.try_acquire_n(10).unwrap().remaining(), 0);
        limiter.refund(&answer, 6);
        assert_eq!(limiter.peek().remaining(), 0, "after {changes}");
    }
}

/// A waker that does something with the limiter.
struct Woken<F>(F);

impl<F: Fn() + Send + Sync> Wake for Woken<F> {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

/// It runs when the new quota is in force as a whole, and under no lock.
#[test]
fn a_change_wakes_when_it_is_done() {
    let time = ManualClock::new();
    let limiter = limiter(&time, Quota::per_second(1));
    limiter.try_acquire().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let waker = {
        let (limiter, seen) = (limiter.clone(), seen.clone());
        Arc::new(Woken(move || {
            seen.lock().unwrap().push((limiter.quota(), limiter.peek().limit()));
            panic!("a waker");
        }))
        .into()
    };
    let mut waiting = pin!(limiter.acquire());
    assert!(waiting.as_mut().poll(&mut Task::from_waker(&waker)).is_pending());
    let changed = catch_unwind(AssertUnwindSafe(|| limiter.reconfigure(Quota::per_second(7))));
    assert!(changed.is_err());
    assert_eq!(*seen.lock().unwrap(), [(Quota::per_second(7), 7)]);
    assert_eq!((limiter.quota(), limiter.peek().limit()), (Quota::per_second(7), 7));
    assert!(waiting.as_mut().poll(&mut Task::from_waker(&waker)).is_ready());
}
