//! The futures of a sender.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::shared::{Closed, NotFull, Shared};
use super::timeout::Timeout;
use crate::ring::batch_source::BatchSource;
use crate::ring::error::{SendError, SendTimeoutError};
use crate::wait::Wait;

/// The future of [`Sender::send`](super::Sender::send).
#[must_use = "futures do nothing unless polled"]
pub struct SendFuture<'a, T> {
    shared: &'a Shared<T>,
    wait: Wait<'a, NotFull<'a, T>>,
    value: Option<T>,
}

impl<'a, T> SendFuture<'a, T> {
    #[inline]
    pub(super) fn new(shared: &'a Shared<T>, value: T) -> Self {
        Self { shared, wait: shared.wait_for_free_slot(), value: Some(value) }
    }

    #[inline]
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        let Self { shared, wait, value } = self;
        assert!(value.is_some(), "a send was polled after it was ready");
        wait.poll(cx, || shared.attempt_send(value))
    }
}

// The value is not pinned: it is only moved out.
impl<T> Unpin for SendFuture<'_, T> {}

impl<T> Future for SendFuture<'_, T> {
    type Output = Result<(), SendError<T>>;

    /// # Panics
    ///
    /// Panics if it is polled again after it was ready.
    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_send(cx).map(|sent| {
            sent.or_else(|_| self.value.take().map_or(Ok(()), |value| Err(SendError(value))))
        })
    }
}

/// The future of [`Sender::send_timeout`](super::Sender::send_timeout).
#[must_use = "futures do nothing unless polled"]
pub struct SendTimeoutFuture<'a, T> {
    send: SendFuture<'a, T>,
    timeout: Timeout,
}

impl<'a, T> SendTimeoutFuture<'a, T> {
    #[inline]
    pub(super) fn new(shared: &'a Shared<T>, value: T, timeout: Duration) -> Self {
        Self { send: SendFuture::new(shared, value), timeout: Timeout::new(timeout) }
    }
}

impl<T> Unpin for SendTimeoutFuture<'_, T> {}

impl<T> Future for SendTimeoutFuture<'_, T> {
    type Output = Result<(), SendTimeoutError<T>>;

    /// # Panics
    ///
    /// Panics if it is polled again after it was ready.
    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { send, timeout } = &mut *self;
        let make_error = match send.poll_send(cx) {
            Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
            Poll::Ready(Err(Closed)) => SendTimeoutError::Closed,
            Poll::Pending if timeout.poll(cx).is_pending() => return Poll::Pending,
            Poll::Pending => SendTimeoutError::Timeout,
        };
        // Leaves the queue.
        send.wait = send.shared.wait_for_free_slot();
        Poll::Ready(send.value.take().map_or(Ok(()), |value| Err(make_error(value))))
    }
}

/// The future of [`Sender::send_batch`](super::Sender::send_batch).
#[must_use = "futures do nothing unless polled"]
pub struct SendBatchFuture<'a, T, B> {
    shared: &'a Shared<T>,
    wait: Wait<'a, NotFull<'a, T>>,
    batch: &'a mut B,
}

impl<'a, T, B> SendBatchFuture<'a, T, B> {
    #[inline]
    pub(super) fn new(shared: &'a Shared<T>, batch: &'a mut B) -> Self {
        Self { shared, wait: shared.wait_for_free_slot(), batch }
    }
}

impl<T, B: BatchSource<T>> Future for SendBatchFuture<'_, T, B> {
    type Output = Result<(), SendError<()>>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { shared, wait, batch } = &mut *self;
        let sent = wait.poll(cx, || shared.attempt_send_batch(*batch));
        sent.map(|sent| sent.map_err(|_| SendError(())))
    }
}

impl<T> fmt::Debug for SendFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendFuture").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for SendTimeoutFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendTimeoutFuture").finish_non_exhaustive()
    }
}

impl<T, B> fmt::Debug for SendBatchFuture<'_, T, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendBatchFuture").finish_non_exhaustive()
    }
}
