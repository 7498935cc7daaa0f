//! The future of a guarded call.

use super::classified::Judge;
use super::permit::CircuitBreakerPermit;
use super::shared::Shared;
use crate::error::Error;
use crate::outcome::Classify;
use pin_project::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// The future of a guarded call; returned by [`CircuitBreaker::call`](super::CircuitBreaker::call).
///
/// # Cancel safety
///
/// The breaker admits or rejects the call at the first poll. A call that is dropped before its end
/// records no outcome, and gives back its slot if it was a probe.
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct CircuitBreakerCallFuture<'a, C, Op, Fut> {
    breaker: &'a Shared,
    judge: &'a Judge<C>,
    op: Option<Op>,
    // Dropped before the permit: what the operation holds is released when its slot is free.
    #[pin]
    running: Option<Fut>,
    permit: Option<CircuitBreakerPermit<'a>>,
}

impl<'a, C, Op, Fut> CircuitBreakerCallFuture<'a, C, Op, Fut> {
    pub(super) const fn new(breaker: &'a Shared, judge: &'a Judge<C>, op: Op) -> Self {
        Self { breaker, judge, op: Some(op), running: None, permit: None }
    }
}

impl<C, Op, Fut, T, E> Future for CircuitBreakerCallFuture<'_, C, Op, Fut>
where
    C: Classify<T, E>,
    Op: FnOnce() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    type Output = Result<T, Error<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(op) = this.op.take() {
            let permit = this.breaker.admit(C::TIMED, this.breaker.reading())?;
            // Stored after `op` has run, so that a panic of `op` drops the permit.
            this.running.set(Some(op()));
            *this.permit = Some(permit);
        }
        let running = this.running.as_mut().as_pin_mut().expect("polled after completion");
        let result = ready!(running.poll(cx)).map_err(Error::Operation);
        this.running.set(None);
        if let Some(permit) = this.permit.take() {
            this.judge.record(permit, &result);
        }
        Poll::Ready(result)
    }
}

impl<C, Op, Fut> fmt::Debug for CircuitBreakerCallFuture<'_, C, Op, Fut> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreakerCallFuture")
            .field("breaker", &self.breaker.group.name)
            .finish_non_exhaustive()
    }
}
