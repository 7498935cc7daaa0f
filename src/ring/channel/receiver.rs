//! The receiving side of a channel.

use std::fmt;
use std::time::Duration;

use super::shared::Shared;
use super::{ReceiverIter, ReceiverStream, RecvBatchFuture, RecvFuture, RecvTimeoutFuture};
use crate::ring::error::{PopError, RecvError, RecvTimeoutError};
use crate::sync::Arc;

/// The receiving side of a [`channel`](super::channel()).
///
/// Clone it to add a consumer. Each item is received by exactly one receiver. When the last
/// receiver is dropped, the channel is closed and the items in it are dropped.
pub struct Receiver<T> {
    pub(super) shared: Arc<Shared<T>>,
}

impl<T> Receiver<T> {
    pub(super) fn new(shared: Arc<Shared<T>>) -> Self {
        Self { shared }
    }

    /// Receives the oldest item, if there is one.
    ///
    /// ```
    /// use mainstay::ring::{PopError, channel};
    ///
    /// let (sender, receiver) = channel(2);
    /// sender.try_send(1).unwrap();
    /// assert_eq!(receiver.try_recv(), Ok(1));
    /// assert_eq!(receiver.try_recv(), Err(PopError::Empty));
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if the channel is [empty](PopError::Empty), [closed](PopError::Closed) and
    /// empty, or [busy](PopError::Busy).
    #[inline(always)]
    pub fn try_recv(&self) -> Result<T, PopError> {
        self.shared.try_recv()
    }

