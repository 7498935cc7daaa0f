//! A lock-free bounded queue, a channel on top of it, and a broadcast.
//!
//! [`Ring`] is a queue for any number of producers and consumers; no operation waits. [`channel()`]
//! adds waiting, for threads and for tasks. [`broadcast()`] delivers each item to every subscriber.
//!
//! # Examples
//!
//! ```
//! use mainstay::ring::{PopError, PushError, Ring};
//!
//! let ring = Ring::new(3);
//! ring.try_push('a').unwrap();
//! ring.try_push('b').unwrap();
//! ring.try_push('c').unwrap();
//! assert_eq!(ring.try_push('d'), Err(PushError::Full('d')));
//!
//! assert_eq!(ring.try_pop(), Ok('a'));
//! ring.try_push('d').unwrap();
//! assert_eq!(ring.force_push('e').unwrap(), Some('b'));
//!
//! ring.close();
//! assert_eq!(ring.drain().collect::<Vec<_>>(), ['c', 'd', 'e']);
//! assert_eq!(ring.try_pop(), Err(PopError::Closed));
//! ```
//!
//! # How it works
//!
//! The algorithm is Dmitry Vyukov's [bounded MPMC queue], extended by batches, exact capacities,
//! closing and eviction. Two words hold the position of the next push (the tail) and of the next
//! pop (the head). Every slot carries a *stamp*: the position that it serves, and whether it holds
//! an item.
//!
//! - A producer reads the tail. If the stamp of its slot says "free for this position", the
//!   producer claims the slot by moving the tail on with a compare-and-swap. It then writes the
//!   item and stores the stamp "full".
//! - A consumer claims the slot at the head in the same way if its stamp says "full". It then moves
//!   the item out and stores the stamp "free" for the next lap.
//!
//! Between the claim and the new stamp, the slot belongs to one thread, and its peers cannot pass
//! the slot. This interval is a few instructions, or longer if the scheduler suspends the thread.
//! Other queues then spin until the owner has finished, or report "full" or "empty" although
//! neither is true. A `Ring` returns [`PushError::Busy`] or [`PopError::Busy`] and lets the caller
//! decide; a retry soon afterwards nearly always succeeds. `Full` and `Empty` are returned only if
//! they were true at one instant during the call.
//!
//! Everything that happened before a push happens before the return of the pop that takes the item.
//! Everything that happened before a pop happens before the push that reuses its slot. The results
//! `Full`, `Empty` and `Closed` come from acquire loads, which are not part of the single total
//! order of `SeqCst` operations. For example, if each of two threads pushes to its own ring and
//! then pops from the ring of the other thread, both pops can return `Empty`.
//!
//! # Shutdown
//!
//! After [`Ring::close`], pushes fail. Items in the ring can still be popped. After the last item,
//! every pop returns [`PopError::Closed`]. Dropping the ring drops its items.
//!
//! # Panics
//!
//! A destructor that panics leaves the ring usable. If it panics while the ring is being dropped,
//! the other items are dropped before the panic is resumed.
//!
//! # Performance
//!
//! A push or a pop costs one compare-and-swap and one release store. A batch costs one
//! compare-and-swap, and one release store per item. Head and tail each have a pair of cache lines
//! to themselves. The slots are allocated when the ring is created, and nothing is allocated later.
//! A slot takes the size of the item plus 8 bytes, rounded up to a multiple of 8 or of the
//! alignment of the item, whichever is larger.
//!
//! A loop that polls a ring should pause between attempts; see [`SpinWait`].
//!
//! [bounded MPMC queue]: https://www.1024cores.net/home/lock-free-algorithms/queues/bounded-mpmc-queue

mod batch_source;
mod broadcast;
mod channel;
mod core;
mod drain;
mod error;
mod position;
mod spin_wait;
mod unwind_safe;
mod waiting;

#[cfg(test)]
mod tests;

use std::fmt;

use self::core::Core;
use crate::error::ConfigError;
pub use batch_source::BatchSource;
pub use broadcast::{
    BroadcastClosedFuture, BroadcastMissed, BroadcastOverflow, BroadcastRecvBatchFuture,
    BroadcastRecvError, BroadcastRecvFuture, BroadcastRecvTimeoutError, BroadcastRecvTimeoutFuture,
    BroadcastSendFuture, BroadcastSendTimeoutFuture, BroadcastSender, BroadcastStart,
    BroadcastStream, BroadcastSubscriber, BroadcastTryRecvError, broadcast, try_broadcast,
};
pub use channel::{
    ClosedFuture, Receiver, ReceiverIntoIter, ReceiverIter, ReceiverStream, RecvBatchFuture,
    RecvFuture, RecvTimeoutFuture, SendBatchFuture, SendFuture, SendTimeoutFuture, Sender,
    SenderSink, channel, try_channel,
};
pub use drain::RingDrain;
pub use error::{
    ForcePushError, PopError, PushError, RecvError, RecvTimeoutError, SendError, SendTimeoutError,
};
pub use spin_wait::SpinWait;

