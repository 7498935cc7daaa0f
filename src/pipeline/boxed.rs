//! A pipeline with an erased type: [`BoxPipeline`].

use super::check::{Lint, check};
use super::stack::{Describe, PipelineLayer};
use super::{CallerLayer, DeadlineLayer, Pipeline};
use crate::error::Error;
use crate::policy::guarded::OperationFuture;
use crate::policy::{Caller, Context, Facts};
use crate::sync::PlainArc;
use crate::time::{Clock, Deadline};
use std::fmt;
use std::future::Future;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::pin::Pin;

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
type DynOperation<'a, T, E> =
    &'a (dyn Fn(Context) -> BoxFuture<'a, Result<T, Error<E>>> + Send + Sync);

/// A pipeline whose stack is not part of its type; created by [`Pipeline::boxed`].
///
/// A call allocates twice. Each further attempt allocates twice more: for the attempt, and for the
/// timer of the wait before it. All operations return `Result<T, E>`. Clones share the stack.
///
/// A boxed pipeline has no `call_once`, because the erased stack may run the operation more than
/// once. For an operation that consumes the values it captures, keep the typed [`Pipeline`].
pub struct BoxPipeline<T, E> {
    stack: PlainArc<dyn Erased<T, E>>,
}

trait Erased<T, E>: Describe {
    fn call<'a>(
        &'a self,
        cx: Context,
        op: DynOperation<'a, T, E>,
    ) -> BoxFuture<'a, Result<T, Error<E>>>;

    fn call_blocking(
        &self,
        cx: Context,
        op: &dyn Fn(Context) -> Result<T, Error<E>>,
    ) -> Result<T, Error<E>>;
}

impl<T: Send, E: Send, S: PipelineLayer<T, E>> Erased<T, E> for S {
    fn call<'a>(
        &'a self,
        cx: Context,
        op: DynOperation<'a, T, E>,
    ) -> BoxFuture<'a, Result<T, Error<E>>> {
        Box::pin(PipelineLayer::call(self, cx, op))
    }

    fn call_blocking(
        &self,
        cx: Context,
        op: &dyn Fn(Context) -> Result<T, Error<E>>,
    ) -> Result<T, Error<E>> {
        PipelineLayer::call_blocking(self, cx, op)
    }
}

impl<T: Send, E: Send> BoxPipeline<T, E> {
    pub(super) fn new(pipeline: Pipeline<impl PipelineLayer<T, E> + 'static>) -> Self {
        Self { stack: PlainArc::new(pipeline.stack) }
    }

    /// Runs `op` through all policies; see [`Pipeline::call`].
    ///
    /// ```
    /// # use mainstay::{BoxPipeline, Pipeline};
    /// # use std::time::Duration;
    /// let pipeline: BoxPipeline<u32, std::io::Error> =
    ///     Pipeline::builder().timeout(Duration::from_secs(1)).build().boxed();
    /// # futures::executor::block_on(async {
    /// assert_eq!(pipeline.call(|| async { Ok(1) }).await.unwrap(), 1);
    /// # });
    /// ```
    ///
    /// # Errors
    /// Returns the same errors as [`Pipeline::call`].
    pub fn call<Op, Fut>(&self, op: Op) -> impl Future<Output = Result<T, Error<E>>> + Send
    where
        Op: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, E>> + Send,
    {
        self.call_with(move |_| op())
    }

    /// Runs `op` through all policies, passing it the [`Context`] of each attempt; see
    /// [`Pipeline::call_with`].
    ///
    /// ```
    /// # use mainstay::{BoxPipeline, Pipeline};
    /// # use std::time::Duration;
    /// let pipeline: BoxPipeline<u32, std::io::Error> =
    ///     Pipeline::builder().timeout(Duration::from_secs(1)).build().boxed();
    /// # futures::executor::block_on(async {
    /// let attempt = pipeline.call_with(|cx| async move { Ok(cx.attempt()) });
    /// assert_eq!(attempt.await.unwrap(), 1);
    /// # });
    /// ```
    ///
    /// # Errors
    /// Returns the same errors as [`Pipeline::call`].
    // Not an `async fn`, for the same reason as `Pipeline::call_with`.
    #[allow(clippy::manual_async_fn)]
    pub fn call_with<Op, Fut>(&self, op: Op) -> impl Future<Output = Result<T, Error<E>>> + Send
    where
        Op: Fn(Context) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, E>> + Send,
    {
        async move {
            let op = |cx| OperationFuture(op(cx));
            PipelineLayer::call(self, Context::new(), &op).await
        }
    }

    /// Runs the closure `op` through all policies, blocking the thread; see
    /// [`Pipeline::call_blocking`].
    ///
    /// ```
    /// # use mainstay::{BoxPipeline, Pipeline};
    /// # use std::time::Duration;
    /// let pipeline: BoxPipeline<u32, std::io::Error> =
    ///     Pipeline::builder().timeout(Duration::from_secs(1)).build().boxed();
    /// assert_eq!(pipeline.call_blocking(|| Ok(1)).unwrap(), 1);
    /// ```
    ///
    /// # Errors
    /// Returns the same errors as [`Pipeline::call_blocking`].
    pub fn call_blocking(&self, op: impl Fn() -> Result<T, E>) -> Result<T, Error<E>> {
        self.call_with_blocking(|_| op())
    }