    /// Receives the oldest item, and waits while the channel is empty.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use mainstay::ring::{RecvError, channel};
    ///
    /// let (sender, receiver) = channel(1);
    /// sender.send("item").await.unwrap();
    /// drop(sender);
    /// assert_eq!(receiver.recv().await, Ok("item"));
    /// assert_eq!(receiver.recv().await, Err(RecvError));
    /// # });
    /// ```
    ///
    /// # Errors
    ///
    /// The future returns an error if the channel is closed and empty.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it is ready, no item was received.
    #[inline]
    pub fn recv(&self) -> RecvFuture<'_, T> {
        RecvFuture::new(&self.shared)
    }

    /// Receives the oldest item, and waits up to `timeout` while the channel is empty.
    ///
    /// The timeout starts when the future first has to wait. The system clock measures it.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use mainstay::ring::{RecvTimeoutError, channel};
    /// use std::time::Duration;
    ///
    /// let (sender, receiver) = channel::<u32>(1);
    /// let received = receiver.recv_timeout(Duration::from_millis(1)).await;
    /// assert_eq!(received, Err(RecvTimeoutError::Timeout));
    /// # drop(sender);
    /// # });
    /// ```
    ///
    /// # Errors
    ///
    /// The future returns an error if the channel is closed and empty, or if it is still empty when
    /// the timeout has passed.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it is ready, no item was received.
    #[inline]
    pub fn recv_timeout(&self, timeout: Duration) -> RecvTimeoutFuture<'_, T> {
        RecvTimeoutFuture::new(&self.shared, timeout)
    }

    /// Receives the oldest item, and blocks the thread while the channel is empty.
    ///
    /// ```
    /// use mainstay::ring::channel;
    ///
    /// let (sender, receiver) = channel(1);
    /// let thread = std::thread::spawn(move || receiver.recv_blocking());
    /// sender.send_blocking("item").unwrap();
    /// assert_eq!(thread.join().unwrap(), Ok("item"));
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if the channel is closed and empty.
    #[inline(always)]
    pub fn recv_blocking(&self) -> Result<T, RecvError> {
        self.shared.try_recv().or_else(|error| self.shared.recv_after(error))
    }

    /// Receives the oldest item, and blocks the thread up to `timeout` while the channel is empty.
    ///
    /// ```
    /// use mainstay::ring::{RecvTimeoutError, channel};
    /// use std::time::Duration;
    ///
    /// let (sender, receiver) = channel::<u32>(1);
    /// let received = receiver.recv_blocking_timeout(Duration::from_millis(1));
    /// assert_eq!(received, Err(RecvTimeoutError::Timeout));
    /// # drop(sender);
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if the channel is closed and empty, or if it is still empty when the
    /// timeout has passed.
    pub fn recv_blocking_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        match self.shared.wait_for_item().block_timeout(timeout, || self.shared.attempt_recv()) {
            Some(received) => received.map_err(|_| RecvTimeoutError::Closed),
            None => Err(RecvTimeoutError::Timeout),
        }
    }

    /// Receives up to `max` of the oldest items, appends them to `into`, and returns their number.
    ///
    /// The batch ends early at an item that its sender has not finished sending.
    ///
    /// ```
    /// use mainstay::ring::channel;
    ///
    /// let (sender, receiver) = channel(3);
    /// sender.try_send_batch(&mut [1, 2, 3].into_iter()).unwrap();
    /// let mut items = Vec::new();
    /// assert_eq!(receiver.try_recv_batch(&mut items, 2), Ok(2));
    /// assert_eq!(items, [1, 2]);
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if no item could be received. A `max` of 0 succeeds with 0.
    #[inline]
    pub fn try_recv_batch(&self, into: &mut Vec<T>, max: usize) -> Result<usize, PopError> {
        self.shared.try_recv_batch(into, max)
    }

    /// Waits until there is an item, then receives all available items, up to `max`.
    ///
    /// The items are appended to `into`; the future returns their number.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use mainstay::ring::channel;
    ///
    /// let (sender, receiver) = channel(4);
    /// sender.send_batch(&mut [1, 2, 3].into_iter()).await.unwrap();
    /// let mut items = Vec::new();
    /// assert_eq!(receiver.recv_batch(&mut items, 100).await, Ok(3));
    /// # });
    /// ```
    ///
    /// # Errors
    ///
    /// The future returns an error if the channel is closed and empty.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it is ready, no item was received.
    #[inline]
    pub fn recv_batch<'a>(&'a self, into: &'a mut Vec<T>, max: usize) -> RecvBatchFuture<'a, T> {
        RecvBatchFuture::new(&self.shared, into, max)
    }

    /// Blocks the thread until there is an item, then receives all available items, up to `max`.
    ///
    /// The items are appended to `into`, and their number is returned.
    ///
    /// ```
    /// use mainstay::ring::channel;
    ///
    /// let (sender, receiver) = channel(4);
    /// sender.send_batch_blocking(&mut [1, 2, 3].into_iter()).unwrap();
    /// let mut items = Vec::new();
    /// assert_eq!(receiver.recv_batch_blocking(&mut items, 100), Ok(3));
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if the channel is closed and empty.
    #[inline]
    pub fn recv_batch_blocking(&self, into: &mut Vec<T>, max: usize) -> Result<usize, RecvError> {
        self.shared
            .try_recv_batch(into, max)
            .or_else(|error| self.shared.recv_batch_after(error, into, max))
    }

    /// Closes the channel for all senders. Returns `true` if this call closed it.
    ///
    /// The items in the channel can still be received.
    pub fn close(&self) -> bool {
        self.shared.close()
    }

    /// Returns whether the channel is closed, by a call or because all senders were dropped. A
    /// closed channel may still contain items.
    pub fn is_closed(&self) -> bool {
        self.shared.core.is_closed()
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

    /// Returns an iterator over the items, which blocks the thread while the channel is empty. It
    /// ends when the channel is closed and empty.
    ///
    /// `for item in &receiver` uses this iterator. `for item in receiver` also drops the receiver
    /// at the end.
    ///
    /// ```
    /// use mainstay::ring::channel;
    ///
    /// let (sender, receiver) = channel(3);
    /// sender.send_batch_blocking(&mut [1, 2, 3].into_iter()).unwrap();
    /// drop(sender);
    /// assert_eq!(receiver.iter().sum::<i32>(), 6);
    /// ```
    pub fn iter(&self) -> ReceiverIter<'_, T> {
        ReceiverIter::new(self)
    }

    /// Converts this receiver into a [`Stream`](futures_core::Stream), which ends when the channel
    /// is closed and empty.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use futures::StreamExt;
    /// use mainstay::ring::channel;
    ///
    /// let (sender, receiver) = channel(2);
    /// sender.send_batch(&mut [1, 2].into_iter()).await.unwrap();
    /// drop(sender);
    /// assert_eq!(receiver.into_stream().collect::<Vec<_>>().await, [1, 2]);
    /// # });
    /// ```
    pub fn into_stream(self) -> ReceiverStream<T> {
        ReceiverStream::new(self)
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.shared.receivers.add();
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        if self.shared.receivers.remove() {
            self.shared.close();
            // No receiver is left to take the items. They are dropped now, because other code may
            // wait for the effects of their destructors.
            self.shared.core.abandon();
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
