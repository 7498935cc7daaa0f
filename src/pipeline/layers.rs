//! The three kinds of policy as layers: each a thin shell, once around futures and once around closures.

use super::stack::{Describe, Layer, OnceLayer};
use crate::error::{Error, TimedOut};
use crate::policy::{Context, Facts, Guard, Limit, Policy, Repeat};
use crate::time::{Deadline, Expire};
use std::future::{Future, poll_fn};
use std::pin::pin;

/// A [`Guard`] as a layer.
#[derive(Clone, Copy, Debug)]
pub struct Guarded<G>(pub(super) G);

/// A [`Repeat`] as a layer.
#[derive(Clone, Copy, Debug)]
pub struct Repeated<R>(pub(super) R);

/// A [`Limit`] as a layer.
#[derive(Clone, Copy, Debug)]
pub struct Limited<L>(pub(super) L);

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
    fn call<Op, Fut>(&self, cx: Context, op: Op) -> impl Future<Output = Result<T, Error<E>>> + Send
    where
        Op: Fn(Context) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, Error<E>>> + Send,
    {
        self.call_once(cx, op)
    }

    fn call_blocking<Op>(&self, cx: Context, op: Op) -> Result<T, Error<E>>
    where
        Op: Fn(Context) -> Result<T, Error<E>>,
    {
        self.call_once_blocking(cx, op)
    }
}

impl<T: Send, E: Send, G: Guard<T, E>> OnceLayer<T, E> for Guarded<G> {
    async fn call_once<Op, Fut>(&self, cx: Context, op: Op) -> Result<T, Error<E>>
    where
        Op: FnOnce(Context) -> Fut + Send,
        Fut: Future<Output = Result<T, Error<E>>> + Send,
    {
        let mut waited = false;
        let permit = {
            let mut admit = pin!(self.0.admit(cx));
            poll_fn(|task| {
                let admitted = admit.as_mut().poll(task);
                waited |= admitted.is_pending();
                admitted
            })
            .await?
        };
        let result = op(if waited { cx.after_waiting() } else { cx }).await;
        self.0.settle(permit, &result);
        result
    }

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
    fn call<Op, Fut>(&self, cx: Context, op: Op) -> impl Future<Output = Result<T, Error<E>>> + Send
    where
        Op: Fn(Context) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, Error<E>>> + Send,
    {
        self.0.call(cx, op)
    }

    fn call_blocking<Op>(&self, cx: Context, op: Op) -> Result<T, Error<E>>
    where
        Op: Fn(Context) -> Result<T, Error<E>>,
    {
        self.0.call_blocking(cx, op)
    }
}

impl<T: Send, E: Send, L: Limit> Layer<T, E> for Limited<L> {
    fn call<Op, Fut>(&self, cx: Context, op: Op) -> impl Future<Output = Result<T, Error<E>>> + Send
    where
        Op: Fn(Context) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, Error<E>>> + Send,
    {
        self.call_once(cx, op)
    }

    fn call_blocking<Op>(&self, cx: Context, op: Op) -> Result<T, Error<E>>
    where
        Op: Fn(Context) -> Result<T, Error<E>>,
    {
        self.call_once_blocking(cx, op)
    }
}

impl<T: Send, E: Send, L: Limit> OnceLayer<T, E> for Limited<L> {
    async fn call_once<Op, Fut>(&self, cx: Context, op: Op) -> Result<T, Error<E>>
    where
        Op: FnOnce(Context) -> Fut + Send,
        Fut: Future<Output = Result<T, Error<E>>> + Send,
    {
        let clock = self.0.clock();
        let limit = self.0.limit();
        let cx = cx.on(clock);
        let until = cx.now() + limit;
        match Expire::new(clock, until, op(cx.with_deadline(Deadline::at(until)))).await {
            Some(result) => result,
            None => Err(TimedOut::new(self.0.facts().name, limit).into()),
        }
    }

    fn call_once_blocking<Op>(&self, cx: Context, op: Op) -> Result<T, Error<E>>
    where
        Op: FnOnce(Context) -> Result<T, Error<E>>,
    {
        let cx = cx.on(self.0.clock());
        op(cx.with_deadline(Deadline::after(cx.now(), self.0.limit())))
    }
}
