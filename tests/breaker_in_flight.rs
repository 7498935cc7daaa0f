//! Calls in flight, latencies, and the release of slots when user code panics.
#![cfg(not(mainstay_loom))]

use mainstay::backoff::Backoff;
use mainstay::breaker::{
    CircuitBreaker, CircuitBreakerBuilder, CircuitBreakerPermit as Permit,
    CircuitBreakerState as State, TransitionCause as Cause,
};
use mainstay::outcome::Outcome;
use mainstay::time::ManualClock;
use mainstay::window::LatencyQuantiles;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use Outcome::{Failure, Success};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

fn builder(time: &ManualClock) -> CircuitBreakerBuilder {
    CircuitBreaker::builder()
        .clock(time.clock())
        .count_window(10)
        .min_calls(4)
        .open_duration(Backoff::constant(10 * SECOND))
        .half_open_concurrency(1)
        .half_open_calls(1)
}

fn outcomes(breaker: &CircuitBreaker, outcomes: &[Outcome]) {
    for outcome in outcomes {
        breaker.try_acquire().unwrap().record_outcome(*outcome);
    }
}

fn tracking(time: &ManualClock) -> CircuitBreakerBuilder {
    builder(time).slow_calls(800 * MS, 0.5).track_in_flight()
}

#[test]
fn a_dependency_that_hangs_opens_the_breaker_before_any_call_ends() {
    let time = ManualClock::new();
    let breaker = tracking(&time).build().unwrap();
    let hung: Vec<_> = (0..4).map(|_| breaker.try_acquire().unwrap()).collect();
    time.advance(799 * MS);
    drop(breaker.try_acquire());
    assert_eq!((breaker.state(), breaker.snapshot().overdue), (State::Closed, 0));
    time.advance(201 * MS);
    // The next admission detects that the earlier calls are overdue.
    assert!(breaker.try_acquire().is_err());
    assert_eq!((breaker.state(), breaker.history()[0].cause), (State::Open, Cause::SlowRate));
    assert_eq!(breaker.history()[0].counts.slow, 4);
    // Their outcomes are stale.
    drop(hung);
    time.advance(10 * SECOND);
    outcomes(&breaker, &[Success]);
    assert_eq!(breaker.state(), State::Closed);
    drop(breaker.try_acquire());
    assert_eq!(breaker.snapshot().overdue, 0);
}

/// Calls count as overdue at most an eighth of the threshold late.
#[test]
fn overdue_calls_are_detected_at_any_time_after_the_threshold() {
    for (wait, state) in [
        (700, State::Closed),
        (900, State::Open),
        (1000, State::Open),
        (1799, State::Open),
        (60_000, State::Open),
    ] {
        let time = ManualClock::new();
        let breaker = tracking(&time).build().unwrap();
        let _hung: Vec<_> = (0..4).map(|_| breaker.try_acquire().unwrap()).collect();
        time.advance(wait * MS);
        drop(breaker.try_acquire());
        assert_eq!(breaker.state(), state, "after {wait} ms");
    }
}

#[test]
fn a_trip_rule_is_evaluated_at_an_admission_only_while_calls_are_overdue() {
    let time = ManualClock::new();
    let breaker = tracking(&time).trip_when(|_| true).build().unwrap();
    let hangs = breaker.try_acquire().expect("no call has failed or is slow");
    time.advance(500 * MS);
    breaker.try_acquire().expect("no call is overdue yet").success();
    time.advance(500 * MS);
    assert!(breaker.try_acquire().is_err());
    assert_eq!(breaker.history()[0].cause, Cause::TripRule);
    drop(hangs);
}

#[test]
fn an_admission_does_not_evaluate_the_outcomes_of_earlier_calls() {
    let time = ManualClock::new();
    let breaker = tracking(&time).build().unwrap();
    outcomes(&breaker, &[Failure, Failure, Success, Success]);
    time.advance(SECOND);
    assert!(breaker.try_acquire().is_ok(), "half, but evaluated after failures only");
    outcomes(&breaker, &[Failure]);
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn a_call_is_in_flight_until_it_ends_in_any_way() {
    let time = ManualClock::new();
    let breaker = tracking(&time).min_calls(10).build().unwrap();
    let mut futures: Vec<_> =
        (0..5).map(|_| Box::pin(breaker.call(std::future::pending::<Result<(), ()>>))).collect();
    for future in &mut futures {
        assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    let permits: Vec<_> = (0..5).map(|_| breaker.try_acquire().unwrap()).collect();
    time.advance(2 * SECOND);
    assert_eq!(breaker.snapshot().overdue, 10);
    drop(futures); // cancelled
    assert_eq!(breaker.snapshot().overdue, 5);
    let ways: [fn(Permit<'_>); 5] = [
        |permit| permit.success(),
        |permit| permit.failure(),
        |permit| permit.ignore(),
        |permit| drop(permit),
        |permit| {
            let _ = catch_unwind(AssertUnwindSafe(move || {
                let _permit = permit;
                resume_unwind(Box::new(()));
            }));
        },
    ];
    for (n, (way, permit)) in (0..).zip(ways.iter().zip(permits)) {
        way(permit);
        assert_eq!(breaker.snapshot().overdue, 4 - n);
    }
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let mut call = pin!(breaker.call(|| async {
            if breaker.state() == State::Closed {
                resume_unwind(Box::new(()));
            }
            Ok::<(), ()>(())
        }));
        let _: Poll<_> = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }));
    assert!(panicked.is_err());
    time.advance(2 * SECOND);
    assert_eq!(breaker.snapshot().overdue, 0);
}

