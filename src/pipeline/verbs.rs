//! The builder's verbs: the one place of the pipeline that names single policies.

use super::layers::{Guarded, Limited, Repeated};
use super::stack::{Bottom, Stack};
use super::{Builder, Pipeline};
use crate::breaker::ClassifiedCircuitBreaker;
use crate::rate::Admission;
use crate::retry::RetryWhen;
use crate::timeout::Timeout;

/// The stack of [`Pipeline::standard`].
pub type StandardStack<D, C> = Stack<
    Stack<
        Stack<Stack<Bottom, Limited<Timeout>>, Repeated<RetryWhen<D>>>,
        Guarded<ClassifiedCircuitBreaker<C>>,
    >,
    Limited<Timeout>,
>;

impl Pipeline<Bottom> {
    /// The order that suits most calls: a time limit for the `call` as a whole, a `retry`, a `breaker`
    /// that hears of every attempt, a time limit for one `attempt`.
    ///
    /// ```
    /// use mainstay::{breaker::CircuitBreaker, pipeline::Pipeline, retry::Retry};
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), mainstay::error::ConfigError> {
    /// let breaker = CircuitBreaker::builder().name("search").build()?;
    /// let retry = Retry::builder().idempotent(true).build()?;
    /// let pipeline =
    ///     Pipeline::standard(Duration::from_secs(2), retry, &breaker, Duration::from_millis(300));
    /// assert!(pipeline.check().is_empty());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// What limits rate or concurrency belongs between the breaker and the attempt's time limit; write
    /// such a stack with the [`builder`](Self::builder).
    #[must_use]
    pub fn standard<D, C>(
        call: impl Into<Timeout>,
        retry: impl Into<RetryWhen<D>>,
        breaker: impl Into<ClassifiedCircuitBreaker<C>>,
        attempt: impl Into<Timeout>,
    ) -> Pipeline<StandardStack<D, C>> {
        Self::builder().timeout(call).retry(retry).breaker(breaker).timeout(attempt).build()
    }
}

impl<S> Builder<S> {
    /// Gives all that stands below so much time: a [`Timeout`], or just a `Duration`.
    #[must_use]
    pub fn timeout(self, timeout: impl Into<Timeout>) -> Builder<Stack<S, Limited<Timeout>>> {
        self.limit(timeout.into())
    }

    /// Runs what stands below again when it fails: a [`Retry`](crate::retry::Retry), or one
    /// [`when`](crate::retry::Retry::when) your rule says so.
    #[must_use]
    pub fn retry<D>(
        self,
        retry: impl Into<RetryWhen<D>>,
    ) -> Builder<Stack<S, Repeated<RetryWhen<D>>>> {
        self.repeat(retry.into())
    }

    /// Rejects calls while what stands below fails: a
    /// [`CircuitBreaker`](crate::breaker::CircuitBreaker), or one
    /// [`classified_by`](crate::breaker::CircuitBreaker::classified_by) your rule.
    #[must_use]
    pub fn breaker<C>(
        self,
        breaker: impl Into<ClassifiedCircuitBreaker<C>>,
    ) -> Builder<Stack<S, Guarded<ClassifiedCircuitBreaker<C>>>> {
        self.guard(breaker.into())
    }

    /// Rejects or holds up calls that come too fast: a [`RateLimiter`](crate::rate::RateLimiter), or one
    /// with a [cost](crate::rate::RateLimiter::costing) or with
    /// [patience](crate::rate::RateLimiter::waiting_at_most).
    #[must_use]
    pub fn rate_limit(
        self,
        limiter: impl Into<Admission>,
    ) -> Builder<Stack<S, Guarded<Admission>>> {
        self.guard(limiter.into())
    }

    /// Any [`Guard`](crate::policy::Guard).
    #[must_use]
    pub fn guard<G>(self, guard: G) -> Builder<Stack<S, Guarded<G>>> {
        self.push(Guarded(guard))
    }

    /// Any [`Repeat`](crate::policy::Repeat).
    #[must_use]
    pub fn repeat<R>(self, repeat: R) -> Builder<Stack<S, Repeated<R>>> {
        self.push(Repeated(repeat))
    }

    /// Any [`Limit`](crate::policy::Limit).
    #[must_use]
    pub fn limit<L>(self, limit: L) -> Builder<Stack<S, Limited<L>>> {
        self.push(Limited(limit))
    }

    fn push<L>(self, inner: L) -> Builder<Stack<S, L>> {
        Builder { stack: Stack { outer: self.stack, inner } }
    }

    /// The pipeline. Cannot fail: its parts were validated when they were built.
    #[must_use]
    pub fn build(self) -> Pipeline<S> {
        Pipeline { stack: self.stack }
    }
}
