//! The public states of a breaker, and the transitions between them.

use super::engine::{Phase, Word};
use super::mode::CircuitBreakerMode;
use crate::event::{Event, EventValue};
use crate::time::Instant;
use crate::window::WindowCounts;
use std::fmt;
use std::time::Duration;

/// The state of a [`CircuitBreaker`](super::CircuitBreaker).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CircuitBreakerState {
    /// Calls are admitted, and counted unless the breaker is
    /// [disabled](CircuitBreakerMode::Disabled).
    Closed,
    /// Calls are rejected.
    Open,
    /// A few calls are admitted as probes.
    HalfOpen,
}

impl CircuitBreakerState {
    pub(super) fn of(word: Word) -> Self {
        match word.phase() {
            Phase::Closed { .. } | Phase::Bypass => Self::Closed,
            Phase::Open => Self::Open,
            Phase::HalfOpen(_) => Self::HalfOpen,
        }
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

impl fmt::Display for CircuitBreakerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The cause of a [`CircuitBreakerTransition`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TransitionCause {
    /// The share of failed calls in the window reached its limit.
    FailureRate,
    /// The share of slow calls in the window reached its limit.
    SlowRate,
    /// The number of consecutive failures reached its limit.
    ConsecutiveFailures,
    /// The open duration elapsed.
    OpenDurationElapsed,
    /// Enough probes succeeded.
    ProbesSucceeded,
    /// Too many probes failed or were slow.
    ProbesFailed,
    /// Too many probes did not end within their timeout.
    ProbesTimedOut,
    /// The breaker was [reset](super::CircuitBreaker::reset).
    Reset,
    /// The user's own [rule](super::CircuitBreakerBuilder::trip_when) returned true.
    TripRule,
    /// The dependency requested a pause:
    /// [`Outcome::Unavailable`](crate::outcome::Outcome::Unavailable).
    Unavailable,
    /// Another [mode](CircuitBreakerMode) was set.
    ModeChanged,
}

impl TransitionCause {
    const fn as_str(self) -> &'static str {
        match self {
            Self::FailureRate => "failure rate",
            Self::SlowRate => "slow rate",
            Self::ConsecutiveFailures => "consecutive failures",
            Self::OpenDurationElapsed => "open duration elapsed",
            Self::ProbesSucceeded => "probes succeeded",
            Self::ProbesFailed => "probes failed",
            Self::ProbesTimedOut => "probes timed out",
            Self::Reset => "reset",
            Self::TripRule => "trip rule",
            Self::Unavailable => "unavailable",
            Self::ModeChanged => "mode changed",
        }
    }
}

impl fmt::Display for TransitionCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A change of the state or the mode of a breaker, with its cause.
///
/// Observers receive it as an [`Event`] of kind `transition` with the fields `from`, `to`, `cause`,
/// `total`, `failed`, `slow`, `openings`, `mode` and, if it opened, `open_duration`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct CircuitBreakerTransition {
    /// The sequence number of the transition within its breaker, from 1, without gaps.
    pub sequence: u64,
    /// The time of the transition, by the breaker's clock.
    pub at: Instant,
    /// The state before.
    pub from: CircuitBreakerState,
    /// The state after.
    pub to: CircuitBreakerState,
    /// The cause.
    pub cause: TransitionCause,
    /// The counts that led to the transition: those of the window when the breaker tripped, those
    /// of the probes when a trial ended.
    pub counts: WindowCounts,
    /// The number of openings since the breaker was last closed and not ramping up. A transition to
    /// closed reports the number before it.
    pub openings: u32,
    /// The open duration, if the breaker opened and the duration is known.
    pub open_duration: Option<Duration>,
    /// The mode after the transition.
    pub mode: CircuitBreakerMode,
}

impl CircuitBreakerTransition {
    /// Passes the transition to `observe` as a flat record.
    pub(super) fn emit(&self, name: &'static str, keyed: bool, observe: impl FnOnce(&Event<'_>)) {
        let fields = [
            ("from", EventValue::Label(self.from.as_str())),
            ("to", EventValue::Label(self.to.as_str())),
            ("cause", EventValue::Label(self.cause.as_str())),
            ("total", EventValue::Count(self.counts.total)),
            ("failed", EventValue::Count(self.counts.failed)),
            ("slow", EventValue::Count(self.counts.slow)),
            ("openings", EventValue::Count(self.openings.into())),
            ("mode", EventValue::Label(self.mode.as_str())),
            ("open_duration", EventValue::Duration(self.open_duration.unwrap_or_default())),
        ];
        let fields = &fields[..fields.len() - usize::from(self.open_duration.is_none())];
        observe(&Event {
            policy: super::POLICY,
            name,
            kind: "transition",
            keyed,
            sequence: self.sequence,
            at: self.at,
            fields,
        });
    }
}
