//! The configuration of a circuit breaker: validation, and `reconfigure`.
#![cfg(not(mainstay_loom))]

mod breaker_support;

use breaker_support::{builder, calls};
use mainstay::backoff::Backoff;
use mainstay::breaker::{CallClass, CircuitBreaker, CircuitBreakerState as State};
use mainstay::outcome::Outcome;
use mainstay::time::{Clock, ManualClock};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const NANO: Duration = Duration::from_nanos(1);

/// The error contains the name of the builder method and the value that the caller passed.
#[test]
fn an_error_names_the_setting_that_is_out_of_range() {
    let b = CircuitBreaker::builder;
    let slow = || b().failure_rate(None).slow_calls(SECOND, 0.5);
    let flat = Backoff::exponential(SECOND).factor(0.5);
    //  builder, field, value
    let table = [
        (b().failure_rate(0.0), "failure_rate", "0.0"),
        (b().failure_rate(-0.5), "failure_rate", "-0.5"),
        (b().failure_rate(1.01), "failure_rate", "1.01"),
        (b().failure_rate(f64::NAN), "failure_rate", "NaN"),
        (b().failure_rate(f64::INFINITY), "failure_rate", "inf"),
        (b().failure_rate(None), "failure_rate", "None"),
        (b().min_calls(0), "min_calls", "0"),
        (b().min_calls(101), "min_calls", "101"),
        (b().min_calls(u32::MAX), "min_calls", "4294967295"),
        (b().failure_rate(None).consecutive_failures(5).min_calls(0), "min_calls", "0"),
        (slow().min_calls(101), "min_calls", "101"),
        (b().slow_calls(SECOND, f64::NAN), "slow_calls", "(1s, NaN)"),
        (b().slow_calls(Duration::ZERO, 0.5), "slow_calls", "(0ns, 0.5)"),
        (slow().slow_min_calls(0), "slow_min_calls", "0"),
        (b().slow_min_calls(101), "slow_min_calls", "101"),
        (b().consecutive_failures(0), "consecutive_failures", "0"),
        (b().consecutive_failures(u32::MAX), "consecutive_failures", "4294967295"),
        (b().half_open_concurrency(0), "half_open_concurrency", "0"),
        (b().half_open_concurrency(128), "half_open_concurrency", "128"),
        (b().half_open_calls(0), "half_open_calls", "0"),
        (b().half_open_calls(u32::MAX), "half_open_calls", "4294967295"),
        (b().probe_timeout(Duration::ZERO), "probe_timeout", "0ns"),
        (b().max_retry_after(Duration::ZERO), "max_retry_after", "0ns"),
        (b().open_duration(flat), "open_duration", "0.5"),
        (b().track_in_flight(), "track_in_flight", "true"),
        (b().count_window(u32::MAX), "count_window", "4294967295"),
        (b().count_window(0), "count_window", "0"),
        (b().count_window(0).min_calls(7), "count_window", "0"),
        (b().time_window(SECOND, 0), "time_window", "0"),
        (b().time_window(SECOND, u32::MAX), "time_window", "4294967295"),
        (b().time_window(Duration::ZERO, 1), "time_window", "0ns"),
        (b().time_window(Duration::MAX, 10), "time_window", "18446744073709551615.999999999s"),
    ];
    for (builder, field, value) in table {
        let shown = format!("{builder:?}");
        let error = builder.build().expect_err(&shown);
        assert_eq!((error.field(), error.value()), (field, value), "{shown}");
    }
}

#[test]
fn settings_that_need_another_setting_are_checked_together() {
    let time = ManualClock::new();
    let breaker = builder(&time).build().unwrap();
    let class = |class| breaker.for_class(class).unwrap_err().field();
    for rate in [0.0, -1.0, 1.1, f64::NAN] {
        assert_eq!(class(CallClass::new().failure_rate(rate)), "failure_rate");
    }
    assert_eq!(class(CallClass::new().slow_after(Duration::ZERO)), "slow_after");
    assert_eq!(class(CallClass::new().slow_after(SECOND)), "slow_after", "calls are not timed");
    let timed = builder(&time).record_latency().build().unwrap();
    assert!(timed.for_class(CallClass::new().slow_after(SECOND)).is_ok());
    assert_eq!(builder(&time).track_in_flight().build().unwrap_err().field(), "track_in_flight");
    let error = |config| breaker.reconfigure(config).unwrap_err().field();
    assert_eq!(error(breaker.config().record_latency()), "record_latency");
    assert_eq!(
        error(breaker.config().slow_calls(SECOND, 0.5).track_in_flight()),
        "track_in_flight"
    );
    let alone = builder(&time).failure_rate(None).trip_when(|_| false);
    assert!(alone.build().is_ok(), "a trip rule is enough");
}

