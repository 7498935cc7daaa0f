//! A view of a chaos policy that returns the results of a function: [`ChaosWith`], [`ChaosResult`].

use super::inject::{Continuation, Injection};
use super::{Chaos, ChaosInjection};
use crate::error::{Error, Reason, Rejection, TimedOut};
use crate::policy::guarded::OperationFuture;
use crate::policy::{Attempt, Context, Facts, OwnedRepeat, Policy, Repeat, kind};
use pin_project::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{self, Poll, ready};

/// A view of a [`Chaos`] policy whose [error faults](super::Fault::error) return the results of
/// `R`.
///
/// Created by [`Chaos::errors`] and [`Chaos::results`]. It runs the operation at most once. It
/// still implements [`Repeat`] and [`OwnedRepeat`], because a [`Guard`](crate::policy::Guard)
/// cannot return a result instead of the operation.
#[derive(Clone)]
pub struct ChaosWith<R> {
    chaos: Chaos,
    result: R,
}

/// Makes the result that a call returns instead of running its operation.
///
/// Closures from a [`ChaosInjection`] to a `Result<T, E>` implement it, and so does
/// [`ChaosError`].
pub trait ChaosResult<T, E>: Send + Sync {
    /// Returns the result of the call.
    ///
    /// # Errors
    ///
    /// Returns the error that the call returns as [`Error::Operation`].
    fn result(&self, injection: ChaosInjection) -> Result<T, E>;
}

/// A function from a [`ChaosInjection`] to an error; used by [`Chaos::errors`].
#[derive(Clone, Copy, Debug)]
pub struct ChaosError<F>(pub(super) F);

impl<T, E, F: Fn(ChaosInjection) -> Result<T, E> + Send + Sync> ChaosResult<T, E> for F {
    fn result(&self, injection: ChaosInjection) -> Result<T, E> {
        self(injection)
    }
}

impl<T, E, F: Fn(ChaosInjection) -> E + Send + Sync> ChaosResult<T, E> for ChaosError<F> {
    fn result(&self, injection: ChaosInjection) -> Result<T, E> {
        Err(self.0(injection))
    }
}

impl<R> ChaosWith<R> {
    pub(super) const fn new(chaos: Chaos, result: R) -> Self {
        Self { chaos, result }
    }

    /// Returns the chaos policy.
    #[must_use]
    pub const fn chaos(&self) -> &Chaos {
        &self.chaos
    }

    /// Applies the faults that affect the call, then runs `op` unless a fault ended the call.
    ///
    /// ```
    /// # use mainstay::{Chaos, Fault};
    /// let chaos = Chaos::builder().fault(Fault::error()).build()?;
    /// let failing = chaos.errors(|_| "injected");
    /// # futures::executor::block_on(async {
    /// assert_eq!(failing.call(|| async { Ok(1) }).await, Ok(1)); // off
    /// # });
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the error of `op` or of the function, or a rejection with [`Reason::Injected`].
    pub async fn call<Op, Fut, T, E>(&self, op: Op) -> Result<T, Error<E>>
    where
        R: ChaosResult<T, E>,
        Op: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let mut op = Some(op);
        // Called at most once.
        let start = move |_| op.take().map(|op| OperationFuture(op())).expect(COMPLETED);
        ChaosFuture::new(self, Context::new(), start).await
    }

    /// Applies the faults that affect the call, then runs the closure `op` unless a fault ended the
    /// call.
    ///
    /// ```
    /// # use mainstay::{Chaos, Fault};
    /// let chaos = Chaos::builder().fault(Fault::error()).build()?;
    /// let failing = chaos.errors(|_| "injected");
    /// assert_eq!(failing.call_blocking(|| Ok(1)), Ok(1)); // off
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the error of `op` or of the function, or a rejection with [`Reason::Injected`].
    pub fn call_blocking<T, E>(&self, op: impl FnOnce() -> Result<T, E>) -> Result<T, Error<E>>
    where
        R: ChaosResult<T, E>,
    {
        self.run_blocking(Context::new(), |_| op().map_err(Error::Operation))
    }

    fn run_blocking<T, E>(
        &self,
        cx: Context,
        op: impl FnOnce(Context) -> Result<T, Error<E>>,
    ) -> Result<T, Error<E>>
    where
        R: ChaosResult<T, E>,
    {
        match self.chaos.shared.inject_blocking(self.chaos.key, cx) {
            Continuation::Run => op(cx.after_waiting()),
            continuation => self.replace(continuation),
        }
    }

    #[cold]
    fn replace<T, E>(&self, continuation: Continuation) -> Result<T, Error<E>>
    where
        R: ChaosResult<T, E>,
    {
        let name = self.chaos.name();
        match continuation {
            Continuation::Error(injection) => {
                self.result.result(injection).map_err(Error::Operation)
            }
            Continuation::TimedOut(after) => Err(TimedOut::new(name, after).into()),
            Continuation::Reject | Continuation::Run => {
                Err(Rejection::new(Reason::Injected, name).into())
            }
        }
    }
}

impl<R: Clone> From<&ChaosWith<R>> for ChaosWith<R> {
    fn from(chaos: &Self) -> Self {
        chaos.clone()
    }
}

