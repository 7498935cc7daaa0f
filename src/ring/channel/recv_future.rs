//! The futures of receiving from a channel.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::shared::{NotEmpty, Shared};
use super::timeout::Timeout;
use crate::ring::error::{RecvError, RecvTimeoutError};
use crate::wait::Wait;

/// The future of [`Receiver::recv`](super::Receiver::recv).
#[must_use = "futures do nothing unless polled"]
pub struct RecvFuture<'a, T> {
    shared: &'a Shared<T>,
    wait: Wait<'a, NotEmpty<'a, T>>,
}

impl<'a, T> RecvFuture<'a, T> {
    #[inline]
    pub(super) fn new(shared: &'a Shared<T>) -> Self {
        Self { shared, wait: shared.wait_for_item() }
    }
}

impl<T> Future for RecvFuture<'_, T> {
    type Output = Result<T, RecvError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { shared, wait } = &mut *self;
        wait.poll(cx, || shared.attempt_recv()).map(|received| received.map_err(|_| RecvError))
    }
}

/// The future of [`Receiver::recv_timeout`](super::Receiver::recv_timeout).
#[must_use = "futures do nothing unless polled"]
pub struct RecvTimeoutFuture<'a, T> {
    recv: RecvFuture<'a, T>,
    timeout: Timeout,
}

impl<'a, T> RecvTimeoutFuture<'a, T> {
    #[inline]
    pub(super) fn new(shared: &'a Shared<T>, timeout: Duration) -> Self {
        Self { recv: RecvFuture::new(shared), timeout: Timeout::new(timeout) }
    }
}

impl<T> Future for RecvTimeoutFuture<'_, T> {
    type Output = Result<T, RecvTimeoutError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { recv, timeout } = &mut *self;
        if let Poll::Ready(received) = Pin::new(&mut *recv).poll(cx) {
            return Poll::Ready(received.map_err(|_| RecvTimeoutError::Closed));
        }
        timeout.poll(cx).map(|()| {
            // Dropping the previous wait removes it from the queue.
            recv.wait = recv.shared.wait_for_item();
            Err(RecvTimeoutError::Timeout)
        })
    }
}

/// The future of [`Receiver::recv_batch`](super::Receiver::recv_batch).
#[must_use = "futures do nothing unless polled"]
pub struct RecvBatchFuture<'a, T> {
    shared: &'a Shared<T>,
    wait: Wait<'a, NotEmpty<'a, T>>,
    into: &'a mut Vec<T>,
    max: usize,
}

impl<'a, T> RecvBatchFuture<'a, T> {
    #[inline]
    pub(super) fn new(shared: &'a Shared<T>, into: &'a mut Vec<T>, max: usize) -> Self {
        Self { shared, wait: shared.wait_for_item(), into, max }
    }
}

impl<T> Future for RecvBatchFuture<'_, T> {
    type Output = Result<usize, RecvError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { shared, wait, into, max } = &mut *self;
        let received = wait.poll(cx, || shared.attempt_recv_batch(into, *max));
        received.map(|received| received.map_err(|_| RecvError))
    }
}

impl<T> fmt::Debug for RecvFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvFuture").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for RecvTimeoutFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvTimeoutFuture").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for RecvBatchFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvBatchFuture").finish_non_exhaustive()
    }
}
