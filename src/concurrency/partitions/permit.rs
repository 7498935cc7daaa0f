//! Permits of a partition.

use super::BulkheadPartition;
use std::fmt;

/// A permit for one call of a [`BulkheadPartition`], released when dropped.
#[must_use = "a permit is released when dropped"]
pub struct BulkheadPartitionPermit<'a>(&'a BulkheadPartition);

/// A [`BulkheadPartitionPermit`] that keeps its bulkhead alive, so that it can be moved into
/// another task or thread.
#[must_use = "a permit is released when dropped"]
pub struct OwnedBulkheadPartitionPermit(BulkheadPartition);

impl<'a> BulkheadPartitionPermit<'a> {
    /// Creates the permit of a caller that has taken it from the engine.
    pub(super) const fn new(partition: &'a BulkheadPartition) -> Self {
        Self(partition)
    }
}

impl OwnedBulkheadPartitionPermit {
    /// Creates the permit of a caller that has taken it from the engine.
    pub(super) const fn new(partition: BulkheadPartition) -> Self {
        Self(partition)
    }
}

impl Drop for BulkheadPartitionPermit<'_> {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

impl Drop for OwnedBulkheadPartitionPermit {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

impl fmt::Debug for BulkheadPartitionPermit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkheadPartitionPermit")
            .field("partition", &self.0.name())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for OwnedBulkheadPartitionPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedBulkheadPartitionPermit")
            .field("partition", &self.0.name())
            .finish_non_exhaustive()
    }
}
