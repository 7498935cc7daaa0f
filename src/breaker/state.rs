//! The breaker as a pure state machine: what follows from a word, the settings and the time.
//!
//! No clock, no lock, no atomic in here. Every function takes what is known and says what to do.

use super::config::Settings;
use super::ramp;
use super::transition::TransitionCause;
use super::word::{Phase, Trial, Word};
use crate::outcome::Outcome;
use crate::share;
use crate::time::Instant;
use crate::window::WindowCounts as Counts;
use std::time::Duration;

/// What to do with a caller who asks to be admitted by a breaker about which something is special.
#[derive(Debug, PartialEq)]
pub(super) enum Admission {
    /// Admit, and count the outcome.
    Count,
    /// Admit, and count nothing.
    Pass,
    /// The ramp is over: go on as an ordinary closed breaker.
    EndRamp,
    /// Take a probe's slot, then admit.
    Probe(Trial),
    /// The wait is over: become half-open with this caller as the first probe.
    BeginTrial,
    /// The probes under way have outlived their lease: count them as lost and look again.
    CountLost(Trial),
    /// The settings have changed such that the trial is decided already.
    Decide(Verdict, Trial),
    /// Refuse until then, or for an unknown time.
    Refuse(Option<Instant>),
}

/// Instants that belong to a phase.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) open_until: Instant,
    pub(super) lease_until: Instant,
    pub(super) closed_at: Instant,
}

/// `draw`: the number of this caller, if it must be one of a share.
pub(super) fn admit(
    word: Word,
    now: Instant,
    times: &Times,
    settings: impl FnOnce() -> Settings,
    draw: impl FnOnce() -> u32,
) -> Admission {
    match word.phase() {
        Phase::Off => Admission::Pass,
        Phase::Closed { ramping: false, .. } => Admission::Count,
        Phase::Closed { ramping: true, .. } => {
            match ramp::share(now - times.closed_at, settings().ramp_up) {
                None => Admission::EndRamp,
                Some(share) if ramp::passes(draw(), share) => Admission::Count,
                Some(_) => Admission::Refuse(None),
            }
        }
        Phase::Open if times.open_until == Instant::FAR_FUTURE => Admission::Refuse(None),
        Phase::Open if now >= times.open_until => Admission::BeginTrial,
        Phase::Open => Admission::Refuse(Some(times.open_until)),
        Phase::HalfOpen(trial) => admit_probe(trial, now, times.lease_until, &settings()),
    }
}

fn admit_probe(trial: Trial, now: Instant, lease_until: Instant, settings: &Settings) -> Admission {
    match judge(&trial, settings) {
        // No more probes than outcomes are wanted: the rest would only load the dependency.
        Verdict::Undecided
            if trial.leased < settings.probes.min(settings.half_open_calls - trial.total) =>
        {
            Admission::Probe(Trial { leased: trial.leased + 1, ..trial })
        }
        Verdict::Undecided if trial.leased > 0 && now >= lease_until => {
            Admission::CountLost(trial.with_lost())
        }
        Verdict::Undecided => Admission::Refuse(None),
        decided => Admission::Decide(decided, trial),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Undecided,
    Close,
    Open,
}

/// What the trial shows, as soon as the outcomes still to come cannot change it: with half of ten
/// probes failing being too many, five failures decide it, and so do six successes.
pub(super) fn judge(trial: &Trial, settings: &Settings) -> Verdict {
    let calls = settings.half_open_calls.into();
    // Where only runs of failures or a rule of the user's trip, a failed probe goes on with what opened the
    // breaker.
    let one_is_enough = settings.counts_streaks() || settings.has_rule;
    let failure_rate = match settings.failure_rate.is_infinite() && one_is_enough {
        true => f64::MIN_POSITIVE,
        false => settings.failure_rate,
    };
    let too_many = |bad: u32, rate: f64| bad > 0 && share::reaches(bad.into(), calls, rate);
    if too_many(trial.failed, failure_rate) || too_many(trial.slow, settings.slow_rate) {
        return Verdict::Open;
    }
    let to_come = settings.half_open_calls.saturating_sub(trial.total);
    if too_many(trial.failed + to_come, failure_rate)
        || too_many(trial.slow + to_come, settings.slow_rate)
    {
        return Verdict::Undecided;
    }
    if trial.total == 0 { Verdict::Undecided } else { Verdict::Close }
}

/// Whether a closed breaker trips, asked after a failed or slow call.
pub(super) fn trip(
    counts: &Counts,
    failures_in_a_row: u32,
    settings: &Settings,
) -> Option<TransitionCause> {
    let exceeds = |bad: u64, rate: f64, minimum: u32| {
        counts.total >= minimum.into() && bad > 0 && share::reaches(bad, counts.total, rate)
    };
    if failures_in_a_row >= settings.failures_in_a_row {
        Some(TransitionCause::ConsecutiveFailures)
    } else if exceeds(counts.failed, settings.failure_rate, settings.min_calls) {
        Some(TransitionCause::FailureRate)
    } else if exceeds(counts.slow, settings.slow_rate, settings.slow_min_calls) {
        Some(TransitionCause::SlowRate)
    } else {
        None
    }
}

/// The counts as they would be if `overdue` calls had just ended, slow. In a window of so many calls
/// (`capacity`) they take the place of as many others, which were slow as often as the rest.
pub(super) fn with_overdue(counts: Counts, overdue: u64, capacity: Option<u32>) -> Counts {
    let full = capacity.map_or(u64::MAX, u64::from);
    let overdue = overdue.min(full);
    let total = (counts.total + overdue).min(full);
    let kept = total - overdue;
    let share = |part: u64| (part * kept).checked_div(counts.total).unwrap_or(0);
    Counts { total, failed: share(counts.failed), slow: share(counts.slow) + overdue }
}

/// What an outcome means to a breaker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Weighed {
    pub(super) failed: bool,
    pub(super) slow: bool,
    /// As how many calls it counts.
    pub(super) weight: u8,
    /// For how long the dependency asked to be left alone.
    pub(super) leave_alone: Option<Duration>,
}

