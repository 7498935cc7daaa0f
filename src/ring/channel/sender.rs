//! The sending side of a channel.

use std::fmt;
use std::time::Duration;

use super::shared::Shared;
use super::{ClosedFuture, SendBatchFuture, SendFuture, SendTimeoutFuture, SenderSink};
use crate::ring::batch_source::BatchSource;
use crate::ring::error::{ForcePushError, PushError, SendError, SendTimeoutError};
use crate::sync::Arc;

/// The sending side of a [`channel`](super::channel()).
///
/// Clone it to add a producer. The channel is closed when the last sender is dropped.
pub struct Sender<T> {
    pub(super) shared: Arc<Shared<T>>,
}

impl<T> Sender<T> {
    pub(super) fn new(shared: Arc<Shared<T>>) -> Self {
        Self { shared }
    }

    /// Sends `value` if the channel is not full.
    ///
    /// ```
    /// use mainstay::ring::{PushError, channel};
    ///
    /// let (sender, receiver) = channel(1);
    /// sender.try_send(1).unwrap();
    /// assert_eq!(sender.try_send(2), Err(PushError::Full(2)));
    /// # drop(receiver);
    /// ```
    ///
    /// # Errors
    ///
    /// Returns `value` if the channel is [full](PushError::Full), [closed](PushError::Closed), or
    /// [busy](PushError::Busy).
    #[inline(always)]
    pub fn try_send(&self, value: T) -> Result<(), PushError<T>> {
        self.shared.try_send(value)
    }

