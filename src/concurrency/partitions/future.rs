//! The futures that wait for a permit of a partition.

use super::BulkheadPartition;
use super::permit::{BulkheadPartitionPermit, OwnedBulkheadPartitionPermit};
use crate::concurrency::queue::{Acquire, Handle, Request};
use crate::error::Rejection;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The future returned by [`BulkheadPartition::acquire`].
///
/// # Cancel safety
///
/// If the future is dropped, the caller leaves the queue, and a permit that was granted meanwhile
/// is released.
#[must_use = "futures do nothing unless polled"]
pub struct BulkheadPartitionAcquireFuture<'a>(Acquire<&'a BulkheadPartition>);

/// The future returned by [`BulkheadPartition::acquire_owned`], which keeps the bulkhead alive.
///
/// # Cancel safety
///
/// If the future is dropped, the caller leaves the queue, and a permit that was granted meanwhile
/// is released.
#[must_use = "futures do nothing unless polled"]
pub struct OwnedBulkheadPartitionAcquireFuture(Acquire<BulkheadPartition>);

impl Handle for BulkheadPartition {
    type Limit = Self;

    fn limit(&self) -> &Self {
        self
    }
}

impl<'a> BulkheadPartitionAcquireFuture<'a> {
    pub(super) fn new(partition: &'a BulkheadPartition, request: Request) -> Self {
        Self(Acquire::new(partition, request))
    }
}

impl OwnedBulkheadPartitionAcquireFuture {
    pub(super) fn new(partition: BulkheadPartition, request: Request) -> Self {
        Self(Acquire::new(partition, request))
    }
}

impl<'a> Future for BulkheadPartitionAcquireFuture<'a> {
    type Output = Result<BulkheadPartitionPermit<'a>, Rejection>;

    /// # Panics
    ///
    /// Panics if it is polled again after it was ready.
    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let granted = self.0.poll(cx);
        granted.map_ok(|granted| BulkheadPartitionPermit::new(self.0.handle(), granted))
    }
}

impl Future for OwnedBulkheadPartitionAcquireFuture {
    type Output = Result<OwnedBulkheadPartitionPermit, Rejection>;

    /// # Panics
    ///
    /// Panics if it is polled again after it was ready.
    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let granted = self.0.poll(cx);
        granted
            .map_ok(|granted| OwnedBulkheadPartitionPermit::new(self.0.handle().clone(), granted))
    }
}

impl fmt::Debug for BulkheadPartitionAcquireFuture<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkheadPartitionAcquireFuture").finish_non_exhaustive()
    }
}

impl fmt::Debug for OwnedBulkheadPartitionAcquireFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedBulkheadPartitionAcquireFuture").finish_non_exhaustive()
    }
}
