//! The lock-free core of the ring: claims, fills and empties slots. All unsafe code of the ring is
//! in `slots` and `batch`.
//!
//! The algorithm is Dmitry Vyukov's [bounded MPMC queue]. Every slot has a *stamp*: the position
//! that the slot serves, and whether it holds an item. For the item of position `p`, the slot goes
//! through these states:
//!
//! ```text
//! stamp = p          free for the item of position p
//!   | a producer moves the tail from p to p + 1 and owns the slot
//! stamp = p | FULL   holds the item of position p
//!   | a consumer moves the head from p to p + 1 and owns the slot
//! stamp = p + lap    free for the item of the next lap
//! ```
//!
//! The code relies on these invariants:
//!
//! 1. A slot has at most one owner. The thread that moved the tail past a position owns its slot
//!    until it stores `p | FULL`. The thread that moved the head past it owns the slot until it
//!    stores a stamp of the next lap. Only the owner changes the stamp. Tail and head move by
//!    compare-and-swap, from a position whose stamp was seen in the required state. The exceptions
//!    are `force_push` and `compact`: they add to the tail while they own the slot at the tail,
//!    which keeps all other threads from moving it.
//! 2. While a slot has no owner, its cell is initialized exactly if its stamp is `p | FULL`. An
//!    owner that fills or empties the cell does so before it stores the new stamp.
//! 3. `head <= tail <= head + capacity`, as positions.
//!
//! A push takes effect when the tail moves, a pop when the head moves. "Full" and "empty" must be
//! true at one instant, although the two words are loaded one after the other. Both words only
//! grow. If the word that is loaded second is exactly at the limit of invariant 3, the first word
//! has not moved between the two loads.
//!
//! [bounded MPMC queue]: https://www.1024cores.net/home/lock-free-algorithms/queues/bounded-mpmc-queue

mod batch;
mod compact;
mod discard;
mod force_push;
mod slots;

pub(crate) use self::compact::Compacted;
use self::slots::Slots;
use super::error::{PopError, PushError};
use super::position::{CLOSED, FREE, FULL, Geometry, WAITING, position_of};
use crate::error::ConfigError;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{CachePadded, CasBackoff};

pub(super) struct Core<T> {
    /// Position of the next push, and two flags: CLOSED if the ring is closed, WAITING if consumers
    /// wait for an item.
    tail: CachePadded<AtomicU64>,
    /// Position of the next pop, and a flag: WAITING if producers wait for a free slot.
    head: CachePadded<AtomicU64>,
    geometry: Geometry,
    slots: Slots<T>,
    /// Set when no consumer is left; see `discard`. Every send loads it, so it shares no cache line
    /// with the head or the tail, which pushes and pops write.
    abandoned: AtomicBool,
}

/// Consecutive slots that the caller owns. The caller must publish or take the items: until then,
/// peers get `Busy` for these slots.
#[must_use]
#[derive(Debug)]
pub(super) struct Claim {
    position: u64,
    count: usize,
    /// Whether peers wait for the item or the free slot. The caller must wake them after it has
    /// published or taken the items.
    pub(super) has_waiters: bool,
}

impl Claim {
    #[inline]
    pub(super) fn count(&self) -> usize {
        self.count
    }
}

impl<T> Core<T> {
    /// Creates the core. A capacity of 0 counts as 1. Panics if the memory cannot be allocated.
    pub(super) fn new(capacity: usize) -> Self {
        match Self::try_new(capacity.max(1)) {
            Ok(core) => core,
            Err(error) => panic!("{error}"),
        }
    }

    pub(super) fn try_new(capacity: usize) -> Result<Self, ConfigError> {
        let geometry = Geometry::new(capacity)?;
        Ok(Self {
            tail: CachePadded::new(AtomicU64::new(0)),
            head: CachePadded::new(AtomicU64::new(0)),
            geometry,
            slots: Slots::try_new(geometry)?,
            abandoned: AtomicBool::new(false),
        })
    }

    /// Claims the slot at the tail.
    #[inline(always)]
    pub(super) fn claim_push(&self) -> Result<Claim, PushError<()>> {
        self.claim_free(|position| usize::from(self.is_stamped(position, FREE)))
    }

