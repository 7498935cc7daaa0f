//! The receiving side of a broadcast.

use std::fmt;
use std::time::Duration;

use super::core::Reader;
use super::error::{BroadcastRecvError, BroadcastRecvTimeoutError, BroadcastTryRecvError};
use super::future::{
    BroadcastClosedFuture, BroadcastRecvBatchFuture, BroadcastRecvFuture,
    BroadcastRecvTimeoutFuture, RecvBatch,
};
use super::shared::{Shared, recv_attempt};
use super::stream::BroadcastStream;
use super::waiters::{Operation, Waiters, Waiting};
use crate::sync::Arc;
use crate::wait::Attempt;

/// A subscriber of a [`broadcast`](super::broadcast()).
///
/// It receives every item, or the number of items that it has missed. The first item that a clone
/// receives is the next item of the original. Dropping a subscriber ends the subscription.
pub struct BroadcastSubscriber<T> {
    pub(super) shared: Arc<Shared<T>>,
    pub(super) reader: Reader,
    is_weak: bool,
}

impl<T> BroadcastSubscriber<T> {
    pub(super) fn new(shared: Arc<Shared<T>>, reader: Reader) -> Self {
        shared.subscribers.add();
        Self { shared, reader, is_weak: false }
    }

    /// Converts this into a weak subscriber, for an observer that must not affect the broadcast:
    /// senders do not wait for it, and it is not counted in
    /// [`subscribers`](super::BroadcastSender::subscribers).
    ///
    /// ```
    /// use mainstay::ring::{BroadcastOverflow, BroadcastTryRecvError, broadcast};
    ///
    /// let sender = broadcast(1, BroadcastOverflow::WaitForSlowest);
    /// let mut monitor = sender.subscribe().into_weak();
    /// (1..=3).for_each(|number| sender.try_send(number).unwrap());
    /// assert_eq!(monitor.try_recv(), Err(BroadcastTryRecvError::Missed(2)));
    /// assert_eq!(monitor.try_recv(), Ok(3));
    /// assert_eq!(sender.subscribers(), 0);
    /// ```
    #[must_use]
    pub fn into_weak(mut self) -> Self {
        self.leave();
        self
    }

    /// Returns whether this is a [weak](Self::into_weak) subscriber.
    pub fn is_weak(&self) -> bool {
        self.is_weak
    }

    fn leave(&mut self) {
        // The flag is set first, because waking senders may panic.
        if !std::mem::replace(&mut self.is_weak, true) {
            self.shared.subscribers.remove();
            self.shared.release(&mut self.reader);
        }
    }

    /// Waits until the broadcast is closed. Items may still be in the ring then.
    pub fn closed(&self) -> BroadcastClosedFuture<'_, T> {
        BroadcastClosedFuture::new(&self.shared)
    }

    /// Returns whether the broadcast is closed. Items may still be in the ring.
    pub fn is_closed(&self) -> bool {
        self.shared.core.is_closed()
    }

    /// Returns the number of items in the ring that this subscriber has not received. This is an
    /// estimate while other threads send. It also counts the slots that senders skipped because of
    /// readers.
    pub fn len(&self) -> usize {
        self.shared.core.len(&self.reader)
    }

    /// Returns whether this subscriber has received all items that were sent so far. May return
    /// `false` if the only remaining slots were skipped by senders.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the maximum number of items that the ring keeps.
    pub fn capacity(&self) -> usize {
        self.shared.core.capacity()
    }
}

