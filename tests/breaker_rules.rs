//! Rules beyond rates: a predicate, weights, classes, a server's wait; ramps, calls under way, latencies.
#![cfg(not(mainstay_loom))]

use mainstay::backoff::Backoff;
use mainstay::breaker::{
    CallClass, CircuitBreaker, CircuitBreakerBuilder, CircuitBreakerState as State,
    TransitionCause as Cause, TripStats,
};
use mainstay::error::Error;
use mainstay::outcome::{Outcome, Timed};
use mainstay::time::ManualClock;
use mainstay::window::LatencyQuantiles;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

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

fn why(breaker: &CircuitBreaker) -> Cause {
    breaker.history().last().unwrap().cause
}

use Outcome::{Failure, Grave, Ignore, Slow, Success, Unavailable};

#[test]
fn a_rule_of_the_users_own_trips() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let asked = seen.clone();
    let time = ManualClock::new();
    let breaker = builder(&time)
        .failure_rate(None)
        .consecutive_failures(100)
        .trip_when(move |figures: &TripStats| {
            asked.lock().unwrap().push((figures.counts.failed, figures.consecutive_failures));
            figures.counts.failed >= 3
        })
        .build()
        .unwrap();
    outcomes(&breaker, &[Failure, Success, Failure]);
    assert_eq!((breaker.state(), &*seen.lock().unwrap()), (State::Closed, &vec![(1, 1), (2, 1)]));
    outcomes(&breaker, &[Failure]);
    assert_eq!((breaker.state(), why(&breaker)), (State::Open, Cause::TripRule));
    // One bad probe is enough, where no rate says how many are.
    time.advance(10 * SECOND);
    outcomes(&breaker, &[Failure]);
    assert_eq!(breaker.state(), State::Open);
    time.advance(10 * SECOND);
    outcomes(&breaker, &[Success]);
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn a_rule_may_panic_use_the_breaker_and_be_replaced() {
    let inside: Arc<Mutex<Option<CircuitBreaker>>> = Arc::default();
    let own = inside.clone();
    let time = ManualClock::new();
    let breaker = builder(&time)
        .trip_when(move |_: &TripStats| {
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
    assert_eq!(breaker.snapshot().counts.failed, 1, "it has been counted");
    breaker
        .reconfigure(breaker.config().trip_when(|figures: &TripStats| figures.counts.failed == 2))
        .unwrap();
    outcomes(&breaker, &[Failure]);
    assert_eq!(why(&breaker), Cause::TripRule);
    *inside.lock().unwrap() = None;
}

#[test]
fn an_outcome_counts_as_it_weighs() {
    type Row<'a> = (&'a [Outcome], (u64, u64, u64), bool);
    //  outcomes, (total, failed, slow), open
    let table: &[Row<'_>] = &[
        (&[Success, Slow, Failure, Ignore], (3, 1, 1), false),
        (&[Success, Grave(3)], (4, 3, 0), true),
        (&[Success, Success, Grave(1)], (3, 1, 0), false),
        (&[Grave(0)], (0, 0, 0), false),
        (&[Success, Success, Success, Grave(2)], (5, 2, 0), false),
        (&[Success, Success, Success, Grave(3)], (6, 3, 0), true),
        (&[Success, Success, Grave(255)], (10, 10, 0), true), // fills the window
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
    outcomes(&run, &[Failure, Grave(3)]);
    assert_eq!(run.state(), State::Closed);
    outcomes(&run, &[Failure]);
    assert_eq!(why(&run), Cause::ConsecutiveFailures);
}

#[test]
fn a_dependency_that_asks_to_be_left_alone_is_for_exactly_that_long() {
    let time = ManualClock::new();
    let breaker = builder(&time).build().unwrap();
    let pause = 1234 * MS;
    outcomes(&breaker, &[Success, Unavailable(pause)]);
    assert_eq!((breaker.state(), why(&breaker)), (State::Open, Cause::Unavailable));
    assert_eq!(breaker.try_acquire().unwrap_err().retry_after(), Some(pause));
    time.advance(pause - Duration::from_nanos(1));
    assert!(breaker.try_acquire().is_err());
    time.advance(Duration::from_nanos(1));
    // It says so again to the probe.
    outcomes(&breaker, &[Unavailable(3 * pause)]);
    assert_eq!(breaker.try_acquire().unwrap_err().retry_after(), Some(3 * pause));
    assert_eq!(breaker.snapshot().openings, 2);
    time.advance(3 * pause);
    outcomes(&breaker, &[Success]);
    assert_eq!(breaker.state(), State::Closed);
    // Said by a call of before an opening, it changes nothing.
    let late = breaker.try_acquire().unwrap();
    breaker.force_open();
    late.record_outcome(Unavailable(SECOND));
    assert_eq!(breaker.try_acquire().unwrap_err().retry_after(), None);
}

/// The classifier chooses: what is asked for is capped, or not believed at all.
#[test]
fn a_classifier_reads_the_servers_wait() {
    let time = ManualClock::new();
    let breaker = builder(&time).build().unwrap();
    let view = breaker.classified_by(|result: &Result<(u16, u64), Error<()>>| match result {
        Ok((503, seconds)) => Unavailable(seconds_of(*seconds).min(60 * SECOND)),
        _ => Success,
    });
    let _ = view.call_blocking(|| Ok((503, 1_000_000)));
    assert_eq!(breaker.try_acquire().unwrap_err().retry_after(), Some(60 * SECOND));
}

fn seconds_of(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn a_class_has_thresholds_of_its_own() {
    let time = ManualClock::new();
    let breaker = builder(&time).slow_calls(SECOND, 1.0).build().unwrap();
    let report = breaker.for_class(CallClass::new().slow_after(10 * SECOND)).unwrap();
    let payment = breaker.for_class(CallClass::new().failure_rate(0.25)).unwrap();
    let take = |time: &ManualClock, takes: u64, result: Result<(), ()>| {
        time.advance(seconds_of(takes));
        result
    };
    let _ = breaker.call_blocking(|| take(&time, 2, Ok(())));
    assert_eq!(breaker.snapshot().counts.slow, 1);
    let _ = report.call_blocking(|| take(&time, 9, Ok(())));
    assert_eq!(breaker.snapshot().counts.slow, 1);
    let _ = report.call_blocking(|| take(&time, 10, Ok(())));
    assert_eq!(breaker.snapshot().counts.slow, 2);
    let _ = breaker.call_blocking(|| take(&time, 0, Err(())));
    assert_eq!(breaker.state(), State::Closed, "a quarter is too little for this one");
    outcomes(&breaker, &[Success, Success, Success]);
    let _ = payment.call_blocking(|| take(&time, 0, Err(())));
    assert_eq!((breaker.state(), why(&breaker)), (State::Open, Cause::FailureRate));

    // Around a future, with a classifier.
    let breaker = builder(&time).slow_calls(SECOND, 1.0).build().unwrap();
    let view = breaker.classified_with(Timed(|_: &Result<(), Error<()>>, _| Success));
    let view = view.for_class(CallClass::new().slow_after(5 * SECOND)).unwrap();
    for takes in [4, 5] {
        let clock = time.clock();
        let _ = time.drive(view.call(|| async move {
            clock.sleep(seconds_of(takes)).await;
            Ok(())
        }));
    }
    assert_eq!(breaker.snapshot().counts.slow, 1);
}

#[test]
fn what_is_out_of_range_is_named() {
    let time = ManualClock::new();
    let breaker = builder(&time).build().unwrap();
    let class = |class| breaker.for_class(class).unwrap_err().field();
    for rate in [0.0, -1.0, 1.1, f64::NAN] {
        assert_eq!(class(CallClass::new().failure_rate(rate)), "class.failure_rate");
    }
    assert_eq!(class(CallClass::new().slow_after(Duration::ZERO)), "class.slow_after");
    assert_eq!(class(CallClass::new().slow_after(SECOND)), "class.slow_after", "it times no calls");
    let timed = builder(&time).record_latency().build().unwrap();
    assert!(timed.for_class(CallClass::new().slow_after(SECOND)).is_ok());
    assert_eq!(builder(&time).track_in_flight().build().unwrap_err().field(), "track_in_flight");
    let error = |config| breaker.reconfigure(config).unwrap_err().field();
    assert_eq!(error(breaker.config().record_latency()), "record_latency");
    assert_eq!(
        error(breaker.config().slow_calls(SECOND, 0.5).track_in_flight()),
        "track_in_flight"
    );
    let alone = builder(&time).failure_rate(None).trip_when(|_: &TripStats| false);
    assert!(alone.build().is_ok(), "a rule is enough");
}

fn closed_again(time: &ManualClock, builder: CircuitBreakerBuilder) -> CircuitBreaker {
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
fn after_closing_a_growing_share_passes() {
    let time = ManualClock::new();
    let breaker = closed_again(&time, builder(&time).ramp_up_duration(10 * SECOND));
    let mut passed = Vec::new();
    for _ in 0..11 {
        let ok = (0..100).filter(|_| breaker.call_blocking(|| Ok::<(), ()>(())).is_ok()).count();
        passed.push(ok as i32);
        time.advance(SECOND);
    }
    for (second, (passed, expected)) in
        passed.iter().zip([10, 19, 28, 37, 46, 55, 64, 73, 82, 91, 100]).enumerate()
    {
        assert!((passed - expected).abs() <= 2, "{passed} of 100 at {second} s, not {expected}");
    }
    assert_eq!(passed[10], 100);
    assert_eq!(u64::from(breaker.snapshot().rejected > 0), 1);
    // The same calls pass each time.
    let (again, other) = (ManualClock::new(), ManualClock::new());
    let pattern = |time: &ManualClock| {
        let breaker = closed_again(time, builder(time).ramp_up_duration(10 * SECOND));
        time.advance(3 * SECOND);
        (0..64).map(|_| breaker.try_acquire().is_ok()).collect::<Vec<_>>()
    };
    assert_eq!(pattern(&again), pattern(&other));
}

#[test]
fn a_ramp_counts_and_trips_and_has_not_closed_for_good() {
    let time = ManualClock::new();
    let wait = Backoff::exponential(10 * SECOND).jitter(mainstay::backoff::Jitter::None);
    let breaker = closed_again(
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
    assert_eq!(breaker.snapshot().retry_after, Some(20 * SECOND), "the second wait");

    let breaker =
        closed_again(&time, builder(&time).open_duration(wait).ramp_up_duration(10 * SECOND));
    let early = breaker.try_acquire().unwrap();
    time.advance(10 * SECOND);
    drop(breaker.try_acquire());
    assert_eq!(breaker.snapshot().openings, 0);
    early.failure();
    assert_eq!(breaker.snapshot().counts.failed, 1, "one window, on the ramp and after");
    outcomes(&breaker, &[Failure; 3]);
    assert_eq!(breaker.snapshot().retry_after, Some(10 * SECOND), "the first wait");
}

#[test]
fn whoever_closes_by_hand_gets_no_ramp() {
    let time = ManualClock::new();
    let breaker = closed_again(&time, builder(&time).ramp_up_duration(10 * SECOND));
    breaker.force_close();
    assert!((0..50).all(|_| breaker.try_acquire().is_ok()));
    let breaker = closed_again(&time, builder(&time).ramp_up_duration(10 * SECOND));
    breaker.reset();
    assert!((0..50).all(|_| breaker.try_acquire().is_ok()));
    let breaker = closed_again(&time, builder(&time).ramp_up_duration(10 * SECOND));
    breaker.reconfigure(breaker.config().ramp_up_duration(Duration::ZERO)).unwrap();
    assert!((0..50).all(|_| breaker.try_acquire().is_ok()));
}

fn watched(time: &ManualClock) -> CircuitBreakerBuilder {
    builder(time).slow_calls(800 * MS, 0.5).track_in_flight()
}

#[test]
fn a_dependency_that_hangs_trips_before_any_call_returns() {
    let time = ManualClock::new();
    let breaker = watched(&time).build().unwrap();
    let hung: Vec<_> = (0..4).map(|_| breaker.try_acquire().unwrap()).collect();
    time.advance(799 * MS);
    drop(breaker.try_acquire());
    assert_eq!((breaker.state(), breaker.snapshot().overdue), (State::Closed, 0));
    time.advance(201 * MS);
    // Somebody asks, and finds that the calls before him hang.
    assert!(breaker.try_acquire().is_err());
    assert_eq!((breaker.state(), why(&breaker)), (State::Open, Cause::SlowRate));
    assert_eq!(breaker.history()[0].counts.slow, 4);
    // When they come back they are of before.
    drop(hung);
    time.advance(10 * SECOND);
    outcomes(&breaker, &[Success]);
    assert_eq!(breaker.state(), State::Closed);
    drop(breaker.try_acquire());
    assert_eq!(breaker.snapshot().overdue, 0);
}

#[test]
fn calls_that_end_are_no_longer_under_way_however_they_end() {
    let time = ManualClock::new();
    let breaker = watched(&time).min_calls(10).build().unwrap();
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
    let ways: [fn(mainstay::breaker::CircuitBreakerPermit<'_>); 5] = [
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
fn other_settings_forget_the_calls_under_way() {
    let time = ManualClock::new();
    let breaker = watched(&time).build().unwrap();
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
fn latencies_are_those_of_successes_and_slide_with_the_window() {
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
    let near = |told: Duration, exact: Duration| {
        let off = told.abs_diff(exact).as_secs_f64() / exact.as_secs_f64();
        assert!(off <= 0.0625, "{told:?} for {exact:?}");
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

/// A rule or a wait function that panics takes nothing along: no place among the calls under way, no slot
/// for a probe.
#[test]
fn a_panic_in_a_rule_or_a_wait_gives_back_what_was_held() {
    let panics = |act: &dyn Fn()| assert!(catch_unwind(AssertUnwindSafe(act)).is_err());
    let time = ManualClock::new();
    let watched = builder(&time)
        .slow_calls(SECOND, 0.5)
        .track_in_flight()
        .trip_when(|_: &TripStats| resume_unwind(Box::new("rule")))
        .build()
        .unwrap();
    for _ in 0..3 {
        panics(&|| drop(watched.try_acquire()));
        time.advance(200 * MS);
    }
    time.advance(2 * SECOND);
    assert_eq!(watched.snapshot().overdue, 0, "nobody is under way");

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

/// "Never again" is not for the other side to say.
#[test]
fn a_pause_is_believed_within_reason() {
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
            outcomes(&breaker, &[Unavailable(asked)]); // of a closed breaker first, then of a probe
            let wait = asked.min(longest);
            assert_eq!(breaker.history().last().unwrap().open_duration, Some(wait), "{asked:?}");
            time.advance(wait - MS);
            assert_eq!(breaker.try_acquire().unwrap_err().retry_after(), Some(MS));
            time.advance(MS);
        }
    }
    let none = builder(&ManualClock::new()).max_retry_after(Duration::ZERO);
    assert_eq!(none.build().unwrap_err().field(), "max_retry_after");
}
