//! Custom clocks that call back into the adaptive limiter.
#![cfg(not(mainstay_loom))]

use mainstay::concurrency::{
    AdaptiveLimiter, LimitController, LimitReason, LimitUpdate, LimitWindow, WindowRule,
};
use mainstay::time::{Clock, TimeSource};
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// A clock that advances by one second at each reading. Each reading also takes a snapshot of the
/// limiter that uses the clock, which acquires the limiter's lock.
#[derive(Debug, Default)]
struct ReadingClock {
    seconds: AtomicU64,
    limiter: Arc<OnceLock<AdaptiveLimiter>>,
}

impl TimeSource for ReadingClock {
    fn now(&self) -> Duration {
        self.limiter.get().map(AdaptiveLimiter::snapshot);
        Duration::from_secs(self.seconds.fetch_add(1, Relaxed))
    }

    fn sleep(&self, _: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(pending())
    }
}

/// A controller that adds one to the limit at each window.
struct Increment(f64);

impl LimitController for Increment {
    fn limit(&self) -> f64 {
        self.0
    }

    fn update(&mut self, _: &LimitWindow) -> LimitUpdate {
        self.0 += 1.0;
        LimitUpdate { limit: self.0, reason: LimitReason::Growth }
    }

    fn window_rule(&self) -> WindowRule {
        WindowRule { min_duration: Duration::from_secs(1), min_calls: 1, min_latencies: 0 }
    }
}

#[test]
fn a_clock_may_use_the_limiter_that_reads_it() {
    let cell = Arc::new(OnceLock::new());
    let clock = Clock::custom(ReadingClock { limiter: Arc::clone(&cell), ..Default::default() });
    let limiter = AdaptiveLimiter::builder()
        .controller(Increment(1.0))
        .clock(clock)
        .observer(|_: &mainstay::event::Event<'_>| ())
        .build()
        .unwrap();
    cell.set(limiter.clone()).unwrap();
    for windows in 1..=3 {
        limiter.try_acquire().unwrap().success();
        assert_eq!((limiter.snapshot().windows, limiter.limit()), (windows, 1.0 + windows as f64));
    }
    limiter.reconfigure(Increment(9.0)).unwrap();
    assert_eq!(limiter.limit(), 9.0);
}