impl<T: Clone> BroadcastSubscriber<T> {
    /// Receives the next item, if it has been sent.
    ///
    /// ```
    /// use mainstay::ring::{BroadcastOverflow, BroadcastTryRecvError, broadcast};
    ///
    /// let sender = broadcast(8, BroadcastOverflow::OverwriteOldest);
    /// let mut subscriber = sender.subscribe();
    /// sender.try_send(1).unwrap();
    /// assert_eq!(subscriber.try_recv(), Ok(1));
    /// assert_eq!(subscriber.try_recv(), Err(BroadcastTryRecvError::Empty));
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Empty`](BroadcastTryRecvError::Empty): the next item has not been sent.
    /// - [`Closed`](BroadcastTryRecvError::Closed): the broadcast is closed, and all items have
    ///   been received.
    /// - [`Missed`](BroadcastTryRecvError::Missed): items were overwritten before they were
    ///   received.
    /// - [`Busy`](BroadcastTryRecvError::Busy): another thread has not finished its use of the
    ///   slot.
    #[inline]
    pub fn try_recv(&mut self) -> Result<T, BroadcastTryRecvError> {
        self.shared.try_recv(&mut self.reader)
    }

    /// Receives the next item, and waits until it is sent.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use mainstay::ring::{BroadcastOverflow, BroadcastRecvError, broadcast};
    ///
    /// let sender = broadcast(8, BroadcastOverflow::OverwriteOldest);
    /// let mut subscriber = sender.subscribe();
    /// sender.try_send("item").unwrap();
    /// drop(sender);
    /// assert_eq!(subscriber.recv().await, Ok("item"));
    /// assert_eq!(subscriber.recv().await, Err(BroadcastRecvError::Closed));
    /// # });
    /// ```
    ///
    /// # Errors
    ///
    /// The future returns an error if the subscriber has missed items, or if the broadcast is
    /// closed and all items have been received.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it is ready, no item was received.
    #[inline]
    pub fn recv(&mut self) -> BroadcastRecvFuture<'_, T> {
        BroadcastRecvFuture::new(self)
    }

    /// Receives the next item, and waits up to `timeout` until it is sent.
    ///
    /// The timeout starts when the future first has to wait. The system clock measures it.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use mainstay::ring::{BroadcastOverflow, BroadcastRecvTimeoutError, broadcast};
    /// use std::time::Duration;
    ///
    /// let sender = broadcast::<u32>(8, BroadcastOverflow::OverwriteOldest);
    /// let mut subscriber = sender.subscribe();
    /// let received = subscriber.recv_timeout(Duration::from_millis(1)).await;
    /// assert_eq!(received, Err(BroadcastRecvTimeoutError::Timeout));
    /// # });
    /// ```
    ///
    /// # Errors
    ///
    /// The future returns an error if no item was sent before the timeout had passed, if the
    /// subscriber has missed items, or if the broadcast is closed and all items have been received.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it is ready, no item was received.
    #[inline]
    pub fn recv_timeout(&mut self, timeout: Duration) -> BroadcastRecvTimeoutFuture<'_, T> {
        BroadcastRecvTimeoutFuture::new(self, timeout)
    }

    /// Receives the next item, and blocks the thread until it is sent.
    ///
    /// ```
    /// use mainstay::ring::{BroadcastOverflow, broadcast};
    ///
    /// let sender = broadcast(8, BroadcastOverflow::OverwriteOldest);
    /// let mut subscriber = sender.subscribe();
    /// let thread = std::thread::spawn(move || subscriber.recv_blocking());
    /// sender.send_blocking("item").unwrap();
    /// assert_eq!(thread.join().unwrap(), Ok("item"));
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if the subscriber has missed items, or if the broadcast is closed and all
    /// items have been received.
    pub fn recv_blocking(&mut self) -> Result<T, BroadcastRecvError> {
        Waiting::new(self).block()
    }

    /// Receives the next item, and blocks the thread up to `timeout` until it is sent.
    ///
    /// ```
    /// use mainstay::ring::{BroadcastOverflow, BroadcastRecvTimeoutError, broadcast};
    /// use std::time::Duration;
    ///
    /// let sender = broadcast::<u32>(8, BroadcastOverflow::OverwriteOldest);
    /// let mut subscriber = sender.subscribe();
    /// let received = subscriber.recv_blocking_timeout(Duration::from_millis(1));
    /// assert_eq!(received, Err(BroadcastRecvTimeoutError::Timeout));
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if no item was sent before the timeout had passed, if the subscriber has
    /// missed items, or if the broadcast is closed and all items have been received.
    pub fn recv_blocking_timeout(
        &mut self,
        timeout: Duration,
    ) -> Result<T, BroadcastRecvTimeoutError> {
        match Waiting::new(self).block_timeout(timeout) {
            Some(received) => received.map_err(Into::into),
            None => Err(BroadcastRecvTimeoutError::Timeout),
        }
    }

    /// Receives up to `max` items, appends them to `into`, and returns their number.
    ///
    /// ```
    /// use mainstay::ring::{BroadcastOverflow, broadcast};
    ///
    /// let sender = broadcast(8, BroadcastOverflow::OverwriteOldest);
    /// let mut subscriber = sender.subscribe();
    /// (1..=3).for_each(|number| sender.try_send(number).unwrap());
    /// let mut items = Vec::new();
    /// assert_eq!(subscriber.try_recv_batch(&mut items, 2), Ok(2));
    /// assert_eq!(items, [1, 2]);
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if no item could be received; see [`try_recv`](Self::try_recv). A batch
    /// ends at items that were missed, and the next attempt reports their number. A `max` of 0
    /// succeeds with 0.
    pub fn try_recv_batch(
        &mut self,
        into: &mut Vec<T>,
        max: usize,
    ) -> Result<usize, BroadcastTryRecvError> {
        self.shared.try_recv_batch(&mut self.reader, into, max)
    }

    /// Waits until there is an item, then receives all available items, up to `max`.
    ///
    /// The items are appended to `into`; the future returns their number.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use mainstay::ring::{BroadcastOverflow, broadcast};
    ///
    /// let sender = broadcast(8, BroadcastOverflow::OverwriteOldest);
    /// let mut subscriber = sender.subscribe();
    /// (1..=3).for_each(|number| sender.try_send(number).unwrap());
    /// let mut items = Vec::new();
    /// assert_eq!(subscriber.recv_batch(&mut items, 100).await, Ok(3));
    /// # });
    /// ```
    ///
    /// # Errors
    ///
    /// The future returns an error if the subscriber has missed items, or if the broadcast is
    /// closed and all items have been received.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it is ready, no item was received.
    pub fn recv_batch<'a>(
        &'a mut self,
        into: &'a mut Vec<T>,
        max: usize,
    ) -> BroadcastRecvBatchFuture<'a, T> {
        BroadcastRecvBatchFuture::new(RecvBatch { subscriber: self, into, max })
    }

    /// Blocks the thread until there is an item, then receives all available items, up to `max`.
    ///
    /// The items are appended to `into`, and their number is returned.
    ///
    /// ```
    /// use mainstay::ring::{BroadcastOverflow, broadcast};
    ///
    /// let sender = broadcast(8, BroadcastOverflow::OverwriteOldest);
    /// let mut subscriber = sender.subscribe();
    /// (1..=3).for_each(|number| sender.try_send(number).unwrap());
    /// let mut items = Vec::new();
    /// assert_eq!(subscriber.recv_batch_blocking(&mut items, 100), Ok(3));
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if the subscriber has missed items, or if the broadcast is closed and all
    /// items have been received.
    pub fn recv_batch_blocking(
        &mut self,
        into: &mut Vec<T>,
        max: usize,
    ) -> Result<usize, BroadcastRecvError> {
        Waiting::new(RecvBatch { subscriber: self, into, max }).block()
    }

    /// Converts this subscriber into a [`Stream`](futures_core::Stream), which ends when the
    /// broadcast is closed and all items have been received.
    ///
    /// The stream reports missed items as errors, and continues.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use futures::StreamExt;
    /// use mainstay::ring::{BroadcastMissed, BroadcastOverflow, broadcast};
    ///
    /// let sender = broadcast(2, BroadcastOverflow::OverwriteOldest);
    /// let subscriber = sender.subscribe();
    /// (1..=4).for_each(|number| sender.try_send(number).unwrap());
    /// drop(sender);
    /// let received: Vec<_> = subscriber.into_stream().collect().await;
    /// assert_eq!(received, [Err(BroadcastMissed(2)), Ok(3), Ok(4)]);
    /// # });
    /// ```
    pub fn into_stream(self) -> BroadcastStream<T> {
        BroadcastStream::new(self)
    }
}

impl<T: Clone> Operation for BroadcastSubscriber<T> {
    type Output = Result<T, BroadcastRecvError>;

    #[inline]
    fn attempt(&mut self) -> Attempt<Self::Output> {
        recv_attempt(self.try_recv())
    }

    fn set_waiting(&mut self) -> bool {
        self.shared.core.flag_waiting_subscriber(self.reader.position)
    }

    fn waiters(&self) -> &Waiters {
        &self.shared.waiting_subscribers
    }
}

impl<T> Clone for BroadcastSubscriber<T> {
    fn clone(&self) -> Self {
        if !self.is_weak {
            self.shared.subscribers.add();
        }
        Self {
            shared: Arc::clone(&self.shared),
            reader: self.shared.core.clone_reader(&self.reader),
            is_weak: self.is_weak,
        }
    }
}

impl<T> Drop for BroadcastSubscriber<T> {
    fn drop(&mut self) {
        self.leave();
    }
}

impl<T> fmt::Debug for BroadcastSubscriber<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BroadcastSubscriber")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .field("weak", &self.is_weak)
            .finish()
    }
}