#[test]
fn a_pause_requested_by_a_server_is_limited_by_max_retry_after() {
    let hour = 3600 * SECOND;
    for (setup, longest) in [(None, hour), (Some(60 * SECOND), 60 * SECOND)] {
        let time = ManualClock::new();
        let default = builder(&time);
        let breaker = match setup {
            Some(longest) => default.max_retry_after(longest),
            None => default,
        };
        let breaker = breaker.build().unwrap();
        for asked in [Duration::MAX, longest - SECOND, 2 * longest] {
            // The first permit belongs to a normal call, the others belong to probes.
            breaker.try_acquire().unwrap().record_outcome(Outcome::Unavailable(asked));
            let wait = asked.min(longest);
            assert_eq!(breaker.history().last().unwrap().open_duration, Some(wait), "{asked:?}");
            time.advance(wait - NANO);
            assert_eq!(breaker.try_acquire().unwrap_err().retry_after(), Some(NANO));
            time.advance(NANO);
        }
    }
    let none = builder(&ManualClock::new()).max_retry_after(Duration::ZERO);
    assert_eq!(none.build().unwrap_err().field(), "max_retry_after");
}

#[test]
fn reconfigure_keeps_window_and_state() {
    let time = ManualClock::new();
    let breaker = builder(&time).build().unwrap();
    calls(&breaker, "......xxx");
    breaker.reconfigure(breaker.config().failure_rate(0.4)).unwrap();
    assert_eq!(breaker.snapshot().counts.failed, 3);
    calls(&breaker, "x");
    assert_eq!(breaker.state(), State::Open);
    breaker
        .reconfigure(
            breaker.config().open_duration(Backoff::constant(SECOND)).half_open_concurrency(1),
        )
        .unwrap();
    assert_eq!(
        breaker.try_acquire().unwrap_err().retry_after(),
        Some(10 * SECOND),
        "the duration is fixed when the breaker opens"
    );
    time.advance(10 * SECOND);
    let probe = breaker.try_acquire().unwrap();
    calls(&breaker, "r");
    probe.failure();
    // One outcome is enough now, and one is recorded: the next call ends the trial.
    breaker.reconfigure(breaker.config().half_open_calls(1)).unwrap();
    calls(&breaker, "r");
    assert_eq!(breaker.try_acquire().unwrap_err().retry_after(), Some(SECOND));
}

#[test]
fn reconfigure_turns_rules_on_and_off() {
    let time = ManualClock::new();
    let breaker = builder(&time).failure_rate(None).consecutive_failures(3).build().unwrap();
    calls(&breaker, "xx");
    breaker.reconfigure(breaker.config().failure_rate(1.0).consecutive_failures(None)).unwrap();
    calls(&breaker, ".x");
    breaker.reconfigure(breaker.config().failure_rate(None).consecutive_failures(2)).unwrap();
    calls(&breaker, "x");
    assert_eq!(breaker.state(), State::Closed, "the run of failures starts when the rule is set");
    calls(&breaker, "x");
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn reconfigure_rejects_fixed_and_invalid_settings() {
    let time = ManualClock::new();
    let breaker = builder(&time).build().unwrap();
    let error = |builder| breaker.reconfigure(builder).unwrap_err().field();
    assert_eq!(error(breaker.config().count_window(11)), "count_window");
    assert_eq!(error(breaker.config().time_window(SECOND, 10)), "time_window");
    assert_eq!(error(breaker.config().clock(Clock::system())), "clock");
    assert_eq!(error(breaker.config().name("other")), "name");
    assert_eq!(error(breaker.config().failure_rate(f64::NAN)), "failure_rate");
    calls(&breaker, "xxxx");
    assert_eq!(breaker.state(), State::Open, "no setting has changed");
}
