//! Removing items from the middle of a full ring.

use super::Core;
use crate::ring::position::{FREE, FULL, WAITING};
use crate::sync::atomic::Ordering;

/// The result of compacting a ring.
#[derive(Debug)]
pub(crate) struct Compacted<T> {
    pub(crate) removed: Vec<T>,
    /// Whether producers wait for the slots that became free.
    pub(crate) has_waiting_producers: bool,
    /// Whether consumers wait: they saw a ring that looked empty in between.
    pub(crate) has_waiting_consumers: bool,
}

impl<T> Core<T> {
    /// Removes the items that `keep` rejects from a full ring; the others keep their order. `None` if
    /// the ring is not full, or if a peer owns one of its slots. `keep` must not panic.
    ///
    /// Takes effect as one step: the caller pops all items, which makes it the owner of all slots, and
    /// pushes those that it keeps. In between, peers get `Busy`: no stamp is that of the position at
    /// the head or at the tail.
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
        // No other thread can move the tail before a slot is released. It moves before items are
        // published: the head, which follows them, must not pass it (invariant 3).
        let next = self.geometry.next_lap(claim.position);
        let step = if kept == 0 { 0 } else { self.geometry.advance(next, kept) - next };
        // Ordering: as in `advance`.
        let tail = self.tail.fetch_add(step, Ordering::AcqRel);
        for nth in 0..capacity {
            let state = if nth < kept { FULL } else { FREE };
            // `advance` reaches the last slot of the next lap, and no further.
            self.slots.release(index(nth), self.geometry.advance(next, nth) | state);
        }
        Some(Compacted {
            removed,
            has_waiting_producers: claim.has_waiters,
            has_waiting_consumers: tail & WAITING != 0,
        })
    }
}
