//! The traits of pipeline layers, and the types that compose layers into a stack.

use crate::error::Error;
use crate::policy::{Context, Facts};
use std::future::Future;

/// A layer of a pipeline. The pipeline builder creates one from each policy.
///
/// To add a policy, implement [`Guard`](crate::policy::Guard), [`Repeat`](crate::policy::Repeat) or
/// [`TimeLimit`](crate::policy::TimeLimit) instead.
#[diagnostic::on_unimplemented(
    message = "this pipeline cannot run operations that return `Result<{T}, {E}>`",
    note = "a policy in the stack may require other types, for example by its classifier or its rule"
)]
pub trait PipelineLayer<T: Send, E: Send>: Describe {
    /// Runs `op` through this layer.
    ///
    /// `Op` is `Copy`, which in practice makes it a reference. An operation passed by value would
    /// be stored in the future of every layer.
    fn call<Op, Fut>(
        &self,
        cx: Context,
        op: Op,
    ) -> impl Future<Output = Result<T, Error<E>>> + Send
    where
        Op: Fn(Context) -> Fut + Copy + Send + Sync,
        Fut: Future<Output = Result<T, Error<E>>> + Send;

    /// Runs the closure `op` through this layer, blocking the thread.
    ///
    /// # Errors
    /// Returns the error of `op` or of the layer.
    fn call_blocking<Op>(&self, cx: Context, op: Op) -> Result<T, Error<E>>
    where
        Op: Fn(Context) -> Result<T, Error<E>>;
}

/// A layer that runs its operation at most once, so that the operation may consume the values it
/// captures.
#[diagnostic::on_unimplemented(
    message = "this pipeline may run its operation more than once",
    note = "`call_once` requires a stack without a retry, a hedge or a fallback; use `call`"
)]
pub trait PipelineOnceLayer<T: Send, E: Send>: PipelineLayer<T, E> {
    /// Runs `op` through this layer.
    fn call_once<Op, Fut>(
        &self,
        cx: Context,
        op: Op,
    ) -> impl Future<Output = Result<T, Error<E>>> + Send
    where
        Op: FnOnce(Context) -> Fut + Send,
        Fut: Future<Output = Result<T, Error<E>>> + Send;

    /// Runs the closure `op` through this layer, blocking the thread.
    ///
    /// # Errors
    /// Returns the error of `op` or of the layer.
    fn call_once_blocking<Op>(&self, cx: Context, op: Op) -> Result<T, Error<E>>
    where
        Op: FnOnce(Context) -> Result<T, Error<E>>;
}

/// A stack that can list its policies.
pub trait Describe: Send + Sync {
    /// Calls `visit` with the facts of each policy, outermost first.
    fn describe(&self, visit: &mut dyn FnMut(Facts));
}

/// A stack without layers, which runs the operation directly.
#[derive(Clone, Copy, Debug, Default)]
pub struct EmptyStack;

impl Describe for EmptyStack {
    fn describe(&self, _: &mut dyn FnMut(Facts)) {}
}

impl<T: Send, E: Send> PipelineLayer<T, E> for EmptyStack {
    #[inline]
    fn call<Op, Fut>(&self, cx: Context, op: Op) -> impl Future<Output = Result<T, Error<E>>> + Send
    where
        Op: Fn(Context) -> Fut + Copy + Send + Sync,
        Fut: Future<Output = Result<T, Error<E>>> + Send,
    {
        op(cx)
    }

    #[inline]
    fn call_blocking<Op>(&self, cx: Context, op: Op) -> Result<T, Error<E>>
    where
        Op: Fn(Context) -> Result<T, Error<E>>,
    {
        op(cx)
    }
}

impl<T: Send, E: Send> PipelineOnceLayer<T, E> for EmptyStack {
    #[inline]
    fn call_once<Op, Fut>(
        &self,
        cx: Context,
        op: Op,
    ) -> impl Future<Output = Result<T, Error<E>>> + Send
    where
        Op: FnOnce(Context) -> Fut + Send,
        Fut: Future<Output = Result<T, Error<E>>> + Send,
    {
        op(cx)
    }

    #[inline]
    fn call_once_blocking<Op>(&self, cx: Context, op: Op) -> Result<T, Error<E>>
    where
        Op: FnOnce(Context) -> Result<T, Error<E>>,
    {
        op(cx)
    }
}

/// A stack that wraps the layers `Outer` around the layers `Inner`.
#[derive(Clone, Copy, Debug)]
pub struct PipelineStack<Outer, Inner> {
    pub(crate) outer: Outer,
    pub(crate) inner: Inner,
}

impl<Outer: Describe, Inner: Describe> Describe for PipelineStack<Outer, Inner> {
    fn describe(&self, visit: &mut dyn FnMut(Facts)) {
        self.outer.describe(visit);
        self.inner.describe(visit);
    }
}

impl<T, E, Outer, Inner> PipelineLayer<T, E> for PipelineStack<Outer, Inner>
where
    T: Send,
    E: Send,
    Outer: PipelineLayer<T, E>,
    Inner: PipelineLayer<T, E>,
{
    #[inline]
    fn call<Op, Fut>(&self, cx: Context, op: Op) -> impl Future<Output = Result<T, Error<E>>> + Send
    where
        Op: Fn(Context) -> Fut + Copy + Send + Sync,
        Fut: Future<Output = Result<T, Error<E>>> + Send,
    {
        self.outer.call(cx, move |cx| self.inner.call(cx, op))
    }

    #[inline]
    fn call_blocking<Op>(&self, cx: Context, op: Op) -> Result<T, Error<E>>
    where
        Op: Fn(Context) -> Result<T, Error<E>>,
    {
        self.outer.call_blocking(cx, |cx| self.inner.call_blocking(cx, &op))
    }
}

impl<T, E, Outer, Inner> PipelineOnceLayer<T, E> for PipelineStack<Outer, Inner>
where
    T: Send,
    E: Send,
    Outer: PipelineOnceLayer<T, E>,
    Inner: PipelineOnceLayer<T, E>,
{
    #[inline]
    fn call_once<Op, Fut>(
        &self,
        cx: Context,
        op: Op,
    ) -> impl Future<Output = Result<T, Error<E>>> + Send
    where
        Op: FnOnce(Context) -> Fut + Send,
        Fut: Future<Output = Result<T, Error<E>>> + Send,
    {
        self.outer.call_once(cx, move |cx| self.inner.call_once(cx, op))
    }

    #[inline]
    fn call_once_blocking<Op>(&self, cx: Context, op: Op) -> Result<T, Error<E>>
    where
        Op: FnOnce(Context) -> Result<T, Error<E>>,
    {
        self.outer.call_once_blocking(cx, |cx| self.inner.call_once_blocking(cx, op))
    }
}
