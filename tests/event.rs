//! Observers that use the policy they observe: no recursion, no endless delivery.
#![cfg(not(mainstay_loom))]

use mainstay::breaker::{CircuitBreaker, CircuitBreakerMode};
use mainstay::event::{Event, EventValue};
use mainstay::rate::{Quota, RateLimiter};
use mainstay::time::ManualClock;
use std::sync::{Arc, Mutex, OnceLock};

type Seen = Arc<Mutex<Vec<(&'static str, u64)>>>;

/// A policy that its own observer can reach, once it is built.
type Own<P> = Arc<OnceLock<P>>;

/// Returns an observer that records each event, then uses the policy.
fn observer<P: Send + Sync + 'static>(
    seen: &Seen,
    own: &Own<P>,
    act: impl Fn(&P, &Event<'_>) + Send + Sync + 'static,
) -> impl Fn(&Event<'_>) + Send + Sync + 'static {
    let (seen, own) = (seen.clone(), own.clone());
    // Locked during the call, so that a recursive call fails.
    let running = Mutex::new(());
    move |event: &Event<'_>| {
        let _running = running.try_lock().expect("called again before it returned");
        seen.lock().unwrap().push((event.kind, event.sequence));
        if let Some(policy) = own.get() {
            act(policy, event);
        }
    }
}

fn limiter(act: impl Fn(&RateLimiter, &Event<'_>) + Send + Sync + 'static) -> (RateLimiter, Seen) {
    let (seen, own) = (Seen::default(), Own::default());
    let limiter = RateLimiter::builder(Quota::per_minute(1))
        .clock(ManualClock::new().clock())
        .observer(observer(&seen, &own, act))
        .build()
        .unwrap();
    own.set(limiter.clone()).unwrap();
    limiter.try_acquire().unwrap();
    (limiter, seen)
}

fn breaker(
    mode: CircuitBreakerMode,
    act: impl Fn(&CircuitBreaker, &Event<'_>) + Send + Sync + 'static,
) -> (CircuitBreaker, Seen) {
    let (seen, own) = (Seen::default(), Own::default());
    let breaker = CircuitBreaker::builder()
        .min_calls(1)
        .clock(ManualClock::new().clock())
        .observer(observer(&seen, &own, act))
        .build()
        .unwrap();
    breaker.set_mode(mode);
    seen.lock().unwrap().clear();
    own.set(breaker.clone()).unwrap();
    (breaker, seen)
}

#[test]
fn an_observer_that_is_denied_by_its_own_limiter_is_not_called_recursively() {
    let (limiter, seen) = limiter(|limiter, _| assert!(limiter.try_acquire().is_err()));
    for _ in 0..3 {
        assert!(limiter.try_acquire().is_err());
    }
    // The sequence counts the events that were dropped too.
    let sequences: Vec<_> = seen.lock().unwrap().iter().map(|(_, sequence)| *sequence).collect();
    assert_eq!(sequences, [1, 3, 5]);
}

#[test]
fn a_reconfiguration_by_an_observer_is_reported_after_the_observer_returns() {
    let (limiter, seen) = limiter(|limiter, event| {
        if event.kind == "denied" {
            limiter.reconfigure(Quota::per_minute(10)).unwrap();
        }
    });
    assert!(limiter.try_acquire().is_err());
    assert!(limiter.try_acquire().is_ok());
    assert_eq!(*seen.lock().unwrap(), [("denied", 1), ("reconfigured", 1)]);
}

#[test]
fn an_observer_that_reconfigures_at_every_event_is_stopped() {
    let (limiter, seen) = limiter(|limiter, _| limiter.reconfigure(Quota::per_minute(10)).unwrap());
    limiter.reconfigure(Quota::per_minute(20)).unwrap();
    assert_eq!(seen.lock().unwrap().len(), 17, "the first event, and a chain of 16");
}

#[test]
fn an_observer_that_resets_the_breaker_at_every_transition_is_stopped() {
    let (breaker, seen) = breaker(CircuitBreakerMode::Automatic, |breaker, _| breaker.reset());
    breaker.try_acquire().unwrap().failure();
    let transitions = seen.lock().unwrap().len();
    assert!((2..=17).contains(&transitions), "{transitions}");

    breaker.try_acquire().unwrap().failure();
    assert!(seen.lock().unwrap().len() > transitions, "the next chain is delivered");
}

#[test]
fn an_observer_that_opens_and_closes_the_breaker_receives_each_transition_in_order() {
    let (breaker, seen) = breaker(CircuitBreakerMode::Automatic, |breaker, event| {
        if event.sequence < 5 {
            breaker.set_mode(match event.field("to") {
                Some(EventValue::Label("open")) => CircuitBreakerMode::ForcedClosed,
                _ => CircuitBreakerMode::ForcedOpen,
            });
        }
    });
    breaker.try_acquire().unwrap().failure();
    let expected: Vec<_> = (1..=5).map(|sequence| ("transition", sequence)).collect();
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[test]
fn an_observer_that_calls_a_breaker_in_shadow_mode_is_not_called_recursively() {
    let (breaker, seen) = breaker(CircuitBreakerMode::Shadow, |breaker, event| {
        if event.kind == "would_reject" {
            assert!(breaker.try_acquire().unwrap().would_reject());
        }
    });
    breaker.try_acquire().unwrap().failure();
    for _ in 0..2 {
        assert!(breaker.try_acquire().unwrap().would_reject());
    }
    let would_reject: Vec<_> =
        seen.lock().unwrap().iter().filter(|(kind, _)| *kind == "would_reject").copied().collect();
    assert_eq!(would_reject, [("would_reject", 1), ("would_reject", 3)]);
}
