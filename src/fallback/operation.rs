//! A fallback to another operation: [`FallbackToOperation`], [`FallbackOperation`].

use super::handler::FallbackWhen;
use super::{Fallback, POLICY};
use crate::error::{Error, OperationResult, TimedOut};
use crate::policy::guarded::OperationFuture;
use crate::policy::{Attempt, Context, Facts, OwnedRepeat, Policy, Repeat, kind};
use crate::sync::block_on;
use crate::time::{Deadline, Expiry};
use pin_project::pin_project;
use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::task::{self, Poll, ready};
use std::time::Duration;

/// An operation that runs after another one has failed.
///
/// Closures that take an error and a [`Context`] and return a future implement this trait.
pub trait FallbackOperation<T, E>: Send + Sync {
    /// The future of the operation.
    type Future: Future<Output: OperationResult<T, E>> + Send;

    /// Starts the operation in place of the one that failed with `error`.
    ///
    /// # Errors
    ///
    /// Returns `error` if the operation must not run after this error.
    fn start(&self, error: Error<E>, cx: Context) -> Result<Self::Future, Error<E>>;
}

impl<T, E, F, Fut> FallbackOperation<T, E> for F
where
    F: Fn(Error<E>, Context) -> Fut + Send + Sync,
    Fut: Future<Output: OperationResult<T, E>> + Send,
{
    type Future = Fut;

    fn start(&self, error: Error<E>, cx: Context) -> Result<Fut, Error<E>> {
        Ok(self(error, cx))
    }
}

impl<T, E, P, F> FallbackOperation<T, E> for FallbackWhen<P, F>
where
    P: Fn(&Error<E>) -> bool + Send + Sync,
    F: FallbackOperation<T, E>,
{
    type Future = F::Future;

    fn start(&self, error: Error<E>, cx: Context) -> Result<F::Future, Error<E>> {
        if (self.rule)(&error) { self.handler.start(error, cx) } else { Err(error) }
    }
}

/// A [`Fallback`] with the operation `F`; returned by [`Fallback::operation`].
///
/// It implements [`Repeat`] and [`OwnedRepeat`]. In a blocking call, the future of the operation
/// runs on the calling thread.
#[derive(Clone)]
pub struct FallbackToOperation<F> {
    pub(super) fallback: Fallback,
    pub(super) operation: F,
    /// Whether the operation runs after every error, rather than after those that a rule selects.
    pub(super) replaces_all: bool,
}

impl<F> FallbackToOperation<F> {
    /// Restricts the fallback to the errors for which `rule` returns `true`. Other errors are
    /// returned unchanged.
    ///
    /// ```
    /// # use mainstay::{Error, Fallback};
    /// let fallback = Fallback::new()
    ///     .operation(|_: Error<&str>, _| async { Ok::<u32, &str>(7) })
    ///     .when(|error: &Error<&str>| !error.is_rejected());
    /// # futures::executor::block_on(async {
    /// assert_eq!(fallback.call(|| async { Err("down") }).await, Ok(7));
    /// # });
    /// ```
    #[must_use]
    pub fn when<E, P>(self, rule: P) -> FallbackToOperation<FallbackWhen<P, F>>
    where
        P: Fn(&Error<E>) -> bool + Send + Sync,
    {
        let operation = FallbackWhen { rule, handler: self.operation };
        FallbackToOperation { fallback: self.fallback, operation, replaces_all: false }
    }

    /// Returns the underlying [`Fallback`], which holds the counter.
    #[must_use]
    pub const fn fallback(&self) -> &Fallback {
        &self.fallback
    }

    /// Runs `op`, and then the fallback operation if `op` fails.
    ///
    /// ```
    /// # use mainstay::{Error, Fallback};
    /// # async fn replica() -> Result<u32, &'static str> { Ok(7) }
    /// let fallback = Fallback::new().operation(|_: Error<&str>, _| replica());
    /// # futures::executor::block_on(async {
    /// assert_eq!(fallback.call(|| async { Err("down") }).await, Ok(7));
    /// # });
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the error of the fallback operation, or the error of `op` if the rule does not
    /// select it.
    pub async fn call<Op, Fut, T, E>(&self, op: Op) -> Result<T, Error<E>>
    where
        F: FallbackOperation<T, E>,
        Op: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let start = |_: Context| OperationFuture(op());
        FallbackOperationFuture::new(Handle(self), Context::new(), start).await
    }

    /// Returns `cx` at the current time, and the time limit of the first operation, if the call has
    /// a deadline; otherwise `cx` unchanged.
    fn limit(&self, cx: Context) -> (Context, Option<Duration>) {
        let emitter = &self.fallback.0;
        if cx.deadline() == Deadline::NEVER {
            return (cx, None);
        }
        let cx = cx.on(&emitter.clock);
        let left = cx.remaining().unwrap_or(Duration::MAX);
        (cx, Some(left.mul_f64(1.0 - emitter.share)))
    }

    /// Starts the fallback operation, unless the deadline of the call has passed.
    #[cold]
    fn start<T, E>(&self, error: Error<E>, cx: Context) -> Result<F::Future, Error<E>>
    where
        F: FallbackOperation<T, E>,
    {
        let cx = match cx.deadline() {
            Deadline::NEVER => cx.after_waiting(),
            _ => cx.after_waiting().on(&self.fallback.0.clock),
        };
        if cx.remaining().is_some_and(|left| left.is_zero()) {
            return Err(error);
        }
        self.operation.start(error, cx)
    }

    /// Reports a success of the fallback operation as a degraded result.
    fn record<T, E>(&self, result: &Result<T, Error<E>>, cause: &'static str) {
        if result.is_ok() {
            self.fallback.0.degraded(cause);
        }
    }
}

