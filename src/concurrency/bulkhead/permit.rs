//! Permits of a bulkhead.

use super::Bulkhead;
use super::shared::Shared;
use crate::time::Instant;
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

/// The permits that a caller was granted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Granted {
    Immediately {
        cost: u32,
    },
    /// After a wait that ended at the instant `at`.
    Later {
        cost: u32,
        at: Instant,
    },
}

impl Granted {
    #[inline]
    pub(super) const fn cost(self) -> u32 {
        match self {
            Self::Immediately { cost } | Self::Later { cost, .. } => cost,
        }
    }

    #[inline]
    pub(super) fn release(self, shared: &Shared) {
        match self {
            Self::Immediately { cost } => shared.engine.give_back(cost, &shared.clock),
            Self::Later { cost, at } => shared.engine.give_back_later(cost, at, &shared.clock),
        }
    }
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
        self.granted.release(self.shared);
    }
}

impl Drop for OwnedBulkheadPermit {
    #[inline]
    fn drop(&mut self) {
        self.granted.release(self.bulkhead.shared());
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