/// A lock-free bounded queue for any number of producers and consumers.
///
/// It is shared by reference or in an `Arc`. No operation waits; use a [`channel()`] to wait. The
/// [module documentation](self) describes the algorithm and its cost.
///
/// ```
/// use mainstay::ring::Ring;
/// use std::thread;
///
/// let ring = Ring::new(16);
/// thread::scope(|scope| {
///     scope.spawn(|| ring.try_push("from one thread").unwrap());
/// });
/// assert_eq!(ring.try_pop(), Ok("from one thread"));
/// ```
pub struct Ring<T> {
    core: Core<T>,
}

impl<T> Ring<T> {
    /// Creates a ring for exactly `capacity` items. A capacity of 0 counts as 1.
    ///
    /// All memory is allocated here. Use [`try_new`](Self::try_new) if the capacity comes from a
    /// configuration.
    ///
    /// ```
    /// use mainstay::ring::Ring;
    ///
    /// let ring: Ring<u32> = Ring::new(100);
    /// assert_eq!(ring.capacity(), 100);
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if the memory cannot be allocated.
    pub fn new(capacity: usize) -> Self {
        Self { core: Core::new(capacity) }
    }

    /// Creates a ring for exactly `capacity` items, or returns the reason why it cannot.
    ///
    /// ```
    /// use mainstay::ring::Ring;
    ///
    /// let error = Ring::<u64>::try_new(usize::MAX).unwrap_err();
    /// assert_eq!(error.field(), "capacity");
    /// assert!(Ring::<u64>::try_new(0).is_err());
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if `capacity` is 0 or if the memory cannot be allocated.
    pub fn try_new(capacity: usize) -> Result<Self, ConfigError> {
        Core::try_new(capacity).map(|core| Self { core })
    }

    /// Pushes `value` unless the ring is full.
    ///
    /// ```
    /// use mainstay::ring::{PushError, Ring};
    ///
    /// let ring = Ring::new(1);
    /// assert_eq!(ring.try_push(1), Ok(()));
    /// assert_eq!(ring.try_push(2), Err(PushError::Full(2)));
    /// ```
    ///
    /// # Errors
    ///
    /// Returns `value` if the ring is [full](PushError::Full), [closed](PushError::Closed), or
    /// [busy](PushError::Busy).
    #[inline(always)]
    pub fn try_push(&self, value: T) -> Result<(), PushError<T>> {
        match self.core.claim_push() {
            Ok(claim) => {
                self.core.publish(&claim, value);
                Ok(())
            }
            Err(error) => Err(error.with_value(value)),
        }
    }

    /// Pops the oldest item.
    ///
    /// ```
    /// use mainstay::ring::{PopError, Ring};
    ///
    /// let ring = Ring::new(1);
    /// ring.try_push(1).unwrap();
    /// assert_eq!(ring.try_pop(), Ok(1));
    /// assert_eq!(ring.try_pop(), Err(PopError::Empty));
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if the ring is [empty](PopError::Empty), [closed](PopError::Closed) and
    /// empty, or [busy](PopError::Busy).
    #[inline(always)]
    pub fn try_pop(&self) -> Result<T, PopError> {
        let claim = self.core.claim_pop()?;
        Ok(self.core.take(&claim))
    }

    /// Pushes as many items from the front of `batch` as fit, and returns their number.
    ///
    /// No other item comes between them in the ring. Items that did not fit stay in `batch`. The
    /// batch ends early at a slot that a consumer has not released yet. To push as many items as
    /// possible, repeat the call until it fails.
    ///
    /// ```
    /// use mainstay::ring::Ring;
    ///
    /// let ring = Ring::new(3);
    /// let mut batch = vec![1, 2, 3, 4].into_iter();
    /// assert_eq!(ring.try_push_batch(&mut batch), Ok(3));
    /// assert_eq!(batch.as_slice(), [4]);
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if no item could be pushed. Pushing an empty batch succeeds with 0.
    #[inline]
    pub fn try_push_batch(&self, batch: &mut impl BatchSource<T>) -> Result<usize, PushError<()>> {
        if batch.len() == 0 {
            return Ok(0);
        }
        let claim = self.core.claim_push_batch(batch.len())?;
        self.core.publish_batch(&claim, batch);
        Ok(claim.count())
    }

