//! The layers of a stack, one type per kind of policy. Each layer applies its policy to a future or
//! a closure.

use super::future::TimeLimitFuture;
use super::stack::{Describe, PipelineLayer, PipelineOnceLayer};
use crate::error::Error;
use crate::policy::guarded::{Borrowed, GuardedFuture};
use crate::policy::{Context, Facts, Guard, Policy, Repeat, TimeLimit, end_of_limit};
use crate::time::Deadline;
use std::future::Future;

/// A pipeline layer that applies a [`Guard`].
#[derive(Clone, Copy, Debug)]
pub struct GuardLayer<G>(pub(crate) G);

/// A pipeline layer that applies a [`Repeat`].
#[derive(Clone, Copy, Debug)]
pub struct RepeatLayer<R>(pub(crate) R);

/// A pipeline layer that applies a [`TimeLimit`].
#[derive(Clone, Copy, Debug)]
pub struct TimeLimitLayer<L>(pub(crate) L);

impl<G: Policy> Describe for GuardLayer<G> {
    fn describe(&self, visit: &mut dyn FnMut(Facts)) {
        visit(self.0.facts());
    }
}

impl<R: Policy> Describe for RepeatLayer<R> {
    fn describe(&self, visit: &mut dyn FnMut(Facts)) {
        visit(self.0.facts());
    }
}

impl<L: Policy> Describe for TimeLimitLayer<L> {
    fn describe(&self, visit: &mut dyn FnMut(Facts)) {
        visit(self.0.facts());
    }
}

impl<T: Send, E: Send, G: Guard<T, E>> PipelineLayer<T, E> for GuardLayer<G> {
    #[inline]
    fn call<Op, Fut>(&self, cx: Context, op: Op) -> impl Future<Output = Result<T, Error<E>>> + Send
    where
        Op: Fn(Context) -> Fut + Copy + Send + Sync,
        Fut: Future<Output = Result<T, Error<E>>> + Send,
    {
        self.call_once(cx, op)
    }

    #[inline]
    fn call_blocking<Op>(&self, cx: Context, op: Op) -> Result<T, Error<E>>
    where
        Op: Fn(Context) -> Result<T, Error<E>>,
    {
        self.call_once_blocking(cx, op)
    }
}

impl<T: Send, E: Send, G: Guard<T, E>> PipelineOnceLayer<T, E> for GuardLayer<G> {
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
        GuardedFuture::new(Borrowed(&self.0), cx, self.0.admit(cx), op)
    }

    #[inline]
    fn call_once_blocking<Op>(&self, cx: Context, op: Op) -> Result<T, Error<E>>
    where
        Op: FnOnce(Context) -> Result<T, Error<E>>,
    {
        let permit = self.0.admit_blocking(cx)?;
        // The guard may have blocked the thread, so the clock must be read again.
        let result = op(cx.after_waiting());
        self.0.record(permit, &result);
        result
    }
}

impl<T: Send, E: Send, R: Repeat<T, E>> PipelineLayer<T, E> for RepeatLayer<R> {
    #[inline]
    fn call<Op, Fut>(&self, cx: Context, op: Op) -> impl Future<Output = Result<T, Error<E>>> + Send
    where
        Op: Fn(Context) -> Fut + Copy + Send + Sync,
        Fut: Future<Output = Result<T, Error<E>>> + Send,
    {
        self.0.call(cx, op)
    }

    #[inline]
    fn call_blocking<Op>(&self, cx: Context, op: Op) -> Result<T, Error<E>>
    where
        Op: Fn(Context) -> Result<T, Error<E>>,
    {
        self.0.call_blocking(cx, op)
    }
}

impl<T: Send, E: Send, L: TimeLimit> PipelineLayer<T, E> for TimeLimitLayer<L> {
    #[inline]
    fn call<Op, Fut>(&self, cx: Context, op: Op) -> impl Future<Output = Result<T, Error<E>>> + Send
    where
        Op: Fn(Context) -> Fut + Copy + Send + Sync,
        Fut: Future<Output = Result<T, Error<E>>> + Send,
    {
        self.call_once(cx, op)
    }

    #[inline]
    fn call_blocking<Op>(&self, cx: Context, op: Op) -> Result<T, Error<E>>
    where
        Op: Fn(Context) -> Result<T, Error<E>>,
    {
        self.call_once_blocking(cx, op)
    }
}

impl<T: Send, E: Send, L: TimeLimit> PipelineOnceLayer<T, E> for TimeLimitLayer<L> {
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
        TimeLimitFuture::new(&self.0, cx, op)
    }

    #[inline]
    fn call_once_blocking<Op>(&self, cx: Context, op: Op) -> Result<T, Error<E>>
    where
        Op: FnOnce(Context) -> Result<T, Error<E>>,
    {
        let cx = cx.on(self.0.clock());
        op(cx.with_deadline(Deadline::at(end_of_limit(&self.0, cx))))
    }
}
