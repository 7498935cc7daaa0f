//! The adaptive limiter when user code panics or uses the limiter again.
#![cfg(not(mainstay_loom))]

use mainstay::concurrency::{
    AdaptiveLimiter, AimdController, LimitController, LimitReason, LimitUpdate, LimitWindow,
    WindowRule,
};
use mainstay::event::Event;
use mainstay::time::ManualClock;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_panic_of_the_operation_releases_its_permit() {
    let limiter = AdaptiveLimiter::builder()
        .controller(AimdController::new().initial_limit(1.0))
        .build()
        .unwrap();
    let call = || limiter.call_blocking(|| -> Result<(), ()> { panic!("operation") });
    assert!(catch_unwind(AssertUnwindSafe(call)).is_err());
    assert_eq!(limiter.call_blocking(|| Ok::<_, ()>(7)), Ok(7));
}

#[test]
fn a_panic_of_the_controller_leaves_the_limiter_usable() {
    struct Panics(bool);
    impl LimitController for Panics {
        fn limit(&self) -> f64 {
            2.0
        }
        fn update(&mut self, _: &LimitWindow) -> LimitUpdate {
            assert!(std::mem::replace(&mut self.0, true), "the first time");
            LimitUpdate { limit: 3.0, reason: LimitReason::Growth }
        }
        fn window_rule(&self) -> WindowRule {
            WindowRule { min_duration: SECOND, min_calls: 1, min_latencies: 0 }
        }
    }
    let time = ManualClock::new();
    let limiter =
        AdaptiveLimiter::builder().controller(Panics(false)).clock(time.clock()).build().unwrap();
    time.advance(SECOND);
    let permit = limiter.try_acquire().unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| permit.success())).is_err());
    assert_eq!((limiter.in_flight(), limiter.limit()), (0, 2.0));
    time.advance(SECOND);
    limiter.try_acquire().unwrap().success();
    assert_eq!(limiter.limit(), 3.0);
}

#[test]
fn a_controller_and_an_observer_may_use_the_limiter() {
    struct Reentrant(Arc<Mutex<Option<AdaptiveLimiter>>>);
    impl LimitController for Reentrant {
        fn limit(&self) -> f64 {
            2.0
        }
        fn update(&mut self, _: &LimitWindow) -> LimitUpdate {
            let limiter = self.0.lock().unwrap().clone().unwrap();
            limiter.try_acquire().unwrap().success();
            assert_eq!(limiter.snapshot().limit, 2.0);
            LimitUpdate { limit: 9.0, reason: LimitReason::Growth }
        }
        fn window_rule(&self) -> WindowRule {
            WindowRule { min_duration: SECOND, min_calls: 1, min_latencies: 0 }
        }
    }
    let (time, cell) = (ManualClock::new(), Arc::new(Mutex::new(None)));
    let inside = Arc::clone(&cell);
    let limiter = AdaptiveLimiter::builder()
        .controller(Reentrant(Arc::clone(&cell)))
        .clock(time.clock())
        .observer(move |_: &Event<'_>| {
            let limiter: Option<AdaptiveLimiter> = inside.lock().unwrap().clone();
            limiter.unwrap().try_acquire().unwrap().success();
        })
        .build()
        .unwrap();
    *cell.lock().unwrap() = Some(limiter.clone());
    time.advance(SECOND);
    limiter.try_acquire().unwrap().success();
    assert_eq!(limiter.limit(), 9.0);
    *cell.lock().unwrap() = None;
}
