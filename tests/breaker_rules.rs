//! Rules beyond rates: predicates, weights, pauses, classifiers, classes and ramps.
#![cfg(not(mainstay_loom))]

use mainstay::backoff::Backoff;
use mainstay::breaker::{
    CallClass, CircuitBreaker, CircuitBreakerBuilder, CircuitBreakerState as State,
    KeyedCircuitBreaker, TransitionCause as Cause,
};
use mainstay::error::Error;
use mainstay::outcome::{Outcome, TimedClassifier};
use mainstay::pipeline::Pipeline;
use mainstay::time::ManualClock;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use Outcome::{Failure, Ignore, Slow, Success, Unavailable, WeightedFailure};

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

fn last_cause(breaker: &CircuitBreaker) -> Cause {
    breaker.history().last().unwrap().cause
}

#[test]
fn a_trip_rule_opens_the_breaker() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let asked = seen.clone();
    let time = ManualClock::new();
    let breaker = builder(&time)
        .failure_rate(None)
        .consecutive_failures(100)
        .trip_when(move |stats| {
            asked.lock().unwrap().push((stats.counts.failed, stats.consecutive_failures));
            stats.counts.failed >= 3
        })
        .build()
        .unwrap();
    outcomes(&breaker, &[Failure, Success, Failure]);
    assert_eq!((breaker.state(), &*seen.lock().unwrap()), (State::Closed, &vec![(1, 1), (2, 1)]));
    outcomes(&breaker, &[Failure]);
    assert_eq!((breaker.state(), last_cause(&breaker)), (State::Open, Cause::TripRule));
    // Without a rate, one failed probe reopens the breaker.
    time.advance(10 * SECOND);
    outcomes(&breaker, &[Failure]);
    assert_eq!(breaker.state(), State::Open);
    time.advance(10 * SECOND);
    outcomes(&breaker, &[Success]);
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn a_trip_rule_may_panic_use_the_breaker_and_be_replaced() {
    let inside: Arc<Mutex<Option<CircuitBreaker>>> = Arc::default();
    let own = inside.clone();
    let time = ManualClock::new();
    let breaker = builder(&time)
        .trip_when(move |_| {
            let breaker = own.lock().unwrap().clone().unwrap();
            breaker.reconfigure(breaker.config().min_calls(9)).unwrap();
            drop(breaker.try_acquire());
            resume_unwind(Box::new("rule"))
        })
        .build()
        .unwrap();
    *inside.lock().unwrap() = Some(breaker.clone());
    let panicked = catch_unwind(AssertUnwindSafe(|| outcomes(&breaker, &[Failure])));
    assert!(panicked.is_err());
    assert_eq!(breaker.snapshot().counts.failed, 1, "the call was counted");
    breaker.reconfigure(breaker.config().trip_when(|stats| stats.counts.failed == 2)).unwrap();
    outcomes(&breaker, &[Failure]);
    assert_eq!(last_cause(&breaker), Cause::TripRule);
    *inside.lock().unwrap() = None;
}

#[test]
fn an_outcome_counts_by_its_weight() {
    type Row<'a> = (&'a [Outcome], (u64, u64, u64), bool);
    //  outcomes, (total, failed, slow), open
    let table: &[Row<'_>] = &[
        (&[Success, Slow, Failure, Ignore], (3, 1, 1), false),
        (&[Success, WeightedFailure(3)], (4, 3, 0), true),
        (&[Success, Success, WeightedFailure(1)], (3, 1, 0), false),
        (&[WeightedFailure(0)], (0, 0, 0), false),
        (&[Success, Success, Success, WeightedFailure(2)], (5, 2, 0), false),
        (&[Success, Success, Success, WeightedFailure(3)], (6, 3, 0), true),
        (&[Success, Success, WeightedFailure(255)], (10, 10, 0), true), // fills the window
    ];
    for (script, (total, failed, slow), open) in table {
        let breaker = builder(&ManualClock::new()).build().unwrap();
        outcomes(&breaker, script);
        let counts = breaker.snapshot().counts;
        assert_eq!(
            (counts.total, counts.failed, counts.slow),
            (*total, *failed, *slow),
            "{script:?}"
        );
        assert_eq!(breaker.state() == State::Open, *open, "{script:?}");
    }
    let run =
        builder(&ManualClock::new()).failure_rate(None).consecutive_failures(5).build().unwrap();
    outcomes(&run, &[Failure, WeightedFailure(3)]);
    assert_eq!(run.state(), State::Closed);
    outcomes(&run, &[Failure]);
    assert_eq!(last_cause(&run), Cause::ConsecutiveFailures);
}

