//! Loom models of the adaptive limiter: limit updates during admission, releases during
//! cancellation.

use super::shared::CallEnd;
use super::{AdaptiveLimiter, AdaptiveLimiterPermit};
use crate::concurrency::controller::{
    LimitController, LimitReason, LimitUpdate, LimitWindow, WindowRule,
};
use crate::error::Reason;
use crate::sync::thread::Parker;
use crate::time::ManualClock;
use loom::sync::Arc;
use loom::thread;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::task::Context;
use std::time::Duration;

/// A controller that sets the limit to `to` at the first window.
struct Jump {
    limit: f64,
    to: f64,
}

impl LimitController for Jump {
    fn limit(&self) -> f64 {
        self.limit
    }

    fn update(&mut self, _: &LimitWindow) -> LimitUpdate {
        self.limit = self.to;
        LimitUpdate { limit: self.to, reason: LimitReason::Growth }
    }

    fn window_rule(&self) -> WindowRule {
        WindowRule { min_duration: Duration::from_secs(1), min_calls: 1, min_latencies: 0 }
    }
}

fn limiter(limit: f64, to: f64, time: &ManualClock) -> AdaptiveLimiter {
    AdaptiveLimiter::builder().controller(Jump { limit, to }).clock(time.clock()).build().unwrap()
}

/// The number of calls in flight, in an atomic that loom does not model.
#[derive(Default)]
struct InFlight(AtomicI64);

impl InFlight {
    /// Holds `permit` across a point at which other threads may run.
    fn run(&self, permit: AdaptiveLimiterPermit<'_>, limit: i64) {
        assert!(self.0.fetch_add(1, SeqCst) < limit);
        thread::yield_now();
        self.0.fetch_sub(1, SeqCst);
        permit.end(CallEnd::Success);
    }
}

/// A window closes and the limit grows while another call requests admission.
#[test]
fn a_limit_that_grows_during_an_admission_is_not_exceeded() {
    loom::model(|| {
        let time = ManualClock::new();
        let limiter = limiter(1.0, 2.0, &time);
        let permit = limiter.try_acquire().unwrap();
        time.advance(Duration::from_secs(2));
        let in_flight = Arc::new(InFlight::default());
        let other = thread::spawn({
            let (limiter, in_flight) = (limiter.clone(), Arc::clone(&in_flight));
            move || {
                if let Ok(permit) = limiter.try_acquire() {
                    in_flight.run(permit, 2);
                }
            }
        });
        permit.success();
        other.join().unwrap();
        assert_eq!((limiter.in_flight(), limiter.limit()), (0, 2.0));
        let _both = [limiter.try_acquire().unwrap(), limiter.try_acquire().unwrap()];
        assert!(limiter.try_acquire().is_err());
    });
}

/// A window closes and the limit shrinks. The calls in flight never exceed the old limit. Once the
/// new limit applies, new calls do not exceed it either.
#[test]
fn a_limit_that_shrinks_during_an_admission_is_not_exceeded() {
    loom::model(|| {
        let time = ManualClock::new();
        let limiter = limiter(2.0, 1.0, &time);
        let permit = limiter.try_acquire().unwrap();
        time.advance(Duration::from_secs(2));
        let in_flight = Arc::new(InFlight::default());
        let other = thread::spawn({
            let (limiter, in_flight) = (limiter.clone(), Arc::clone(&in_flight));
            move || {
                if let Ok(permit) = limiter.try_acquire() {
                    in_flight.run(permit, 2);
                }
            }
        });
        permit.success();
        if let Ok(permit) = limiter.try_acquire() {
            in_flight.run(permit, 2);
        }
        other.join().unwrap();
        assert_eq!((limiter.in_flight(), limiter.limit()), (0, 1.0));
        let _one = limiter.try_acquire().unwrap();
        assert_eq!(limiter.try_acquire().unwrap_err().reason(), Reason::ConcurrencyLimited);
    });
}

#[test]
fn a_release_during_a_cancelled_wait_loses_no_permit() {
    loom::model(|| {
        let time = ManualClock::new();
        let limiter = limiter(1.0, 1.0, &time);
        let permit = limiter.try_acquire().unwrap();
        let waiting = thread::spawn({
            let limiter = limiter.clone();
            move || {
                let parker = Parker::current();
                let mut wait = pin!(limiter.acquire());
                let _ = wait.as_mut().poll(&mut Context::from_waker(parker.waker()));
            }
        });
        drop(permit);
        waiting.join().unwrap();
        assert_eq!((limiter.in_flight(), limiter.snapshot().queued), (0, 0));
        assert!(limiter.try_acquire().is_ok());
    });
}

/// The last decision of a replaced controller does not overwrite the limit of the new controller.
#[test]
fn a_replaced_controller_does_not_overwrite_the_limit_of_the_new_one() {
    loom::model(|| {
        let time = ManualClock::new();
        let limiter = limiter(2.0, 3.0, &time);
        let permit = limiter.try_acquire().unwrap();
        time.advance(Duration::from_secs(2));
        let closing = thread::spawn({
            let limiter = limiter.clone();
            let permit = limiter.try_acquire_owned().unwrap();
            move || {
                permit.success();
                drop(limiter);
            }
        });
        drop(permit);
        limiter.0.replace(Box::new(Jump { limit: 5.0, to: 5.0 }));
        closing.join().unwrap();
        assert_eq!(limiter.limit(), 5.0);
        assert_eq!(limiter.0.semaphore.limit(), 5);
    });
}
