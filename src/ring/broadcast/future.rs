//! The futures of a broadcast.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::BroadcastSubscriber;
use super::error::{BroadcastRecvError, BroadcastRecvTimeoutError};
use super::shared::{Closed, Send, Shared, UntilClosed, recv_attempt};
use super::waiters::{Operation, Waiters, Waiting};
use crate::ring::channel::Timeout;
use crate::ring::error::{SendError, SendTimeoutError};
use crate::wait::Attempt;

/// The future of [`BroadcastSubscriber::recv`].
#[must_use = "futures do nothing unless polled"]
pub struct BroadcastRecvFuture<'a, T: Clone> {
    waiting: Waiting<&'a mut BroadcastSubscriber<T>>,
}

impl<'a, T: Clone> BroadcastRecvFuture<'a, T> {
    #[inline]
    pub(super) fn new(subscriber: &'a mut BroadcastSubscriber<T>) -> Self {
        Self { waiting: Waiting::new(subscriber) }
    }
}

impl<T: Clone> Future for BroadcastRecvFuture<'_, T> {
    type Output = Result<T, BroadcastRecvError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.waiting.poll(cx)
    }
}

/// The future of [`BroadcastSubscriber::recv_timeout`].
#[must_use = "futures do nothing unless polled"]
pub struct BroadcastRecvTimeoutFuture<'a, T: Clone> {
    waiting: Waiting<&'a mut BroadcastSubscriber<T>>,
    timeout: Timeout,
}

impl<'a, T: Clone> BroadcastRecvTimeoutFuture<'a, T> {
    #[inline]
    pub(super) fn new(subscriber: &'a mut BroadcastSubscriber<T>, timeout: Duration) -> Self {
        Self { waiting: Waiting::new(subscriber), timeout: Timeout::new(timeout) }
    }
}

impl<T: Clone> Future for BroadcastRecvTimeoutFuture<'_, T> {
    type Output = Result<T, BroadcastRecvTimeoutError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { waiting, timeout } = &mut *self;
        if let Poll::Ready(received) = waiting.poll(cx) {
            return Poll::Ready(received.map_err(Into::into));
        }
        timeout.poll(cx).map(|()| {
            waiting.stop();
            Err(BroadcastRecvTimeoutError::Timeout)
        })
    }
}

/// The operation of receiving a batch.
pub(super) struct RecvBatch<'a, T> {
    pub(super) subscriber: &'a mut BroadcastSubscriber<T>,
    pub(super) into: &'a mut Vec<T>,
    pub(super) max: usize,
}

impl<T: Clone> Operation for RecvBatch<'_, T> {
    type Output = Result<usize, BroadcastRecvError>;

    fn attempt(&mut self) -> Attempt<Self::Output> {
        recv_attempt(self.subscriber.try_recv_batch(self.into, self.max))
    }

    fn set_waiting(&mut self) -> bool {
        self.subscriber.set_waiting()
    }

    fn waiters(&self) -> &Waiters {
        self.subscriber.waiters()
    }
}

/// The future of [`BroadcastSubscriber::recv_batch`].
#[must_use = "futures do nothing unless polled"]
pub struct BroadcastRecvBatchFuture<'a, T: Clone> {
    waiting: Waiting<RecvBatch<'a, T>>,
}

impl<'a, T: Clone> BroadcastRecvBatchFuture<'a, T> {
    pub(super) fn new(operation: RecvBatch<'a, T>) -> Self {
        Self { waiting: Waiting::new(operation) }
    }
}

impl<T: Clone> Future for BroadcastRecvBatchFuture<'_, T> {
    type Output = Result<usize, BroadcastRecvError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.waiting.poll(cx)
    }
}

/// The future of [`BroadcastSender::send`](super::BroadcastSender::send).
#[must_use = "futures do nothing unless polled"]
pub struct BroadcastSendFuture<'a, T> {
    waiting: Waiting<Send<'a, T>>,
}

impl<'a, T> BroadcastSendFuture<'a, T> {
    #[inline]
    pub(super) fn new(operation: Send<'a, T>) -> Self {
        Self { waiting: Waiting::new(operation) }
    }
}

// The value is never pinned: it is only moved out of the future.
impl<T> Unpin for BroadcastSendFuture<'_, T> {}

impl<T> Future for BroadcastSendFuture<'_, T> {
    type Output = Result<(), SendError<T>>;

    /// # Panics
    ///
    /// Panics if it is polled again after it was ready.
    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let waiting = &mut self.waiting;
        waiting.poll(cx).map(|sent| {
            sent.or_else(|Closed| match waiting.operation.value.take() {
                Some(value) => Err(SendError(value)),
                None => Ok(()),
            })
        })
    }
}

/// The future of [`BroadcastSender::send_timeout`](super::BroadcastSender::send_timeout).
#[must_use = "futures do nothing unless polled"]
pub struct BroadcastSendTimeoutFuture<'a, T> {
    waiting: Waiting<Send<'a, T>>,
    timeout: Timeout,
}

impl<'a, T> BroadcastSendTimeoutFuture<'a, T> {
    #[inline]
    pub(super) fn new(operation: Send<'a, T>, timeout: Duration) -> Self {
        Self { waiting: Waiting::new(operation), timeout: Timeout::new(timeout) }
    }
}

impl<T> Unpin for BroadcastSendTimeoutFuture<'_, T> {}

impl<T> Future for BroadcastSendTimeoutFuture<'_, T> {
    type Output = Result<(), SendTimeoutError<T>>;

    /// # Panics
    ///
    /// Panics if it is polled again after it was ready.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { waiting, timeout } = &mut *self;
        let make_error = match waiting.poll(cx) {
            Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
            Poll::Ready(Err(Closed)) => SendTimeoutError::Closed,
            Poll::Pending if timeout.poll(cx).is_pending() => return Poll::Pending,
            Poll::Pending => SendTimeoutError::Timeout,
        };
        waiting.stop();
        let value = waiting.operation.value.take();
        Poll::Ready(value.map_or(Ok(()), |value| Err(make_error(value))))
    }
}

/// The future of [`BroadcastSender::closed`](super::BroadcastSender::closed) and
/// [`BroadcastSubscriber::closed`].
#[must_use = "futures do nothing unless polled"]
pub struct BroadcastClosedFuture<'a, T> {
    waiting: Waiting<UntilClosed<'a, T>>,
}

impl<'a, T> BroadcastClosedFuture<'a, T> {
    pub(super) fn new(shared: &'a Shared<T>) -> Self {
        Self { waiting: Waiting::new(UntilClosed(shared)) }
    }
}

impl<T> Future for BroadcastClosedFuture<'_, T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.waiting.poll(cx)
    }
}

macro_rules! opaque_debug {
    ($($name:ident<T $(: $bound:ident)?>;)*) => {$(
        impl<T $(: $bound)?> fmt::Debug for $name<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )*};
}

opaque_debug! {
    BroadcastRecvFuture<T: Clone>;
    BroadcastRecvTimeoutFuture<T: Clone>;
    BroadcastRecvBatchFuture<T: Clone>;
    BroadcastSendFuture<T>;
    BroadcastSendTimeoutFuture<T>;
    BroadcastClosedFuture<T>;
}