#[test]
fn a_dependency_that_asks_for_a_pause_gets_exactly_that_pause() {
    let time = ManualClock::new();
    let breaker = builder(&time).build().unwrap();
    let pause = 1234 * MS;
    outcomes(&breaker, &[Success, Unavailable(pause)]);
    assert_eq!((breaker.state(), last_cause(&breaker)), (State::Open, Cause::Unavailable));
    assert_eq!(breaker.try_acquire().unwrap_err().retry_after(), Some(pause));
    time.advance(pause - Duration::from_nanos(1));
    assert!(breaker.try_acquire().is_err());
    time.advance(Duration::from_nanos(1));
    // A probe may report a pause, too.
    outcomes(&breaker, &[Unavailable(3 * pause)]);
    assert_eq!(breaker.try_acquire().unwrap_err().retry_after(), Some(3 * pause));
    assert_eq!(breaker.snapshot().openings, 2);
    time.advance(3 * pause);
    outcomes(&breaker, &[Success]);
    assert_eq!(breaker.state(), State::Closed);
    // A pause is ignored if its call was admitted before the breaker opened.
    let late = breaker.try_acquire().unwrap();
    breaker.force_open();
    late.record_outcome(Unavailable(SECOND));
    assert_eq!(breaker.try_acquire().unwrap_err().retry_after(), None);
}

#[test]
fn a_classifier_may_limit_the_pause_of_a_server() {
    let time = ManualClock::new();
    let breaker = builder(&time).build().unwrap();
    let view = breaker.classified_by(|result: &Result<(u16, u64), Error<()>>| match result {
        Ok((503, seconds)) => Unavailable(Duration::from_secs(*seconds).min(60 * SECOND)),
        _ => Success,
    });
    let _ = view.call_blocking(|| Ok((503, 1_000_000)));
    assert_eq!(breaker.try_acquire().unwrap_err().retry_after(), Some(60 * SECOND));
}

#[test]
fn a_classifier_receives_the_ok_value_and_the_elapsed_time() {
    let time = ManualClock::new();
    let breaker = builder(&time).build().unwrap();
    let by_status = breaker.classified_by(|result: &Result<u16, Error<()>>| match result {
        Ok(500..) => Outcome::Failure,
        Ok(400..) => Outcome::Ignore,
        Ok(_) => Outcome::Success,
        Err(_) => Outcome::Failure,
    });
    for status in [200, 404, 404, 503] {
        assert_eq!(by_status.call_blocking(|| Ok(status)), Ok(status));
    }
    let counts = breaker.snapshot().counts;
    assert_eq!((counts.total, counts.failed), (2, 1));

    let by_time = breaker.classified_with(TimedClassifier(|_: &Result<(), Error<()>>, elapsed| {
        if elapsed > SECOND { Outcome::Failure } else { Outcome::Success }
    }));
    let _ = time.drive(by_time.call(|| async {
        time.clock().sleep(2 * SECOND).await;
        Ok(())
    }));
    assert_eq!(breaker.snapshot().counts.failed, 2);
}

#[test]
fn a_class_has_thresholds_of_its_own() {
    let time = ManualClock::new();
    let breaker = builder(&time).slow_calls(SECOND, 1.0).build().unwrap();
    let report = breaker.for_class(CallClass::new().slow_after(10 * SECOND)).unwrap();
    let payment = breaker.for_class(CallClass::new().failure_rate(0.25)).unwrap();
    let take = |time: &ManualClock, takes: u64, result: Result<(), ()>| {
        time.advance(Duration::from_secs(takes));
        result
    };
    let _ = breaker.call_blocking(|| take(&time, 2, Ok(())));
    assert_eq!(breaker.snapshot().counts.slow, 1);
    let _ = report.call_blocking(|| take(&time, 9, Ok(())));
    assert_eq!(breaker.snapshot().counts.slow, 1);
    let _ = report.call_blocking(|| take(&time, 10, Ok(())));
    assert_eq!(breaker.snapshot().counts.slow, 2);
    let _ = breaker.call_blocking(|| take(&time, 0, Err(())));
    assert_eq!(breaker.state(), State::Closed, "a quarter is below the limit of other calls");
    outcomes(&breaker, &[Success, Success, Success]);
    let _ = payment.call_blocking(|| take(&time, 0, Err(())));
    assert_eq!((breaker.state(), last_cause(&breaker)), (State::Open, Cause::FailureRate));

    // With a future and a classifier.
    let breaker = builder(&time).slow_calls(SECOND, 1.0).build().unwrap();
    let view = breaker.classified_with(TimedClassifier(|_: &Result<(), Error<()>>, _| Success));
    let view = view.for_class(CallClass::new().slow_after(5 * SECOND)).unwrap();
    for takes in [4, 5] {
        let clock = time.clock();
        let _ = time.drive(view.call(|| async move {
            clock.sleep(Duration::from_secs(takes)).await;
            Ok(())
        }));
    }
    assert_eq!(breaker.snapshot().counts.slow, 1);
}

fn recovered(time: &ManualClock, builder: CircuitBreakerBuilder) -> CircuitBreaker {
    let breaker = builder.build().unwrap();
    while breaker.state() == State::Closed {
        outcomes(&breaker, &[Failure]);
    }
    time.advance(10 * SECOND);
    outcomes(&breaker, &[Success]);
    assert_eq!(breaker.state(), State::Closed);
    breaker
}

