//! The builder's verbs: the one place of the pipeline that names single policies.

use super::layers::{GuardLayer, LimitLayer, RepeatLayer};
use super::stack::{EmptyStack, PipelineStack};
use super::{Pipeline, PipelineBuilder};
use crate::breaker::ClassifiedCircuitBreaker;
use crate::policy::{Policy, kind, kind::Matches};
use crate::rate::RateLimitPolicy;
use crate::retry::RetryWhen;
use crate::timeout::Timeout;

/// The stack of [`Pipeline::standard`].
pub type StandardStack<D, C> = PipelineStack<
    PipelineStack<
        PipelineStack<PipelineStack<EmptyStack, LimitLayer<Timeout>>, RepeatLayer<RetryWhen<D>>>,
        GuardLayer<ClassifiedCircuitBreaker<C>>,
    >,
    LimitLayer<Timeout>,
>;

impl Pipeline<EmptyStack> {
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
    pub fn standard<D: Send + Sync, C: Send + Sync>(
        call: impl Into<Timeout>,
        retry: impl Into<RetryWhen<D>>,
        breaker: impl Into<ClassifiedCircuitBreaker<C>>,
        attempt: impl Into<Timeout>,
    ) -> Pipeline<StandardStack<D, C>> {
        Self::builder().timeout(call).retry(retry).breaker(breaker).timeout(attempt).build()
    }
}

impl<S> PipelineBuilder<S> {
    /// Gives all that stands below so much time: a [`Timeout`], or just a `Duration`.
    #[must_use]
    pub fn timeout(
        self,
        timeout: impl Into<Timeout>,
    ) -> PipelineBuilder<PipelineStack<S, LimitLayer<Timeout>>> {
        self.limit(timeout.into())
    }

    /// Runs what stands below again when it fails: a [`Retry`](crate::retry::Retry), or one
    /// [`when`](crate::retry::Retry::when) your rule says so.
    #[must_use]
    pub fn retry<D>(
        self,
        retry: impl Into<RetryWhen<D>>,
    ) -> PipelineBuilder<PipelineStack<S, RepeatLayer<RetryWhen<D>>>>
    where
        D: Send + Sync,
    {
        self.repeat(retry.into())
    }

    /// Rejects calls while what stands below fails: a
    /// [`CircuitBreaker`](crate::breaker::CircuitBreaker), or one
    /// [`classified_by`](crate::breaker::CircuitBreaker::classified_by) your rule.
    #[must_use]
    pub fn breaker<C>(
        self,
        breaker: impl Into<ClassifiedCircuitBreaker<C>>,
    ) -> PipelineBuilder<PipelineStack<S, GuardLayer<ClassifiedCircuitBreaker<C>>>>
    where
        C: Send + Sync,
    {
        self.guard(breaker.into())
    }

    /// Rejects or holds up calls that come too fast: a [`RateLimiter`](crate::rate::RateLimiter), or one
    /// with a [cost](crate::rate::RateLimiter::cost) or with
    /// [a wait](crate::rate::RateLimiter::max_wait).
    #[must_use]
    pub fn rate_limit(
        self,
        limiter: impl Into<RateLimitPolicy>,
    ) -> PipelineBuilder<PipelineStack<S, GuardLayer<RateLimitPolicy>>> {
        self.guard(limiter.into())
    }

    /// Adds a [`Guard`](crate::policy::Guard): a policy that admits or rejects calls.
    ///
    /// ```compile_fail,E0277
    /// use mainstay::{pipeline::Pipeline, timeout::Timeout};
    /// # use std::time::Duration;
    ///
    /// // A timeout does not admit calls, it limits them: `.limit(..)`.
    /// let pipeline = Pipeline::builder().guard(Timeout::new(Duration::from_secs(1)));
    /// ```
    #[must_use]
    pub fn guard<G>(self, guard: G) -> PipelineBuilder<PipelineStack<S, GuardLayer<G>>>
    where
        G: Policy<Kind: Matches<kind::Guard>>,
    {
        self.push(GuardLayer(guard))
    }

    /// Adds a [`Repeat`](crate::policy::Repeat): a policy that may run a call again.
    ///
    /// ```compile_fail,E0277
    /// use mainstay::{pipeline::Pipeline, rate::{Quota, RateLimiter}};
    ///
    /// // A rate limiter does not run calls again, it admits them: `.guard(..)`.
    /// let limiter = RateLimiter::new(Quota::per_second(100)).unwrap();
    /// let pipeline = Pipeline::builder().repeat(limiter);
    /// ```
    #[must_use]
    pub fn repeat<R>(self, repeat: R) -> PipelineBuilder<PipelineStack<S, RepeatLayer<R>>>
    where
        R: Policy<Kind: Matches<kind::Repeat>>,
    {
        self.push(RepeatLayer(repeat))
    }

    /// Adds a [`Limit`](crate::policy::Limit): a policy that bounds the time of a call.
    ///
    /// ```compile_fail,E0277
    /// use mainstay::{pipeline::Pipeline, retry::Retry};
    ///
    /// // A retry does not bound the time of a call, it runs it again: `.repeat(..)`.
    /// let pipeline = Pipeline::builder().limit(Retry::builder().build().unwrap());
    /// ```
    #[must_use]
    pub fn limit<L>(self, limit: L) -> PipelineBuilder<PipelineStack<S, LimitLayer<L>>>
    where
        L: Policy<Kind: Matches<kind::Limit>>,
    {
        self.push(LimitLayer(limit))
    }

    fn push<L>(self, inner: L) -> PipelineBuilder<PipelineStack<S, L>> {
        PipelineBuilder { stack: PipelineStack { outer: self.stack, inner } }
    }

    /// The pipeline. Cannot fail: its parts were validated when they were built.
    #[must_use]
    pub fn build(self) -> Pipeline<S> {
        Pipeline { stack: self.stack }
    }
}
