//! The sending side of a broadcast.

use std::fmt;
use std::time::Duration;

use super::future::{BroadcastClosedFuture, BroadcastSendFuture, BroadcastSendTimeoutFuture};
use super::shared::{Closed, Send, Shared};
use super::waiters::Waiting;
use super::{BroadcastStart, BroadcastSubscriber};
use crate::ring::error::{PushError, SendError, SendTimeoutError};
use crate::sync::Arc;

/// The sending side of a [`broadcast`](super::broadcast()).
///
/// Clone it to add a producer. The broadcast is closed when the last sender is dropped.
pub struct BroadcastSender<T> {
    shared: Arc<Shared<T>>,
}

impl<T> BroadcastSender<T> {
    pub(super) fn new(shared: Arc<Shared<T>>) -> Self {
        Self { shared }
    }

    /// Sends `value` to all subscribers, unless the ring is full of items that the slowest
    /// subscriber has not received.
    ///
    /// ```
    /// use mainstay::ring::{BroadcastOverflow, PushError, broadcast};
    ///
    /// let sender = broadcast(1, BroadcastOverflow::WaitForSlowest);
    /// let subscriber = sender.subscribe();
    /// assert_eq!(sender.try_send(1), Ok(()));
    /// assert_eq!(sender.try_send(2), Err(PushError::Full(2)));
    /// drop(subscriber);
    /// assert_eq!(sender.try_send(2), Ok(()));
    /// ```
    ///
    /// # Errors
    ///
    /// Returns `value` if the ring is full ([`Full`](PushError::Full), only with `WaitForSlowest`),
    /// if another sender has not finished ([`Busy`](PushError::Busy)), or if the broadcast is
    /// [closed](PushError::Closed). `Busy` is also returned if each slot that was tried was in use
    /// by a thread that clones its item.
    #[inline(always)]
    pub fn try_send(&self, value: T) -> Result<(), PushError<T>> {
        self.shared.try_send(value)
    }