    /// Claims the slot at the head.
    #[inline(always)]
    pub(super) fn claim_pop(&self) -> Result<Claim, PopError> {
        self.claim_full(|position| usize::from(self.is_stamped(position, FULL)))
    }

    /// Claims as many slots from the tail on as `count_free` finds free.
    #[inline(always)]
    fn claim_free(&self, mut count_free: impl FnMut(u64) -> usize) -> Result<Claim, PushError<()>> {
        // Ordering: acquire, with the release in `advance` that wrote the tail. A thread that sees
        // this tail also sees that the head is at most one lap behind: invariant 3.
        let mut tail = self.tail.load(Ordering::Acquire);
        let mut backoff = CasBackoff::new();
        loop {
            if tail & CLOSED != 0 {
                return Err(PushError::Closed(()));
            }
            let position = position_of(tail);
            let count = count_free(position);
            if count > 0 {
                match self.advance(&self.tail, tail, count) {
                    Ok(_) => {
                        return Ok(Claim { position, count, has_waiters: tail & WAITING != 0 });
                    }
                    Err(_) => {
                        backoff.spin();
                        tail = self.tail.load(Ordering::Acquire);
                    }
                }
                continue;
            }
            // Ordering: acquire, for invariant 3.
            let head = position_of(self.head.load(Ordering::Acquire));
            if self.geometry.next_lap(head) == position {
                return Err(PushError::Full(()));
            }
            let now = self.tail.load(Ordering::Acquire);
            if now == tail {
                // A consumer owns the slot and has not released it yet.
                return Err(PushError::Busy(()));
            }
            tail = now;
        }
    }

    /// Claims as many slots from the head on as `count_full` finds full.
    #[inline(always)]
    fn claim_full(&self, mut count_full: impl FnMut(u64) -> usize) -> Result<Claim, PopError> {
        // Ordering: acquire, with the release in `advance` that wrote the head. The thread that
        // wrote it had seen the item published, so the tail is not seen behind the head: invariant
        // 3.
        let mut head = self.head.load(Ordering::Acquire);
        let mut backoff = CasBackoff::new();
        loop {
            let position = position_of(head);
            let count = count_full(position);
            if count > 0 {
                match self.advance(&self.head, head, count) {
                    Ok(_) => {
                        return Ok(Claim { position, count, has_waiters: head & WAITING != 0 });
                    }
                    Err(_) => {
                        backoff.spin();
                        head = self.head.load(Ordering::Acquire);
                    }
                }
                continue;
            }
            // The slot is free for this position, or a peer owns it.
            if self.is_stamped(position, FREE) {
                // Ordering: acquire, for invariant 3, and with the release of `close`.
                let tail = self.tail.load(Ordering::Acquire);
                if position_of(tail) == position {
                    return Err(if tail & CLOSED == 0 {
                        PopError::Empty
                    } else {
                        PopError::Closed
                    });
                }
            }
            let now = self.head.load(Ordering::Acquire);
            if now == head {
                return Err(PopError::Busy);
            }
            head = now;
        }
    }

    #[inline(always)]
    fn is_stamped(&self, position: u64, state: u64) -> bool {
        self.slots.stamp(self.geometry.index(position)) == position | state
    }

    /// Moves `word` (the head or the tail) on by `count` positions if it still has the value
    /// `from`.
    #[inline(always)]
    fn advance(&self, word: &AtomicU64, from: u64, count: usize) -> Result<u64, u64> {
        let to =
            if count == 1 { self.geometry.next(from) } else { self.geometry.advance(from, count) };
        // Ordering: release, with the acquire loads of this word, for invariant 3.
        word.compare_exchange_weak(from, to, Ordering::AcqRel, Ordering::Relaxed)
    }

    /// Fills the claimed slot.
    #[inline(always)]
    pub(super) fn publish(&self, claim: &Claim, value: T) {
        self.slots.fill(self.geometry.index(claim.position), claim.position, value);
    }