#[test]
fn reconfigure_stops_tracking_the_calls_in_flight() {
    let time = ManualClock::new();
    let breaker = tracking(&time).build().unwrap();
    let hung: Vec<_> = (0..3).map(|_| breaker.try_acquire().unwrap()).collect();
    breaker.reconfigure(breaker.config().slow_calls(8 * SECOND, 0.5)).unwrap();
    time.advance(20 * SECOND);
    assert_eq!(breaker.snapshot().overdue, 0);
    for permit in hung {
        permit.success();
    }
    assert_eq!(breaker.snapshot().counts.slow, 3, "they count when they end");
    let late = breaker.try_acquire().unwrap();
    time.advance(8 * SECOND - MS);
    assert_eq!(breaker.snapshot().overdue, 0);
    time.advance(2 * SECOND);
    assert_eq!(breaker.snapshot().overdue, 1);
    drop(late);
}

#[test]
fn latencies_include_only_successes_and_slide_with_the_window() {
    let time = ManualClock::new();
    let breaker = builder(&time).count_window(100).min_calls(50).record_latency().build().unwrap();
    assert_eq!((breaker.snapshot().latency, breaker.quantile(0.5)), (None, None));
    let call = |takes: Duration, outcome| {
        let permit = breaker.try_acquire().unwrap();
        time.advance(takes);
        permit.record_outcome(outcome);
    };
    for _ in 0..10 {
        call(1000 * MS, Failure);
    }
    for n in 1..=100 {
        call(n * MS, Success);
    }
    let near = |shown: Duration, exact: Duration| {
        let off = shown.abs_diff(exact).as_secs_f64() / exact.as_secs_f64();
        assert!(off <= 0.0625, "{shown:?} for {exact:?}");
    };
    let latency = breaker.snapshot().latency.unwrap();
    let [p50, p90, p99] = [latency.p50, latency.p90, latency.p99];
    near(p50, 50 * MS);
    near(p90, 90 * MS);
    near(p99, 99 * MS);
    assert_eq!(breaker.latency().unwrap().count(), 100);
    for _ in 0..100 {
        call(10 * MS, Success);
    }
    near(breaker.quantile(1.0).unwrap(), 10 * MS);
    breaker.reset();
    assert_eq!(breaker.latency().unwrap().count(), 0);

    let off = builder(&time).build().unwrap();
    outcomes(&off, &[Success]);
    assert_eq!((off.latency(), off.quantile(0.5)), (None, None));
}

/// The entry of a call in flight is removed, and the slot of a probe is released.
#[test]
fn a_panic_in_a_rule_or_a_backoff_releases_the_slot_of_the_call() {
    let panics = |act: &dyn Fn()| assert!(catch_unwind(AssertUnwindSafe(act)).is_err());
    let time = ManualClock::new();
    let breaker = builder(&time)
        .slow_calls(SECOND, 0.5)
        .track_in_flight()
        .trip_when(|_| resume_unwind(Box::new("rule")))
        .build()
        .unwrap();
    let hangs = breaker.try_acquire().unwrap();
    time.advance(2 * SECOND);
    for _ in 0..3 {
        panics(&|| drop(breaker.try_acquire()));
        time.advance(200 * MS);
    }
    drop(hangs);
    time.advance(2 * SECOND);
    assert_eq!(breaker.snapshot().overdue, 0, "no call is in flight");

    let wait = |n| if n > 1 { resume_unwind(Box::new("wait")) } else { SECOND };
    let breaker = builder(&time).open_duration(Backoff::custom(wait)).build().unwrap();
    outcomes(&breaker, &[Failure; 4]);
    time.advance(2 * SECOND);
    for _ in 0..3 {
        let probe = breaker.try_acquire().expect("the only slot is free");
        assert_eq!(breaker.snapshot().active_probes, 1);
        let probe = Mutex::new(Some(probe));
        panics(&|| probe.lock().unwrap().take().unwrap().failure());
        assert_eq!((breaker.state(), breaker.snapshot().active_probes), (State::HalfOpen, 0));
    }
    outcomes(&breaker, &[Success]);
    assert_eq!(breaker.state(), State::Closed);
}