    /// Sends `value` to all subscribers. Waits while the ring is full, that is, until the slowest
    /// subscriber has received the oldest item.
    ///
    /// With [`OverwriteOldest`](super::BroadcastOverflow::OverwriteOldest), the future is ready
    /// when it is first polled, unless another sender is in the middle of a send.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use mainstay::ring::{BroadcastOverflow, broadcast};
    ///
    /// let sender = broadcast(8, BroadcastOverflow::WaitForSlowest);
    /// let mut subscriber = sender.subscribe();
    /// sender.send("item").await.unwrap();
    /// assert_eq!(subscriber.recv().await, Ok("item"));
    /// # });
    /// ```
    ///
    /// # Errors
    ///
    /// The future returns `value` if the broadcast is closed.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it is ready, `value` is dropped and was not sent.
    #[inline]
    pub fn send(&self, value: T) -> BroadcastSendFuture<'_, T> {
        BroadcastSendFuture::new(self.operation(value))
    }

    /// Sends `value` to all subscribers. Waits up to `timeout` while the ring is full; see
    /// [`send`](Self::send).
    ///
    /// The timeout starts when the future first has to wait. The system clock measures it.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use mainstay::ring::{BroadcastOverflow, SendTimeoutError, broadcast};
    /// use std::time::Duration;
    ///
    /// let sender = broadcast(1, BroadcastOverflow::WaitForSlowest);
    /// let _stuck = sender.subscribe();
    /// sender.send(1).await.unwrap();
    /// let sent = sender.send_timeout(2, Duration::from_millis(1)).await;
    /// assert_eq!(sent, Err(SendTimeoutError::Timeout(2)));
    /// # });
    /// ```
    ///
    /// # Errors
    ///
    /// The future returns `value` if the broadcast is closed, or if the ring is still full when the
    /// timeout has passed.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it is ready, `value` is dropped and was not sent.
    #[inline]
    pub fn send_timeout(&self, value: T, timeout: Duration) -> BroadcastSendTimeoutFuture<'_, T> {
        BroadcastSendTimeoutFuture::new(self.operation(value), timeout)
    }

    /// Sends `value` to all subscribers. Blocks the thread while the ring is full; see
    /// [`send`](Self::send).
    ///
    /// ```
    /// use mainstay::ring::{BroadcastOverflow, broadcast};
    ///
    /// let sender = broadcast(1, BroadcastOverflow::WaitForSlowest);
    /// let mut subscriber = sender.subscribe();
    /// let thread = std::thread::spawn(move || {
    ///     (1..=3).for_each(|number| sender.send_blocking(number).unwrap());
    /// });
    /// let sum: u32 = (0..3).map(|_| subscriber.recv_blocking().unwrap()).sum();
    /// assert_eq!(sum, 6);
    /// # thread.join().unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// Returns `value` if the broadcast is closed.
    pub fn send_blocking(&self, value: T) -> Result<(), SendError<T>> {
        let mut waiting = Waiting::new(self.operation(value));
        let sent = waiting.block();
        let left = waiting.operation.value.take();
        sent.or_else(|Closed| left.map_or(Ok(()), |value| Err(SendError(value))))
    }

    /// Sends `value` to all subscribers. Blocks the thread up to `timeout` while the ring is full;
    /// see [`send`](Self::send).
    ///
    /// ```
    /// use mainstay::ring::{BroadcastOverflow, SendTimeoutError, broadcast};
    /// use std::time::Duration;
    ///
    /// let sender = broadcast(1, BroadcastOverflow::WaitForSlowest);
    /// let _stuck = sender.subscribe();
    /// sender.try_send(1).unwrap();
    /// let sent = sender.send_blocking_timeout(2, Duration::from_millis(1));
    /// assert_eq!(sent, Err(SendTimeoutError::Timeout(2)));
    /// ```
    ///
    /// # Errors
    ///
    /// Returns `value` if the broadcast is closed, or if the ring is still full when the timeout
    /// has passed.
    pub fn send_blocking_timeout(
        &self,
        value: T,
        timeout: Duration,
    ) -> Result<(), SendTimeoutError<T>> {
        let mut waiting = Waiting::new(self.operation(value));
        let make_error = match waiting.block_timeout(timeout) {
            Some(Ok(())) => return Ok(()),
            Some(Err(Closed)) => SendTimeoutError::Closed,
            None => SendTimeoutError::Timeout,
        };
        waiting.operation.value.take().map_or(Ok(()), |value| Err(make_error(value)))
    }

    fn operation(&self, value: T) -> Send<'_, T> {
        Send { shared: &self.shared, value: Some(value) }
    }

    /// Returns a new subscriber, which receives the items that are sent from now on.
    ///
    /// ```
    /// use mainstay::ring::{BroadcastOverflow, broadcast};
    ///
    /// let sender = broadcast(8, BroadcastOverflow::OverwriteOldest);
    /// sender.try_send(1).unwrap();
    /// let mut subscriber = sender.subscribe();
    /// sender.try_send(2).unwrap();
    /// assert_eq!(subscriber.try_recv(), Ok(2));
    /// ```
    pub fn subscribe(&self) -> BroadcastSubscriber<T> {
        self.subscribe_from(BroadcastStart::Now)
    }

    /// Returns a new subscriber, which receives items from `start` on.
    ///
    /// ```
    /// use mainstay::ring::{BroadcastOverflow, BroadcastStart, broadcast};
    ///
    /// let sender = broadcast(2, BroadcastOverflow::OverwriteOldest);
    /// (1..=5).for_each(|number| sender.try_send(number).unwrap());
    /// let mut late = sender.subscribe_from(BroadcastStart::OldestKept);
    /// assert_eq!(late.try_recv(), Ok(4));
    /// assert_eq!(late.try_recv(), Ok(5));
    /// ```
    pub fn subscribe_from(&self, start: BroadcastStart) -> BroadcastSubscriber<T> {
        BroadcastSubscriber::new(Arc::clone(&self.shared), self.shared.core.reader(start))
    }

    /// Closes the broadcast for all senders. Returns `true` if this call closed it.
    ///
    /// The items in the ring can still be received.
    pub fn close(&self) -> bool {
        self.shared.close()
    }

    /// Returns whether the broadcast is closed.
    pub fn is_closed(&self) -> bool {
        self.shared.core.is_closed()
    }

    /// Waits until the broadcast is closed.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use mainstay::ring::{BroadcastOverflow, broadcast};
    ///
    /// let sender = broadcast::<u32>(1, BroadcastOverflow::OverwriteOldest);
    /// sender.clone().close();
    /// sender.closed().await;
    /// # });
    /// ```
    pub fn closed(&self) -> BroadcastClosedFuture<'_, T> {
        BroadcastClosedFuture::new(&self.shared)
    }

    /// Returns the maximum number of items that the ring keeps.
    pub fn capacity(&self) -> usize {
        self.shared.core.capacity()
    }

    /// Returns the number of subscribers that are not [weak](BroadcastSubscriber::into_weak). A
    /// producer can pause while the number is 0.
    pub fn subscribers(&self) -> usize {
        self.shared.subscribers.get()
    }
}

impl<T> Clone for BroadcastSender<T> {
    fn clone(&self) -> Self {
        self.shared.senders.add();
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T> Drop for BroadcastSender<T> {
    fn drop(&mut self) {
        if self.shared.senders.remove() {
            self.shared.close();
        }
    }
}

impl<T> fmt::Debug for BroadcastSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BroadcastSender")
            .field("capacity", &self.capacity())
            .field("subscribers", &self.subscribers())
            .field("closed", &self.is_closed())
            .finish()
    }
}
