//! The typed stack: layers, and two layers that are one.

use crate::error::Error;
use crate::policy::{Context, Facts};
use std::future::Future;

/// What a pipeline is made of. Made from a policy by the builder; to add a kind of policy of your own,
/// write a [`Guard`](crate::policy::Guard), a [`Repeat`](crate::policy::Repeat) or a
/// [`Limit`](crate::policy::Limit).
pub trait PipelineLayer<T: Send, E: Send>: Describe {
    /// Runs `op` below this layer. By `Copy` it is meant to be a reference: an operation that moved
    /// inward by value would be part of each layer's future.
    fn call<Op, Fut>(
        &self,
        cx: Context,
        op: Op,
    ) -> impl Future<Output = Result<T, Error<E>>> + Send
    where
        Op: Fn(Context) -> Fut + Copy + Send + Sync,
        Fut: Future<Output = Result<T, Error<E>>> + Send;

    /// Runs the closure `op` below this layer.
    ///
    /// # Errors
    /// That of `op`, or the layer's own.
    fn call_blocking<Op>(&self, cx: Context, op: Op) -> Result<T, Error<E>>
    where
        Op: Fn(Context) -> Result<T, Error<E>>;
}

/// A layer that runs its operation at most once, so that the operation may be used up.
pub trait PipelineOnceLayer<T: Send, E: Send>: PipelineLayer<T, E> {
    /// Runs `op` below this layer.
    fn call_once<Op, Fut>(
        &self,
        cx: Context,
        op: Op,
    ) -> impl Future<Output = Result<T, Error<E>>> + Send
    where
        Op: FnOnce(Context) -> Fut + Send,
        Fut: Future<Output = Result<T, Error<E>>> + Send;

    /// Runs the closure `op` below this layer.
    ///
    /// # Errors
    /// That of `op`, or the layer's own.
    fn call_once_blocking<Op>(&self, cx: Context, op: Op) -> Result<T, Error<E>>
    where
        Op: FnOnce(Context) -> Result<T, Error<E>>;
}

/// Tells what a stack consists of.
pub trait Describe: Send + Sync {
    /// Calls `visit` for each policy, outermost first.
    fn describe(&self, visit: &mut dyn FnMut(Facts));
}

/// No layer.
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

/// `Outer` around `Inner`.
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
