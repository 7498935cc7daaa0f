//! Driving a future on the calling thread, which parks between polls.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::thread::{ParkDeadline, Parker};

/// Runs `future` to completion on the calling thread.
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

/// Runs `future` on the calling thread until it completes or `timeout` has passed; then returns
/// `None`.
///
/// The future is polled once more after the timeout, so that a result that came in time is not lost
/// because the thread woke up late.
pub(crate) fn block_on_timeout<F: Future + Unpin + ?Sized>(
    future: &mut F,
    timeout: Duration,
) -> Option<F::Output> {
    let parker = Parker::current();
    let mut cx = Context::from_waker(parker.waker());
    let mut future = pin!(future);
    let mut deadline = None;
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return Some(output);
        }
        // The clock is read only if there is something to wait for.
        let deadline = *deadline.get_or_insert_with(|| ParkDeadline::after(timeout));
        if !parker.park_until(deadline) {
            return None;
        }
    }
}
