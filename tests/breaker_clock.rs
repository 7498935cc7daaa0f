//! Clocks that are set back or far ahead: the remaining time of a wait never exceeds its full
//! duration.
#![cfg(not(mainstay_loom))]

mod breaker_support;

use breaker_support::{builder, calls};
use mainstay::backoff::Backoff;
use mainstay::breaker::{CircuitBreaker, CircuitBreakerState as State};
use mainstay::outcome::Outcome;
use mainstay::time::{Instant, ManualClock};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

#[test]
fn a_breaker_opens_and_closes_when_its_clock_is_set_back_and_far_ahead() {
    let time = ManualClock::new();
    let start = time.now();
    let breaker =
        builder(&time).time_window(10 * SECOND, 10).slow_calls(SECOND, 1.0).build().unwrap();
    let permit = breaker.try_acquire().unwrap();
    time.set(start - 1000 * SECOND);
    permit.success(); // its duration is taken to be zero
    assert_eq!(breaker.snapshot().counts.slow, 0);
    calls(&breaker, "xxx");
    assert_eq!(breaker.state(), State::Open);
    time.set(Instant::ORIGIN);
    assert!(breaker.try_acquire().unwrap_err().retry_after() >= Some(10 * SECOND));
    time.set(Instant::FAR_FUTURE);
    calls(&breaker, "...");
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn an_open_duration_restarts_after_the_clock_was_set_back() {
    for pause in [None, Some(30 * SECOND)] {
        let time = ManualClock::new();
        let start = time.now();
        let breaker = builder(&time).build().unwrap();
        time.advance(1_000_000 * SECOND);
        match pause {
            None => calls(&breaker, "xxxx"),
            Some(pause) => {
                let permit = breaker.try_acquire().unwrap();
                permit.record_outcome(Outcome::Unavailable(pause));
            }
        }
        let duration = pause.unwrap_or(10 * SECOND);
        time.set(start);
        assert_eq!(breaker.snapshot().retry_after, Some(duration));
        assert_eq!(breaker.try_acquire().unwrap_err().retry_after(), Some(duration));
        time.advance(duration - Duration::from_nanos(1));
        calls(&breaker, "r");
        time.advance(Duration::from_nanos(1));
        calls(&breaker, "...");
        assert_eq!(breaker.state(), State::Closed);
    }
}

#[test]
fn a_ramp_restarts_after_the_clock_was_set_back() {
    let time = ManualClock::new();
    let start = time.now();
    time.advance(1_000_000 * SECOND);
    let breaker = builder(&time).ramp_up_duration(10 * SECOND).build().unwrap();
    calls(&breaker, "xxxx");
    time.advance(10 * SECOND);
    calls(&breaker, "...");
    time.set(start);
    drop(breaker.try_acquire());
    time.advance(5 * SECOND);
    let admitted = (0..100).filter(|_| breaker.try_acquire().is_ok()).count();
    assert!((53..=57).contains(&admitted), "{admitted} of 100 in the middle of the ramp");
    time.advance(5 * SECOND);
    assert!((0..50).all(|_| breaker.try_acquire().is_ok()));
}

/// The timeout is that of the current configuration, even after the clock was set back.
#[test]
fn a_lost_probe_holds_its_slot_for_one_timeout_at_most() {
    let lose_probe = |timeout: Duration| {
        let time = ManualClock::new();
        let breaker = builder(&time)
            .half_open_concurrency(1)
            .probe_timeout(timeout)
            .open_duration(Backoff::constant(SECOND))
            .build()
            .unwrap();
        for _ in 0..4 {
            breaker.try_acquire().unwrap().failure();
        }
        time.advance(SECOND);
        std::mem::forget(breaker.try_acquire().unwrap());
        assert!(breaker.try_acquire().is_err());
        (time, breaker)
    };
    let is_free_after_one_timeout = |time: &ManualClock, breaker: &CircuitBreaker| {
        assert!(breaker.try_acquire().is_err());
        time.advance(30 * SECOND);
        breaker.try_acquire().unwrap().success();
    };

    let (time, breaker) = lose_probe(Duration::MAX);
    breaker.reconfigure(breaker.config().probe_timeout(30 * SECOND)).unwrap();
    is_free_after_one_timeout(&time, &breaker);

    let (time, breaker) = lose_probe(30 * SECOND);
    time.set(time.now() - 1000 * SECOND);
    is_free_after_one_timeout(&time, &breaker);
}

#[test]
fn calls_in_flight_are_not_overdue_after_the_clock_was_set_back() {
    let time = ManualClock::new();
    let start = time.now();
    let breaker = builder(&time).slow_calls(800 * MS, 0.5).track_in_flight().build().unwrap();
    time.advance(1_000_000 * SECOND);
    let before: Vec<_> = (0..15)
        .map(|_| {
            time.advance(50 * MS);
            breaker.try_acquire().unwrap()
        })
        .collect();
    assert_eq!(breaker.snapshot().overdue, 0);
    time.set(start);
    let after: Vec<_> = (0..15)
        .map(|_| {
            time.advance(50 * MS);
            breaker.try_acquire().expect("no call is overdue at the current time of the clock")
        })
        .collect();
    assert_eq!(breaker.snapshot().overdue, 0);
    for permit in before.into_iter().chain(after) {
        permit.ignore();
    }
    assert_eq!(breaker.snapshot().overdue, 0);
    // Calls that hang are still detected.
    let hung: Vec<_> = (0..10).map(|_| breaker.try_acquire().unwrap()).collect();
    time.advance(SECOND);
    assert!(breaker.try_acquire().is_err());
    drop(hung);
}
