//! The future of a guarded call.

use super::classified::Classifier;
use super::permit::CircuitBreakerPermit;
use super::shared::Shared;
use crate::error::{Error, Rejection};
use crate::outcome::Classify;
use crate::policy;
use crate::policy::guarded::{GuardedFuture, OperationFuture, Recorder, Start};
use pin_project::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The future of a guarded call; returned by [`CircuitBreaker::call`](super::CircuitBreaker::call).
///
/// # Cancel safety
///
/// The breaker admits or rejects the call at the first poll. A future that is dropped before the
/// call ends records no outcome. If the call was a probe, its slot is released.
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct CircuitBreakerCallFuture<'a, C, Op, Fut>(
    #[pin]
    GuardedFuture<
        ClassifierRecorder<'a, C>,
        CircuitBreakerPermit<'a>,
        AdmitFuture<'a>,
        Operation<Op>,
        OperationFuture<Fut>,
    >,
);

impl<'a, C, Op, Fut> CircuitBreakerCallFuture<'a, C, Op, Fut> {
    /// Creates the future. If `timed` is true, the call is timed.
    pub(super) fn new(
        breaker: &'a Shared,
        classifier: &'a Classifier<C>,
        timed: bool,
        op: Op,
    ) -> Self {
        let admission = AdmitFuture { breaker, timed };
        let cx = policy::Context::new();
        Self(GuardedFuture::new(ClassifierRecorder(classifier), cx, admission, Operation(op)))
    }
}

impl<C, Op, Fut, T, E> Future for CircuitBreakerCallFuture<'_, C, Op, Fut>
where
    C: Classify<T, E>,
    Op: FnOnce() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    type Output = Result<T, Error<E>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().0.poll(cx)
    }
}

/// Admits or rejects a call when it is polled. Never pending.
struct AdmitFuture<'a> {
    breaker: &'a Shared,
    timed: bool,
}

impl<'a> Future for AdmitFuture<'a> {
    type Output = Result<CircuitBreakerPermit<'a>, Rejection>;

    #[inline]
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(self.breaker.admit(self.timed, self.breaker.reading()))
    }
}

/// Classifies and records the result of a call.
struct ClassifierRecorder<'a, C>(&'a Classifier<C>);

impl<'a, T, E, C: Classify<T, E>> Recorder<T, E> for ClassifierRecorder<'a, C> {
    type Permit = CircuitBreakerPermit<'a>;

    #[inline(always)]
    fn record(&self, permit: CircuitBreakerPermit<'a>, result: &Result<T, Error<E>>) {
        self.0.record(permit, result);
    }
}

/// The user's operation, which takes no context.
struct Operation<Op>(Op);

impl<Op, Fut, T, E> Start<T, E> for Operation<Op>
where
    Op: FnOnce() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    type Future = OperationFuture<Fut>;

    #[inline]
    fn start(self, _: policy::Context) -> OperationFuture<Fut> {
        OperationFuture((self.0)())
    }
}

impl<C, Op, Fut> fmt::Debug for CircuitBreakerCallFuture<'_, C, Op, Fut> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreakerCallFuture").finish_non_exhaustive()
    }
}
