//! A fallback with its handler, and the implementation of the repeat traits: [`FallbackTo`],
//! [`FallbackFuture`].

use super::handler::{FallbackHandler, FallbackWhen};
use super::{Fallback, POLICY};
use crate::error::Error;
use crate::policy::guarded::OperationFuture;
use crate::policy::{Attempt, Context, Facts, OwnedRepeat, Policy, Repeat, kind};
use pin_project::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{self, Poll, ready};

/// A [`Fallback`] with the handler `H`; returned by [`Fallback::value`] and [`Fallback::handle`].
///
/// It implements [`Repeat`] and [`OwnedRepeat`].
#[derive(Clone)]
pub struct FallbackTo<H> {
    pub(super) fallback: Fallback,
    pub(super) handler: H,
    /// Whether the handler replaces every error.
    pub(super) replaces_all: bool,
}

impl<H> FallbackTo<H> {
    /// Restricts the fallback to the errors for which `rule` returns `true`. Other errors are
    /// returned unchanged.
    ///
    /// ```
    /// # use mainstay::{Error, Fallback, Reason, Rejection};
    /// let fallback = Fallback::new().value(0).when(|error| !error.is_rejected());
    /// assert_eq!(fallback.call_blocking(|| Err::<u32, _>("down")), Ok(0));
    /// ```
    #[must_use]
    pub fn when<E, P>(self, rule: P) -> FallbackTo<FallbackWhen<P, H>>
    where
        P: Fn(&Error<E>) -> bool + Send + Sync,
    {
        let handler = FallbackWhen { rule, handler: self.handler };
        FallbackTo { fallback: self.fallback, handler, replaces_all: false }
    }

    /// Returns the underlying [`Fallback`], which holds the counter.
    #[must_use]
    pub const fn fallback(&self) -> &Fallback {
        &self.fallback
    }

    /// Runs `op`, and replaces an error of `op` with the result of the handler.
    ///
    /// ```
    /// # use mainstay::Fallback;
    /// let fallback = Fallback::new().value(0);
    /// # futures::executor::block_on(async {
    /// assert_eq!(fallback.call(|| async { Err::<u32, _>("down") }).await, Ok(0));
    /// # });
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the error that the handler returns.
    pub async fn call<Op, Fut, T, E>(&self, op: Op) -> Result<T, Error<E>>
    where
        H: FallbackHandler<T, E>,
        Op: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        FallbackFuture::new(self, OperationFuture(op())).await
    }

    /// Runs the closure `op`, and replaces an error of `op` with the result of the handler.
    ///
    /// ```
    /// # use mainstay::Fallback;
    /// let fallback = Fallback::new().value(0);
    /// assert_eq!(fallback.call_blocking(|| Err::<u32, _>("down")), Ok(0));
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the error that the handler returns.
    pub fn call_blocking<T, E>(&self, op: impl FnOnce() -> Result<T, E>) -> Result<T, Error<E>>
    where
        H: FallbackHandler<T, E>,
    {
        self.apply(op().map_err(Error::Operation))
    }

    /// Returns the result of the handler, and reports it as degraded if it is a success.
    #[cold]
    fn replace<T, E>(&self, error: Error<E>) -> Result<T, Error<E>>
    where
        H: FallbackHandler<T, E>,
    {
        let cause = error.cause();
        let result = self.handler.handle(error);
        if result.is_ok() {
            self.fallback.0.degraded(cause);
        }
        result
    }
}

impl<H> fmt::Debug for FallbackTo<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FallbackTo").field("fallback", &self.fallback).finish_non_exhaustive()
    }
}

/// A fallback with its handler, borrowed or owned.
pub(super) trait Replace<T, E> {
    fn apply(&self, result: Result<T, Error<E>>) -> Result<T, Error<E>>;
}

impl<T, E, H: FallbackHandler<T, E>> Replace<T, E> for FallbackTo<H> {
    #[inline]
    fn apply(&self, result: Result<T, Error<E>>) -> Result<T, Error<E>> {
        match result {
            Ok(value) => Ok(value),
            Err(error) => self.replace(error),
        }
    }
}

impl<T, E, H: FallbackHandler<T, E>> Replace<T, E> for &FallbackTo<H> {
    #[inline]
    fn apply(&self, result: Result<T, Error<E>>) -> Result<T, Error<E>> {
        (**self).apply(result)
    }
}

impl<H: Clone> From<&FallbackTo<H>> for FallbackTo<H> {
    fn from(fallback: &Self) -> Self {
        fallback.clone()
    }
}

impl<H: Send + Sync> Policy for FallbackTo<H> {
    type Kind = kind::Repeat;

    fn facts(&self) -> Facts {
        let identity = std::ptr::from_ref(&*self.fallback.0).addr();
        let facts = Facts::new(POLICY, self.fallback.name()).identity(identity);
        if self.replaces_all { facts.replaces_errors() } else { facts }
    }
}

impl<H, T: Send, E: Send> Repeat<T, E> for FallbackTo<H>
where
    H: FallbackHandler<T, E>,
{
    #[inline]
    fn call<Op, Fut>(&self, cx: Context, op: Op) -> impl Future<Output = Result<T, Error<E>>> + Send
    where
        Op: Fn(Context) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, Error<E>>> + Send,
    {
        FallbackFuture::new(self, op(cx))
    }

    fn call_blocking<Op>(&self, cx: Context, op: Op) -> Result<T, Error<E>>
    where
        Op: Fn(Context) -> Result<T, Error<E>>,
    {
        self.apply(op(cx))
    }
}

impl<H, T, E> OwnedRepeat<T, E> for FallbackTo<H>
where
    H: FallbackHandler<T, E> + Clone,
{
    type CallFuture<A: Attempt<T, E>> = FallbackFuture<Self, A::Future>;

    #[inline]
    fn call_owned<A: Attempt<T, E>>(&self, cx: Context, mut attempt: A) -> Self::CallFuture<A> {
        FallbackFuture::new(self.clone(), attempt.start(cx))
    }
}

/// The future of a call through a fallback.
///
/// When the call ends, the future drops the operation immediately, even if the future itself is
/// kept.
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct FallbackFuture<F, Fut> {
    fallback: F,
    #[pin]
    running: Option<Fut>,
}

impl<F, Fut> FallbackFuture<F, Fut> {
    #[inline]
    const fn new(fallback: F, running: Fut) -> Self {
        Self { fallback, running: Some(running) }
    }
}

impl<F, Fut, T, E> Future for FallbackFuture<F, Fut>
where
    F: Replace<T, E>,
    Fut: Future<Output = Result<T, Error<E>>>,
{
    type Output = Result<T, Error<E>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let running = this.running.as_mut().as_pin_mut().expect(COMPLETED);
        let result = ready!(running.poll(task));
        this.running.set(None);
        Poll::Ready(this.fallback.apply(result))
    }
}

impl<F, Fut> fmt::Debug for FallbackFuture<F, Fut> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FallbackFuture").finish_non_exhaustive()
    }
}

const COMPLETED: &str = "a call through a fallback was polled after it had completed";