    /// Sends `value`, and waits while the channel is full.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use mainstay::ring::channel;
    ///
    /// let (sender, receiver) = channel(1);
    /// sender.send("item").await.unwrap();
    /// assert_eq!(receiver.recv().await, Ok("item"));
    /// # });
    /// ```
    ///
    /// # Errors
    ///
    /// The future returns `value` if the channel is closed.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it is ready, `value` is dropped and was not sent.
    #[inline]
    pub fn send(&self, value: T) -> SendFuture<'_, T> {
        SendFuture::new(&self.shared, value)
    }

    /// Sends `value`, and waits up to `timeout` while the channel is full.
    ///
    /// The timeout starts when the future first has to wait. The system clock measures it.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use mainstay::ring::{SendTimeoutError, channel};
    /// use std::time::Duration;
    ///
    /// let (sender, receiver) = channel(1);
    /// sender.send(1).await.unwrap();
    /// let sent = sender.send_timeout(2, Duration::from_millis(1)).await;
    /// assert_eq!(sent, Err(SendTimeoutError::Timeout(2)));
    /// # drop(receiver);
    /// # });
    /// ```
    ///
    /// # Errors
    ///
    /// The future returns `value` if the channel is closed, or if it is still full when the timeout
    /// has passed.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it is ready, `value` is dropped and was not sent.
    #[inline]
    pub fn send_timeout(&self, value: T, timeout: Duration) -> SendTimeoutFuture<'_, T> {
        SendTimeoutFuture::new(&self.shared, value, timeout)
    }

    /// Sends `value`, and blocks the thread while the channel is full.
    ///
    /// ```
    /// use mainstay::ring::{SendError, channel};
    ///
    /// let (sender, receiver) = channel(1);
    /// sender.send_blocking(1).unwrap();
    /// drop(receiver);
    /// assert_eq!(sender.send_blocking(2), Err(SendError(2)));
    /// ```
    ///
    /// # Errors
    ///
    /// Returns `value` if the channel is closed.
    #[inline(always)]
    pub fn send_blocking(&self, value: T) -> Result<(), SendError<T>> {
        match self.shared.core.claim_push() {
            Ok(claim) => {
                self.shared.publish(&claim, value);
                Ok(())
            }
            Err(error) => self.shared.send_after(error, value),
        }
    }

    /// Sends `value`, and blocks the thread up to `timeout` while the channel is full.
    ///
    /// ```
    /// use mainstay::ring::{SendTimeoutError, channel};
    /// use std::time::Duration;
    ///
    /// let (sender, receiver) = channel(1);
    /// sender.send_blocking(1).unwrap();
    /// let sent = sender.send_blocking_timeout(2, Duration::from_millis(1));
    /// assert_eq!(sent, Err(SendTimeoutError::Timeout(2)));
    /// # drop(receiver);
    /// ```
    ///
    /// # Errors
    ///
    /// Returns `value` if the channel is closed, or if it is still full when the timeout has
    /// passed.
    pub fn send_blocking_timeout(
        &self,
        value: T,
        timeout: Duration,
    ) -> Result<(), SendTimeoutError<T>> {
        let mut value = Some(value);
        let wait = self.shared.wait_for_free_slot();
        let sent = wait.block_timeout(timeout, || self.shared.attempt_send(&mut value));
        match (sent, value) {
            (Some(Err(_)), Some(value)) => Err(SendTimeoutError::Closed(value)),
            (None, Some(value)) => Err(SendTimeoutError::Timeout(value)),
            _ => Ok(()),
        }
    }

    /// Sends as many items from the front of `batch` as fit, and returns their number.
    ///
    /// No other item comes between them in the channel. Items that did not fit stay in `batch`.
    ///
    /// ```
    /// use mainstay::ring::channel;
    ///
    /// let (sender, receiver) = channel(2);
    /// let mut batch = vec!['a', 'b', 'c'].into_iter();
    /// assert_eq!(sender.try_send_batch(&mut batch), Ok(2));
    /// assert_eq!(batch.as_slice(), ['c']);
    /// # drop(receiver);
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if no item could be sent. Sending an empty batch succeeds with 0.
    #[inline]
    pub fn try_send_batch(&self, batch: &mut impl BatchSource<T>) -> Result<usize, PushError<()>> {
        self.shared.try_send_batch(batch)
    }

    /// Sends all items of `batch`, and waits whenever the channel is full.
    ///
    /// Items of other senders can come between them.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use mainstay::ring::channel;
    ///
    /// let (sender, receiver) = channel(4);
    /// sender.send_batch(&mut [1, 2, 3].into_iter()).await.unwrap();
    /// assert_eq!(receiver.len(), 3);
    /// # });
    /// ```
    ///
    /// # Errors
    ///
    /// The future returns an error if the channel is closed. Items that were not sent stay in
    /// `batch`.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it is ready, the items that are no longer in `batch` have
    /// been sent.
    #[inline]
    pub fn send_batch<'a, B: BatchSource<T>>(
        &'a self,
        batch: &'a mut B,
    ) -> SendBatchFuture<'a, T, B> {
        SendBatchFuture::new(&self.shared, batch)
    }

    /// Sends all items of `batch`, and blocks the thread whenever the channel is full.
    ///
    /// ```
    /// use mainstay::ring::channel;
    ///
    /// let (sender, receiver) = channel(4);
    /// let mut jobs = vec!["sort", "merge"];
    /// sender.send_batch_blocking(&mut jobs.drain(..)).unwrap();
    /// assert_eq!(receiver.len(), 2);
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if the channel is closed. Items that were not sent stay in `batch`.
    pub fn send_batch_blocking(
        &self,
        batch: &mut impl BatchSource<T>,
    ) -> Result<(), SendError<()>> {
        while batch.len() > 0 {
            if let Err(error) = self.shared.try_send_batch(batch) {
                return self.shared.send_batch_after(error, batch);
            }
        }
        Ok(())
    }

    /// Sends `value`. If the channel is full, `value` replaces the oldest item, which is returned.
    ///
    /// ```
    /// use mainstay::ring::channel;
    ///
    /// let (sender, receiver) = channel(1);
    /// assert_eq!(sender.force_send("old").unwrap(), None);
    /// assert_eq!(sender.force_send("new").unwrap(), Some("old"));
    /// # drop(receiver);
    /// ```
    ///
    /// # Errors
    ///
    /// Returns `value` if the channel is [closed](ForcePushError::Closed) or
    /// [busy](ForcePushError::Busy).
    pub fn force_send(&self, value: T) -> Result<Option<T>, ForcePushError<T>> {
        self.shared.force_send(value)
    }

    /// Closes the channel for all senders. Returns `true` if this call closed it.
    ///
    /// Receivers still get the items in the channel.
    pub fn close(&self) -> bool {
        self.shared.close()
    }

    /// Returns whether the channel is closed, by a call or because all senders or all receivers
    /// were dropped.
    pub fn is_closed(&self) -> bool {
        self.shared.core.is_closed()
    }

    /// Waits until the channel is closed, by a call or because all receivers were dropped.
    ///
    /// This lets a producer stop work that no receiver needs any more.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use mainstay::ring::channel;
    ///
    /// let (sender, receiver) = channel::<u32>(1);
    /// drop(receiver);
    /// sender.closed().await;
    /// # });
    /// ```
    ///
    /// # Cancel safety
    ///
    /// The future can be dropped at any time.
    pub fn closed(&self) -> ClosedFuture<'_, T> {
        ClosedFuture::new(&self.shared)
    }

    /// Returns the number of items in the channel. This is an estimate while other threads send and
    /// receive.
    pub fn len(&self) -> usize {
        self.shared.core.len()
    }

    /// Returns whether the channel was empty at one instant during the call.
    pub fn is_empty(&self) -> bool {
        self.shared.core.is_empty()
    }

    /// Returns whether the channel was full at one instant during the call.
    pub fn is_full(&self) -> bool {
        self.shared.core.is_full()
    }

    /// Returns the number of items that the channel can hold.
    pub fn capacity(&self) -> usize {
        self.shared.core.capacity()
    }

    /// Converts this sender into a [`Sink`](futures_sink::Sink).
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use futures::SinkExt;
    /// use mainstay::ring::channel;
    ///
    /// let (sender, receiver) = channel(2);
    /// let mut sink = sender.into_sink();
    /// sink.send("item").await.unwrap();
    /// assert_eq!(receiver.recv().await, Ok("item"));
    /// # });
    /// ```
    pub fn into_sink(self) -> SenderSink<T> {
        SenderSink::new(self)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.shared.senders.add();
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.shared.senders.remove() {
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
