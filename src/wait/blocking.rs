//! A thread waits by the same code as a task: it polls the future and parks in between.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::sync::thread::{Limit, Parker};

/// Runs `future` to its end on this thread.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let parker = Parker::current();
    let mut cx = Context::from_waker(parker.waker());
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        parker.park();
    }
}

/// Runs `future` until it ends or `patience` does. The future is polled once more after the last
/// moment, so that what came in time is not refused because the thread woke up late.
pub(crate) fn block_on_for<F: Future + Unpin + ?Sized>(
    future: &mut F,
    patience: Duration,
) -> Option<F::Output> {
    let parker = Parker::current();
    let mut cx = Context::from_waker(parker.waker());
    let mut future = pin!(future);
    let mut limit = None;
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return Some(output);
        }
        // The clock is read only by who has to wait.
        let limit = *limit.get_or_insert_with(|| Limit::after(patience));
        if !parker.park_until(limit) {
            return None;
        }
    }
}
