//! The limiters whose load a prioritizer reads: [`LimitSource`].

use crate::concurrency::{AdaptiveLimiter, Bulkhead, PartitionedBulkhead};

/// A limit on concurrent calls whose load a [`Prioritizer`](super::Prioritizer) reads.
pub trait LimitSource: Send + Sync {
    /// Returns the maximum number of calls in flight.
    fn limit(&self) -> f64;

    /// Returns the number of calls in flight.
    fn in_flight(&self) -> u32;
}

impl LimitSource for AdaptiveLimiter {
    fn limit(&self) -> f64 {
        Self::limit(self)
    }

    fn in_flight(&self) -> u32 {
        Self::in_flight(self)
    }
}

impl LimitSource for Bulkhead {
    fn limit(&self) -> f64 {
        f64::from(self.snapshot().max_concurrent)
    }

    fn in_flight(&self) -> u32 {
        Self::in_flight(self)
    }
}

/// The limit and the calls of all partitions.
impl LimitSource for PartitionedBulkhead {
    fn limit(&self) -> f64 {
        f64::from(self.permits().0)
    }

    fn in_flight(&self) -> u32 {
        self.permits().1
    }
}
