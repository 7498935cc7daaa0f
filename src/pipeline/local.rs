//! Calls whose operation need not be `Send`: [`PipelineLocalLayer`], and the methods of
//! [`Pipeline`] for them.

use super::layers::{GuardLayer, RepeatLayer, TimeLimitLayer};
use super::stack::{Describe, EmptyStack, PipelineStack};
use super::{CallerLayer, DeadlineLayer, Pipeline, TimeLimitFuture};
use crate::error::Error;
use crate::policy::guarded::{GuardedFuture, OperationFuture, Owned};
use crate::policy::{Admission, Context, OwnedGuard, OwnedRepeat, TimeLimit};
use std::future::Future;

impl<S> Pipeline<S> {
    /// Runs `op` through all policies, as [`call`](Self::call) does. The operation, its future and
    /// its result need not be `Send`.
    ///
    /// This is for tasks that stay on one thread, such as those of a `tokio::task::LocalSet`. The
    /// future of the call is `Send` only if the operation, its future and its result are. Every
    /// policy of the stack must implement [`OwnedGuard`], [`OwnedRepeat`] or [`TimeLimit`], as all
    /// policies of this crate do.
    ///
    /// ```
    /// # use mainstay::Pipeline;
    /// # use std::{rc::Rc, time::Duration};
    /// let pipeline = Pipeline::builder().timeout(Duration::from_secs(1)).build();
    /// # futures::executor::block_on(async {
    /// let shared = Rc::new(7);
    /// let result = pipeline.call_local(|| async { Ok::<_, ()>(shared.clone()) });
    /// assert_eq!(result.await, Ok(shared.clone()));
    /// # });
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`call`](Self::call).
    pub fn call_local<Op, Fut, T, E>(&self, op: Op) -> impl Future<Output = Result<T, Error<E>>>
    where
        S: PipelineLocalLayer<T, E>,
        Op: Fn() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.call_with_local(move |_| op())
    }

    /// Runs `op` through all policies, as [`call_local`](Self::call_local) does, and passes it the
    /// [`Context`] of each attempt.
    ///
    /// ```
    /// # use mainstay::Pipeline;
    /// # use std::{rc::Rc, time::Duration};
    /// let pipeline = Pipeline::builder().timeout(Duration::from_secs(1)).build();
    /// # futures::executor::block_on(async {
    /// let attempt = pipeline.call_with_local(|cx| async move {
    ///     Ok::<_, ()>(Rc::new(cx.attempt()))
    /// });
    /// assert_eq!(attempt.await, Ok(Rc::new(1)));
    /// # });
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`call`](Self::call).
    pub async fn call_with_local<Op, Fut, T, E>(&self, op: Op) -> Result<T, Error<E>>
    where
        S: PipelineLocalLayer<T, E>,
        Op: Fn(Context) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let op = &op;
        self.stack.call_local(Context::new(), move |cx| OperationFuture(op(cx))).await
    }
}

/// A layer that can run operations that are not `Send`.
#[diagnostic::on_unimplemented(
    message = "this pipeline cannot run operations that are not `Send`, or that return \
               `Result<{T}, {E}>`",
    note = "every policy must implement `OwnedGuard`, `OwnedRepeat` or `TimeLimit`"
)]
pub trait PipelineLocalLayer<T, E>: Describe {
    /// Runs `op` through this layer.
    fn call_local<Op, Fut>(&self, cx: Context, op: Op) -> impl Future<Output = Result<T, Error<E>>>
    where
        Op: Fn(Context) -> Fut + Copy,
        Fut: Future<Output = Result<T, Error<E>>>;
}

impl<T, E> PipelineLocalLayer<T, E> for EmptyStack {
    fn call_local<Op, Fut>(&self, cx: Context, op: Op) -> impl Future<Output = Result<T, Error<E>>>
    where
        Op: Fn(Context) -> Fut + Copy,
        Fut: Future<Output = Result<T, Error<E>>>,
    {
        op(cx)
    }
}

impl<T, E, Outer, Inner> PipelineLocalLayer<T, E> for PipelineStack<Outer, Inner>
where
    Outer: PipelineLocalLayer<T, E>,
    Inner: PipelineLocalLayer<T, E>,
{
    fn call_local<Op, Fut>(&self, cx: Context, op: Op) -> impl Future<Output = Result<T, Error<E>>>
    where
        Op: Fn(Context) -> Fut + Copy,
        Fut: Future<Output = Result<T, Error<E>>>,
    {
        self.outer.call_local(cx, move |cx| self.inner.call_local(cx, op))
    }
}

impl<T, E, G: OwnedGuard<T, E>> PipelineLocalLayer<T, E> for GuardLayer<G> {
    fn call_local<Op, Fut>(&self, cx: Context, op: Op) -> impl Future<Output = Result<T, Error<E>>>
    where
        Op: Fn(Context) -> Fut + Copy,
        Fut: Future<Output = Result<T, Error<E>>>,
    {
        match self.0.admit_owned(cx) {
            Admission::Admitted(permit) => {
                GuardedFuture::admitted(Owned::<G>::new(), permit, op(cx))
            }
            Admission::Rejected(rejection) => GuardedFuture::rejected(Owned::new(), rejection),
            Admission::Waiting(admission) => {
                GuardedFuture::new(Owned::new(), cx.after_waiting(), admission, op)
            }
        }
    }
}

impl<T, E, R: OwnedRepeat<T, E>> PipelineLocalLayer<T, E> for RepeatLayer<R> {
    fn call_local<Op, Fut>(&self, cx: Context, op: Op) -> impl Future<Output = Result<T, Error<E>>>
    where
        Op: Fn(Context) -> Fut + Copy,
        Fut: Future<Output = Result<T, Error<E>>>,
    {
        self.0.call_owned(cx, op)
    }
}

impl<T, E, L: TimeLimit> PipelineLocalLayer<T, E> for TimeLimitLayer<L> {
    fn call_local<Op, Fut>(&self, cx: Context, op: Op) -> impl Future<Output = Result<T, Error<E>>>
    where
        Op: Fn(Context) -> Fut + Copy,
        Fut: Future<Output = Result<T, Error<E>>>,
    {
        TimeLimitFuture::new(&self.0, cx, op)
    }
}

impl<T, E, S: PipelineLocalLayer<T, E>> PipelineLocalLayer<T, E> for CallerLayer<'_, S> {
    fn call_local<Op, Fut>(&self, cx: Context, op: Op) -> impl Future<Output = Result<T, Error<E>>>
    where
        Op: Fn(Context) -> Fut + Copy,
        Fut: Future<Output = Result<T, Error<E>>>,
    {
        self.stack.call_local(cx.with_caller(self.caller), op)
    }
}

impl<T, E, S: PipelineLocalLayer<T, E>> PipelineLocalLayer<T, E> for DeadlineLayer<'_, S> {
    async fn call_local<Op, Fut>(&self, cx: Context, op: Op) -> Result<T, Error<E>>
    where
        Op: Fn(Context) -> Fut + Copy,
        Fut: Future<Output = Result<T, Error<E>>>,
    {
        let (cx, remaining) = self.start(cx)?;
        self.limit(remaining, self.stack.call_local(cx, op)).await
    }
}
