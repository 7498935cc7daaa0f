//! A stack of policies that is applied to each call: [`Pipeline`].
//!
//! # Examples
//!
//! ```
//! use mainstay::{breaker::CircuitBreaker, budget::Budget, pipeline::Pipeline, retry::Retry};
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), mainstay::error::ConfigError> {
//! let breaker = CircuitBreaker::builder().name("search").build()?;
//! let retry = Retry::builder()
//!     .assume_idempotent() // a search may run twice
//!     .budget(Budget::builder().name("search").build()?)
//!     .build()?;
//! let pipeline = Pipeline::builder()             // outermost policy first
//!     .timeout(Duration::from_secs(2))           // limits the whole call
//!     .retry(retry)                              // repeats everything below
//!     .breaker(&breaker)                         // records every attempt
//!     .timeout(Duration::from_millis(300))       // limits one attempt
//!     .build();
//! # assert!(pipeline.check().is_empty());
//!
//! # async fn search(_: &str) -> Result<u32, std::io::Error> { Ok(42) }
//! # futures::executor::block_on(async {
//! let found = pipeline.call(|| async { search("mast").await }).await;
//! # assert!(matches!(found, Ok(42)));
//! # });
//! # Ok(())
//! # }
//! ```
//!
//! # How it works
//!
//! The stack of policies is part of the pipeline's type: calls use neither boxes nor dynamic
//! dispatch, and a successful call does not allocate. [`boxed`](Pipeline::boxed) erases the type,
//! so that a struct can store the pipeline.
//!
//! ## Order
//!
//! A policy receives only the results that the policies below it return.
//!
//! | stack, outermost first | effect |
//! |---|---|
//! | `timeout` · `retry` | the timeout applies to all attempts and waits together |
//! | `retry` · `timeout` | the timeout applies to each attempt; a timeout is retried |
//! | `retry` · `breaker` | the breaker records every attempt; a rejection ends the retry |
//! | `breaker` · `retry` | the breaker records one outcome per call, after the last attempt |
//! | `breaker` · `timeout` | the breaker records each timeout as a failure |
//! | `timeout` · `breaker` | a timeout drops the call below it, and the breaker records nothing |
//! | `retry` · `guard` | the guard's permit is released before the wait for the next attempt |
//! | `guard` · `retry` | the guard's permit is held through all attempts and waits |
//!
//! If in doubt, use the order of the example: total timeout, retry, breaker, concurrency or rate
//! limits, attempt timeout. [`Pipeline::standard`] builds this stack. [`check`](Pipeline::check)
//! reports policies whose order or settings conflict. [`docs::composing`](crate::docs::composing)
//! shows what each policy counts.
//!
//! ## Calls
//!
//! | | operation may be repeated | operation runs at most once |
//! |---|---|---|
//! | future | [`call`](Pipeline::call), [`call_with`](Pipeline::call_with) | [`call_once`](Pipeline::call_once), [`call_once_with`](Pipeline::call_once_with) |
//! | closure | [`call_blocking`](Pipeline::call_blocking), [`call_with_blocking`](Pipeline::call_with_blocking) | [`call_once_blocking`](Pipeline::call_once_blocking), [`call_once_with_blocking`](Pipeline::call_once_with_blocking) |
//!
//! The `_with` methods pass a [`Context`] to the operation. The `_once` methods accept an operation
//! that consumes the values it captures (`FnOnce`), and require a stack without a retry, hedge or
//! fallback.
//!
//! These operations, their futures and results must be `Send`. On a runtime that runs tasks on one
//! thread, [`call_local`](Pipeline::call_local) and
//! [`call_with_local`](Pipeline::call_with_local) run operations that are not.
//!
//! A time limit cannot interrupt a blocking closure. The closure receives the limit as the deadline
//! of its [`Context`], for example to set the timeout of a socket. An `Ok` that the closure returns
//! after the deadline is returned unchanged. A breaker that counts slow calls records the call as
//! slow, and a retry starts no attempt after the deadline.
//!
//! # Cancel safety
//!
//! Dropping the future of a call drops the operation first, then releases each policy's permit,
//! from the innermost to the outermost. No outcome is recorded. A call that completes releases all
//! permits on completion, even if its future is kept.

mod boxed;
mod caller;
mod check;
mod deadline;
mod future;
mod layers;
mod local;
mod stack;
mod verbs;

pub use boxed::BoxPipeline;
pub use caller::CallerLayer;
pub use check::{Lint, LintRule};
pub use deadline::DeadlineLayer;
pub use layers::{GuardLayer, RepeatLayer, TimeLimitLayer};
pub use local::PipelineLocalLayer;
pub use stack::{Describe, EmptyStack, PipelineLayer, PipelineOnceLayer, PipelineStack};
pub use verbs::{StandardOnceStack, StandardReadStack, StandardStack};

pub(crate) use future::TimeLimitFuture;

use crate::error::Error;
use crate::policy::guarded::OperationFuture;
use crate::policy::{Caller, Context, Facts};
use crate::time::{Clock, Deadline};
use std::fmt;
use std::future::Future;

/// A stack of policies that is applied to each call. See the [module](self).
#[derive(Clone)]
pub struct Pipeline<S> {
    pub(crate) stack: S,
}

/// A builder of a [`Pipeline`]. The first policy added is the outermost.
#[derive(Clone, Debug)]
pub struct PipelineBuilder<S> {
    stack: S,
}

impl Pipeline<EmptyStack> {
    /// Creates a builder without policies.
    #[must_use]
    pub fn builder() -> PipelineBuilder<EmptyStack> {
        PipelineBuilder { stack: EmptyStack }
    }
}

impl<S> Pipeline<S> {
    /// Runs `op` through all policies.
    ///
    /// `op` is called once per attempt, so it must not consume the values it captures. If the stack
    /// contains no retry, hedge or fallback, [`call_once`](Self::call_once) accepts an operation
    /// that does.
    ///
    /// ```
    /// # use mainstay::Pipeline;
    /// # use std::time::Duration;
    /// let pipeline = Pipeline::builder().timeout(Duration::from_secs(1)).build();
    /// # futures::executor::block_on(async {
    /// assert_eq!(pipeline.call(|| async { Ok::<_, ()>(1) }).await, Ok(1));
    /// # });
    /// ```
    ///
    /// # Errors
    /// Returns [`Error::Operation`] if the operation fails, or the error of the policy that ended
    /// the call.
    pub fn call<Op, Fut, T, E>(&self, op: Op) -> impl Future<Output = Result<T, Error<E>>> + Send
    where
        S: PipelineLayer<T, E>,
        Op: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, E>> + Send,
        T: Send,
        E: Send,
    {
        self.call_with(move |_| op())
    }

    /// Runs `op` through all policies and passes it the [`Context`] of each attempt.
    ///
    /// ```
    /// # use mainstay::{pipeline::Pipeline, policy::Context};
    /// # use std::time::Duration;
    /// # async fn send(_: u32, _: Option<Duration>) -> Result<(), ()> { Ok(()) }
    /// # futures::executor::block_on(async {
    /// let pipeline = Pipeline::builder().timeout(Duration::from_secs(1)).build();
    /// let op = |cx: Context| send(cx.attempt(), cx.remaining());
    /// assert_eq!(pipeline.call_with(op).await, Ok(()));
    /// # });
    /// ```
    ///
    /// # Errors
    /// Returns the same errors as [`call`](Self::call).
    // Not an `async fn`: the compiler could not show that the future of a call whose error is a
    // `Box<dyn Error>` is `Send`.
    #[allow(clippy::manual_async_fn)]
    pub fn call_with<Op, Fut, T, E>(
        &self,
        op: Op,
    ) -> impl Future<Output = Result<T, Error<E>>> + Send
    where
        S: PipelineLayer<T, E>,
        Op: Fn(Context) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, E>> + Send,
        T: Send,
        E: Send,
    {
        async move {
            let op = &op;
            self.stack.call(Context::new(), move |cx| OperationFuture(op(cx))).await
        }
    }

    /// Runs `op` at most once, through all policies. The stack must not contain a retry, hedge or
    /// fallback.
    ///
    /// ```
    /// use mainstay::{breaker::CircuitBreaker, pipeline::Pipeline};
    /// # use std::time::Duration;
    ///
    /// # fn main() -> Result<(), mainstay::error::ConfigError> {
    /// let pipeline = Pipeline::builder()
    ///     .breaker(CircuitBreaker::builder().build()?)
    ///     .timeout(Duration::from_secs(1))
    ///     .build();
    /// let body = vec![0_u8; 1 << 20];
    /// # async fn post(body: Vec<u8>) -> Result<usize, std::io::Error> { Ok(body.len()) }
    /// # futures::executor::block_on(async {
    /// let sent = pipeline.call_once(|| post(body)).await; // no clone
    /// # assert!(matches!(sent, Ok(1_048_576)));
    /// # });
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Returns the same errors as [`call`](Self::call).
    pub fn call_once<Op, Fut, T, E>(
        &self,
        op: Op,
    ) -> impl Future<Output = Result<T, Error<E>>> + Send
    where
        S: PipelineOnceLayer<T, E>,
        Op: FnOnce() -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
        T: Send,
        E: Send,
    {
        self.call_once_with(move |_| op())
    }

    /// Runs `op` at most once, through all policies, and passes it the [`Context`] of the call. The
    /// stack must not contain a retry, hedge or fallback.
    ///
    /// ```
    /// # use mainstay::Pipeline;
    /// # use std::time::Duration;
    /// let pipeline = Pipeline::builder().timeout(Duration::from_secs(1)).build();
    /// # futures::executor::block_on(async {
    /// let text = String::from("moved into the call");
    /// let length = pipeline.call_once_with(|_| async move { Ok::<_, ()>(text.len()) });
    /// assert_eq!(length.await, Ok(19));
    /// # });
    /// ```
    ///
    /// # Errors
    /// Returns the same errors as [`call`](Self::call).
    pub fn call_once_with<Op, Fut, T, E>(
        &self,
        op: Op,
    ) -> impl Future<Output = Result<T, Error<E>>> + Send
    where
        S: PipelineOnceLayer<T, E>,
        Op: FnOnce(Context) -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
        T: Send,
        E: Send,
    {
        self.stack.call_once(Context::new(), move |cx| OperationFuture(op(cx)))
    }

    /// Runs the closure `op` through all policies, blocking the thread.
    ///
    /// ```
    /// # use mainstay::pipeline::Pipeline;
    /// # use std::time::Duration;
    /// let pipeline = Pipeline::builder().timeout(Duration::from_secs(1)).build();
    /// assert_eq!(pipeline.call_blocking(|| Ok::<_, ()>(1)), Ok(1));
    /// ```
    ///
    /// # Errors
    /// Returns the same errors as [`call`](Self::call). A time limit does not interrupt the
    /// closure.
    pub fn call_blocking<T, E>(&self, op: impl Fn() -> Result<T, E>) -> Result<T, Error<E>>
    where
        S: PipelineLayer<T, E>,
        T: Send,
        E: Send,
    {
        self.call_with_blocking(|_| op())
    }

    /// Runs the closure `op` through all policies, blocking the thread, and passes it the
    /// [`Context`] of each attempt.
    ///
    /// ```
    /// # use mainstay::Pipeline;
    /// # use std::time::Duration;
    /// let pipeline = Pipeline::builder().timeout(Duration::from_secs(1)).build();
    /// assert_eq!(pipeline.call_with_blocking(|cx| Ok::<_, ()>(cx.attempt())), Ok(1));
    /// ```
    ///
    /// # Errors
    /// Returns the same errors as [`call_blocking`](Self::call_blocking).
    pub fn call_with_blocking<T, E>(
        &self,
        op: impl Fn(Context) -> Result<T, E>,
    ) -> Result<T, Error<E>>
    where
        S: PipelineLayer<T, E>,
        T: Send,
        E: Send,
    {
        self.stack.call_blocking(Context::new(), |cx| op(cx).map_err(Error::Operation))
    }

    /// Runs the closure `op` at most once, through all policies, blocking the thread. The stack
    /// must not contain a retry, hedge or fallback.
    ///
    /// ```
    /// # use mainstay::Pipeline;
    /// # use std::time::Duration;
    /// let pipeline = Pipeline::builder().timeout(Duration::from_secs(1)).build();
    /// let text = String::from("moved into the call");
    /// assert_eq!(pipeline.call_once_blocking(|| Ok::<_, ()>(text.len())), Ok(19));
    /// ```
    ///
    /// # Errors
    /// Returns the same errors as [`call_blocking`](Self::call_blocking).
    pub fn call_once_blocking<T, E>(&self, op: impl FnOnce() -> Result<T, E>) -> Result<T, Error<E>>
    where
        S: PipelineOnceLayer<T, E>,
        T: Send,
        E: Send,
    {
        self.call_once_with_blocking(|_| op())
    }

    /// Runs the closure `op` at most once, through all policies, blocking the thread, and passes it
    /// the [`Context`] of the call. The stack must not contain a retry, hedge or fallback.
    ///
    /// ```
    /// # use mainstay::Pipeline;
    /// # use std::time::Duration;
    /// let pipeline = Pipeline::builder().timeout(Duration::from_secs(1)).build();
    /// let text = String::from("moved into the call");
    /// let length = pipeline.call_once_with_blocking(|_| Ok::<_, ()>(text.len()));
    /// assert_eq!(length, Ok(19));
    /// ```
    ///
    /// # Errors
    /// Returns the same errors as [`call_blocking`](Self::call_blocking).
    pub fn call_once_with_blocking<T, E>(
        &self,
        op: impl FnOnce(Context) -> Result<T, E>,
    ) -> Result<T, Error<E>>
    where
        S: PipelineOnceLayer<T, E>,
        T: Send,
        E: Send,
    {
        self.stack.call_once_blocking(Context::new(), |cx| op(cx).map_err(Error::Operation))
    }

    /// Returns a view of this pipeline whose calls have `deadline`, measured by `clock`.
    ///
    /// A call that is still running at the deadline is dropped and returns [`Error::Timeout`]. A
    /// blocking closure is not interrupted. A call that starts after the deadline is rejected with
    /// [`Reason::DeadlineExceeded`](crate::error::Reason::DeadlineExceeded). The policies and the
    /// operation receive the deadline in their [`Context`].
    ///
    /// ```
    /// use mainstay::{Clock, Deadline, Pipeline};
    /// use std::time::Duration;
    ///
    /// let clock = Clock::system();
    /// let pipeline = Pipeline::builder().timeout(Duration::from_secs(10)).build();
    /// let deadline = Deadline::after(clock.now(), Duration::from_secs(2));
    /// let left = pipeline
    ///     .with_deadline(deadline, &clock)
    ///     .call_with_blocking(|cx| Ok::<_, ()>(cx.remaining()));
    /// assert!(left.unwrap().unwrap() <= Duration::from_secs(2));
    /// ```
    #[must_use]
    pub fn with_deadline(
        &self,
        deadline: Deadline,
        clock: &Clock,
    ) -> Pipeline<DeadlineLayer<'_, S>> {
        Pipeline { stack: DeadlineLayer { stack: &self.stack, deadline, clock: clock.clone() } }
    }

    /// Returns a view of this pipeline whose calls have the priority and the user of `caller`. The
    /// policies and the operation receive the caller in their [`Context`].
    ///
    /// ```
    /// use mainstay::Pipeline;
    /// use mainstay::policy::{Caller, PriorityClass};
    /// # let (bulkhead, tenant) = (mainstay::Bulkhead::builder().build()?, "tenant-7");
    /// # let prioritizer = mainstay::Prioritizer::builder().limiter(bulkhead.clone()).build()?;
    ///
    /// let pipeline =
    ///     Pipeline::builder().prioritizer(&prioritizer).bulkhead(&bulkhead).build();
    /// let caller = Caller::new(PriorityClass::High).with_user(tenant);
    /// let result = pipeline.with_caller(caller).call_blocking(|| Ok::<_, ()>(1));
    /// assert_eq!(result, Ok(1));
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub fn with_caller(&self, caller: impl Into<Caller>) -> Pipeline<CallerLayer<'_, S>> {
        Pipeline { stack: CallerLayer { stack: &self.stack, caller: caller.into() } }
    }

    /// Erases the type of the stack, so that a struct can name the pipeline.
    ///
    /// ```
    /// use mainstay::pipeline::{BoxPipeline, Pipeline};
    /// use std::time::Duration;
    ///
    /// struct Client {
    ///     pipeline: BoxPipeline<String, std::io::Error>,
    /// }
    ///
    /// let pipeline = Pipeline::builder().timeout(Duration::from_secs(1)).build();
    /// let client = Client { pipeline: pipeline.boxed() };
    /// let page = client.pipeline.call_blocking(|| Ok("hello".to_string()));
    /// assert!(page.is_ok());
    /// ```
    #[must_use]
    pub fn boxed<T: Send, E: Send>(self) -> BoxPipeline<T, E>
    where
        S: PipelineLayer<T, E> + 'static,
    {
        BoxPipeline::new(self)
    }

    /// Returns the [`Facts`] of each policy, outermost first.
    #[must_use]
    pub fn facts(&self) -> Vec<Facts>
    where
        S: Describe,
    {
        facts(&self.stack)
    }

    /// Returns a [`Lint`] for each fault: a policy whose position or settings make it ineffective.
    /// The result is empty if there is none. [`LintRule`] describes the rules.
    ///
    /// The check reads the current settings of the policies. Call it after building the pipeline,
    /// or in a test. It does not affect running calls.
    ///
    /// ```
    /// use mainstay::breaker::CircuitBreaker;
    /// use mainstay::pipeline::{LintRule, Pipeline};
    /// use std::time::Duration;
    ///
    /// let pipeline = Pipeline::builder()
    ///     .timeout(Duration::from_secs(2))
    ///     .breaker(CircuitBreaker::builder().name("search").build()?)
    ///     .build();
    /// let lints = pipeline.check();
    /// assert_eq!(lints[0].rule, LintRule::TimeoutOutsideBreaker);
    /// assert_eq!(
    ///     lints[0].to_string(),
    ///     "timeout-outside-breaker: circuit_breaker \"search\" does not record \
    ///      calls that timeout ends after 2s, so a dependency that hangs never \
    ///      opens it: add a timeout below circuit_breaker \"search\""
    /// );
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn check(&self) -> Vec<Lint>
    where
        S: Describe,
    {
        check::check(&self.facts())
    }
}

fn facts(stack: &dyn Describe) -> Vec<Facts> {
    let mut all = Vec::new();
    stack.describe(&mut |facts| all.push(facts));
    all
}

/// Lists the policies, outermost first.
impl<S: Describe> fmt::Debug for Pipeline<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(&self.stack, f)
    }
}

fn describe(stack: &dyn Describe, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut list = f.debug_list();
    stack.describe(&mut |facts| {
        list.entry(&facts);
    });
    list.finish()
}