    /// Returns how many items were claimed before the claimed item.
    pub(super) fn items_before(&self, claim: &Claim) -> u64 {
        self.geometry.items_before(claim.position)
    }

    /// Empties the claimed slot.
    #[inline(always)]
    pub(super) fn take(&self, claim: &Claim) -> T {
        let next = self.geometry.next_lap(claim.position);
        self.slots.empty(self.geometry.index(claim.position), next)
    }

    /// Closes the ring. Returns whether it was open before.
    pub(super) fn close(&self) -> bool {
        // Ordering: release, so that a thread that sees the ring closed also sees everything that
        // happened before the call.
        self.tail.fetch_or(CLOSED, Ordering::AcqRel) & CLOSED == 0
    }

    pub(super) fn is_closed(&self) -> bool {
        self.tail.load(Ordering::Acquire) & CLOSED != 0
    }

    pub(super) fn capacity(&self) -> usize {
        self.geometry.capacity()
    }

    pub(super) fn len(&self) -> usize {
        // The head is loaded first, so that the tail is not behind it.
        let head = self.head.load(Ordering::Acquire);
        let tail = self.tail.load(Ordering::Acquire);
        self.geometry.distance(head, tail).min(self.capacity())
    }

    /// Returns the number of items pushed so far.
    pub(super) fn items_pushed(&self) -> u64 {
        self.geometry.items_before(self.tail.load(Ordering::Relaxed))
    }

    /// Returns the number of items popped so far.
    pub(super) fn items_popped(&self) -> u64 {
        self.geometry.items_before(self.head.load(Ordering::Relaxed))
    }

    pub(super) fn is_empty(&self) -> bool {
        let head = self.head.load(Ordering::Acquire);
        position_of(self.tail.load(Ordering::Acquire)) == position_of(head)
    }

    pub(super) fn is_full(&self) -> bool {
        let tail = self.tail.load(Ordering::Acquire);
        let head = position_of(self.head.load(Ordering::Acquire));
        self.geometry.next_lap(head) == position_of(tail)
    }

    /// Sets the flag of waiting consumers, which the next push reports, if the ring is empty and
    /// open. Returns `false` if the ring may contain an item or be closed.
    pub(super) fn flag_waiting_consumers(&self) -> bool {
        let head = self.head.load(Ordering::Acquire);
        let tail = self.tail.load(Ordering::Acquire);
        // If the exchange succeeds, the tail has not moved. The head cannot pass the tail, so it
        // has not moved either, and the ring was empty when the flag was set.
        position_of(head) == position_of(tail)
            && tail & CLOSED == 0
            && set_waiting(&self.tail, tail)
    }

    /// Sets the flag of waiting producers, which the next pop reports, if the ring is full and
    /// open. Returns `false` if the ring may have a free slot or be closed.
    pub(super) fn flag_waiting_producers(&self) -> bool {
        let tail = self.tail.load(Ordering::Acquire);
        let head = self.head.load(Ordering::Acquire);
        let full = self.geometry.next_lap(position_of(head)) == position_of(tail);
        full && tail & CLOSED == 0 && set_waiting(&self.head, head)
    }

    pub(super) fn clear_waiting_consumers(&self) {
        self.tail.fetch_and(!WAITING, Ordering::AcqRel);
    }

    pub(super) fn clear_waiting_producers(&self) {
        self.head.fetch_and(!WAITING, Ordering::AcqRel);
    }
}

fn set_waiting(word: &AtomicU64, seen: u64) -> bool {
    word.compare_exchange(seen, seen | WAITING, Ordering::AcqRel, Ordering::Relaxed).is_ok()
}

impl<T> Drop for Core<T> {
    fn drop(&mut self) {
        if std::mem::needs_drop::<T>() {
            self.discard_items();
        }
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::Core;

    #[test]
    #[cfg(target_arch = "x86_64")] // `CachePadded` uses other sizes on other processors
    fn head_and_tail_are_128_bytes_apart() {
        assert_eq!(
            std::mem::offset_of!(Core<u64>, head).abs_diff(std::mem::offset_of!(Core<u64>, tail)),
            128
        );
    }
}
