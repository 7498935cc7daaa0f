//! Pushing with eviction of the oldest item.

use super::Core;
use crate::ring::error::{ForcePushError, PushError};
use crate::ring::position::{CLOSED, FULL, WAITING, position_of};
use crate::sync::atomic::Ordering;

/// The result of a forced push.
#[derive(Debug)]
pub(in crate::ring) struct ForcePushed<T> {
    /// The oldest item, if the ring was full.
    pub(in crate::ring) evicted: Option<T>,
    /// Whether consumers wait for the item that was pushed.
    pub(in crate::ring) has_waiters: bool,
}

impl<T> Core<T> {
    /// Pushes `value`. If the ring is full, `value` replaces the oldest item.
    pub(in crate::ring) fn force_push(
        &self,
        value: T,
    ) -> Result<ForcePushed<T>, ForcePushError<T>> {
        loop {
            match self.claim_push() {
                Ok(claim) => {
                    self.publish(&claim, value);
                    return Ok(ForcePushed { evicted: None, has_waiters: claim.has_waiters });
                }
                Err(PushError::Full(())) => {}
                Err(PushError::Busy(())) => return Err(ForcePushError::Busy(value)),
                Err(PushError::Closed(())) => return Err(ForcePushError::Closed(value)),
            }
            // Ordering: as in `claim_full` and `claim_free`.
            let head = self.head.load(Ordering::Acquire);
            let oldest = position_of(head);
            let index = self.geometry.index(oldest);
            let stamp = self.slots.stamp(index);
            let tail = self.tail.load(Ordering::Acquire);
            let newest = self.geometry.next_lap(oldest);
            if position_of(tail) != newest || tail & CLOSED != 0 {
                continue;
            }
            if stamp != oldest | FULL {
                if self.head.load(Ordering::Acquire) == head {
                    // The producer of the oldest item has not published it yet.
                    return Err(ForcePushError::Busy(value));
                }
                continue;
            }
            if self.advance(&self.head, head, 1).is_err() {
                continue;
            }
            // The ring was full when the head moved, so the slot just claimed is also the one at
            // the tail. Until its stamp changes, no other thread can move the tail. A consumer that
            // reaches the slot finds the old stamp and gets `Busy`, even if the ring is closed.
            let step = self.geometry.next(newest) - newest;
            let tail = self.tail.fetch_add(step, Ordering::AcqRel);
            debug_assert_eq!(position_of(tail), newest);
            let evicted = self.slots.replace(index, newest, value);
            return Ok(ForcePushed { evicted: Some(evicted), has_waiters: tail & WAITING != 0 });
        }
    }
}