    /// Runs the closure `op` through all policies, blocking the thread and passing it the
    /// [`Context`] of each attempt; see [`Pipeline::call_with_blocking`].
    ///
    /// ```
    /// # use mainstay::{BoxPipeline, Pipeline};
    /// # use std::time::Duration;
    /// let pipeline: BoxPipeline<u32, std::io::Error> =
    ///     Pipeline::builder().timeout(Duration::from_secs(1)).build().boxed();
    /// assert_eq!(pipeline.call_with_blocking(|cx| Ok(cx.attempt())).unwrap(), 1);
    /// ```
    ///
    /// # Errors
    /// Returns the same errors as [`Pipeline::call_blocking`].
    pub fn call_with_blocking(&self, op: impl Fn(Context) -> Result<T, E>) -> Result<T, Error<E>> {
        self.stack.call_blocking(Context::new(), &|cx| op(cx).map_err(Error::Operation))
    }

    /// Returns a view of this pipeline whose calls have the priority and the user of `caller`; see
    /// [`Pipeline::with_caller`].
    ///
    /// ```
    /// use mainstay::policy::PriorityClass;
    /// use mainstay::{BoxPipeline, Pipeline};
    /// use std::time::Duration;
    ///
    /// let pipeline: BoxPipeline<PriorityClass, ()> =
    ///     Pipeline::builder().timeout(Duration::from_secs(1)).build().boxed();
    /// let low = pipeline.with_caller(PriorityClass::Low);
    /// let class = low.call_with_blocking(|cx| Ok(cx.priority().class()));
    /// assert_eq!(class, Ok(PriorityClass::Low));
    /// ```
    #[must_use]
    pub fn with_caller(&self, caller: impl Into<Caller>) -> Pipeline<CallerLayer<'_, Self>> {
        Pipeline { stack: CallerLayer { stack: self, caller: caller.into() } }
    }

    /// Returns a view of this pipeline whose calls have `deadline`; see
    /// [`Pipeline::with_deadline`].
    ///
    /// ```
    /// use mainstay::{BoxPipeline, Clock, Deadline, Pipeline};
    /// use std::time::Duration;
    ///
    /// let clock = Clock::system();
    /// let pipeline: BoxPipeline<u32, ()> =
    ///     Pipeline::builder().timeout(Duration::from_secs(10)).build().boxed();
    /// let deadline = Deadline::after(clock.now(), Duration::from_secs(2));
    /// # futures::executor::block_on(async {
    /// let limited = pipeline.with_deadline(deadline, &clock);
    /// assert_eq!(limited.call(|| async { Ok(1) }).await, Ok(1));
    /// # });
    /// ```
    #[must_use]
    pub fn with_deadline(
        &self,
        deadline: Deadline,
        clock: &Clock,
    ) -> Pipeline<DeadlineLayer<'_, Self>> {
        Pipeline { stack: DeadlineLayer { stack: self, deadline, clock: clock.clone() } }
    }

    /// Returns the [`Facts`] of each policy, outermost first.
    #[must_use]
    pub fn facts(&self) -> Vec<Facts> {
        super::facts(&*self.stack)
    }

    /// Returns a [`Lint`] for each fault of the stack; see [`Pipeline::check`].
    #[must_use]
    pub fn check(&self) -> Vec<Lint> {
        check(&self.facts())
    }
}

impl<T, E> Describe for BoxPipeline<T, E> {
    fn describe(&self, visit: &mut dyn FnMut(Facts)) {
        self.stack.describe(visit);
    }
}

/// A boxed pipeline is a layer, so that [`BoxPipeline::with_caller`] and
/// [`BoxPipeline::with_deadline`] can wrap it.
impl<T: Send, E: Send> PipelineLayer<T, E> for BoxPipeline<T, E> {
    async fn call<Op, Fut>(&self, cx: Context, op: Op) -> Result<T, Error<E>>
    where
        Op: Fn(Context) -> Fut + Copy + Send + Sync,
        Fut: Future<Output = Result<T, Error<E>>> + Send,
    {
        self.stack.call(cx, &move |cx| Box::pin(op(cx))).await
    }

    fn call_blocking<Op>(&self, cx: Context, op: Op) -> Result<T, Error<E>>
    where
        Op: Fn(Context) -> Result<T, Error<E>>,
    {
        self.stack.call_blocking(cx, &op)
    }
}

// A panic of an operation unwinds through the policies and leaves them usable.
impl<T, E> UnwindSafe for BoxPipeline<T, E> {}
impl<T, E> RefUnwindSafe for BoxPipeline<T, E> {}

impl<T, E> Clone for BoxPipeline<T, E> {
    fn clone(&self) -> Self {
        Self { stack: self.stack.clone() }
    }
}

impl<T, E> fmt::Debug for BoxPipeline<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::describe(&*self.stack, f)
    }
}