    /// Pops up to `max` of the oldest items, appends them to `into`, and returns their number.
    ///
    /// The batch ends early at an item that its producer has not finished pushing.
    ///
    /// ```
    /// use mainstay::ring::Ring;
    ///
    /// let ring = Ring::new(3);
    /// ring.try_push_batch(&mut ['a', 'b', 'c'].into_iter()).unwrap();
    /// let mut items = Vec::new();
    /// assert_eq!(ring.try_pop_batch(&mut items, 2), Ok(2));
    /// assert_eq!(items, ['a', 'b']);
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if no item could be popped. A `max` of 0 succeeds with 0.
    #[inline]
    pub fn try_pop_batch(&self, into: &mut Vec<T>, max: usize) -> Result<usize, PopError> {
        if max == 0 {
            return Ok(0);
        }
        // Memory is reserved before the claim, because an allocation can fail and can take long.
        let claim = self.core.claim_pop_batch(max, |count| into.reserve(count))?;
        self.core.take_batch(&claim, into);
        Ok(claim.count())
    }

    /// Pushes `value`. If the ring is full, `value` replaces the oldest item, which is returned.
    ///
    /// Eviction and push are one step: no other item is pushed in between.
    ///
    /// ```
    /// use mainstay::ring::Ring;
    ///
    /// let latest = Ring::new(2);
    /// assert_eq!(latest.force_push(1).unwrap(), None);
    /// assert_eq!(latest.force_push(2).unwrap(), None);
    /// assert_eq!(latest.force_push(3).unwrap(), Some(1));
    /// ```
    ///
    /// # Errors
    ///
    /// Returns `value` if the ring is [closed](ForcePushError::Closed) or
    /// [busy](ForcePushError::Busy).
    pub fn force_push(&self, value: T) -> Result<Option<T>, ForcePushError<T>> {
        self.core.force_push(value).map(|pushed| pushed.evicted)
    }

    /// Closes the ring for pushes. Returns `true` if this call closed it.
    ///
    /// Items in the ring can still be popped.
    ///
    /// ```
    /// use mainstay::ring::{PushError, Ring};
    ///
    /// let ring = Ring::new(2);
    /// ring.try_push(1).unwrap();
    /// assert!(ring.close());
    /// assert!(!ring.close());
    /// assert_eq!(ring.try_push(2), Err(PushError::Closed(2)));
    /// assert_eq!(ring.try_pop(), Ok(1));
    /// ```
    pub fn close(&self) -> bool {
        self.core.close()
    }

    /// Returns whether the ring is closed.
    pub fn is_closed(&self) -> bool {
        self.core.is_closed()
    }

    /// Returns the number of items, including those that are being pushed.
    ///
    /// This is an estimate while other threads push and pop. It never exceeds the capacity.
    ///
    /// ```
    /// use mainstay::ring::Ring;
    ///
    /// let ring = Ring::new(4);
    /// ring.try_push_batch(&mut [1, 2, 3].into_iter()).unwrap();
    /// assert_eq!((ring.len(), ring.capacity()), (3, 4));
    /// ```
    pub fn len(&self) -> usize {
        self.core.len()
    }

    /// Returns whether the ring was empty at one instant during the call.
    pub fn is_empty(&self) -> bool {
        self.core.is_empty()
    }

    /// Returns whether the ring was full at one instant during the call.
    pub fn is_full(&self) -> bool {
        self.core.is_full()
    }

    /// Returns the number of items that the ring can hold.
    pub fn capacity(&self) -> usize {
        self.core.capacity()
    }

    /// Creates the pauses of a loop that polls this ring to move a stream of items. The first pause
    /// grows with the capacity, up to about half a microsecond.
    ///
    /// ```
    /// use mainstay::ring::Ring;
    ///
    /// let ring = Ring::new(16);
    /// let mut spin_wait = ring.spin_wait();
    /// while ring.try_push("item").is_err() {
    ///     spin_wait.wait();
    /// }
    /// ```
    #[must_use]
    pub fn spin_wait(&self) -> SpinWait {
        SpinWait::for_capacity(self.capacity())
    }

    /// Returns an iterator that pops items until a pop fails.
    ///
    /// It returns at most as many items as the ring can hold, so it ends even if producers
    /// continue.
    ///
    /// ```
    /// use mainstay::ring::Ring;
    ///
    /// let ring = Ring::new(4);
    /// ring.try_push_batch(&mut [1, 2, 3].into_iter()).unwrap();
    /// assert_eq!(ring.drain().sum::<i32>(), 6);
    /// assert!(ring.is_empty());
    /// ```
    pub fn drain(&self) -> RingDrain<'_, T> {
        RingDrain::new(self)
    }
}

impl<T> fmt::Debug for Ring<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .field("closed", &self.is_closed())
            .finish()
    }
}
