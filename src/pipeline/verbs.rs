//! The standard pipelines, and the methods of the builder that add policies. No other file of the
//! pipeline names the types of individual policies.

use super::layers::{GuardLayer, RepeatLayer, TimeLimitLayer};
use super::stack::{EmptyStack, PipelineStack};
use super::{Pipeline, PipelineBuilder};
use crate::breaker::ClassifiedCircuitBreaker;
use crate::chaos::{Chaos, ChaosWith};
use crate::concurrency::{
    BulkheadPolicy, ClassifiedAdaptiveLimiter, ClassifiedThrottle, Prioritizer,
};
use crate::fallback::{FallbackTo, FallbackToOperation};
use crate::hedge::ClassifiedHedge;
use crate::policy::{Policy, kind, kind::Matches};
use crate::rate::RateLimitPolicy;
use crate::retry::RetryWhen;
use crate::timeout::Timeout;

/// The stack of [`Pipeline::standard`].
pub type StandardStack<D, C> = PipelineStack<
    PipelineStack<
        PipelineStack<
            PipelineStack<EmptyStack, TimeLimitLayer<Timeout>>,
            RepeatLayer<RetryWhen<D>>,
        >,
        GuardLayer<ClassifiedCircuitBreaker<C>>,
    >,
    TimeLimitLayer<Timeout>,
>;

/// The stack of [`Pipeline::standard_read`].
pub type StandardReadStack<H, C> = PipelineStack<
    PipelineStack<
        PipelineStack<
            PipelineStack<EmptyStack, TimeLimitLayer<Timeout>>,
            RepeatLayer<ClassifiedHedge<H>>,
        >,
        GuardLayer<ClassifiedCircuitBreaker<C>>,
    >,
    TimeLimitLayer<Timeout>,
>;

/// The stack of [`Pipeline::standard_once`].
pub type StandardOnceStack<C> = PipelineStack<
    PipelineStack<EmptyStack, GuardLayer<ClassifiedCircuitBreaker<C>>>,
    TimeLimitLayer<Timeout>,
>;

/// Pipelines in the recommended order, for three kinds of operation:
///
/// | the operation | pipeline |
/// |---|---|
/// | only reads, and may run twice at the same time | [`standard_read`](Self::standard_read) |
/// | may run more than once, one run after the other | [`standard`](Self::standard) |
/// | must run at most once | [`standard_once`](Self::standard_once) |
impl Pipeline<EmptyStack> {
    /// Creates a pipeline for operations that may run more than once: a timeout for the whole call,
    /// a retry, a breaker that records every attempt, a timeout for one attempt.
    ///
    /// ```
    /// use mainstay::{breaker::CircuitBreaker, pipeline::Pipeline, retry::Retry};
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), mainstay::error::ConfigError> {
    /// let breaker = CircuitBreaker::builder().name("search").build()?;
    /// let retry = Retry::builder().assume_idempotent().build()?;
    /// let pipeline =
    ///     Pipeline::standard(Duration::from_secs(2), retry, &breaker, Duration::from_millis(300));
    /// assert!(pipeline.check().is_empty());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A retry without a [budget](crate::retry::RetryBuilder::budget) receives the default budget,
    /// which is not shared with other pipelines: up to 20 % of the calls in flight may be retries,
    /// and at least 3 are allowed.
    ///
    /// Rate and concurrency limits belong between the breaker and the attempt timeout. Build such a
    /// stack with [`builder`](Self::builder).
    #[must_use]
    pub fn standard<D: Send + Sync, C: Send + Sync>(
        call_timeout: impl Into<Timeout>,
        retry: impl Into<RetryWhen<D>>,
        breaker: impl Into<ClassifiedCircuitBreaker<C>>,
        attempt_timeout: impl Into<Timeout>,
    ) -> Pipeline<StandardStack<D, C>> {
        Self::builder()
            .timeout(call_timeout)
            .retry(retry.into().with_default_budget())
            .breaker(breaker)
            .timeout(attempt_timeout)
            .build()
    }

    /// Creates a pipeline for operations that only read: a timeout for the whole call, a hedge, a
    /// breaker that records every attempt that completes, a timeout for one attempt.
    ///
    /// The hedge starts a second attempt if the first is slow. It does not repeat a failed attempt,
    /// unless [`hedge_failures`](crate::hedge::HedgeBuilder::hedge_failures) is set.
    ///
    /// ```
    /// use mainstay::{CircuitBreaker, Hedge, Pipeline};
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), mainstay::ConfigError> {
    /// let breaker = CircuitBreaker::builder().name("search").build()?;
    /// let hedge = Hedge::builder().assume_idempotent().build()?;
    /// let (call, attempt) = (Duration::from_secs(2), Duration::from_millis(300));
    /// let pipeline = Pipeline::standard_read(call, hedge, &breaker, attempt);
    /// assert!(pipeline.check().is_empty());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn standard_read<H: Send + Sync, C: Send + Sync>(
        call_timeout: impl Into<Timeout>,
        hedge: impl Into<ClassifiedHedge<H>>,
        breaker: impl Into<ClassifiedCircuitBreaker<C>>,
        attempt_timeout: impl Into<Timeout>,
    ) -> Pipeline<StandardReadStack<H, C>> {
        Self::builder()
            .timeout(call_timeout)
            .hedge(hedge)
            .breaker(breaker)
            .timeout(attempt_timeout)
            .build()
    }

    /// Creates a pipeline for operations that must run at most once: a breaker, and a timeout,
    /// which the breaker records as a failure.
    ///
    /// The operation may consume the values it captures; see [`call_once`](Self::call_once).
    ///
    /// ```
    /// use mainstay::{CircuitBreaker, Pipeline};
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), mainstay::ConfigError> {
    /// let breaker = CircuitBreaker::builder().name("payments").build()?;
    /// let pipeline = Pipeline::standard_once(&breaker, Duration::from_secs(2));
    /// assert!(pipeline.check().is_empty());
    /// let order = String::from("moved into the call");
    /// assert_eq!(pipeline.call_once_blocking(|| Ok::<_, ()>(order.len())), Ok(19));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn standard_once<C: Send + Sync>(
        breaker: impl Into<ClassifiedCircuitBreaker<C>>,
        timeout: impl Into<Timeout>,
    ) -> Pipeline<StandardOnceStack<C>> {
        Self::builder().breaker(breaker).timeout(timeout).build()
    }
}

