//! Tests of the breaker's decisions, by tables and reference models.

use crate::breaker::CircuitBreaker;
use crate::breaker::config::{Config, SlowCalls};
use crate::breaker::engine::state::{
    Admission, Verdict, admit_half_open, admit_open, decide_trial, trip_cause, with_overdue,
};
use crate::breaker::engine::word::Trial;
use crate::breaker::transition::TransitionCause;
use crate::time::Instant;
use crate::window::WindowCounts;
use std::time::Duration;

/// A rate means "at least this share", here for every whole percentage.
#[test]
fn a_rate_of_n_percent_trips_at_n_failures_of_100_calls() {
    for percent in 1..=100_u32 {
        let builder = CircuitBreaker::builder().half_open_calls(100);
        let config = builder.failure_rate(f64::from(percent) / 100.0).validated().unwrap();
        let trips = |failed: u32| {
            let counts = WindowCounts { total: 100, failed: failed.into(), slow: 0 };
            let trial = Trial { active: 0, total: 100, failed, slow: 0 };
            let tripped = trip_cause(&counts, 0, &config).is_some();
            assert_eq!(decide_trial(&trial, &config) == Verdict::Open, tripped);
            tripped
        };
        assert!(trips(percent) && !trips(percent - 1), "{percent} %");
    }
}

/// Compares the verdict with a model that tries all remaining outcomes of a trial. The trial is
/// decided if all of them lead to the same verdict.
#[test]
fn a_trial_is_decided_once_no_remaining_outcome_can_change_it() {
    let rates = [None, Some(0.2), Some(0.5), Some(1.0)];
    let base = CircuitBreaker::builder().slow_calls(Duration::from_secs(1), 0.5);
    let base = base.validated().unwrap();
    for (failure_rate, slow_rate, has_trip_rule) in combinations(&rates, &rates, &[false, true]) {
        let config = |calls| Config {
            failure_rate,
            slow_calls: slow_rate.map(|rate| SlowCalls { after: Duration::ZERO, rate }),
            has_trip_rule,
            half_open_calls: calls,
            ..base
        };
        for (calls, total, failed, slow) in trials() {
            let trial = Trial { active: 0, total, failed, slow };
            let opens = |failed: u32, slow: u32| {
                let share = |bad: u32| f64::from(bad) / f64::from(calls);
                let by_failures = match failure_rate {
                    Some(rate) => share(failed) >= rate,
                    None => has_trip_rule && failed > 0,
                };
                by_failures || slow_rate.is_some_and(|rate| share(slow) >= rate)
            };
            let remaining = calls - total;
            let ways = (0..=remaining).flat_map(|f| (0..=remaining).map(move |s| (f, s)));
            let results: Vec<_> = ways.map(|(f, s)| opens(failed + f, slow + s)).collect();
            let expected = match (results.contains(&true), results.contains(&false)) {
                (true, true) => Verdict::Undecided,
                (true, false) => Verdict::Open,
                _ if total == 0 => Verdict::Undecided,
                _ => Verdict::Close,
            };
            let config = config(calls);
            assert_eq!(decide_trial(&trial, &config), expected, "{trial:?} {config:?}");
        }
    }
}

/// Returns all combinations of two rates and a flag.
fn combinations<'a>(
    first: &'a [Option<f64>],
    second: &'a [Option<f64>],
    flags: &'a [bool],
) -> impl Iterator<Item = (Option<f64>, Option<f64>, bool)> + 'a {
    first
        .iter()
        .flat_map(move |a| second.iter().flat_map(move |b| flags.iter().map(move |c| (*a, *b, *c))))
}

/// Returns all trials of up to five calls, as (calls, total, failed, slow).
fn trials() -> impl Iterator<Item = (u32, u32, u32, u32)> {
    (1..=5).flat_map(|calls| {
        (0..=calls).flat_map(move |total| {
            (0..=total)
                .flat_map(move |failed| (0..=total).map(move |slow| (calls, total, failed, slow)))
        })
    })
}