#[test]
fn a_ramp_admits_a_growing_share_of_the_calls() {
    let time = ManualClock::new();
    let breaker = recovered(&time, builder(&time).ramp_up_duration(10 * SECOND));
    let mut admitted = Vec::new();
    for _ in 0..11 {
        let ok = (0..100).filter(|_| breaker.call_blocking(|| Ok::<(), ()>(())).is_ok()).count();
        admitted.push(ok as i32);
        time.advance(SECOND);
    }
    for (second, (admitted, expected)) in
        admitted.iter().zip([10, 19, 28, 37, 46, 55, 64, 73, 82, 91, 100]).enumerate()
    {
        assert!(
            (admitted - expected).abs() <= 2,
            "{admitted} of 100 at {second} s, not {expected}"
        );
    }
    assert_eq!(admitted[10], 100);
    assert_eq!(u64::from(breaker.snapshot().rejected > 0), 1);
    // The same calls are admitted each time.
    let (again, other) = (ManualClock::new(), ManualClock::new());
    let pattern = |time: &ManualClock| {
        let breaker = recovered(time, builder(time).ramp_up_duration(10 * SECOND));
        time.advance(3 * SECOND);
        (0..64).map(|_| breaker.try_acquire().is_ok()).collect::<Vec<_>>()
    };
    assert_eq!(pattern(&again), pattern(&other));
}

#[test]
fn a_ramp_counts_calls_and_keeps_the_number_of_openings() {
    let time = ManualClock::new();
    let wait = Backoff::exponential(10 * SECOND).jitter(mainstay::backoff::Jitter::None);
    let breaker = recovered(
        &time,
        builder(&time).open_duration(wait.clone()).ramp_up_duration(10 * SECOND).min_calls(2),
    );
    assert_eq!(breaker.snapshot().openings, 1);
    let mut failed = 0;
    while breaker.state() == State::Closed {
        if let Ok(permit) = breaker.try_acquire() {
            permit.failure();
            failed += 1;
        }
    }
    assert_eq!(failed, 2);
    assert_eq!(breaker.snapshot().retry_after, Some(20 * SECOND), "the second duration");

    let breaker =
        recovered(&time, builder(&time).open_duration(wait).ramp_up_duration(10 * SECOND));
    let early = breaker.try_acquire().unwrap();
    time.advance(10 * SECOND);
    drop(breaker.try_acquire());
    assert_eq!(breaker.snapshot().openings, 0);
    early.failure();
    assert_eq!(breaker.snapshot().counts.failed, 1, "the window is kept when the ramp ends");
    outcomes(&breaker, &[Failure; 3]);
    assert_eq!(breaker.snapshot().retry_after, Some(10 * SECOND), "the first duration");
}

#[test]
fn a_ramp_ends_at_a_reset_a_mode_or_a_reconfiguration() {
    let time = ManualClock::new();
    let breaker = recovered(&time, builder(&time).ramp_up_duration(10 * SECOND));
    breaker.force_close();
    assert!((0..50).all(|_| breaker.try_acquire().is_ok()));
    let breaker = recovered(&time, builder(&time).ramp_up_duration(10 * SECOND));
    breaker.reset();
    assert!((0..50).all(|_| breaker.try_acquire().is_ok()));
    let breaker = recovered(&time, builder(&time).ramp_up_duration(10 * SECOND));
    breaker.reconfigure(breaker.config().ramp_up_duration(Duration::ZERO)).unwrap();
    assert!((0..50).all(|_| breaker.try_acquire().is_ok()));
}

// Pipelines

#[test]
fn a_breaker_a_clone_and_a_key_are_guards() {
    let breaker = builder(&ManualClock::new()).build().unwrap();
    let keyed = KeyedCircuitBreaker::<String>::new();
    let borrowed = Pipeline::builder().guard(&breaker).build();
    let owned = Pipeline::builder().guard(breaker.clone()).build();
    let classified = breaker.classified_by(|_: &Result<(), Error<()>>| Failure);
    let classified = Pipeline::builder().guard(classified).build();
    let key = Pipeline::builder().guard(keyed.key("a")).build();
    let ok = || Ok::<(), ()>(());
    assert_eq!(borrowed.call_blocking(ok), Ok(()));
    assert_eq!(owned.call_blocking(ok), Ok(()));
    assert_eq!(classified.call_blocking(ok), Ok(()));
    assert_eq!(key.call_blocking(|| Err(())), Err::<(), _>(Error::Operation(())));
    let counts = breaker.snapshot().counts;
    assert_eq!((counts.total, counts.failed), (3, 1));
    assert_eq!(keyed.breaker("a").unwrap().snapshot().counts.failed, 1);
    keyed.breaker("a").unwrap().force_open();
    assert!(key.call_blocking(ok).unwrap_err().is_rejected());
}

#[test]
fn a_closure_needs_no_types_where_the_call_determines_them() {
    let breaker = builder(&ManualClock::new()).build().unwrap();
    let by_status = breaker.classified_by(|result| match result {
        Ok(status) if *status >= 500 => Failure,
        Ok(_) => Success,
        Err(error) if error.is_rejected() => Ignore,
        Err(_) => Failure,
    });
    assert_eq!(by_status.call_blocking(|| Ok::<u16, ()>(503)), Ok(503));
    assert_eq!(breaker.snapshot().counts.failed, 1);
}