impl<S> PipelineBuilder<S> {
    /// Adds a time limit for the policies below and the operation: a [`Timeout`] or a `Duration`.
    ///
    /// ```
    /// # use mainstay::Pipeline;
    /// # use std::time::Duration;
    /// let pipeline = Pipeline::builder().timeout(Duration::from_secs(1)).build();
    /// assert_eq!(pipeline.call_blocking(|| Ok::<_, ()>(1)), Ok(1));
    /// ```
    #[must_use]
    pub fn timeout(
        self,
        timeout: impl Into<Timeout>,
    ) -> PipelineBuilder<PipelineStack<S, TimeLimitLayer<Timeout>>> {
        self.time_limit(timeout.into())
    }

    /// Adds a retry, which repeats the policies below and the operation: a
    /// [`Retry`](crate::retry::Retry), or a view of it with a [rule](crate::retry::Retry::when). A
    /// reference is cloned.
    ///
    /// ```
    /// # use mainstay::{Pipeline, Retry};
    /// let retry = Retry::builder().max_attempts(2).build()?;
    /// let pipeline = Pipeline::builder().retry(&retry).build();
    /// assert_eq!(pipeline.call_blocking(|| Ok::<_, ()>(1)), Ok(1));
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
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

    /// Adds a fallback for the errors of the policies below and of the operation: a
    /// [`Fallback`](crate::fallback::Fallback) with a [value](crate::fallback::Fallback::value) or
    /// a [function](crate::fallback::Fallback::handle). A reference is cloned.
    ///
    /// ```
    /// # use mainstay::{Fallback, Pipeline};
    /// let pipeline = Pipeline::builder().fallback(Fallback::new().value(0)).build();
    /// assert_eq!(pipeline.call_blocking(|| Err::<u32, _>("down")), Ok(0));
    /// ```
    #[must_use]
    pub fn fallback<H>(
        self,
        fallback: impl Into<FallbackTo<H>>,
    ) -> PipelineBuilder<PipelineStack<S, RepeatLayer<FallbackTo<H>>>>
    where
        H: Send + Sync,
    {
        self.repeat(fallback.into())
    }

    /// Adds a fallback to another [operation](crate::fallback::Fallback::operation), which runs if
    /// the policies below or the first operation return an error. A reference is cloned.
    ///
    /// ```
    /// # use mainstay::{Error, Fallback, Pipeline};
    /// let fallback =
    ///     Fallback::new().operation(|_: Error<&str>, _| async { Ok::<_, &str>(7) });
    /// let pipeline = Pipeline::builder().fallback_to(fallback).build();
    /// # futures::executor::block_on(async {
    /// assert_eq!(pipeline.call(|| async { Err("down") }).await, Ok(7));
    /// # });
    /// ```
    #[must_use]
    pub fn fallback_to<F>(
        self,
        fallback: impl Into<FallbackToOperation<F>>,
    ) -> PipelineBuilder<PipelineStack<S, RepeatLayer<FallbackToOperation<F>>>>
    where
        F: Send + Sync,
    {
        self.repeat(fallback.into())
    }

