//! A bounded queue for many producers and many consumers, without locks.
//!
//! # Quick start
//!
//! ```
//! use mainstay::ring::{PopError, PushError, Ring};
//!
//! let ring = Ring::new(3);
//! ring.try_push('a').unwrap();
//! ring.try_push('b').unwrap();
//! ring.try_push('c').unwrap();
//! assert!(matches!(ring.try_push('d'), Err(PushError::Full('d'))));
//!
//! assert_eq!(ring.try_pop(), Ok('a'));
//! assert_eq!(ring.force_push('d').unwrap(), None);
//! assert_eq!(ring.force_push('e').unwrap(), Some('b'), "the oldest made room");
//!
//! ring.close();
//! let mut rest = Vec::new();
//! assert_eq!(ring.pop_batch(&mut rest, 10), Ok(3));
//! assert_eq!(rest, ['c', 'd', 'e']);
//! assert_eq!(ring.try_pop(), Err(PopError::Closed));
//! ```
//!
//! # Three answers
//!
//! An operation on a bounded queue can succeed or find the queue full (or empty). On a queue without
//! locks there is a third case: the slot in question belongs to a peer that has claimed it and has not
//! finished, perhaps because the scheduler took the processor away from it in between. Other queues
//! then either wait for that peer, without a bound, or say "full" when it is not true. Here the answer
//! is *busy*: nothing waits, nothing lies, and the caller decides. Between claim and finish a peer runs
//! a handful of instructions, so trying again soon is nearly always right.
//!
//! "Full" and "empty" are given only if that was so at one instant during the call.
//!
//! # Closing
//!
//! [`close`](Ring::close) ends pushing. What is inside can still be popped, then the answer is
//! [`PopError::Closed`], and it is final.
//!
//! # Memory ordering
//!
//! What happened before a push happens before the return of the pop that takes its item; and what
//! happened before a pop happens before the push that reuses its slot. Answers such as "empty" are
//! acquire loads without a full fence, so that polling an idle ring disturbs nobody: between operations
//! on *different* objects they do not establish the single total order of `SeqCst`.
//!
//! # Cost
//!
//! One compare-and-swap and one release store for an operation, or for a whole batch one
//! compare-and-swap. The slots are allocated once; nothing is allocated afterwards. Two hot words, each
//! on its own pair of cache lines.
//!
//! After Dmitry Vyukov's
//! [bounded MPMC queue](https://www.1024cores.net/home/lock-free-algorithms/queues/bounded-mpmc-queue),
//! extended by batches, exact capacities, the third answer, closing and eviction.

mod attended;
mod batch;
mod channel;
mod core;
mod error;
mod position;

#[cfg(all(test, mainstay_loom))]
mod histories;
#[cfg(all(test, mainstay_loom))]
mod loom;
#[cfg(all(test, not(mainstay_loom)))]
mod stalled;

use std::fmt;

use self::core::Core;
pub use batch::Batch;
pub use channel::{
    Receiver, Recv, RecvBatch, RecvStream, Send, SendBatch, SendSink, Sender, channel,
};
pub use error::{ForcePushError, PopError, PushError, RecvError, SendError, TimeoutError};

/// A lock-free bounded queue; the [module](self) tells more.
///
/// Shared by reference or in an `Arc`. To wait for room or for items, use a [`channel()`].
pub struct Ring<T> {
    core: Core<T>,
}

impl<T> Ring<T> {
    /// A ring for exactly `capacity` items, all memory allocated.
    ///
    /// # Panics
    ///
    /// If `capacity` is 0, or more than fits into memory.
    pub fn new(capacity: usize) -> Self {
        Self { core: Core::new(capacity) }
    }

    /// Pushes `value` unless the ring is full.
    ///
    /// # Errors
    ///
    /// Gives `value` back and says why.
    #[inline(always)]
    pub fn try_push(&self, value: T) -> Result<(), PushError<T>> {
        match self.core.claim_push() {
            Ok(claim) => {
                self.core.publish(&claim, value);
                Ok(())
            }
            Err(refusal) => Err(refusal.about(value)),
        }
    }

