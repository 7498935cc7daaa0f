//! The rules that find the faults of a stack in the order and the settings of its policies.

use super::{Lint, LintRule};
use crate::policy::{Facts, RepeatSafety};
use std::cmp::Ordering;
use std::time::Duration;

/// Returns all faults of `stack`, outermost policy first.
pub(in crate::pipeline) fn check(stack: &[Facts]) -> Vec<Lint> {
    let mut lints = Vec::new();
    for (at, &policy) in stack.iter().enumerate() {
        let position = Position { policy, above: &stack[..at], below: &stack[at + 1..] };
        lints.extend(position.timeout_never_ends());
        lints.extend(position.retry_exceeds_timeout());
        lints.extend(position.retry_is_nested());
        lints.extend(position.retry_safety_is_unknown());
        lints.extend(position.retry_has_no_budget());
        lints.extend(position.one_call_trips_breaker());
        lints.extend(position.retry_is_inside_breaker());
        lints.extend(position.timeout_is_outside_breaker());
        lints.extend(position.window_is_too_short());
        lints.extend(position.retry_is_inside_bulkhead());
        lints.extend(position.queue_exceeds_timeout());
        lints.extend(position.adaptive_limit_is_nested());
        lints.extend(position.policy_is_duplicated());
        lints.extend(position.fallback_hides_failure());
        lints.extend(position.fallback_hides_rejection());
        lints.extend(position.chaos_is_not_innermost());
    }
    lints
}

/// A policy and its position in the stack.
struct Position<'a> {
    policy: Facts,
    above: &'a [Facts],
    below: &'a [Facts],
}