    /// Adds a [`Hedge`](crate::hedge::Hedge), or a view of it with a
    /// [classifier](crate::hedge::Hedge::classified_by). It runs the policies below and the
    /// operation a second time if the first attempt is slow, and returns the first success. A
    /// reference is cloned.
    ///
    /// ```
    /// # use mainstay::{Hedge, Pipeline};
    /// let hedge = Hedge::builder().assume_idempotent().build()?;
    /// let pipeline = Pipeline::builder().hedge(&hedge).build();
    /// # futures::executor::block_on(async {
    /// assert_eq!(pipeline.call(|| async { Ok::<_, ()>(1) }).await, Ok(1));
    /// # });
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub fn hedge<C>(
        self,
        hedge: impl Into<ClassifiedHedge<C>>,
    ) -> PipelineBuilder<PipelineStack<S, RepeatLayer<ClassifiedHedge<C>>>>
    where
        C: Send + Sync,
    {
        self.repeat(hedge.into())
    }

    /// Adds a circuit breaker: a [`CircuitBreaker`](crate::breaker::CircuitBreaker), or a view of
    /// it with a [classifier](crate::breaker::CircuitBreaker::classified_by). A reference is
    /// cloned.
    ///
    /// ```
    /// # use mainstay::{CircuitBreaker, Pipeline};
    /// let breaker = CircuitBreaker::new();
    /// let pipeline = Pipeline::builder().breaker(&breaker).build();
    /// assert_eq!(pipeline.call_blocking(|| Ok::<_, ()>(1)), Ok(1));
    /// ```
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

    /// Adds a rate limit: a [`RateLimiter`](crate::rate::RateLimiter), or a view of it with a cost
    /// or a maximum wait. A reference is cloned.
    ///
    /// ```
    /// # use mainstay::{Pipeline, Quota, RateLimiter};
    /// # use std::time::Duration;
    /// let limiter = RateLimiter::new(Quota::per_second(100))?;
    /// let waiting = limiter.max_wait(Duration::from_millis(50));
    /// let pipeline = Pipeline::builder().rate_limit(waiting).build();
    /// assert_eq!(pipeline.call_blocking(|| Ok::<_, ()>(1)), Ok(1));
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub fn rate_limit(
        self,
        limiter: impl Into<RateLimitPolicy>,
    ) -> PipelineBuilder<PipelineStack<S, GuardLayer<RateLimitPolicy>>> {
        self.guard(limiter.into())
    }

    /// Adds a [`Bulkhead`](crate::concurrency::Bulkhead), or a view of it with a
    /// [cost](crate::concurrency::Bulkhead::cost) or a
    /// [maximum wait](crate::concurrency::Bulkhead::max_wait). It rejects or delays calls beyond a
    /// fixed number of concurrent calls. A reference is cloned.
    #[must_use]
    pub fn bulkhead(
        self,
        bulkhead: impl Into<BulkheadPolicy>,
    ) -> PipelineBuilder<PipelineStack<S, GuardLayer<BulkheadPolicy>>> {
        self.guard(bulkhead.into())
    }

    /// Adds an [`AdaptiveLimiter`](crate::concurrency::AdaptiveLimiter), or a view of it with a
    /// [classifier](crate::concurrency::AdaptiveLimiter::classified_by). It rejects calls beyond a
    /// concurrency limit, which it adapts to the measured latencies. A reference is cloned.
    ///
    /// ```
    /// # use mainstay::{AdaptiveLimiter, Pipeline};
    /// let limiter = AdaptiveLimiter::builder().build()?;
    /// let pipeline = Pipeline::builder().adaptive_limit(&limiter).build();
    /// assert_eq!(pipeline.call_blocking(|| Ok::<_, ()>(1)), Ok(1));
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub fn adaptive_limit<C>(
        self,
        limiter: impl Into<ClassifiedAdaptiveLimiter<C>>,
    ) -> PipelineBuilder<PipelineStack<S, GuardLayer<ClassifiedAdaptiveLimiter<C>>>>
    where
        C: Send + Sync,
    {
        self.guard(limiter.into())
    }