impl<F> fmt::Debug for FallbackToOperation<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FallbackToOperation")
            .field("fallback", &self.fallback)
            .finish_non_exhaustive()
    }
}

impl<F: Clone> From<&FallbackToOperation<F>> for FallbackToOperation<F> {
    fn from(fallback: &Self) -> Self {
        fallback.clone()
    }
}

impl<F: Send + Sync> Policy for FallbackToOperation<F> {
    type Kind = kind::Repeat;

    fn facts(&self) -> Facts {
        let identity = std::ptr::from_ref(&*self.fallback.0).addr();
        let facts = Facts::new(POLICY, self.fallback.name()).identity(identity);
        if self.replaces_all { facts.replaces_errors() } else { facts }
    }
}

impl<F, T: Send, E: Send> Repeat<T, E> for FallbackToOperation<F>
where
    F: FallbackOperation<T, E>,
{
    #[inline]
    fn call<Op, Fut>(&self, cx: Context, op: Op) -> impl Future<Output = Result<T, Error<E>>> + Send
    where
        Op: Fn(Context) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, Error<E>>> + Send,
    {
        FallbackOperationFuture::new(Handle(self), cx, op)
    }

    fn call_blocking<Op>(&self, cx: Context, op: Op) -> Result<T, Error<E>>
    where
        Op: Fn(Context) -> Result<T, Error<E>>,
    {
        let (cx, limit) = self.limit(cx);
        let error = match op(limited(cx, limit)) {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let cause = error.cause();
        let result = block_on(self.start(error, cx)?).flatten();
        self.record(&result, cause);
        result
    }
}

impl<F, T, E> OwnedRepeat<T, E> for FallbackToOperation<F>
where
    F: FallbackOperation<T, E> + Clone,
{
    type CallFuture<A: Attempt<T, E>> = FallbackOperationFuture<Handle<Self>, A::Future, F::Future>;

    #[inline]
    fn call_owned<A: Attempt<T, E>>(&self, cx: Context, mut attempt: A) -> Self::CallFuture<A> {
        FallbackOperationFuture::new(Handle(self.clone()), cx, |cx| attempt.start(cx))
    }
}

/// A fallback with its operation, borrowed or owned.
#[derive(Debug)]
pub struct Handle<R>(R);

impl<F> Deref for Handle<&FallbackToOperation<F>> {
    type Target = FallbackToOperation<F>;

    fn deref(&self) -> &Self::Target {
        self.0
    }
}

impl<F> Deref for Handle<FallbackToOperation<F>> {
    type Target = FallbackToOperation<F>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// Returns `cx` with a deadline after `limit`, if there is one.
fn limited(cx: Context, limit: Option<Duration>) -> Context {
    match limit {
        None => cx,
        Some(limit) => cx.with_deadline(Deadline::after(cx.now(), limit)),
    }
}

/// The future of a call through a fallback to another operation.
///
/// Each operation is dropped as soon as it ends or its time limit is reached, even if the future
/// itself is kept.
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct FallbackOperationFuture<R, Fut, Other> {
    fallback: R,
    cx: Context,
    #[pin]
    step: Step<Fut, Other>,
}

#[pin_project(project = StepProjection)]
enum Step<Fut, Other> {
    First {
        #[pin]
        running: Fut,
        limit: Option<Expiry>,
        duration: Duration,
    },
    Other {
        #[pin]
        running: Other,
        cause: &'static str,
    },
    Ended,
}

impl<R, Fut, Other, F> FallbackOperationFuture<R, Fut, Other>
where
    R: Deref<Target = FallbackToOperation<F>>,
{
    fn new(fallback: R, cx: Context, op: impl FnOnce(Context) -> Fut) -> Self {
        let (cx, limit) = fallback.limit(cx);
        let running = op(limited(cx, limit));
        let duration = limit.unwrap_or(Duration::MAX);
        let limit = limit.map(|limit| Expiry::new(cx.now() + limit));
        Self { fallback, cx, step: Step::First { running, limit, duration } }
    }
}

impl<R, Fut, F, T, E> Future for FallbackOperationFuture<R, Fut, F::Future>
where
    R: Deref<Target = FallbackToOperation<F>>,
    F: FallbackOperation<T, E>,
    Fut: Future<Output = Result<T, Error<E>>>,
{
    type Output = Result<T, Error<E>>;

    fn poll(self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let fallback: &FallbackToOperation<F> = this.fallback;
        loop {
            let result = match this.step.as_mut().project() {
                StepProjection::First { running, limit, duration } => {
                    let result = match running.poll(task) {
                        Poll::Ready(result) => result,
                        Poll::Pending => {
                            let Some(limit) = limit else { return Poll::Pending };
                            ready!(limit.poll(&fallback.fallback.0.clock, task));
                            Err(TimedOut::new(fallback.fallback.name(), *duration).into())
                        }
                    };
                    this.step.set(Step::Ended);
                    match result {
                        Ok(value) => return Poll::Ready(Ok(value)),
                        Err(error) => {
                            let cause = error.cause();
                            let running = fallback.start(error, *this.cx)?;
                            this.step.set(Step::Other { running, cause });
                        }
                    }
                    continue;
                }
                StepProjection::Other { running, cause } => {
                    let cause = *cause;
                    let result = ready!(running.poll(task)).flatten();
                    this.step.set(Step::Ended);
                    fallback.record(&result, cause);
                    result
                }
                StepProjection::Ended => panic!("{COMPLETED}"),
            };
            return Poll::Ready(result);
        }
    }
}

impl<R, Fut, Other> fmt::Debug for FallbackOperationFuture<R, Fut, Other> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FallbackOperationFuture").finish_non_exhaustive()
    }
}

const COMPLETED: &str = "a call through a fallback was polled after it had completed";