    /// Pops the oldest item.
    ///
    /// # Errors
    ///
    /// Says why there is none.
    #[inline(always)]
    pub fn try_pop(&self) -> Result<T, PopError> {
        let claim = self.core.claim_pop()?;
        Ok(self.core.take(&claim))
    }

    /// Pushes as many items from the front of `batch` as there is room for in one piece, and says how
    /// many that were. They stand next to each other in the ring. What did not fit stays in `batch`.
    ///
    /// A slot that a peer still works in ends the piece early, so call again as long as that succeeds.
    ///
    /// ```
    /// use mainstay::ring::Ring;
    ///
    /// let ring = Ring::new(3);
    /// let mut batch = vec![1, 2, 3, 4].into_iter();
    /// assert_eq!(ring.push_batch(&mut batch), Ok(3));
    /// assert_eq!(batch.as_slice(), [4]);
    /// ```
    ///
    /// # Errors
    ///
    /// If not even one could be pushed. An empty batch is pushed with success, 0.
    #[inline]
    pub fn push_batch(&self, batch: &mut impl Batch<T>) -> Result<usize, PushError<()>> {
        if batch.len() == 0 {
            return Ok(0);
        }
        let claim = self.core.claim_push_batch(batch.len())?;
        self.core.publish_batch(&claim, batch);
        Ok(claim.count())
    }

    /// Moves up to `max` of the oldest items in one piece to the end of `into`, and says how many.
    ///
    /// An item that its producer has not finished pushing ends the piece early.
    ///
    /// # Errors
    ///
    /// If not even one could be popped. A `max` of 0 pops with success, 0.
    #[inline]
    pub fn pop_batch(&self, into: &mut Vec<T>, max: usize) -> Result<usize, PopError> {
        if max == 0 {
            return Ok(0);
        }
        // Room is made before the claim: that may fail, and takes its time.
        let claim = self.core.claim_pop_batch(max, |count| into.reserve(count))?;
        self.core.take_batch(&claim, into);
        Ok(claim.count())
    }

    /// Pushes `value`; if the ring is full, in place of the oldest item, which is returned. Both
    /// happens in one step: no other item gets between.
    ///
    /// # Errors
    ///
    /// Gives `value` back and says why.
    pub fn force_push(&self, value: T) -> Result<Option<T>, ForcePushError<T>> {
        self.core.force_push(value).map(|(evicted, _)| evicted)
    }

    /// Ends pushing, for ever; true for the call that did it.
    pub fn close(&self) -> bool {
        self.core.close()
    }

    /// Whether [`close`](Self::close) was called.
    pub fn is_closed(&self) -> bool {
        self.core.is_closed()
    }

    /// How many items are inside, counting those that are just being pushed. While others push and pop
    /// it is an estimate, though never above the capacity.
    pub fn len(&self) -> usize {
        self.core.len()
    }

    /// Whether the ring was empty at one instant during the call.
    pub fn is_empty(&self) -> bool {
        self.core.is_empty()
    }

    /// Whether the ring was full at one instant during the call.
    pub fn is_full(&self) -> bool {
        self.core.is_full()
    }

    /// How many items fit in.
    pub fn capacity(&self) -> usize {
        self.core.capacity()
    }

    /// Pops one item after the other, until there is none to be had at once, or as many came as the
    /// ring can hold; so it ends even if others go on pushing.
    pub fn drain(&self) -> Drain<'_, T> {
        Drain { ring: self, left: self.capacity() }
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

/// The iterator of [`Ring::drain`]. What it has not yielded when it is dropped stays in the ring.
#[derive(Debug)]
pub struct Drain<'a, T> {
    ring: &'a Ring<T>,
    left: usize,
}

impl<T> Iterator for Drain<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.left = self.left.checked_sub(1)?;
        self.ring.try_pop().ok()
    }
}
