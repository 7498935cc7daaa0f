//! Retries of failed operations: [`Retry`].
//!
//! # Examples
//!
//! ```
//! use mainstay::{backoff::Backoff, retry::Retry};
//! use std::{cell::Cell, time::Duration};
//!
//! # fn main() -> Result<(), mainstay::error::ConfigError> {
//! let retry = Retry::builder()
//!     .max_attempts(4)
//!     .backoff(Backoff::exponential(Duration::from_millis(1)))
//!     .build()?;
//!
//! let attempts = Cell::new(0);
//! let result = retry.call_blocking(|| {
//!     attempts.set(attempts.get() + 1);
//!     if attempts.get() < 3 { Err("not yet") } else { Ok("done") }
//! });
//! assert_eq!((result, attempts.get()), (Ok("done"), 3));
//! # Ok(())
//! # }
//! ```
//!
//! # How it works
//!
//! ## What is retried
//!
//! By default, the retry repeats an operation after an error of the operation and after a timeout.
//! It does not retry after a rejection: a policy that has just rejected a call would most likely
//! reject the next one.
//!
//! [`when`](Retry::when) creates a view with another rule. The rule receives the whole `Result`,
//! because a response with the HTTP status 503 is an `Ok`. The rule may return the wait that the
//! server requests:
//!
//! ```
//! use mainstay::retry::{Retry, RetryDecision};
//! # use std::time::Duration;
//!
//! # struct Response { status: u16, retry_after: Option<Duration> }
//! # let retry = Retry::builder().build()?;
//! let retry = retry.when(|result| match result {
//!     Ok(Response { status: 429 | 503, retry_after: Some(wait) }) => {
//!         RetryDecision::RetryAfter(*wait)
//!     }
//!     Ok(response) => RetryDecision::from(response.status >= 500),
//!     Err(error) => RetryDecision::from(!error.is_rejected()),
//! });
//! # let response = || Ok::<_, std::io::Error>(Response { status: 200, retry_after: None });
//! # let _ = retry.call_blocking(response);
//! # Ok::<(), mainstay::error::ConfigError>(())
//! ```
//!
//! Retry only operations that may safely run more than once: an attempt that timed out may have
//! taken effect. Declare such an operation with
//! [`assume_idempotent`](RetryBuilder::assume_idempotent), or use `when` to select the results
//! after which a retry is safe, such as a refused connection.
//! [`Pipeline::check`](crate::pipeline::Pipeline::check) reports a retry that uses neither.
//!
//! ## When a retry stops
//!
//! The retry stops after [`max_attempts`](RetryBuilder::max_attempts). It also stops if the next
//! attempt would begin after [`max_elapsed`](RetryBuilder::max_elapsed) or after the deadline of an
//! outer timeout. In that case the retry returns immediately instead of waiting.
//!
//! A wait that the server requests is a minimum: the retry waits for the longer of this wait and
//! the backoff. If the requested wait exceeds [`max_retry_after`](RetryBuilder::max_retry_after),
//! the retry stops.
//!
//! The caller receives the result of the last attempt. There is one exception: if the last attempt
//! was rejected and an earlier one failed, the caller receives that failure, because it contains
//! more information about the operation.
//!
//! ## Budget
//!
//! Retries multiply the load of a dependency that fails every call. A
//! [`budget`](RetryBuilder::budget), shared by all retries and hedges of the dependency, bounds
//! them to a share of the calls. If the budget is exhausted, the caller receives the result of the
//! last attempt.
//!
//! # Observability
//!
//! An [observer](RetryBuilder::observer) receives an event of kind `retry` for each retry, with the
//! number of the `attempt` that has ended, its `result` (`ok`, `operation`, `timeout` or
//! `rejected`), and the `wait` that follows. It receives an event of kind `suppressed`, with
//! `attempt` and `result`, for each retry that the budget did not cover.
//! [`snapshot`](Retry::snapshot) counts the events of each kind.
//!
//! # Cancel safety
//!
//! Dropping the future of a call drops the current attempt or wait, and its permit of the budget.
//! The future holds no other resources.
//!
//! # Performance
//!
//! A successful first attempt reads the clock only if `max_elapsed` or a deadline is set, and does
//! not allocate. Each further attempt allocates twice, and once
//! more for the timer of its wait, except in blocking calls.
//!
//! # Defaults
//!
//! | setting | default |
//! |---|---|
//! | [`max_attempts`](RetryBuilder::max_attempts) | 3 |
//! | [`backoff`](RetryBuilder::backoff) | 100 ms, doubling up to 30 s, full jitter |
//! | [`max_elapsed`](RetryBuilder::max_elapsed) | unlimited |
//! | [`max_retry_after`](RetryBuilder::max_retry_after) | 60 s |
//! | [`budget`](RetryBuilder::budget) | none; in [`Pipeline::standard`](crate::pipeline::Pipeline::standard) 20 % of the calls in flight, at least 3 |

