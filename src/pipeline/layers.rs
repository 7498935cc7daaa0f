//! The three kinds of policy as layers: each a thin shell, once around futures and once around closures.

use super::future::{GuardedCall, LimitedCall};
use super::stack::{Describe, Layer, OnceLayer};
use crate::error::Error;
use crate::policy::{Context, Facts, Guard, Limit, Policy, Repeat};
use crate::time::Deadline;
use std::future::Future;

/// A [`Guard`] as a layer.
#[derive(Clone, Copy, Debug)]
pub struct Guarded<G>(pub(crate) G);

/// A [`Repeat`] as a layer.
#[derive(Clone, Copy, Debug)]
pub struct Repeated<R>(pub(crate) R);

/// A [`Limit`] as a layer.
#[derive(Clone, Copy, Debug)]
pub struct Limited<L>(pub(crate) L);

impl<G: Policy> Describe for Guarded<G> {
    fn describe(&self, tell: &mut dyn FnMut(Facts)) {
        tell(self.0.facts());
    }
}

impl<R: Policy> Describe for Repeated<R> {
    fn describe(&self, tell: &mut dyn FnMut(Facts)) {
        tell(self.0.facts());
    }
}

impl<L: Policy> Describe for Limited<L> {
    fn describe(&self, tell: &mut dyn FnMut(Facts)) {
        tell(self.0.facts());
    }
}

impl<T: Send, E: Send, G: Guard<T, E>> Layer<T, E> for Guarded<G> {
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

impl<T: Send, E: Send, G: Guard<T, E>> OnceLayer<T, E> for Guarded<G> {
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
        GuardedCall::<T, E, _, _, _, _>::new(&self.0, cx, self.0.admit(cx), op)
    }

    #[inline]
    fn call_once_blocking<Op>(&self, cx: Context, op: Op) -> Result<T, Error<E>>
    where
        Op: FnOnce(Context) -> Result<T, Error<E>>,
    {
        let permit = self.0.admit_blocking(cx)?;
        // The thread may have been held, and only the guard knows.
        let result = op(cx.after_waiting());
        self.0.settle(permit, &result);
        result
    }
}

impl<T: Send, E: Send, R: Repeat<T, E>> Layer<T, E> for Repeated<R> {
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

impl<T: Send, E: Send, L: Limit> Layer<T, E> for Limited<L> {
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

impl<T: Send, E: Send, L: Limit> OnceLayer<T, E> for Limited<L> {
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
        LimitedCall::new(&self.0, cx, op)
    }

    #[inline]
    fn call_once_blocking<Op>(&self, cx: Context, op: Op) -> Result<T, Error<E>>
    where
        Op: FnOnce(Context) -> Result<T, Error<E>>,
    {
        let cx = cx.on(self.0.clock());
        op(cx.with_deadline(Deadline::after(cx.now(), self.0.limit())))
    }
}
