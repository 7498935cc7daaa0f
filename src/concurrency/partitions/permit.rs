//! Permits of a partition.

use super::BulkheadPartition;
use crate::concurrency::queue::Granted;
use std::fmt;

/// A permit for one call of a [`BulkheadPartition`], released when dropped.
#[must_use = "a permit is released when dropped"]
pub struct BulkheadPartitionPermit<'a> {
    partition: &'a BulkheadPartition,
    granted: Granted,
}

/// A [`BulkheadPartitionPermit`] that keeps its bulkhead alive, so that it can be moved into
/// another task or thread.
#[must_use = "a permit is released when dropped"]
pub struct OwnedBulkheadPartitionPermit {
    partition: BulkheadPartition,
    granted: Granted,
}

impl<'a> BulkheadPartitionPermit<'a> {
    /// Creates the permit of a caller that has taken it from the engine.
    #[inline]
    pub(super) const fn new(partition: &'a BulkheadPartition, granted: Granted) -> Self {
        Self { partition, granted }
    }

    /// Returns how many of the bulkhead's permits this permit holds.
    #[must_use]
    pub const fn cost(&self) -> u32 {
        self.granted.cost()
    }
}

impl OwnedBulkheadPartitionPermit {
    /// Creates the permit of a caller that has taken it from the engine.
    #[inline]
    pub(super) const fn new(partition: BulkheadPartition, granted: Granted) -> Self {
        Self { partition, granted }
    }

    /// Returns how many of the bulkhead's permits this permit holds.
    #[must_use]
    pub const fn cost(&self) -> u32 {
        self.granted.cost()
    }
}

impl Drop for BulkheadPartitionPermit<'_> {
    #[inline]
    fn drop(&mut self) {
        self.partition.give_back(self.granted);
    }
}

impl Drop for OwnedBulkheadPartitionPermit {
    #[inline]
    fn drop(&mut self) {
        self.partition.give_back(self.granted);
    }
}

impl fmt::Debug for BulkheadPartitionPermit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkheadPartitionPermit")
            .field("partition", &self.partition.name())
            .field("cost", &self.cost())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for OwnedBulkheadPartitionPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedBulkheadPartitionPermit")
            .field("partition", &self.partition.name())
            .field("cost", &self.cost())
            .finish_non_exhaustive()
    }
}