mod config;
mod events;
mod future;
mod last_error;
mod policy;
mod rule;
mod state;
#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests;
mod when;

pub use config::RetryBuilder;
pub use future::RetryFuture;
pub use rule::{
    RetryAttempt, RetryAttemptRule, RetryClassified, RetryDecision, RetryOnFailure, RetryRule,
};
pub use when::RetryWhen;

use crate::budget::Budget;
use crate::error::Error;
#[cfg(doc)]
use crate::outcome::Classify;
use crate::outcome::Outcome;
use crate::policy::guarded::OperationFuture;
use crate::policy::{Attempt, Context};
use crate::sync::PlainArc;
use config::Config;
use future::BorrowedRetry;
use last_error::LastError;
use state::State;
use std::future::Future;

/// A retry policy, which runs an operation again if it fails. See the [module](self).
///
/// Clones share the settings, the budget and the counters.
#[derive(Clone, Debug)]
pub struct Retry(PlainArc<Config>);

/// The counters of a [`Retry`] at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetrySnapshot {
    /// The number of retries since the retry was built. First attempts are not counted.
    pub retries: u64,
    /// The number of retries that the budget did not cover.
    pub suppressed: u64,
}

impl Retry {
    /// Creates a builder with the [defaults](self#defaults).
    #[must_use]
    pub fn builder() -> RetryBuilder {
        RetryBuilder::default()
    }

    /// Returns a view of this retry with another rule. `rule` is a closure that maps the result of
    /// an attempt to a [`RetryDecision`] or a `bool`.
    ///
    /// The rule is called only if another attempt is possible; see [`RetryRule`].
    ///
    /// ```
    /// # use mainstay::retry::Retry;
    /// let retry = Retry::builder().build()?;
    /// let retry = retry.when(|result| matches!(result, Ok(status) if *status >= 500));
    /// assert_eq!(retry.call_blocking(|| Ok::<u16, ()>(503)), Ok(503));
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn when<T, E, F, D>(&self, rule: F) -> RetryWhen<F>
    where
        F: Fn(&Result<T, Error<E>>) -> D + Send + Sync,
        D: Into<RetryDecision>,
    {
        self.with_rule(rule)
    }

    /// Returns a view of this retry with another rule. Unlike the closure of [`when`](Self::when),
    /// `rule` also receives the [`RetryAttempt`] that has ended.
    ///
    /// ```
    /// # use mainstay::retry::Retry;
    /// # let budget = || true;
    /// let retry = Retry::builder().build()?;
    /// // The first retry is always allowed; each further retry withdraws from a budget.
    /// let retry = retry.when_with(|result, attempt| {
    ///     result.is_err() && (attempt.number() == 1 || budget())
    /// });
    /// # let _ = retry.call_blocking(|| Ok::<(), ()>(()));
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn when_with<T, E, F, D>(&self, rule: F) -> RetryWhen<RetryAttemptRule<F>>
    where
        F: Fn(&Result<T, Error<E>>, RetryAttempt) -> D + Send + Sync,
        D: Into<RetryDecision>,
    {
        self.with_rule(RetryAttemptRule(rule))
    }

