//! Permits of a bulkhead.

use super::Bulkhead;
use super::shared::Shared;
use crate::concurrency::queue::Granted;
use std::fmt;

/// A permit for one call of a [`Bulkhead`], released when dropped.
#[must_use = "a permit is released when dropped"]
pub struct BulkheadPermit<'a> {
    shared: &'a Shared,
    granted: Granted,
}

/// A [`BulkheadPermit`] that keeps its bulkhead alive, so that it can be moved into another task or
/// thread.
#[must_use = "a permit is released when dropped"]
pub struct OwnedBulkheadPermit {
    bulkhead: Bulkhead,
    granted: Granted,
}

impl<'a> BulkheadPermit<'a> {
    #[inline]
    pub(super) const fn new(shared: &'a Shared, granted: Granted) -> Self {
        Self { shared, granted }
    }

    /// Returns how many of the bulkhead's permits this permit holds.
    #[must_use]
    pub const fn cost(&self) -> u32 {
        self.granted.cost()
    }
}

impl OwnedBulkheadPermit {
    #[inline]
    pub(super) const fn new(bulkhead: Bulkhead, granted: Granted) -> Self {
        Self { bulkhead, granted }
    }

    /// Returns how many of the bulkhead's permits this permit holds.
    #[must_use]
    pub const fn cost(&self) -> u32 {
        self.granted.cost()
    }
}

impl Drop for BulkheadPermit<'_> {
    #[inline]
    fn drop(&mut self) {
        self.shared.give_back(self.granted);
    }
}

impl Drop for OwnedBulkheadPermit {
    #[inline]
    fn drop(&mut self) {
        self.bulkhead.shared().give_back(self.granted);
    }
}

impl fmt::Debug for BulkheadPermit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkheadPermit").field("cost", &self.cost()).finish_non_exhaustive()
    }
}

impl fmt::Debug for OwnedBulkheadPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedBulkheadPermit").field("cost", &self.cost()).finish_non_exhaustive()
    }
}
