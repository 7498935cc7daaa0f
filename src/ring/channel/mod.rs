//! The channel: a ring with wait queues for its senders and receivers.

mod closed_future;
mod iter;
mod pace;
mod receiver;
mod recv_future;
mod send_future;
mod sender;
mod shared;
mod sink;
mod stream;
mod timeout;

#[cfg(all(test, mainstay_loom))]
mod loom;

pub(super) use self::shared::{HandleCount, Shared};
pub(super) use self::timeout::Timeout;
use super::core::Core;
use crate::error::ConfigError;
use crate::sync::Arc;
pub use closed_future::ClosedFuture;
pub use iter::{ReceiverIntoIter, ReceiverIter};
pub use receiver::Receiver;
pub use recv_future::{RecvBatchFuture, RecvFuture, RecvTimeoutFuture};
pub use send_future::{SendBatchFuture, SendFuture, SendTimeoutFuture};
pub use sender::Sender;
pub use sink::SenderSink;
pub use stream::ReceiverStream;

/// Creates a bounded channel for many senders and many receivers, on a [`Ring`](super::Ring) for
/// `capacity` items. A capacity of 0 counts as 1.
///
/// Threads and tasks can share one channel: [`Sender::send`] and [`Receiver::recv`] are futures,
/// [`Sender::send_blocking`] and [`Receiver::recv_blocking`] block the thread. No runtime is
/// needed. Use [`try_channel`] if the capacity comes from a configuration.
///
/// # Examples
///
/// ```
/// use mainstay::ring::channel;
///
/// let (sender, receiver) = channel(16);
/// let worker = std::thread::spawn(move || receiver.into_iter().sum::<u64>());
/// for number in 1..=100 {
///     sender.send_blocking(number).unwrap();
/// }
/// drop(sender);
/// assert_eq!(worker.join().unwrap(), 5050);
/// ```
///
/// # How it works
///
/// <div>
#[doc = include_str!("../channel.svg")]
/// </div>
///
/// Senders wait while the ring is full, receivers while it is empty. Both wait queues are FIFO.
/// Each item wakes one waiting receiver, and each free slot one waiting sender. Another caller can
/// take the item or the slot first; the waiter then goes back to the front of its queue.
///
/// While no receiver waits, a send does not access the queue of receivers: the flag WAITING is a
/// bit of the tail, which every send changes anyway. A receiver sets the flag before it waits, by a
/// compare-and-swap that fails if the tail has moved. Either the receiver sees the item, or the
/// sender sees the flag. The head carries the flag of the waiting senders in the same way.
///
/// A blocking call spins briefly, then yields the processor, then parks the thread. While a waiting
/// thread finds several items after its pause, the first pause grows with the capacity, up to about
/// half a microsecond: the other side can then fill or empty several slots without contention,
/// instead of handing over one item at a time. If only one item comes at a time, as in a
/// conversation between two threads, the first pauses are the shortest possible.
///
/// # Shutdown
///
/// The channel is closed by [`Sender::close`] or [`Receiver::close`], when the last `Sender` is
/// dropped, and when the last `Receiver` is dropped. Sends then fail and return their items.
/// Receivers still get the items in the channel, then an error. When the last `Receiver` is
/// dropped, the items in the channel are dropped.
///
/// # Cancel safety
///
/// Every future can be dropped at any time. The future leaves its queue and passes a wake-up that
/// it has not used to the next waiter. A [`SendFuture`] that is dropped before it is ready drops
/// its item without sending it. A [`RecvFuture`] that is dropped before it is ready has received no
/// item.
///
/// # Panics
///
/// Panics if the memory cannot be allocated.
///
/// # Performance
///
/// A send or a receive that does not wait costs one compare-and-swap and one release store. A
/// channel makes two allocations: the slots, and the state that both sides share. A wait queue
/// allocates when it grows beyond the largest number of waiters that it ever held.
pub fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    from_core(Core::new(capacity))
}

/// Creates a [`channel`] for `capacity` items, or returns the reason why it cannot.
///
/// ```
/// use mainstay::ring::try_channel;
///
/// let (sender, receiver) = try_channel(16)?;
/// sender.try_send("item").unwrap();
/// assert_eq!(receiver.try_recv(), Ok("item"));
/// assert_eq!(try_channel::<u64>(0).unwrap_err().field(), "capacity");
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
///
/// # Errors
///
/// Returns an error if `capacity` is 0 or if the memory cannot be allocated.
pub fn try_channel<T>(capacity: usize) -> Result<(Sender<T>, Receiver<T>), ConfigError> {
    Core::try_new(capacity).map(from_core)
}

fn from_core<T>(core: Core<T>) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared::new(core));
    (Sender::new(Arc::clone(&shared)), Receiver::new(shared))
}
