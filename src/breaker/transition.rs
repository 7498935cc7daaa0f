use super::manual::CircuitBreakerMode;
use super::word::{Phase, Word};
use crate::event::{Event, EventValue};
use crate::time::Instant;
use crate::window::WindowCounts as Counts;
use std::fmt;
use std::time::Duration;

/// The state of a breaker, as seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CircuitBreakerState {
    /// Calls pass, and are counted unless it is [disabled](CircuitBreakerMode::Disabled).
    Closed,
    /// No call passes.
    Open,
    /// A few calls pass as probes.
    HalfOpen,
}

impl CircuitBreakerState {
    pub(super) fn of(word: Word) -> Self {
        match word.phase() {
            Phase::Closed { .. } | Phase::Off => Self::Closed,
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

/// Why a breaker went from one state to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TransitionCause {
    /// Too large a share of the calls in the window failed.
    FailureRate,
    /// Too large a share of the calls in the window was slow.
    SlowRate,
    /// Too many calls failed one after the other.
    ConsecutiveFailures,
    /// It had been open for as long as it should.
    WaitElapsed,
    /// The probes did well.
    ProbesSucceeded,
    /// Too many probes failed or were slow.
    ProbesFailed,
    /// Too many probes never came back.
    ProbesLost,
    /// Somebody called `reset`.
    Reset,
    /// The rule that was given to [`trip_when`](super::CircuitBreakerBuilder::trip_when) said so.
    Rule,
    /// The dependency asked to be left alone for a while: an [`Outcome::Unavailable`].
    ///
    /// [`Outcome::Unavailable`]: crate::outcome::Outcome::Unavailable
    AskedTo,
    /// Somebody set another [`CircuitBreakerMode`].
    ByHand,
}

impl TransitionCause {
    const fn as_str(self) -> &'static str {
        match self {
            Self::FailureRate => "failure rate",
            Self::SlowRate => "slow rate",
            Self::ConsecutiveFailures => "consecutive failures",
            Self::WaitElapsed => "wait elapsed",
            Self::ProbesSucceeded => "probes succeeded",
            Self::ProbesFailed => "probes failed",
            Self::ProbesLost => "probes lost",
            Self::Reset => "reset",
            Self::Rule => "rule",
            Self::AskedTo => "asked to",
            Self::ByHand => "by hand",
        }
    }
}

impl fmt::Display for TransitionCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A breaker went from one state to another, and why.
///
/// Towards an observer it is an [`Event`] of kind `transition` with the fields `from`, `to`, `cause`,
/// `total`, `failed`, `slow`, `openings`, `mode` and, when it opened, `wait`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Transition {
    /// Counts this breaker's transitions, from 1, without gaps.
    pub sequence: u64,
    /// When, by the breaker's clock.
    pub at: Instant,
    /// The state it left.
    pub from: CircuitBreakerState,
    /// The state it entered.
    pub to: CircuitBreakerState,
    /// Why.
    pub cause: TransitionCause,
    /// The figures that decided it: those of the window when it tripped, those of the probes when they
    /// decided.
    pub counts: Counts,
    /// How often it has opened since it was last closed.
    pub openings: u32,
    /// For how long it opened, if that is known.
    pub wait: Option<Duration>,
    /// Who decides from now on.
    pub mode: CircuitBreakerMode,
}

impl Transition {
    /// Tells it as a flat record.
    pub(super) fn tell(&self, name: &'static str, observe: impl FnOnce(Event<'_>)) {
        let fields = [
            ("from", EventValue::Label(self.from.as_str())),
            ("to", EventValue::Label(self.to.as_str())),
            ("cause", EventValue::Label(self.cause.as_str())),
            ("total", EventValue::Count(self.counts.total)),
            ("failed", EventValue::Count(self.counts.failed)),
            ("slow", EventValue::Count(self.counts.slow)),
            ("openings", EventValue::Count(self.openings.into())),
            ("mode", EventValue::Label(self.mode.as_str())),
            ("wait", EventValue::Duration(self.wait.unwrap_or_default())),
        ];
        let fields = &fields[..fields.len() - usize::from(self.wait.is_none())];
        observe(Event::new((super::POLICY, name), "transition", (self.sequence, self.at), fields));
    }
}
