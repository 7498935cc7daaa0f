//! Removes items from any position of a full ring.

use super::Core;
use crate::ring::position::{FREE, FULL, WAITING};
use crate::sync::atomic::Ordering;

/// The result of compacting a ring.
#[derive(Debug)]
pub(crate) struct Compacted<T> {
    pub(crate) removed: Vec<T>,
    /// Whether producers wait for a free slot.
    pub(crate) has_waiting_producers: bool,
    /// Whether consumers wait for an item: during the compaction the ring can appear empty.
    pub(crate) has_waiting_consumers: bool,
}

impl<T> Core<T> {
    /// Removes the items that `keep` rejects from a full ring; the others keep their order. Returns
    /// `None` if the ring is not full, or if a peer owns one of its slots. `keep` must not panic.
    ///
    /// The compaction takes effect as one step. The caller claims all items, which makes it the
    /// owner of all slots, and publishes the items that it keeps. Until then, peers get `Busy`: no
    /// slot has the stamp that a push at the tail or a pop at the head requires.
    pub(in crate::ring) fn compact(
        &self,
        mut keep: impl FnMut(&T) -> bool,
    ) -> Option<Compacted<T>> {
        let capacity = self.capacity();
        let all = |position| match self.count(position, capacity, FULL) {
            count if count == capacity => count,
            _ => 0,
        };
        let claim = self.claim_full(all).ok()?;
        let mut removed = Vec::new();
        let mut kept = 0;
        let index = |nth| self.geometry.index(self.geometry.advance(claim.position, nth));
        for nth in 0..capacity {
            if !self.slots.inspect(index(nth), &mut keep) {
                removed.push(self.slots.move_out(index(nth)));
            } else {
                if kept < nth {
                    self.slots.move_in(index(kept), self.slots.move_out(index(nth)));
                }
                kept += 1;
            }
        }
        // No other thread can move the tail before a slot is released. The tail moves before the
        // items are published: once an item is published, a consumer can move the head, which must
        // not pass the tail (invariant 3).
        let next = self.geometry.next_lap(claim.position);
        let step = if kept == 0 { 0 } else { self.geometry.advance(next, kept) - next };
        // Ordering: as in `advance`.
        let tail = self.tail.fetch_add(step, Ordering::AcqRel);
        for nth in 0..capacity {
            let state = if nth < kept { FULL } else { FREE };
            // The slot serves the position one lap later. `nth` is less than the capacity, as
            // `advance` requires.
            self.slots.release(index(nth), self.geometry.advance(next, nth) | state);
        }
        Some(Compacted {
            removed,
            has_waiting_producers: claim.has_waiters,
            has_waiting_consumers: tail & WAITING != 0,
        })
    }
}
