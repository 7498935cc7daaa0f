//! The state of one call, which decides whether and when the next attempt begins: [`State`].

use super::config::Config;
use super::rule::{RetryAttempt, RetryDecision, RetryRule};
use crate::budget::{BudgetCall, BudgetPermit};
use crate::error::Error;
use crate::policy::Context;
use crate::time::Instant;
use std::time::Duration;

/// The state of one call of a retry.
#[derive(Debug)]
pub(super) struct State {
    /// The context of the current attempt.
    cx: Context,
    /// The start of the first attempt. Only meaningful if `max_elapsed` is set.
    started: Instant,
    /// Counts the call in the budget until the call ends; `None` without a budget.
    call: Option<BudgetCall>,
    /// `None` during the first attempt. Boxed, because only a failed call needs it and the future
    /// must stay small: a move of more than 128 bytes calls `memcpy`.
    retry: Option<Box<CurrentRetry>>,
}

/// The state of the retry that waits or runs.
#[derive(Debug)]
struct CurrentRetry {
    backoff: Duration,
    /// Counts the retry in the budget until the retry ends; `None` without a budget.
    permit: Option<BudgetPermit>,
}

impl State {
    /// Returns the context of the first attempt.
    #[inline]
    pub(super) fn first_context(config: &Config, cx: Context) -> Context {
        // The clock is read only if `max_elapsed` or a deadline applies.
        let limited = config.max_elapsed.is_some() || cx.remaining().is_some();
        let cx = if limited { cx.on(&config.clock) } else { cx };
        cx.with_attempt(1)
    }

    /// Creates the state of a call whose first attempt has the context `cx`.
    #[inline]
    pub(super) fn new(cx: Context, call: Option<BudgetCall>) -> Self {
        Self { cx, started: cx.now(), call, retry: None }
    }

    /// Returns the context of the next attempt.
    #[inline]
    pub(super) fn context(&self, config: &Config) -> Context {
        // A policy below may use another clock, which has not measured the wait before this
        // attempt. So this clock is read again to compute the remaining time for that policy. The
        // reading before the first attempt is still current, and is reused.
        if self.cx.remaining().is_some() { self.cx.on(&config.clock) } else { self.cx }
    }

    /// Returns how long to wait before the next attempt, or `None` if `result` is final.
    // A successful call takes a few instructions here, but `#[inline]` alone leaves a function call
    // in deep stacks. The code for failures is in separate functions.
    #[inline(always)]
    pub(super) fn wait_after<T, E>(
        &mut self,
        result: &Result<T, Error<E>>,
        rule: &impl RetryRule<T, E>,
        config: &Config,
    ) -> Option<Duration> {
        // The attempt has ended. If it was a retry, the budget no longer counts it.
        if let Some(retry) = &mut self.retry {
            retry.permit = None;
        }
        let wait = self.decide(result, rule, config);
        if wait.is_none() {
            self.call = None;
        }
        wait
    }

    #[inline(always)]
    fn decide<T, E>(
        &mut self,
        result: &Result<T, Error<E>>,
        rule: &impl RetryRule<T, E>,
        config: &Config,
    ) -> Option<Duration> {
        if self.cx.attempt() >= config.max_attempts {
            return None;
        }
        match result {
            // The time is checked before the rule is called, because the rule may withdraw from a
            // budget.
            Err(Error::Operation(_) | Error::Timeout(_)) => {
                let next = self.next_attempt(config)?;
                let decision = rule.decide(result, self.attempt(config));
                self.follow(decision, next, result, config)
            }
            // The rule is called first, because most of these results are final and reading the
            // clock is expensive.
            Ok(_) | Err(Error::Rejected(_)) => match rule.decide(result, self.attempt(config)) {
                RetryDecision::Stop => None,
                decision => {
                    let next = self.next_attempt(config)?;
                    self.follow(decision, next, result, config)
                }
            },
        }
    }

    const fn attempt(&self, config: &Config) -> RetryAttempt {
        RetryAttempt { number: self.cx.attempt(), max_attempts: config.max_attempts }
    }

    /// Returns the current time and the backoff, or `None` if the next attempt would begin too
    /// late.
    #[cold]
    fn next_attempt(&self, config: &Config) -> Option<NextAttempt> {
        let previous = self.retry.as_ref().map_or(Duration::ZERO, |retry| retry.backoff);
        let backoff = config.backoff.delay(self.cx.attempt(), previous, &config.random);
        let next = NextAttempt { now: config.clock.now(), backoff };
        self.begins_in_time(next.now + backoff, config).then_some(next)
    }

    /// Applies `decision`. Returns the wait before the next attempt, or `None` if there is none.
    #[cold]
    fn follow<T, E>(
        &mut self,
        decision: RetryDecision,
        next: NextAttempt,
        result: &Result<T, Error<E>>,
        config: &Config,
    ) -> Option<Duration> {
        let wait = match decision {
            RetryDecision::Stop => return None,
            RetryDecision::Retry => next.backoff,
            RetryDecision::RetryAfter(wait) if wait > config.max_retry_after => return None,
            RetryDecision::RetryAfter(wait) => {
                let wait = wait.max(next.backoff);
                if !self.begins_in_time(next.now + wait, config) {
                    return None;
                }
                wait
            }
        };
        let permit = self.withdraw(result, config)?;
        let Config { name, emitter, clock, .. } = config;
        emitter.retrying(name, clock, self.cx.attempt(), result, wait);
        self.retry = Some(Box::new(CurrentRetry { backoff: next.backoff, permit }));
        self.cx = self.cx.after_waiting().with_attempt(self.cx.attempt() + 1);
        Some(wait)
    }

    /// Withdraws the cost of the next attempt from the budget. Returns `None` if the budget is
    /// exhausted, and `Some(None)` if there is no budget.
    fn withdraw<T, E>(
        &self,
        result: &Result<T, Error<E>>,
        config: &Config,
    ) -> Option<Option<BudgetPermit>> {
        let Some(budget) = &config.budget else { return Some(None) };
        let permit = budget.try_acquire_n(budget.cost_after(result)).ok();
        if permit.is_none() {
            let Config { name, emitter, clock, .. } = config;
            emitter.suppressed(name, clock, self.cx.attempt(), result);
        }
        permit.map(Some)
    }

    /// Returns whether an attempt at `begin` satisfies `max_elapsed` and the deadline.
    fn begins_in_time(&self, begin: Instant, config: &Config) -> bool {
        let in_time = |limit: Duration| begin - self.started <= limit;
        !self.cx.deadline().has_passed(begin) && config.max_elapsed.is_none_or(in_time)
    }
}

/// The current time, and the backoff before the next attempt.
#[derive(Clone, Copy)]
struct NextAttempt {
    now: Instant,
    backoff: Duration,
}