impl Position<'_> {
    fn timeout_never_ends(&self) -> Option<Lint> {
        let (timeout, outer) = (self.policy.timeout?, self.shortest_timeout_above()?);
        let rule = match timeout.cmp(&outer.timeout?) {
            Ordering::Less => return None,
            Ordering::Equal => LintRule::EqualTimeouts,
            Ordering::Greater => LintRule::InnerTimeoutTooLong,
        };
        Some(Lint::new(rule, outer).inside(self.policy))
    }

    fn retry_exceeds_timeout(&self) -> Option<Lint> {
        // Concurrent attempts (a hedge) are exempt: an attempt that hangs does not delay the
        // others.
        let is_sequential = repeats(&self.policy) && !self.policy.has_concurrent_attempts;
        let outer = self.shortest_timeout_above().filter(|_| is_sequential)?;
        let lint = |rule| Lint::new(rule, outer).inside(self.policy);
        let Some(attempt) = max_duration(self.below) else {
            return Some(lint(LintRule::NoAttemptTimeout));
        };
        // If one attempt alone takes as long as the timeout, another rule reports it.
        if Some(attempt) >= outer.timeout {
            return None;
        }
        let max_duration = max_duration_of(&self.policy, Some(attempt));
        let exceeds = max_duration.is_none_or(|total| Some(total) > outer.timeout);
        exceeds.then(|| Lint { max_duration, ..lint(LintRule::AttemptsExceedTimeout) })
    }

    fn retry_is_nested(&self) -> Option<Lint> {
        let mut outer = self.above.iter().rev().filter(|above| repeats(above));
        let nearest = outer.next()?;
        // A hedge may be inside one retry: the hedge protects against slow attempts, the retry
        // against failures.
        let is_hedge = |facts: &Facts| facts.has_concurrent_attempts;
        let is_allowed = is_hedge(&self.policy) && !is_hedge(nearest);
        let outer = if is_allowed { outer.next()? } else { nearest };
        repeats(&self.policy)
            .then(|| Lint::new(LintRule::NestedRetries, *outer).inside(self.policy))
    }

    fn retry_safety_is_unknown(&self) -> Option<Lint> {
        let is_unknown = self.policy.repeat_safety == Some(RepeatSafety::Unknown);
        (repeats(&self.policy) && is_unknown)
            .then(|| Lint::new(LintRule::RetrySafetyUnknown, self.policy))
    }

    fn retry_has_no_budget(&self) -> Option<Lint> {
        // A hedge without a budget was built so on purpose.
        let applies = repeats(&self.policy) && !self.policy.has_concurrent_attempts;
        (applies && !self.policy.has_budget)
            .then(|| Lint::new(LintRule::RetryWithoutBudget, self.policy))
    }

    fn one_call_trips_breaker(&self) -> Option<Lint> {
        let attempts = self.policy.max_attempts.filter(|_| repeats(&self.policy))?;
        let trips = |below: &&Facts| below.trips_after.is_some_and(|failures| attempts >= failures);
        let breaker = self.below.iter().find(trips)?;
        Some(Lint::new(LintRule::OneCallTripsBreaker, self.policy).inside(*breaker))
    }

    fn retry_is_inside_breaker(&self) -> Option<Lint> {
        let retry = self.below.iter().find(|below| repeats(below))?;
        self.policy
            .records_outcomes
            .then(|| Lint::new(LintRule::RetryInsideBreaker, self.policy).inside(*retry))
    }

    fn timeout_is_outside_breaker(&self) -> Option<Lint> {
        let outer = self.shortest_timeout_above()?;
        let misses_hangs = self.policy.records_outcomes && !self.policy.detects_hangs;
        (misses_hangs && max_duration(self.below).is_none())
            .then(|| Lint::new(LintRule::TimeoutOutsideBreaker, outer).inside(self.policy))
    }

    fn window_is_too_short(&self) -> Option<Lint> {
        let window = self.policy.window?;
        let timeout = self.below.iter().find(|below| below.timeout.is_some())?;
        let max_duration = max_duration(self.below).filter(|duration| *duration > window)?;
        let lint = Lint::new(LintRule::WindowTooShort, self.policy).inside(*timeout);
        Some(Lint { max_duration: Some(max_duration), ..lint })
    }

    fn retry_is_inside_bulkhead(&self) -> Option<Lint> {
        let retry = self.below.iter().find(|below| repeats(below))?;
        // If the policy records outcomes, another rule reports it.
        let applies = self.policy.limits_concurrency && !self.policy.records_outcomes;
        applies.then(|| Lint::new(LintRule::RetryInsideBulkhead, self.policy).inside(*retry))
    }

    fn queue_exceeds_timeout(&self) -> Option<Lint> {
        let (wait, outer) = (self.policy.max_queue_wait?, self.shortest_timeout_above()?);
        let lint = Lint::new(LintRule::QueueExceedsTimeout, outer).inside(self.policy);
        (wait >= outer.timeout?).then_some(Lint { max_duration: Some(wait), ..lint })
    }

    fn adaptive_limit_is_nested(&self) -> Option<Lint> {
        let outer = self.above.iter().rfind(|above| above.adapts_limit)?;
        // If both are one limiter, another rule reports it.
        let applies = self.policy.adapts_limit && outer.identity != self.policy.identity;
        applies.then(|| Lint::new(LintRule::NestedAdaptiveLimits, *outer).inside(self.policy))
    }

    fn policy_is_duplicated(&self) -> Option<Lint> {
        let own = self.policy;
        // Other rules report two timeouts and two retries.
        if own.timeout.is_some() || own.max_attempts.is_some() {
            return None;
        }
        // Two policies with default names are different policies if their identities differ.
        let is_same = |above: &&Facts| {
            (above.policy, above.name) == (own.policy, own.name)
                && (above.identity == own.identity || own.name != own.policy)
        };
        let outer = self.above.iter().rfind(is_same)?;
        Some(Lint::new(LintRule::DuplicatePolicy, *outer).inside(own))
    }

    fn fallback_hides_failure(&self) -> Option<Lint> {
        let reads_results = self.policy.records_outcomes || repeats(&self.policy);
        let fallback = self.below.iter().find(|below| below.replaces_errors)?;
        reads_results
            .then(|| Lint::new(LintRule::FallbackHidesFailure, self.policy).inside(*fallback))
    }

    fn fallback_hides_rejection(&self) -> Option<Lint> {
        let is_limiter = |below: &&Facts| below.limits_load || below.limits_concurrency;
        let limiter = self.below.iter().find(is_limiter)?;
        self.policy
            .replaces_errors
            .then(|| Lint::new(LintRule::FallbackHidesRejection, self.policy).inside(*limiter))
    }

    fn chaos_is_not_innermost(&self) -> Option<Lint> {
        let below = self.below.iter().find(|below| !below.injects_faults)?;
        let applies = self.policy.injects_faults && !self.above.is_empty();
        applies.then(|| Lint::new(LintRule::ChaosNotInnermost, self.policy).inside(*below))
    }

    fn shortest_timeout_above(&self) -> Option<Facts> {
        let timeouts = self.above.iter().filter(|above| above.timeout.is_some());
        timeouts.min_by_key(|above| above.timeout).copied()
    }
}

fn repeats(facts: &Facts) -> bool {
    facts.max_attempts.is_some_and(|attempts| attempts > 1)
}

/// Returns how long a call through `stack` may take, excluding waits for admission, or `None` if
/// unlimited.
fn max_duration(stack: &[Facts]) -> Option<Duration> {
    let (outermost, below) = stack.split_first()?;
    max_duration_of(outermost, max_duration(below))
}

/// Returns how long a call through `policy` may take if a call through the policies below it may
/// take `below`.
fn max_duration_of(policy: &Facts, below: Option<Duration>) -> Option<Duration> {
    if let Some(timeout) = policy.timeout {
        return Some(below.map_or(timeout, |below| below.min(timeout)));
    }
    let Some(attempts) = policy.max_attempts else { return below };
    if policy.has_concurrent_attempts {
        return below?.checked_add(policy.max_elapsed.unwrap_or_default());
    }
    let by_attempts = || below?.checked_mul(attempts)?.checked_add(policy.max_wait?);
    let by_elapsed = || below?.checked_add(policy.max_elapsed?);
    by_attempts().into_iter().chain(by_elapsed()).min()
}
