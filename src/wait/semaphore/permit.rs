//! A permit that borrows its semaphore.

use std::fmt;
use std::mem;

use super::{OwnedSemaphorePermit, Semaphore};
use crate::sync::PlainArc;

/// One or more permits of a [`Semaphore`], released when dropped.
#[must_use = "a permit is released when dropped"]
pub struct SemaphorePermit<'a> {
    semaphore: &'a Semaphore,
    count: u32,
}

impl<'a> SemaphorePermit<'a> {
    /// Creates the guard of `count` permits, which the caller has taken from the engine.
    #[inline]
    pub(super) fn new(semaphore: &'a Semaphore, count: u32) -> Self {
        Self { semaphore, count }
    }

    #[inline]
    pub(super) fn into_owned(self, semaphore: &PlainArc<Semaphore>) -> OwnedSemaphorePermit {
        let count = self.count;
        mem::forget(self);
        OwnedSemaphorePermit::new(PlainArc::clone(semaphore), count)
    }

    /// Returns the number of permits.
    pub fn count(&self) -> u32 {
        self.count
    }
}

impl Drop for SemaphorePermit<'_> {
    #[inline]
    fn drop(&mut self) {
        self.semaphore.engine.give_back(self.count);
    }
}

impl fmt::Debug for SemaphorePermit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SemaphorePermit").field("count", &self.count).finish_non_exhaustive()
    }
}