#[test]
fn each_rule_trips_the_breaker_and_is_reported_as_the_cause() {
    let config = Config {
        failure_rate: Some(0.5),
        min_calls: 10,
        slow_calls: Some(SlowCalls { after: Duration::ZERO, rate: 0.3 }),
        slow_min_calls: 20,
        consecutive_failures: Some(4),
        ..CircuitBreaker::builder().validated().unwrap()
    };
    let cause = |total, failed, slow, streak| {
        trip_cause(&WindowCounts { total, failed, slow }, streak, &config)
    };
    //  total, failed, slow, consecutive failures, cause
    let table = [
        ((9, 9, 0, 3), None),
        ((10, 4, 10, 3), None),
        ((10, 5, 0, 3), Some(TransitionCause::FailureRate)),
        ((19, 0, 19, 0), None),
        ((20, 0, 5, 0), None),
        ((20, 0, 6, 0), Some(TransitionCause::SlowRate)),
        ((20, 10, 6, 0), Some(TransitionCause::FailureRate)),
        ((4, 4, 0, 4), Some(TransitionCause::ConsecutiveFailures)),
        ((20, 10, 6, 5), Some(TransitionCause::ConsecutiveFailures)),
    ];
    for ((total, failed, slow, streak), expected) in table {
        assert_eq!(cause(total, failed, slow, streak), expected, "{total} {failed} {slow}");
    }
    let none =
        Config { failure_rate: None, slow_calls: None, consecutive_failures: None, ..config };
    let all = WindowCounts { total: 100, failed: 100, slow: 100 };
    assert_eq!(trip_cause(&all, u32::MAX, &none), None);
}

#[test]
fn a_half_open_breaker_admits_rejects_or_times_out_probes() {
    let at = Instant::from_nanos;
    let config = Config {
        half_open_concurrency: 2,
        half_open_calls: 4,
        ..CircuitBreaker::builder().validated().unwrap()
    };
    let trial = |active, total, failed| Trial { active, total, failed, slow: 0 };
    //  trial, now, admission; probes time out at 100
    let table = [
        (trial(0, 0, 0), 0, Admission::Probe(trial(1, 0, 0))),
        (trial(1, 0, 0), 0, Admission::Probe(trial(2, 0, 0))),
        (trial(2, 0, 0), 99, Admission::Reject(None)),
        (trial(1, 3, 1), 99, Admission::Reject(None)), // one more outcome is needed
        (trial(0, 3, 1), 200, Admission::Probe(trial(1, 3, 1))),
        (trial(1, 2, 1), 200, Admission::Probe(trial(2, 2, 1))),
        (
            trial(2, 0, 0),
            100,
            Admission::TimeOutProbes(Trial { active: 0, total: 2, failed: 2, slow: 2 }),
        ),
        (trial(1, 2, 2), 0, Admission::Conclude(Verdict::Open, trial(1, 2, 2))),
        (trial(1, 3, 0), 0, Admission::Conclude(Verdict::Close, trial(1, 3, 0))),
    ];
    for (trial, now, expected) in table {
        let admission = admit_half_open(trial, at(now), at(100), &config);
        assert_eq!(admission, expected, "{trial:?} at {now}");
    }
    let far = Instant::FAR_FUTURE;
    assert_eq!(admit_open(at(99), at(100)), Admission::Reject(Some(at(100))));
    assert_eq!(admit_open(at(100), at(100)), Admission::StartTrial);
    assert_eq!(admit_open(far, at(100)), Admission::StartTrial);
    assert_eq!(admit_open(far, far), Admission::Reject(None), "no retry time is known");
}

#[test]
fn overdue_calls_count_as_if_they_had_just_ended() {
    let counts = |total, failed, slow| WindowCounts { total, failed, slow };
    //  counts, overdue, capacity, expected
    let table = [
        (counts(0, 0, 0), 0, None, counts(0, 0, 0)),
        (counts(0, 0, 0), 3, None, counts(3, 0, 3)),
        (counts(10, 2, 4), 5, None, counts(15, 2, 9)),
        (counts(10, 2, 4), 5, Some(20), counts(15, 2, 9)),
        (counts(10, 2, 4), 5, Some(10), counts(10, 1, 7)), // half of the earlier calls left
        (counts(10, 2, 4), 50, Some(10), counts(10, 0, 10)),
        (counts(8, 8, 0), 4, Some(10), counts(10, 6, 4)),
    ];
    for (before, overdue, capacity, expected) in table {
        assert_eq!(with_overdue(before, overdue, capacity), expected, "{before:?} {overdue}");
    }
}

#[test]
fn slow_calls_without_a_failure_do_not_meet_a_tiny_failure_rate() {
    let config = CircuitBreaker::builder().failure_rate(1e-300).validated().unwrap();
    let counts = WindowCounts { total: 100, failed: 0, slow: 100 };
    assert_eq!(trip_cause(&counts, 0, &config), None);
}
