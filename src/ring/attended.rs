//! A ring for one who brings a way of waiting of his own: pushes and pops that tell whether somebody
//! waits for what they brought about, and the flags by which they know.

use super::Ring;
use super::error::{PopError, PushError};

impl<T> Ring<T> {
    /// Pushes what `make` makes of `from`, if there is room, and says whether somebody waits for items; if
    /// not, gives `from` back. `make` runs when its place is claimed: it must be short and must not panic,
    /// for peers wait for it.
    #[inline(always)]
    pub(crate) fn push_with<A>(
        &self,
        from: A,
        make: impl FnOnce(A) -> T,
    ) -> Result<bool, PushError<A>> {
        match self.core.claim_push() {
            Ok(claim) => {
                self.core.publish(&claim, make(from));
                Ok(claim.waited_for)
            }
            Err(refusal) => Err(refusal.about(from)),
        }
    }

    /// Pops, and hands the item to `act`, together with whether somebody waits for room. That spares the item
    /// the ways through memory that a large one takes inside of a `Result`.
    #[inline(always)]
    pub(crate) fn pop_with<R>(&self, act: impl FnOnce(T, bool) -> R) -> Result<R, PopError> {
        let claim = self.core.claim_pop()?;
        let item = self.core.take(&claim);
        Ok(act(item, claim.waited_for))
    }

    /// Claims the oldest item and goes no further, until what is returned is called.
    #[cfg(all(test, not(mainstay_loom)))]
    pub(crate) fn stall_pop(&self) -> Result<impl FnOnce() -> T, PopError> {
        let claim = self.core.claim_pop()?;
        Ok(move || self.core.take(&claim))
    }

    /// Raises the flag that the next push will see, in one step with seeing that the ring is empty and
    /// open; false if it may not be.
    pub(crate) fn wait_for_items(&self) -> bool {
        self.core.wait_for_items()
    }

    /// Takes that flag down.
    pub(crate) fn nobody_waits_for_items(&self) {
        self.core.nobody_waits_for_items();
    }

    /// Raises the flag that the next pop will see, in one step with seeing that the ring is full and open;
    /// false if it may not be.
    pub(crate) fn wait_for_room(&self) -> bool {
        self.core.wait_for_room()
    }

    /// Takes that flag down.
    pub(crate) fn nobody_waits_for_room(&self) {
        self.core.nobody_waits_for_room();
    }
}
