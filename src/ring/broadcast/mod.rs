//! A broadcast: one ring, and a cursor for each of its subscribers.

mod core;
mod error;
mod future;
mod gate;
mod sender;
mod shared;
mod slots;
mod stream;
mod subscriber;
mod waiters;

#[cfg(all(test, mainstay_loom))]
mod tests;

use self::core::Core;
pub(super) use self::shared::Shared;
use crate::error::ConfigError;
use crate::sync::Arc;
pub use error::{
    BroadcastMissed, BroadcastRecvError, BroadcastRecvTimeoutError, BroadcastTryRecvError,
};
pub use future::{
    BroadcastClosedFuture, BroadcastRecvBatchFuture, BroadcastRecvFuture,
    BroadcastRecvTimeoutFuture, BroadcastSendFuture, BroadcastSendTimeoutFuture,
};
pub use sender::BroadcastSender;
pub use stream::BroadcastStream;
pub use subscriber::BroadcastSubscriber;

/// The behavior of a sender when the ring of a [`broadcast()`] is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BroadcastOverflow {
    /// The sender overwrites the oldest item. A subscriber that has not received it is notified of
    /// the number of items that it has [missed](BroadcastRecvError::Missed). A sender does not wait
    /// for subscribers to receive items.
    OverwriteOldest,
    /// The sender waits until the slowest subscriber has received the oldest item. A subscriber
    /// misses no items, unless it is [weak](BroadcastSubscriber::into_weak).
    WaitForSlowest,
}

/// The first item that a new subscriber of a [`broadcast()`] receives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BroadcastStart {
    /// The next item that is sent. This is the default.
    #[default]
    Now,
    /// The oldest item that the ring keeps: items stay in the ring until they are overwritten. With
    /// [`WaitForSlowest`](BroadcastOverflow::WaitForSlowest), items that all other subscribers have
    /// received may be skipped, because they could be overwritten at any moment.
    OldestKept,
}

/// Creates a broadcast for `capacity` items: each subscriber receives every item. A capacity of 0
/// counts as 1.
///
/// All subscribers read the same ring, each with a cursor of its own, so an item is stored once
/// for any number of them. Threads and tasks can share a broadcast, and no runtime is needed. Use
/// [`try_broadcast`] if the capacity comes from a configuration.
///
/// A subscriber receives a clone of the item: use `Copy` types, or `Arc<T>` for large items.
/// Several threads clone one item at the same time, so handles can be sent to other threads only if
/// the items are `Sync`:
///
/// ```compile_fail
/// use mainstay::ring::{BroadcastOverflow, broadcast};
/// use std::cell::Cell;
///
/// let sender = broadcast::<Cell<u32>>(1, BroadcastOverflow::OverwriteOldest); // tokio#7232
/// std::thread::spawn(move || sender.close());
/// ```
///
/// # Examples
///
/// ```
/// use mainstay::ring::{BroadcastOverflow, BroadcastTryRecvError, broadcast};
///
/// let prices = broadcast(2, BroadcastOverflow::OverwriteOldest);
/// let mut fast = prices.subscribe();
/// let mut slow = prices.subscribe();
/// for price in 1..=4 {
///     prices.try_send(price).unwrap();
///     assert_eq!(fast.try_recv(), Ok(price));
/// }
/// assert_eq!(slow.try_recv(), Err(BroadcastTryRecvError::Missed(2)));
/// assert_eq!(slow.try_recv(), Ok(3));
/// assert_eq!(slow.try_recv(), Ok(4));
/// assert_eq!(slow.try_recv(), Err(BroadcastTryRecvError::Empty));
/// ```
///
/// # How it works
///
/// A slot has one state word: the lap (round of the ring) that it serves, its phase, and the number
/// of readers that clone its item at this moment. A reader adds itself by a compare-and-swap that
/// fails if the slot was reused, so it never reads an item that is being overwritten. A sender
/// skips a slot that has readers and uses the next one. A reader that is suspended in the middle of
/// a clone therefore delays neither other readers nor senders, unless every slot has such a reader.
///
/// With [`BroadcastOverflow::WaitForSlowest`], a subscriber publishes its cursor, on a cache line
/// of its own, and does not write to the slots. Senders cache the position of the slowest cursor,
/// and scan all cursors only when the ring is full according to the cached position.
///
/// Sends take effect one after the other. While another sender is in the middle of a send, a sender
/// gets [`PushError::Busy`](super::PushError::Busy) from `try_send`; the other forms of `send`
/// retry. `try_recv` is lock-free.
///
/// # Shutdown
///
/// The broadcast is closed by [`BroadcastSender::close`] and when the last sender is dropped. Sends
/// then fail. Subscribers still receive the items in the ring, then
/// [`Closed`](BroadcastRecvError::Closed). Sending without subscribers succeeds.
///
/// # Cancel safety
///
/// Every future can be dropped at any time. A receive that is dropped before it is ready has
/// received no item; a send that is dropped before it is ready has sent none.
///
/// # Panics
///
/// Panics if the memory cannot be allocated. If the clone of an item panics, the panic propagates
/// to the caller of that subscriber, and the item counts as received; other subscribers are not
/// affected.
///
/// # Performance
///
/// A send costs two atomic read-modify-writes, plus the wake-ups of the waiting subscribers, which
/// happen outside all locks. A receive costs two read-modify-writes of the slot, or one of the
/// cursor with `WaitForSlowest`, and a clone. The slots are allocated when the broadcast is
/// created, and nothing is allocated for an item. A slot takes 16 bytes more than the item. Items
/// stay in the ring until they are overwritten or all handles are dropped.
///
/// If several senders wait for the slowest subscriber, they are woken in order of arrival, but then
/// compete for the free slot.
pub fn broadcast<T>(capacity: usize, overflow: BroadcastOverflow) -> BroadcastSender<T> {
    match try_broadcast(capacity.max(1), overflow) {
        Ok(sender) => sender,
        Err(error) => panic!("{error}"),
    }
}

/// Creates a [`broadcast()`] for `capacity` items, or returns an error if it cannot.
///
/// ```
/// use mainstay::ring::{BroadcastOverflow, try_broadcast};
///
/// let sender = try_broadcast(16, BroadcastOverflow::WaitForSlowest)?;
/// let mut subscriber = sender.subscribe();
/// sender.try_send("item").unwrap();
/// assert_eq!(subscriber.try_recv(), Ok("item"));
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
///
/// # Errors
///
/// Returns an error if `capacity` is 0 or if the memory cannot be allocated.
pub fn try_broadcast<T>(
    capacity: usize,
    overflow: BroadcastOverflow,
) -> Result<BroadcastSender<T>, ConfigError> {
    let core = Core::try_new(capacity, overflow)?;
    Ok(BroadcastSender::new(Arc::new(Shared::new(core))))
}
