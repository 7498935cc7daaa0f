//! Operations of the ring for modules with their own wait queues: pushes and pops that report
//! waiters, and the flags that waiters set.

use super::Ring;
use super::core::Compacted;
use super::error::{PopError, PushError};

impl<T> Ring<T> {
    /// Pushes `make(from)` and returns whether consumers wait for an item. If the push fails, the
    /// error holds `from`. `make` runs while the slot is claimed: it must be short and must not
    /// panic, because peers wait for the slot.
    #[inline(always)]
    pub(crate) fn push_with<A>(
        &self,
        from: A,
        make: impl FnOnce(A) -> T,
    ) -> Result<bool, PushError<A>> {
        match self.core.claim_push() {
            Ok(claim) => {
                self.core.publish(&claim, make(from));
                Ok(claim.has_waiters)
            }
            Err(error) => Err(error.with_value(from)),
        }
    }

    /// Pops an item and passes it to `act`. If producers wait for a slot, the second argument is the
    /// number of items that were popped before this one, and otherwise `None`. A closure moves a
    /// large item less often than a returned `Result` does.
    #[inline(always)]
    pub(crate) fn pop_with<R>(&self, act: impl FnOnce(T, Option<u64>) -> R) -> Result<R, PopError> {
        let claim = self.core.claim_pop()?;
        let item = self.core.take(&claim);
        Ok(act(item, claim.has_waiters.then(|| self.core.items_before(&claim))))
    }

    /// Removes the items that `keep` rejects from a full ring; the others keep their order. Returns
    /// `None` if the ring is not full, or if a peer owns one of its slots.
    ///
    /// Peers get `Busy` until this returns. `keep` must be short and must not panic. The caller
    /// wakes the waiters that the result reports.
    pub(crate) fn compact(&self, keep: impl FnMut(&T) -> bool) -> Option<Compacted<T>> {
        self.core.compact(keep)
    }

    /// Claims the oldest item. The returned closure takes it.
    #[cfg(all(test, not(mainstay_loom)))]
    pub(crate) fn stall_pop(&self) -> Result<impl FnOnce() -> T, PopError> {
        let claim = self.core.claim_pop()?;
        Ok(move || self.core.take(&claim))
    }

    /// Sets the flag of waiting consumers, which the next push reports, if the ring is empty and
    /// open. The check and the change are one atomic step. Returns `false` if the ring may contain
    /// an item or be closed.
    pub(crate) fn flag_waiting_consumers(&self) -> bool {
        self.core.flag_waiting_consumers()
    }

    /// Clears the flag of waiting consumers.
    pub(crate) fn clear_waiting_consumers(&self) {
        self.core.clear_waiting_consumers();
    }

    /// Sets the flag of waiting producers, which the next pop reports, if the ring is full and
    /// open. The check and the change are one atomic step. Returns `false` if the ring may have a
    /// free slot or be closed.
    pub(crate) fn flag_waiting_producers(&self) -> bool {
        self.core.flag_waiting_producers()
    }

    /// Clears the flag of waiting producers.
    pub(crate) fn clear_waiting_producers(&self) {
        self.core.clear_waiting_producers();
    }
}
