//! The receiving side.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::stream::RecvStream;
use super::{Items, Shared, join, part};
use crate::ring::error::{PopError, RecvError, TimeoutError};
use crate::sync::Arc;
use crate::wait::Wait;

/// Receives from a [`channel`](super::channel). Cloning it adds a consumer: each item goes to one.
pub struct Receiver<T> {
    pub(super) shared: Arc<Shared<T>>,
}

impl<T> Receiver<T> {
    pub(super) fn new(shared: Arc<Shared<T>>) -> Self {
        Self { shared }
    }

    /// The oldest item, if there is one.
    ///
    /// # Errors
    ///
    /// Says why there is none.
    #[inline(always)]
    pub fn try_recv(&self) -> Result<T, PopError> {
        self.shared.try_recv()
    }

    /// The oldest item, waiting for one. The future fails when the channel is closed and drained.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is ready, it has taken nothing.
    #[inline]
    pub fn recv(&self) -> Recv<'_, T> {
        Recv { shared: &self.shared, wait: self.shared.wait_for_items() }
    }

    /// [`recv`](Self::recv) for a thread.
    ///
    /// # Errors
    ///
    /// When the channel is closed and drained.
    #[inline(always)]
    pub fn recv_blocking(&self) -> Result<T, RecvError> {
        self.shared.try_recv().or_else(|refusal| self.shared.recv_after(refusal))
    }

    /// [`recv_blocking`](Self::recv_blocking), but for no longer than `patience`.
    ///
    /// # Errors
    ///
    /// When the channel is closed and drained, or was still empty at the end.
    pub fn recv_timeout(&self, patience: Duration) -> Result<T, TimeoutError<()>> {
        match self.shared.wait_for_items().block_timeout(patience, || self.shared.attempt_recv()) {
            Some(received) => received.map_err(|_| TimeoutError::Closed(())),
            None => Err(TimeoutError::Timeout(())),
        }
    }

    /// Moves up to `max` of the oldest items in one piece to the end of `into`, and says how many. See
    /// [`Ring::pop_batch`](crate::ring::Ring::pop_batch).
    ///
    /// # Errors
    ///
    /// If not even one could be received. A `max` of 0 receives with success, 0.
    #[inline]
    pub fn try_recv_batch(&self, into: &mut Vec<T>, max: usize) -> Result<usize, PopError> {
        self.shared.try_recv_batch(into, max)
    }

    /// Waits for an item and moves it, and those that are there by then, up to `max`, to the end of
    /// `into`. The future says how many, and fails when the channel is closed and drained.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is ready, it has taken nothing.
    #[inline]
    pub fn recv_batch<'a>(&'a self, into: &'a mut Vec<T>, max: usize) -> RecvBatch<'a, T> {
        RecvBatch { shared: &self.shared, wait: self.shared.wait_for_items(), into, max }
    }

    /// [`recv_batch`](Self::recv_batch) for a thread.
    ///
    /// # Errors
    ///
    /// When the channel is closed and drained.
    #[inline]
    pub fn recv_batch_blocking(&self, into: &mut Vec<T>, max: usize) -> Result<usize, RecvError> {
        self.shared
            .try_recv_batch(into, max)
            .or_else(|refusal| self.shared.recv_batch_after(refusal, into, max))
    }

    /// Ends sending; true for the call that did it. What is inside can still be received.
    pub fn close(&self) -> bool {
        self.shared.close()
    }

    /// Whether the channel is closed, by a call or because the other side is gone. There may still be
    /// items inside.
    pub fn is_closed(&self) -> bool {
        self.shared.core.is_closed()
    }

    /// How many items are inside; an estimate while others send and receive.
    pub fn len(&self) -> usize {
        self.shared.core.len()
    }

    /// Whether the channel was empty at one instant during the call.
    pub fn is_empty(&self) -> bool {
        self.shared.core.is_empty()
    }

    /// Whether the channel was full at one instant during the call.
    pub fn is_full(&self) -> bool {
        self.shared.core.is_full()
    }

    /// How many items fit in.
    pub fn capacity(&self) -> usize {
        self.shared.core.capacity()
    }

    /// This receiver as a [`Stream`](futures_core::Stream).
    pub fn into_stream(self) -> RecvStream<T> {
        RecvStream::new(self)
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        join(&self.shared.receivers);
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        if part(&self.shared.receivers) {
            self.shared.close();
            // Nobody will come for them, and somebody may be waiting for what their drop does. An item
            // that is being sent at this very moment is dropped with the last sender instead.
            while self.shared.try_recv().is_ok() {}
        }
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .finish()
    }
}

/// The future of [`Receiver::recv`].
#[must_use = "futures do nothing unless polled"]
pub struct Recv<'a, T> {
    shared: &'a Shared<T>,
    wait: Wait<'a, Items<'a, T>>,
}

impl<T> Future for Recv<'_, T> {
    type Output = Result<T, RecvError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { shared, wait } = &mut *self;
        wait.poll(cx, || shared.attempt_recv()).map(|received| received.map_err(|_| RecvError))
    }
}

impl<T> fmt::Debug for Recv<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recv").finish_non_exhaustive()
    }
}

/// The future of [`Receiver::recv_batch`].
#[must_use = "futures do nothing unless polled"]
pub struct RecvBatch<'a, T> {
    shared: &'a Shared<T>,
    wait: Wait<'a, Items<'a, T>>,
    into: &'a mut Vec<T>,
    max: usize,
}

impl<T> Future for RecvBatch<'_, T> {
    type Output = Result<usize, RecvError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { shared, wait, into, max } = &mut *self;
        let received = wait.poll(cx, || shared.attempt_recv_batch(into, *max));
        received.map(|received| received.map_err(|_| RecvError))
    }
}

impl<T> fmt::Debug for RecvBatch<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvBatch").finish_non_exhaustive()
    }
}
