//! Changes of the quota, and calls that race with a change.

use mainstay::rate::{KeyedRateLimiter, Quota, RateLimiter};
use mainstay::time::{Clock, Instant, ManualClock, TimeSource};
use proptest::prelude::*;
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

/// A clock that can run code between a reading and its use.
#[derive(Clone, Default)]
struct MeanwhileClock {
    nanos: Arc<AtomicU64>,
    meanwhile: Arc<Mutex<Option<Meanwhile>>>,
}

type Meanwhile = Box<dyn FnOnce() + Send>;

impl MeanwhileClock {
    fn advance(&self, duration: Duration) {
        self.nanos.fetch_add(duration.as_nanos() as u64, Ordering::Relaxed);
    }

    /// Runs `act` once, at the next reading.
    fn meanwhile(&self, act: impl FnOnce() + Send + 'static) {
        *self.meanwhile.lock().unwrap() = Some(Box::new(act));
    }
}

impl fmt::Debug for MeanwhileClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MeanwhileClock")
    }
}

impl TimeSource for MeanwhileClock {
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

#[test]
fn a_grant_made_during_a_change_is_not_refilled_for_the_time_before_it() {
    let time = MeanwhileClock::default();
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

/// The test above, for one quota of all keys and for one quota per key.
#[test]
fn a_grant_to_a_key_made_during_a_change_is_not_refilled_for_the_time_before_it() {
    for own in [false, true] {
        let time = MeanwhileClock::default();
        time.advance(SECOND);
        let rate = Arc::new(AtomicU64::new(1));
        let quota = |rate: u64| Quota::per_second(rate as u32).burst(10);
        let mut builder = KeyedRateLimiter::builder(quota(1)).clock(Clock::custom(time.clone()));
        if own {
            let rate = rate.clone();
            builder = builder.quota_by(move |_: &u32| quota(rate.load(Ordering::Relaxed)));
        }
        let limits: Arc<KeyedRateLimiter<u32>> = Arc::new(builder.build().unwrap());
        limits.try_acquire(&1).unwrap();
        time.meanwhile({
            let (time, limits) = (time.clone(), limits.clone());
            move || {
                time.advance(10 * MS);
                assert_eq!(limits.try_acquire_up_to(&1, 10).unwrap().granted(), 9);
            }
        });
        rate.store(1000, Ordering::Relaxed);
        match own {
            true => limits.refresh_quota(&1).unwrap(),
            false => limits.reconfigure(quota(1000)).unwrap(),
        }
        // The fraction of a token that has become available is rounded down.
        assert_eq!(limits.peek(&1).remaining(), 0, "{own}");
        time.advance(10 * MS);
        assert_eq!(limits.peek(&1).remaining(), 10, "{own}");
    }
}

/// A custom clock is user code: it may use the key of the call.
#[test]
fn the_clock_is_read_without_the_lock_of_a_shard() {
    let time = MeanwhileClock::default();
    let limits: KeyedRateLimiter<u32> = KeyedRateLimiter::builder(Quota::per_second(10))
        .clock(Clock::custom(time.clone()))
        .build()
        .unwrap();
    let limits = Arc::new(limits);
    let grant = limits.try_acquire(&1).unwrap();
    type Call = fn(&KeyedRateLimiter<u32>, &mainstay::rate::Grant);
    let calls: [Call; 5] = [
        |limits, grant| limits.refund(&1, grant, 1),
        |limits, _| assert!(limits.try_acquire(&1).is_ok()),
        |limits, _| assert!(limits.debit(&1, 1).is_ok()),
        |limits, _| assert_eq!(limits.peek(&1).limit(), 10),
        |limits, _| limits.reconfigure(Quota::per_second(7)).unwrap(),
    ];
    let readings = Arc::new(AtomicU64::new(0));
    for call in calls {
        time.meanwhile({
            let (limits, readings) = (limits.clone(), readings.clone());
            move || {
                assert_eq!(limits.peek(&1).limit(), 10);
                readings.fetch_add(1, Ordering::Relaxed);
            }
        });
        call(&limits, &grant);
    }
    assert_eq!(readings.load(Ordering::Relaxed), 5);
}

/// After any number of changes: the epoch in the state word repeats after eight.
#[test]
fn a_refund_of_a_grant_from_before_a_change_returns_nothing() {
    for changes in 1..=40 {
        let time = ManualClock::at(Instant::ORIGIN);
        let limiter = limiter(&time, Quota::per_second(10));
        time.advance(1000 * SECOND);
        let grant = limiter.try_acquire_n(6).unwrap();
        let reservation = limiter.reserve_n(2).unwrap();
        for _ in 0..changes {
            limiter.reconfigure(Quota::per_second(10)).unwrap();
        }
        limiter.refund(&grant, 6);
        drop(reservation);
        assert_eq!(limiter.peek().remaining(), 2, "after {changes}");
        // Nor does it return tokens that have become available again under a new token period.
        limiter.reconfigure(Quota::with_period(100 * MS).burst(10)).unwrap();
        time.advance(100 * SECOND);
        assert_eq!(limiter.try_acquire_n(10).unwrap().remaining(), 0);
        limiter.refund(&grant, 6);
        assert_eq!(limiter.peek().remaining(), 0, "after {changes}");
    }
}

/// A waker that calls a closure.
struct Woken<F>(F);

impl<F: Fn() + Send + Sync> Wake for Woken<F> {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

#[test]
fn a_completed_change_wakes_a_waiter_without_a_lock() {
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

#[test]
fn a_new_quota_keeps_used_tokens_used() {
    let time = ManualClock::new();
    let limiter = limiter(&time, Quota::per_second(10).burst(10));
    limiter.try_acquire_n(6).unwrap();
    //     quota, remaining, time to full in ms
    let table = [
        (Quota::per_second(100).burst(100), 94, 60),
        (Quota::per_second(10).burst(5), 0, 600),
        (Quota::per_hour(0), 0, u32::MAX),
        (Quota::per_second(3).burst(9), 3, 2000),
        (Quota::unlimited(), u32::MAX, 0),
        (Quota::per_second(10).burst(10), 10, 0),
    ];
    for (quota, remaining, reset) in table {
        limiter.reconfigure(quota).unwrap();
        let status = limiter.peek();
        assert_eq!(status.remaining(), remaining, "{quota:?}");
        let expected = if reset == u32::MAX { Duration::MAX } else { reset * MS };
        assert_eq!(status.reset_after(), expected, "{quota:?}");
        assert_eq!(limiter.snapshot().quota, quota);
    }
    // No tokens become available while the quota is zero.
    limiter.try_acquire_n(10).unwrap();
    limiter.reconfigure(Quota::per_second(0)).unwrap();
    time.advance(3600 * SECOND);
    limiter.reconfigure(Quota::per_second(10)).unwrap();
    assert_eq!(limiter.peek().remaining(), 0);
}

proptest! {
    /// Every window contains at most the burst of the quota at its end plus the tokens that each
    /// quota earned while it was in force.
    #[test]
    fn a_change_of_the_quota_never_grants_more_than_each_quota_allows(
        steps in proptest::collection::vec(
            (
                0_u64..400,
                prop_oneof![4 => Just(None), 1 => (1_u32..300, 1_u32..40).prop_map(Some)],
                1_u32..8,
            ),
            1..80,
        ),
    ) {
        let time = ManualClock::new();
        let mut quota = (50, 10);
        let limiter = limiter(&time, Quota::per_second(quota.0).burst(quota.1));
        // (tokens granted, tokens earned since the last event, burst in force)
        let mut events: Vec<(u32, f64, u32)> = Vec::new();
        for (advance, change, n) in steps {
            time.advance(advance as u32 * MS);
            let earned = f64::from(quota.0) * advance as f64 / 1e3;
            if let Some(new) = change {
                quota = new;
                limiter.reconfigure(Quota::per_second(new.0).burst(new.1)).unwrap();
            }
            let granted = limiter.try_acquire_up_to(n).map_or(0, |grant| grant.granted());
            events.push((granted, earned, quota.1));
        }
        for from in 0..events.len() {
            let (mut granted, mut earned) = (0, 0.0);
            for (i, event) in events.iter().enumerate().skip(from) {
                granted += event.0;
                earned += if i == from { 0.0 } else { event.1 };
                let bound = f64::from(event.2) + earned + 1e-6;
                let within = event.0 == 0 || f64::from(granted) <= bound;
                prop_assert!(within, "{} > {}", granted, bound);
            }
        }
    }
}
