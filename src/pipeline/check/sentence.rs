//! The message of a [`Lint`], as shown by its `Display` implementation.

use super::{Lint, LintRule};
use crate::policy::Facts;
use std::fmt;
use std::time::Duration;

/// Writes the message of `lint`, without the name of its rule.
pub(super) fn write(lint: &Lint, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let outer = Policy(lint.outer);
    let inner = Policy(lint.inner.unwrap_or(lint.outer));
    let max_duration = Time(lint.max_duration);
    match lint.rule {
        LintRule::InnerTimeoutTooLong => write!(
            f,
            "{inner} allows {} inside {outer}, which allows {}: the inner timeout never takes effect",
            inner.timeout(),
            outer.timeout(),
        ),
        LintRule::EqualTimeouts => write!(
            f,
            "{inner} and {outer} around it both allow {}: the outer timeout starts earlier, so the \
             inner one never takes effect",
            inner.timeout(),
        ),
        LintRule::AttemptsExceedTimeout => write!(
            f,
            "the {} attempts of {inner} and the waits between them may take {max_duration}, but \
             {outer} allows {}: the last attempts are cut short",
            inner.attempts(),
            outer.timeout(),
        ),
        LintRule::NoAttemptTimeout => write!(
            f,
            "one attempt of {inner} may use all of the {} that {outer} allows: add a shorter timeout \
             below {inner}",
            outer.timeout(),
        ),
        LintRule::NestedRetries => write!(
            f,
            "{outer} around {inner} makes up to {} attempts: keep one of the two",
            outer.attempts() * inner.attempts(),
        ),
        LintRule::RetrySafetyUnknown if outer.0.has_concurrent_attempts => write!(
            f,
            "{outer} runs the operation a second time at the same time: declare the operation \
             idempotent, or do not hedge it",
        ),
        LintRule::RetrySafetyUnknown => write!(
            f,
            "{outer} repeats every failure, although an attempt that failed may have done its work: \
             declare the operation idempotent, or select by a rule what is repeated",
        ),
        LintRule::RetryWithoutBudget => write!(
            f,
            "{outer} makes up to {} attempts of every call while the dependency fails, which multiplies \
             its load: add a budget",
            outer.attempts(),
        ),
        LintRule::RetryInsideBreaker => write!(
            f,
            "{outer} records one outcome for all {} attempts of {inner}, and cannot stop the later \
             ones: move it below {inner}",
            inner.attempts(),
        ),
        LintRule::OneCallTripsBreaker => write!(
            f,
            "the {} attempts of one call through {outer} are enough to open {inner}: raise its minimum \
             number of calls, or make fewer attempts",
            outer.attempts(),
        ),
        LintRule::TimeoutOutsideBreaker => write!(
            f,
            "{inner} does not record calls that {outer} ends after {}, so a dependency that hangs \
             never opens it: add a timeout below {inner}",
            outer.timeout(),
        ),
        LintRule::WindowTooShort => write!(
            f,
            "{outer} counts calls over {}, but a call may take {max_duration}: each timeout of {inner} \
             leaves the window before the next is recorded",
            Time(outer.0.window),
        ),
        LintRule::FallbackHidesFailure => write!(
            f,
            "{outer} receives a success in place of every failure below {inner}: move {inner} above \
             it, or restrict it to some errors",
        ),
        LintRule::FallbackHidesRejection => write!(
            f,
            "{outer} replaces the rejections of {inner}, so callers never learn to slow down: restrict \
             it to other errors",
        ),
        LintRule::ChaosNotInnermost => write!(
            f,
            "{outer} injects its faults above {inner}, which never observes them: move it to the \
             bottom of the pipeline",
        ),
        LintRule::RetryInsideBulkhead => write!(
            f,
            "{outer} holds a permit for all {} attempts of {inner} and for the waits between them: \
             move it below {inner}",
            inner.attempts(),
        ),
        LintRule::QueueExceedsTimeout => write!(
            f,
            "a call may wait {max_duration} in the queue of {inner}, but {outer} allows {}: a call that \
             was admitted late has no time left",
            outer.timeout(),
        ),
        LintRule::NestedAdaptiveLimits => write!(
            f,
            "{outer} and {inner} below it both adapt their limits, and each measures what the other \
             causes: keep one of the two",
        ),
        LintRule::DuplicatePolicy => write!(
            f,
            "{outer} is in the pipeline twice, or two policies have its name: each call is counted \
             twice, or errors do not show by which policy",
        ),
    }
}

/// A policy, displayed as its type, followed by its name if the user set one.
struct Policy(Facts);

impl Policy {
    const fn timeout(&self) -> Time {
        Time(self.0.timeout)
    }

    fn attempts(&self) -> u64 {
        u64::from(self.0.max_attempts.unwrap_or(1))
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.name == self.0.policy {
            true => f.write_str(self.0.policy),
            false => write!(f, "{} {:?}", self.0.policy, self.0.name),
        }
    }
}

/// A duration. `None` is displayed as unlimited.
struct Time(Option<Duration>);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(time) => write!(f, "{time:?}"),
            None => f.write_str("an unlimited time"),
        }
    }
}
