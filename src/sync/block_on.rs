//! Runs a future on the calling thread, which parks between polls.

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

/// Runs `future` on the calling thread for at most `timeout`. Returns `None` if it has not
/// completed by then.
///
/// The timeout counts from the first poll. The future is polled once more after the timeout, so
/// that a result is not lost if the thread wakes up late.
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
        // The clock is read only if the first poll is pending.
        let deadline = *deadline.get_or_insert_with(|| ParkDeadline::after(timeout));
        if !parker.park_until(deadline) {
            return None;
        }
    }
}