impl<R: Send + Sync> Policy for ChaosWith<R> {
    type Kind = kind::Repeat;

    fn facts(&self) -> Facts {
        self.chaos.facts()
    }
}

impl<T: Send, E: Send, R: ChaosResult<T, E>> Repeat<T, E> for ChaosWith<R> {
    #[inline]
    fn call<Op, Fut>(&self, cx: Context, op: Op) -> impl Future<Output = Result<T, Error<E>>> + Send
    where
        Op: Fn(Context) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, Error<E>>> + Send,
    {
        ChaosFuture::new(self, cx, op)
    }

    #[inline]
    fn call_blocking<Op>(&self, cx: Context, op: Op) -> Result<T, Error<E>>
    where
        Op: Fn(Context) -> Result<T, Error<E>>,
    {
        self.run_blocking(cx, op)
    }
}

impl<T, E, R: ChaosResult<T, E> + Clone> OwnedRepeat<T, E> for ChaosWith<R> {
    type CallFuture<A: Attempt<T, E>> = ChaosFuture<Self, A, A::Future>;

    #[inline]
    fn call_owned<A: Attempt<T, E>>(&self, cx: Context, attempt: A) -> Self::CallFuture<A> {
        ChaosFuture::new(self.clone(), cx, attempt)
    }
}

/// A [`ChaosWith`], borrowed or owned.
pub(super) trait Replace<T, E> {
    fn chaos(&self) -> &Chaos;
    fn replace(&self, continuation: Continuation) -> Result<T, Error<E>>;
}

impl<T, E, R: ChaosResult<T, E>> Replace<T, E> for ChaosWith<R> {
    fn chaos(&self) -> &Chaos {
        &self.chaos
    }

    fn replace(&self, continuation: Continuation) -> Result<T, Error<E>> {
        self.replace(continuation)
    }
}

impl<T, E, R: ChaosResult<T, E>> Replace<T, E> for &ChaosWith<R> {
    fn chaos(&self) -> &Chaos {
        &self.chaos
    }

    fn replace(&self, continuation: Continuation) -> Result<T, Error<E>> {
        (**self).replace(continuation)
    }
}

/// The future of a call through a [`ChaosWith`].
///
/// When the call ends, the future drops the operation immediately, even if the future itself is
/// kept.
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct ChaosFuture<C, A, Fut> {
    /// The fault of the call. `None` after its delay, and for a call without a fault.
    injecting: Option<Box<Injecting<C, A>>>,
    #[pin]
    running: Option<Fut>,
}

/// The started operation, or the result of a fault.
type Continued<Fut, T, E> = Result<Fut, Result<T, Error<E>>>;

/// A call with a fault. Boxed, so that the future of a call without a fault is small.
struct Injecting<C, A> {
    chaos: C,
    injection: Box<Injection>,
    attempt: A,
    cx: Context,
}

impl<C, A, Fut> ChaosFuture<C, A, Fut> {
    /// Decides which faults affect the call, and starts the operation if there is none.
    #[inline]
    fn new<T, E>(chaos: C, cx: Context, mut attempt: A) -> Self
    where
        C: Replace<T, E>,
        A: Attempt<T, E, Future = Fut>,
    {
        let Chaos { shared, key } = chaos.chaos();
        match shared.inject(*key, cx) {
            None => Self { injecting: None, running: Some(attempt.start(cx)) },
            Some(injection) => {
                let injecting = Injecting { chaos, injection, attempt, cx };
                Self { injecting: Some(Box::new(injecting)), running: None }
            }
        }
    }
}

impl<C, A> Injecting<C, A> {
    /// Completes when the delay is over.
    #[cold]
    fn poll<T, E>(&mut self, task: &mut task::Context<'_>) -> Poll<Continued<A::Future, T, E>>
    where
        C: Replace<T, E>,
        A: Attempt<T, E>,
    {
        let Self { chaos, injection, attempt, cx } = self;
        Poll::Ready(match ready!(injection.poll(&chaos.chaos().shared, task)) {
            Continuation::Run => Ok(attempt.start(cx.after_waiting())),
            continuation => Err(chaos.replace(continuation)),
        })
    }
}

impl<C, A, Fut, T, E> Future for ChaosFuture<C, A, Fut>
where
    C: Replace<T, E>,
    A: Attempt<T, E, Future = Fut>,
    Fut: Future<Output = Result<T, Error<E>>>,
{
    type Output = Result<T, Error<E>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(injecting) = this.injecting {
            let continued = ready!(injecting.poll(task));
            *this.injecting = None;
            match continued {
                Ok(running) => this.running.set(Some(running)),
                Err(result) => return Poll::Ready(result),
            }
        }
        let running = this.running.as_mut().as_pin_mut().expect(COMPLETED);
        let result = ready!(running.poll(task));
        this.running.set(None);
        Poll::Ready(result)
    }
}

impl<R> fmt::Debug for ChaosWith<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChaosWith").field("chaos", &self.chaos).finish_non_exhaustive()
    }
}

impl<C, A, Fut> fmt::Debug for ChaosFuture<C, A, Fut> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChaosFuture").finish_non_exhaustive()
    }
}

const COMPLETED: &str = "a call through a chaos policy was polled after it had completed";
