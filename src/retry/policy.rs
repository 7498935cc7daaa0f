//! Implements [`Repeat`] and [`OwnedRepeat`] for [`Retry`] and [`RetryWhen`].

use super::future::RetryFuture;
use super::rule::{RetryOnFailure, RetryRule};
use super::{Retry, RetryWhen};
use crate::error::Error;
use crate::policy::{Attempt, Context, Facts, OwnedRepeat, Policy, Repeat, kind};
use std::future::Future;

impl Policy for Retry {
    type Kind = kind::Repeat;

    fn facts(&self) -> Facts {
        self.0.facts(self.0.repeat_safety())
    }
}

impl<T: Send, E: Send> Repeat<T, E> for Retry {
    #[inline]
    fn call<Op, Fut>(&self, cx: Context, op: Op) -> impl Future<Output = Result<T, Error<E>>> + Send
    where
        Op: Fn(Context) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, Error<E>>> + Send,
    {
        self.run(cx, &RetryOnFailure, op)
    }

    fn call_blocking<Op>(&self, cx: Context, op: Op) -> Result<T, Error<E>>
    where
        Op: Fn(Context) -> Result<T, Error<E>>,
    {
        self.run_blocking(cx, &RetryOnFailure, op)
    }
}

impl<T, E> OwnedRepeat<T, E> for Retry {
    type CallFuture<A: Attempt<T, E>> = RetryFuture<RetryWhen<RetryOnFailure>, A, A::Future, E>;

    #[inline]
    fn call_owned<A: Attempt<T, E>>(&self, cx: Context, attempt: A) -> Self::CallFuture<A> {
        RetryFuture::new(self.into(), cx, attempt)
    }
}

impl<R: Send + Sync> Policy for RetryWhen<R> {
    type Kind = kind::Repeat;

    fn facts(&self) -> Facts {
        self.retry.0.facts(self.safety)
    }
}

impl<R, T: Send, E: Send> Repeat<T, E> for RetryWhen<R>
where
    R: RetryRule<T, E>,
{
    #[inline]
    fn call<Op, Fut>(&self, cx: Context, op: Op) -> impl Future<Output = Result<T, Error<E>>> + Send
    where
        Op: Fn(Context) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, Error<E>>> + Send,
    {
        self.retry.run(cx, &self.rule, op)
    }

    fn call_blocking<Op>(&self, cx: Context, op: Op) -> Result<T, Error<E>>
    where
        Op: Fn(Context) -> Result<T, Error<E>>,
    {
        self.retry.run_blocking(cx, &self.rule, op)
    }
}

impl<R, T, E> OwnedRepeat<T, E> for RetryWhen<R>
where
    R: RetryRule<T, E> + Clone,
{
    type CallFuture<A: Attempt<T, E>> = RetryFuture<Self, A, A::Future, E>;

    #[inline]
    fn call_owned<A: Attempt<T, E>>(&self, cx: Context, attempt: A) -> Self::CallFuture<A> {
        RetryFuture::new(self.clone(), cx, attempt)
    }
}

impl From<Retry> for RetryWhen<RetryOnFailure> {
    fn from(retry: Retry) -> Self {
        let safety = retry.0.repeat_safety();
        Self { retry, rule: RetryOnFailure, safety }
    }
}

impl From<&Retry> for RetryWhen<RetryOnFailure> {
    fn from(retry: &Retry) -> Self {
        retry.clone().into()
    }
}

impl<R: Clone> From<&RetryWhen<R>> for RetryWhen<R> {
    fn from(retry: &Self) -> Self {
        retry.clone()
    }
}
