//! Rules that select which results are retried: [`RetryRule`], [`RetryDecision`] and the predefined
//! rules.

use crate::error::Error;
use crate::outcome::{Classify, Outcome};
use std::time::Duration;

/// The decision of a [`RetryRule`] after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryDecision {
    /// Return the result to the caller.
    Stop,
    /// Retry after the backoff.
    Retry,
    /// Retry after the wait that the server requested, or after the backoff if it is longer.
    ///
    /// If the wait exceeds [`max_retry_after`](super::RetryBuilder::max_retry_after), the retry
    /// stops.
    RetryAfter(Duration),
}

/// `true` means [`Retry`](RetryDecision::Retry), `false` means [`Stop`](RetryDecision::Stop).
impl From<bool> for RetryDecision {
    fn from(retry: bool) -> Self {
        if retry { Self::Retry } else { Self::Stop }
    }
}

/// The attempt that has ended when a [`RetryRule`] decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryAttempt {
    pub(super) number: u32,
    pub(super) max_attempts: u32,
}

impl RetryAttempt {
    /// Returns the number of the attempt that has just ended. The first is 1.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.number
    }

    /// Returns the configured maximum number of attempts. It is larger than
    /// [`number`](Self::number), because the rule is not called after the last attempt.
    #[must_use]
    pub const fn max_attempts(self) -> u32 {
        self.max_attempts
    }
}

/// A rule that decides after each attempt whether to retry.
///
/// Closures that map a result to a [`RetryDecision`] or a `bool` implement this trait.
///
/// A rule is called only if another attempt is possible. It is not called after the last attempt.
/// After [`Error::Operation`] or [`Error::Timeout`], it is called only if the next attempt would
/// begin before `max_elapsed` and the deadline, so that the rule may withdraw from a budget of its
/// own.
pub trait RetryRule<T, E>: Send + Sync {
    /// Decides what to do after `attempt` has ended with `result`.
    fn decide(&self, result: &Result<T, Error<E>>, attempt: RetryAttempt) -> RetryDecision;
}

impl<T, E, F, D> RetryRule<T, E> for F
where
    F: Fn(&Result<T, Error<E>>) -> D + Send + Sync,
    D: Into<RetryDecision>,
{
    #[inline]
    fn decide(&self, result: &Result<T, Error<E>>, _: RetryAttempt) -> RetryDecision {
        self(result).into()
    }
}

/// A rule that calls a closure with the result and the attempt; created by
/// [`Retry::when_with`](super::Retry::when_with).
#[derive(Clone, Copy, Debug)]
pub struct RetryAttemptRule<F>(pub(super) F);

impl<T, E, F, D> RetryRule<T, E> for RetryAttemptRule<F>
where
    F: Fn(&Result<T, Error<E>>, RetryAttempt) -> D + Send + Sync,
    D: Into<RetryDecision>,
{
    #[inline]
    fn decide(&self, result: &Result<T, Error<E>>, attempt: RetryAttempt) -> RetryDecision {
        self.0(result, attempt).into()
    }
}

/// The default rule, which retries after an error of the operation and after a timeout, but not
/// after a rejection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryOnFailure;

impl<T, E> RetryRule<T, E> for RetryOnFailure {
    #[inline]
    fn decide(&self, result: &Result<T, Error<E>>, _: RetryAttempt) -> RetryDecision {
        RetryDecision::from(matches!(result, Err(Error::Operation(_) | Error::Timeout(_))))
    }
}

/// A rule that retries the results that a classifier maps to a failure. Created by
/// [`Retry::classified_by`](super::Retry::classified_by) and
/// [`Retry::classified_with`](super::Retry::classified_with).
#[derive(Clone, Copy, Debug, Default)]
pub struct RetryClassified<C>(pub(super) C);

impl<T, E, C: Classify<T, E>> RetryRule<T, E> for RetryClassified<C> {
    #[inline]
    fn decide(&self, result: &Result<T, Error<E>>, _: RetryAttempt) -> RetryDecision {
        match self.0.classify(result, None) {
            Outcome::Unavailable(wait) => RetryDecision::RetryAfter(wait),
            outcome => RetryDecision::from(outcome.is_failure()),
        }
    }
}