    /// Returns a view of this retry with another rule, of a type that implements [`RetryRule`].
    ///
    /// ```
    /// # use mainstay::error::Error;
    /// # use mainstay::retry::{Retry, RetryAttempt, RetryDecision, RetryRule};
    /// struct OnTimeout;
    ///
    /// impl<T, E> RetryRule<T, E> for OnTimeout {
    ///     fn decide(
    ///         &self,
    ///         result: &Result<T, Error<E>>,
    ///         _: RetryAttempt,
    ///     ) -> RetryDecision {
    ///         result.as_ref().is_err_and(Error::is_timeout).into()
    ///     }
    /// }
    ///
    /// let retry = Retry::builder().build()?.with_rule(OnTimeout);
    /// # let _ = retry.call_blocking(|| Ok::<(), ()>(()));
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn with_rule<R>(&self, rule: R) -> RetryWhen<R> {
        RetryWhen { retry: self.clone(), rule, safety: self.0.repeat_safety_by_rule() }
    }

    /// Returns a view of this retry that retries the results that `classify` maps to a failure. A
    /// breaker and a retry can share one classifier.
    ///
    /// ```
    /// # use mainstay::{breaker::CircuitBreaker, error::Error, outcome::Outcome, retry::Retry};
    /// fn classify(result: &Result<u16, Error<std::io::Error>>) -> Outcome {
    ///     match result {
    ///         Ok(status) if *status < 500 => Outcome::Success,
    ///         Err(error) if error.is_rejected() => Outcome::Ignore,
    ///         _ => Outcome::Failure,
    ///     }
    /// }
    /// let retry = Retry::builder().build()?.classified_by(classify);
    /// let breaker = CircuitBreaker::builder().build()?.classified_by(classify);
    /// # let _ = (retry.call_blocking(|| Ok(200)), breaker.call_blocking(|| Ok(200)));
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn classified_by<T, E, C>(&self, classify: C) -> RetryWhen<RetryClassified<C>>
    where
        C: Fn(&Result<T, Error<E>>) -> Outcome + Send + Sync,
    {
        self.classified_with(classify)
    }

    /// Returns a view of this retry that retries the results that `classifier` maps to a failure.
    /// The classifier receives no elapsed time.
    ///
    /// ```
    /// # use mainstay::{FailOnError, Retry};
    /// let retry = Retry::builder().build()?.classified_with(FailOnError);
    /// assert_eq!(retry.call_blocking(|| Ok::<_, ()>(1)), Ok(1));
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub fn classified_with<C>(&self, classifier: C) -> RetryWhen<RetryClassified<C>> {
        // A classifier describes the health of the dependency, not whether a second attempt is
        // safe.
        let safety = self.0.repeat_safety();
        RetryWhen { retry: self.clone(), rule: RetryClassified(classifier), safety }
    }

