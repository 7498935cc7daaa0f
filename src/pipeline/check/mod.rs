//! Faults of a stack, found from the facts of its policies: [`Lint`], [`LintRule`].

mod faults;
mod sentence;

pub(super) use faults::check;

use crate::policy::Facts;
use std::fmt;
use std::time::Duration;

/// A fault of a pipeline: two policies that do not fit together, or a policy with an unsuitable
/// setting. Returned by [`Pipeline::check`](super::Pipeline::check).
///
/// It displays as the name of its rule, followed by a sentence.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lint {
    /// The rule that is violated.
    pub rule: LintRule,
    /// The policy at fault; of two policies, the outer one.
    pub outer: Facts,
    /// The inner one of two policies.
    pub inner: Option<Facts>,
    /// How long the attempts, the call or the wait in the queue may take, if the rule is about
    /// time.
    pub max_duration: Option<Duration>,
}

/// The rule that a [`Lint`] is about. Names of rules are stable; later releases may add rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LintRule {
    /// `inner-timeout-too-long`: a timeout inside a shorter one. It never takes effect.
    InnerTimeoutTooLong,
    /// `equal-timeouts`: a timeout inside one of the same length. The outer one starts earlier, so
    /// the inner one never takes effect, and the policies between them never receive a timeout
    /// error.
    EqualTimeouts,
    /// `attempts-exceed-timeout`: all attempts and waits together may take longer than the timeout
    /// around them. The last attempts are cut short or never made.
    AttemptsExceedTimeout,
    /// `no-attempt-timeout`: a timeout around a retry, but none around its attempts. An attempt
    /// that hangs uses all of that time, and no second attempt is made.
    NoAttemptTimeout,
    /// `nested-retries`: a retry inside a retry or a hedge. Three outer attempts with three inner
    /// attempts each are nine. A hedge inside one retry is accepted.
    NestedRetries,
    /// `retry-safety-unknown`: a hedge, or a retry that repeats every failure, although the
    /// operation was not declared idempotent.
    RetrySafetyUnknown,
    /// `retry-without-budget`: a retry without a [budget](crate::budget). If the dependency fails
    /// every call, the retry multiplies its load by the number of attempts.
    RetryWithoutBudget,
    /// `retry-inside-breaker`: the breaker records a call only after its last attempt. It opens
    /// late, and cannot stop the attempts of a call that it has admitted.
    RetryInsideBreaker,
    /// `one-call-trips-breaker`: a retry around a breaker makes enough attempts to open it with a
    /// single call.
    OneCallTripsBreaker,
    /// `timeout-outside-breaker`: a timeout around a breaker, but none inside. The timeout drops
    /// calls that hang, so the breaker does not record them unless it tracks calls in flight.
    TimeoutOutsideBreaker,
    /// `window-too-short`: a time window that is shorter than the longest call that it counts. When
    /// a dependency hangs, each timeout leaves the window before the next is recorded.
    WindowTooShort,
    /// `retry-inside-bulkhead`: the bulkhead holds a permit for all attempts of a call and for the
    /// waits between them, although only one attempt runs at a time, or none.
    RetryInsideBulkhead,
    /// `queue-exceeds-timeout`: a call may wait in a queue for as long as the timeout around it. A
    /// call that was admitted late has no time left to run.
    QueueExceedsTimeout,
    /// `nested-adaptive-limits`: an adaptive limit inside another. Each measures the effects of the
    /// other: waits and rejections at the inner limit lower the outer limit.
    NestedAdaptiveLimits,
    /// `duplicate-policy`: one policy in two places, or two policies with the same name. Each call
    /// is counted or charged twice, or an error does not show which policy caused it.
    DuplicatePolicy,
    /// `fallback-hides-failure`: a fallback for all errors below a breaker, limiter or retry that
    /// reads the results of calls. The outer policy receives a success in place of every failure.
    FallbackHidesFailure,
    /// `fallback-hides-rejection`: a fallback for all errors around a limiter. An overloaded
    /// service returns degraded results, and its callers receive no signal to slow down.
    FallbackHidesRejection,
    /// `chaos-not-innermost`: a chaos policy between other policies. The policies below it never
    /// observe its faults, and do not bound its delays. A chaos policy above all others is
    /// accepted: it tests the callers.
    ChaosNotInnermost,
}

impl LintRule {
    /// Returns the name of the rule, for log lines and for lists of rules to ignore.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InnerTimeoutTooLong => "inner-timeout-too-long",
            Self::EqualTimeouts => "equal-timeouts",
            Self::AttemptsExceedTimeout => "attempts-exceed-timeout",
            Self::NoAttemptTimeout => "no-attempt-timeout",
            Self::NestedRetries => "nested-retries",
            Self::RetrySafetyUnknown => "retry-safety-unknown",
            Self::RetryWithoutBudget => "retry-without-budget",
            Self::RetryInsideBreaker => "retry-inside-breaker",
            Self::OneCallTripsBreaker => "one-call-trips-breaker",
            Self::TimeoutOutsideBreaker => "timeout-outside-breaker",
            Self::WindowTooShort => "window-too-short",
            Self::RetryInsideBulkhead => "retry-inside-bulkhead",
            Self::QueueExceedsTimeout => "queue-exceeds-timeout",
            Self::NestedAdaptiveLimits => "nested-adaptive-limits",
            Self::DuplicatePolicy => "duplicate-policy",
            Self::FallbackHidesFailure => "fallback-hides-failure",
            Self::FallbackHidesRejection => "fallback-hides-rejection",
            Self::ChaosNotInnermost => "chaos-not-innermost",
        }
    }
}

impl fmt::Display for LintRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Lint {
    const fn new(rule: LintRule, outer: Facts) -> Self {
        Self { rule, outer, inner: None, max_duration: None }
    }

    const fn inside(self, inner: Facts) -> Self {
        Self { inner: Some(inner), ..self }
    }
}

impl fmt::Display for Lint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.rule)?;
        sentence::write(self, f)
    }
}

impl fmt::Debug for Lint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