impl Weighed {
    pub(super) const SUCCESS: Self =
        Self { failed: false, slow: false, weight: 1, leave_alone: None };
}

/// `None`: it counts nowhere.
#[inline]
pub(super) fn weigh(outcome: Outcome) -> Option<Weighed> {
    let success = Weighed::SUCCESS;
    let failure = Weighed { failed: true, ..success };
    match outcome {
        Outcome::Success => Some(success),
        Outcome::Slow => Some(Weighed { slow: true, ..success }),
        Outcome::Failure => Some(failure),
        Outcome::Grave(0) | Outcome::Ignore => None,
        Outcome::Grave(weight) => Some(Weighed { weight, ..failure }),
        Outcome::Unavailable(pause) => Some(Weighed { leave_alone: Some(pause), ..failure }),
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::super::CircuitBreaker;
    use super::*;

    /// "At least this share", for every share that is a number of percent.
    #[test]
    fn a_rate_of_n_percent_trips_at_n_of_a_hundred() {
        for percent in 1..=100_u32 {
            let builder = CircuitBreaker::builder().half_open_calls(100);
            let settings = builder.failure_rate(f64::from(percent) / 100.0).settings().unwrap();
            let trips = |failed: u32| {
                let counts = Counts { total: 100, failed: failed.into(), slow: 0 };
                let trial = Trial { leased: 0, total: 100, failed, slow: 0 };
                let tripped = trip(&counts, 0, &settings).is_some();
                assert_eq!(judge(&trial, &settings) == Verdict::Open, tripped);
                tripped
            };
            assert!(trips(percent) && !trips(percent - 1), "{percent} %");
        }
    }

    #[test]
    fn overdue_calls_count_as_if_they_had_just_ended() {
        let counts = |total, failed, slow| Counts { total, failed, slow };
        //  counts, overdue, capacity, expected
        let table = [
            (counts(0, 0, 0), 0, None, counts(0, 0, 0)),
            (counts(0, 0, 0), 3, None, counts(3, 0, 3)),
            (counts(10, 2, 4), 5, None, counts(15, 2, 9)),
            (counts(10, 2, 4), 5, Some(20), counts(15, 2, 9)),
            (counts(10, 2, 4), 5, Some(10), counts(10, 1, 7)), // half of what was there has slid out
            (counts(10, 2, 4), 50, Some(10), counts(10, 0, 10)),
            (counts(8, 8, 0), 4, Some(10), counts(10, 6, 4)),
        ];
        for (before, overdue, capacity, expected) in table {
            assert_eq!(with_overdue(before, overdue, capacity), expected, "{before:?} {overdue}");
        }
    }
}