    /// Runs `op` until it succeeds or the retry stops.
    ///
    /// ```
    /// # use mainstay::retry::Retry;
    /// # async fn fetch(_: &str) -> Result<u32, std::io::Error> { Ok(42) }
    /// # futures::executor::block_on(async {
    /// let retry = Retry::builder().build()?;
    /// let result = retry.call(|| fetch("mast")).await;
    /// # assert!(matches!(result, Ok(42)));
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// # });
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the error of the last attempt that failed.
    pub async fn call<Op, Fut, T, E>(&self, mut op: Op) -> Result<T, Error<E>>
    where
        Op: FnMut() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.call_with(|_| op()).await
    }

    /// Runs `op` until it succeeds or the retry stops, and passes it the [`Context`] of each
    /// attempt.
    ///
    /// ```
    /// # use mainstay::Retry;
    /// # let retry = Retry::builder().build()?;
    /// # futures::executor::block_on(async {
    /// let attempt = retry.call_with(|cx| async move { Ok::<_, ()>(cx.attempt()) });
    /// assert_eq!(attempt.await, Ok(1));
    /// # });
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the error of the last attempt that failed.
    pub async fn call_with<Op, Fut, T, E>(&self, mut op: Op) -> Result<T, Error<E>>
    where
        Op: FnMut(Context) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.run(Context::new(), &RetryOnFailure, |cx| OperationFuture(op(cx))).await
    }

    /// Runs the closure `op` until it succeeds or the retry stops, blocking the thread.
    ///
    /// ```
    /// # use mainstay::Retry;
    /// # let retry = Retry::builder().build()?;
    /// assert_eq!(retry.call_blocking(|| Ok::<_, ()>(1)), Ok(1));
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the error of the last attempt that failed.
    pub fn call_blocking<T, E>(&self, mut op: impl FnMut() -> Result<T, E>) -> Result<T, Error<E>> {
        self.call_with_blocking(|_| op())
    }

    /// Runs the closure `op` until it succeeds or the retry stops, blocking the thread, and passes
    /// it the [`Context`] of each attempt.
    ///
    /// ```
    /// # use mainstay::retry::Retry;
    /// let retry = Retry::builder().build()?;
    /// let attempt = retry.call_with_blocking(|cx| Ok::<_, ()>(cx.attempt()));
    /// assert_eq!(attempt, Ok(1));
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the error of the last attempt that failed.
    pub fn call_with_blocking<T, E>(
        &self,
        mut op: impl FnMut(Context) -> Result<T, E>,
    ) -> Result<T, Error<E>> {
        self.run_blocking(Context::new(), &RetryOnFailure, |cx| op(cx).map_err(Error::Operation))
    }

    /// Returns the name that was given to the builder.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// Returns the counters. Clones and views of a retry share them.
    #[must_use]
    pub fn snapshot(&self) -> RetrySnapshot {
        let emitter = &self.0.emitter;
        RetrySnapshot { retries: emitter.retries(), suppressed: emitter.suppressions() }
    }

    /// Returns this retry with another budget, for example with that of the dependency that is
    /// called. It shares all other settings and the counters.
    ///
    /// Allocates a copy of the settings.
    ///
    /// ```
    /// # use mainstay::{Budget, KeyedBudget, Retry};
    /// let budgets = KeyedBudget::<String>::builder(Budget::builder()).build()?;
    /// let retry = Retry::builder().build()?;
    /// let to_search = retry.with_budget(budgets.budget("search-1")?);
    /// assert_eq!(to_search.call_blocking(|| Ok::<_, ()>(1)), Ok(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn with_budget(&self, budget: impl Into<Budget>) -> Self {
        let budget = Some(budget.into());
        Self(PlainArc::new(Config { budget, ..Config::clone(&self.0) }))
    }

    /// Returns this retry with its own budget, or with a new default budget if it has none.
    pub(crate) fn with_default_budget(self) -> Self {
        match self.0.budget {
            Some(_) => self,
            None => {
                let budget = Some(Budget::default());
                Self(PlainArc::new(Config { budget, ..Config::clone(&self.0) }))
            }
        }
    }

    #[inline]
    fn run<'a, R, Op, T, E>(
        &'a self,
        cx: Context,
        rule: &'a R,
        op: Op,
    ) -> RetryFuture<BorrowedRetry<'a, R>, Op, Op::Future, E>
    where
        R: RetryRule<T, E>,
        Op: Attempt<T, E>,
    {
        RetryFuture::new(BorrowedRetry { retry: self, rule }, cx, op)
    }

    fn run_blocking<R, Op, T, E>(&self, cx: Context, rule: &R, mut op: Op) -> Result<T, Error<E>>
    where
        R: RetryRule<T, E>,
        Op: FnMut(Context) -> Result<T, Error<E>>,
    {
        let cx = State::first_context(&self.0, cx);
        let mut state = State::new(cx, self.0.budget.as_ref().map(Budget::start_call));
        let mut last_error = LastError::NONE;
        loop {
            let result = op(state.context(&self.0));
            match state.wait_after(&result, rule, &self.0) {
                None => return last_error.or(result),
                Some(wait) => {
                    last_error.store(result);
                    self.0.clock.sleep_blocking(wait);
                }
            }
        }
    }
}
