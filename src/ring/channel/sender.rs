//! The sending side.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::stream::SendSink;
use super::{Room, Shared, join, part};
use crate::ring::batch::Batch;
use crate::ring::error::{ForcePushError, PushError, SendError, TimeoutError};
use crate::sync::Arc;
use crate::wait::Wait;

/// Sends into a [`channel`](super::channel). Cloning it adds a producer.
pub struct Sender<T> {
    pub(super) shared: Arc<Shared<T>>,
}

impl<T> Sender<T> {
    pub(super) fn new(shared: Arc<Shared<T>>) -> Self {
        Self { shared }
    }

    /// Sends `value` if there is room.
    ///
    /// # Errors
    ///
    /// Gives `value` back and says why.
    #[inline(always)]
    pub fn try_send(&self, value: T) -> Result<(), PushError<T>> {
        self.shared.try_send(value)
    }

    /// Sends `value`, waiting for room. The future fails with the value if the channel is closed.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is ready, it drops `value`, and nothing was sent.
    #[inline]
    pub fn send(&self, value: T) -> Send<'_, T> {
        Send { shared: &self.shared, wait: self.shared.wait_for_room(), value: Some(value) }
    }

    /// [`send`](Self::send) for a thread.
    ///
    /// # Errors
    ///
    /// Gives `value` back if the channel is closed.
    #[inline(always)]
    pub fn send_blocking(&self, value: T) -> Result<(), SendError<T>> {
        match self.shared.core.claim_push() {
            Ok(claim) => {
                self.shared.fulfil(&claim, value);
                Ok(())
            }
            Err(refusal) => self.shared.send_after(refusal, value),
        }
    }

    /// [`send_blocking`](Self::send_blocking), but for no longer than `patience`.
    ///
    /// # Errors
    ///
    /// Gives `value` back if the channel is closed, or was still full at the end.
    pub fn send_timeout(&self, value: T, patience: Duration) -> Result<(), TimeoutError<T>> {
        let mut value = Some(value);
        let wait = self.shared.wait_for_room();
        let sent = wait.block_timeout(patience, || self.shared.attempt_send(&mut value));
        match (sent, value) {
            (Some(Err(_)), Some(value)) => Err(TimeoutError::Closed(value)),
            (None, Some(value)) => Err(TimeoutError::Timeout(value)),
            _ => Ok(()),
        }
    }

    /// Sends as many items from the front of `batch` as there is room for in one piece; what did not
    /// fit stays in `batch`. See [`Ring::push_batch`](crate::ring::Ring::push_batch).
    ///
    /// # Errors
    ///
    /// If not even one could be sent. An empty batch is sent with success, 0.
    #[inline]
    pub fn try_send_batch(&self, batch: &mut impl Batch<T>) -> Result<usize, PushError<()>> {
        self.shared.try_send_batch(batch)
    }

    /// Sends all items of `batch`, waiting for room as often as needed. Items of others may come in
    /// between. The future fails if the channel is closed; what was not sent is still in `batch`.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is ready, it has sent what is missing from the front of `batch`.
    #[inline]
    pub fn send_batch<'a, B: Batch<T>>(&'a self, batch: &'a mut B) -> SendBatch<'a, T, B> {
        SendBatch { shared: &self.shared, wait: self.shared.wait_for_room(), batch }
    }

    /// [`send_batch`](Self::send_batch) for a thread.
    ///
    /// # Errors
    ///
    /// If the channel is closed; what was not sent is still in `batch`.
    pub fn send_batch_blocking(&self, batch: &mut impl Batch<T>) -> Result<(), SendError<()>> {
        while batch.len() > 0 {
            if let Err(refusal) = self.shared.try_send_batch(batch) {
                return self.shared.send_batch_after(refusal, batch);
            }
        }
        Ok(())
    }

    /// Sends `value`; if the channel is full, in place of the oldest item, which is returned. See
    /// [`Ring::force_push`](crate::ring::Ring::force_push).
    ///
    /// # Errors
    ///
    /// Gives `value` back and says why.
    pub fn force_send(&self, value: T) -> Result<Option<T>, ForcePushError<T>> {
        self.shared.force_send(value)
    }

    /// Ends sending for all senders; true for the call that did it. Receivers get what is inside.
    pub fn close(&self) -> bool {
        self.shared.close()
    }

    /// Whether the channel is closed, by a call or because the other side is gone.
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

    /// This sender as a [`Sink`](futures_sink::Sink).
    pub fn into_sink(self) -> SendSink<T> {
        SendSink::new(self)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        join(&self.shared.senders);
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if part(&self.shared.senders) {
            self.shared.close();
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .finish()
    }
}

/// The future of [`Sender::send`].
#[must_use = "futures do nothing unless polled"]
pub struct Send<'a, T> {
    shared: &'a Shared<T>,
    wait: Wait<'a, Room<'a, T>>,
    value: Option<T>,
}

// The value is not pinned: it is only moved out.
impl<T> Unpin for Send<'_, T> {}

impl<T> Future for Send<'_, T> {
    type Output = Result<(), SendError<T>>;

    /// # Panics
    ///
    /// If polled again after it was ready.
    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { shared, wait, value } = &mut *self;
        assert!(value.is_some(), "`Send` polled after it was ready");
        let sent = wait.poll(cx, || shared.attempt_send(value));
        sent.map(|sent| {
            sent.or_else(|_| value.take().map_or(Ok(()), |value| Err(SendError(value))))
        })
    }
}

impl<T> fmt::Debug for Send<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Send").finish_non_exhaustive()
    }
}

/// The future of [`Sender::send_batch`].
#[must_use = "futures do nothing unless polled"]
pub struct SendBatch<'a, T, B> {
    shared: &'a Shared<T>,
    wait: Wait<'a, Room<'a, T>>,
    batch: &'a mut B,
}

impl<T, B: Batch<T>> Future for SendBatch<'_, T, B> {
    type Output = Result<(), SendError<()>>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { shared, wait, batch } = &mut *self;
        let sent = wait.poll(cx, || shared.attempt_send_batch(*batch));
        sent.map(|sent| sent.map_err(|_| SendError(())))
    }
}

impl<T, B> fmt::Debug for SendBatch<'_, T, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendBatch").finish_non_exhaustive()
    }
}