    /// Adds a [`Throttle`](crate::concurrency::Throttle), or a view of it with a
    /// [classifier](crate::concurrency::Throttle::classified_by). It rejects a share of the calls.
    /// The share grows with the share of admitted calls that fail. A reference is cloned.
    ///
    /// ```
    /// # use mainstay::{Pipeline, Throttle};
    /// let throttle = Throttle::builder().build()?;
    /// let pipeline = Pipeline::builder().throttle(&throttle).build();
    /// assert_eq!(pipeline.call_blocking(|| Ok::<_, ()>(1)), Ok(1));
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub fn throttle<C>(
        self,
        throttle: impl Into<ClassifiedThrottle<C>>,
    ) -> PipelineBuilder<PipelineStack<S, GuardLayer<ClassifiedThrottle<C>>>>
    where
        C: Send + Sync,
    {
        self.guard(throttle.into())
    }

    /// Adds a [`Prioritizer`], which rejects the least important calls under overload. The priority
    /// and the user of a call are those of its [caller](crate::Pipeline::with_caller). Add the
    /// prioritizer above the limiters that it observes.
    ///
    /// ```
    /// # use mainstay::{Bulkhead, Pipeline, Prioritizer};
    /// let bulkhead = Bulkhead::builder().build()?;
    /// let prioritizer = Prioritizer::builder().limiter(bulkhead.clone()).build()?;
    /// let pipeline =
    ///     Pipeline::builder().prioritizer(&prioritizer).bulkhead(&bulkhead).build();
    /// assert_eq!(pipeline.call_blocking(|| Ok::<_, ()>(1)), Ok(1));
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub fn prioritizer(
        self,
        prioritizer: &Prioritizer,
    ) -> PipelineBuilder<PipelineStack<S, GuardLayer<Prioritizer>>> {
        self.guard(prioritizer.clone())
    }

    /// Adds a [`Chaos`] policy, which delays, rejects and panics while its switch is on. Add it
    /// below all other policies, in the place of the dependency. A reference is cloned.
    ///
    /// ```
    /// # use mainstay::{Chaos, Fault, Pipeline};
    /// let chaos = Chaos::builder().fault(Fault::hang().probability(0.01)).build()?;
    /// let pipeline = Pipeline::builder().chaos(&chaos).build();
    /// assert_eq!(pipeline.call_blocking(|| Ok::<_, ()>(1)), Ok(1));
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub fn chaos(
        self,
        chaos: impl Into<Chaos>,
    ) -> PipelineBuilder<PipelineStack<S, GuardLayer<Chaos>>> {
        self.guard(chaos.into())
    }

    /// Adds a [`Chaos`] policy that also returns [errors](Chaos::errors) or
    /// [results](Chaos::results) in place of the operation. Add it below all other policies. A
    /// reference is cloned.
    ///
    /// ```
    /// # use mainstay::{Chaos, Fault, Pipeline};
    /// let chaos = Chaos::builder().fault(Fault::error().probability(0.01)).build()?;
    /// let pipeline = Pipeline::builder().chaos_with(chaos.errors(|_| "injected")).build();
    /// assert_eq!(pipeline.call_blocking(|| Ok(1)), Ok(1));
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub fn chaos_with<R>(
        self,
        chaos: impl Into<ChaosWith<R>>,
    ) -> PipelineBuilder<PipelineStack<S, RepeatLayer<ChaosWith<R>>>>
    where
        R: Send + Sync,
    {
        self.repeat(chaos.into())
    }

    /// Adds a [`Guard`](crate::policy::Guard): a policy that admits or rejects calls.
    ///
    /// ```compile_fail,E0277
    /// use mainstay::{pipeline::Pipeline, timeout::Timeout};
    /// # use std::time::Duration;
    ///
    /// // A timeout does not admit calls, it limits their time: use `.time_limit(..)`.
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
    /// // A rate limiter does not run calls again, it admits them: use `.guard(..)`.
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

    /// Adds a [`TimeLimit`](crate::policy::TimeLimit): a policy that bounds the time of a call.
    ///
    /// ```compile_fail,E0277
    /// use mainstay::{pipeline::Pipeline, retry::Retry};
    ///
    /// // A retry does not bound the time of a call, it runs it again: use `.repeat(..)`.
    /// let pipeline = Pipeline::builder().time_limit(Retry::builder().build().unwrap());
    /// ```
    #[must_use]
    pub fn time_limit<L>(self, limit: L) -> PipelineBuilder<PipelineStack<S, TimeLimitLayer<L>>>
    where
        L: Policy<Kind: Matches<kind::TimeLimit>>,
    {
        self.push(TimeLimitLayer(limit))
    }

    fn push<L>(self, inner: L) -> PipelineBuilder<PipelineStack<S, L>> {
        PipelineBuilder { stack: PipelineStack { outer: self.stack, inner } }
    }

    /// Builds the pipeline. This cannot fail, because the policies were validated when they were
    /// built.
    #[must_use]
    pub fn build(self) -> Pipeline<S> {
        Pipeline { stack: self.stack }
    }
}
