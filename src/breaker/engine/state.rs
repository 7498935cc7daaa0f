//! The decisions of the breaker as pure functions of the state, the configuration and the time.
//!
//! This file uses no clock, no lock and no atomic.

use super::super::config::Config;
use super::super::transition::TransitionCause;
use super::word::Trial;
use crate::outcome::Outcome;
use crate::share;
use crate::time::Instant;
use crate::window::WindowCounts;
use std::time::Duration;

/// The decision about a call that requests admission.
#[derive(Debug, PartialEq)]
pub(super) enum Admission {
    /// Admit the call and count its outcome.
    Counted,
    /// Admit the call and do not count its outcome.
    Uncounted,
    /// The ramp has ended: leave the ramp, then decide again.
    EndRamp,
    /// Store this trial, in which the call holds a probe's slot, then admit the call.
    Probe(Trial),
    /// The open duration has elapsed: become half-open with this call as the first probe.
    StartTrial,
    /// The active probes have timed out: store this trial, then decide again.
    TimeOutProbes(Trial),
    /// The trial is already decided, because the configuration has changed: apply the verdict, then
    /// decide again.
    Conclude(Verdict, Trial),
    /// Reject the call. The instant is the earliest useful retry, if known.
    Reject(Option<Instant>),
    /// The state has changed in the meantime: decide again.
    Outdated,
}

/// Decides about a call to an open breaker.
pub(super) fn admit_open(now: Instant, open_until: Instant) -> Admission {
    if open_until == Instant::FAR_FUTURE {
        // The instant is beyond the range of the clock, so no useful retry time is known.
        Admission::Reject(None)
    } else if now >= open_until {
        Admission::StartTrial
    } else {
        Admission::Reject(Some(open_until))
    }
}

/// Decides about a call to a half-open breaker whose youngest probe times out at `probe_deadline`.
pub(super) fn admit_half_open(
    trial: Trial,
    now: Instant,
    probe_deadline: Instant,
    config: &Config,
) -> Admission {
    match decide_trial(&trial, config) {
        // Never more probes than outcomes are still needed: others would only load the dependency.
        Verdict::Undecided
            if trial.active
                < config.half_open_concurrency.min(config.half_open_calls - trial.total) =>
        {
            Admission::Probe(Trial { active: trial.active + 1, ..trial })
        }
        Verdict::Undecided if trial.active > 0 && now >= probe_deadline => {
            Admission::TimeOutProbes(trial.with_active_timed_out())
        }
        Verdict::Undecided => Admission::Reject(None),
        decided => Admission::Conclude(decided, trial),
    }
}

/// The result of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Undecided,
    Close,
    Open,
}

/// Returns the verdict on a trial, or `Undecided` while the remaining outcomes can change it. If
/// five failed probes of ten are too many, five failures or six successes decide the trial.
pub(super) fn decide_trial(trial: &Trial, config: &Config) -> Verdict {
    let calls = config.half_open_calls.into();
    // Without a failure rate, consecutive failures or the user's rule have tripped the breaker. A
    // single failed probe then opens it again.
    let one_failure_is_enough = config.consecutive_failures.is_some() || config.has_trip_rule;
    let failure_rate =
        config.failure_rate.or_else(|| one_failure_is_enough.then_some(f64::MIN_POSITIVE));
    let slow_rate = config.slow_calls.map(|slow| slow.rate);
    let too_many = |bad: u32, rate: Option<f64>| {
        bad > 0 && rate.is_some_and(|rate| share::reaches(bad.into(), calls, rate))
    };
    if too_many(trial.failed, failure_rate) || too_many(trial.slow, slow_rate) {
        return Verdict::Open;
    }
    let to_come = config.half_open_calls.saturating_sub(trial.total);
    if trial.total == 0
        || too_many(trial.failed + to_come, failure_rate)
        || too_many(trial.slow + to_come, slow_rate)
    {
        return Verdict::Undecided;
    }
    Verdict::Close
}

/// Returns the cause if a closed breaker trips. Called after a failed or slow call.
pub(super) fn trip_cause(
    counts: &WindowCounts,
    consecutive_failures: u32,
    config: &Config,
) -> Option<TransitionCause> {
    let exceeds = |bad: u64, rate: f64, min_calls: u32| {
        counts.total >= min_calls.into() && bad > 0 && share::reaches(bad, counts.total, rate)
    };
    if config.consecutive_failures.is_some_and(|limit| consecutive_failures >= limit) {
        Some(TransitionCause::ConsecutiveFailures)
    } else if config.failure_rate.is_some_and(|rate| exceeds(counts.failed, rate, config.min_calls))
    {
        Some(TransitionCause::FailureRate)
    } else if config
        .slow_calls
        .is_some_and(|slow| exceeds(counts.slow, slow.rate, config.slow_min_calls))
    {
        Some(TransitionCause::SlowRate)
    } else {
        None
    }
}

/// Returns the counts as if `overdue` calls had just ended as slow calls.
///
/// In a full window of `capacity` calls they displace as many earlier calls. The displaced calls
/// are assumed to contain the same shares of failed and slow calls as the others.
pub(super) fn with_overdue(
    counts: WindowCounts,
    overdue: u64,
    capacity: Option<u32>,
) -> WindowCounts {
    let full = capacity.map_or(u64::MAX, u64::from);
    let overdue = overdue.min(full);
    let total = (counts.total + overdue).min(full);
    let kept = total - overdue;
    let share = |part: u64| (part * kept).checked_div(counts.total).unwrap_or(0);
    WindowCounts { total, failed: share(counts.failed), slow: share(counts.slow) + overdue }
}

/// The effect of an outcome on a breaker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Effect {
    pub(super) failed: bool,
    pub(super) slow: bool,
    /// The number of calls as which the outcome counts.
    pub(super) weight: u8,
    /// The pause that the dependency requested, if any.
    pub(super) retry_after: Option<Duration>,
}

impl Effect {
    pub(super) const SUCCESS: Self =
        Self { failed: false, slow: false, weight: 1, retry_after: None };

    /// Returns the effect of `outcome`, or `None` if it is not counted.
    #[inline]
    pub(super) fn of(outcome: Outcome) -> Option<Self> {
        let success = Self::SUCCESS;
        let failure = Self { failed: true, ..success };
        match outcome {
            Outcome::Success => Some(success),
            Outcome::Slow => Some(Self { slow: true, ..success }),
            Outcome::Failure => Some(failure),
            Outcome::WeightedFailure(0) | Outcome::Ignore => None,
            Outcome::WeightedFailure(weight) => Some(Self { weight, ..failure }),
            Outcome::Unavailable(pause) => Some(Self { retry_after: Some(pause), ..failure }),
        }
    }
}
