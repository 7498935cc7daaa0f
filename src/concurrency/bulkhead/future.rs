//! The futures that wait for a permit.

use super::Bulkhead;
use super::permit::{BulkheadPermit, OwnedBulkheadPermit};
use super::shared::Shared;
use crate::concurrency::queue::{Acquire, Handle, Request};
use crate::error::Rejection;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The future returned by [`Bulkhead::acquire`](super::Bulkhead::acquire).
///
/// # Cancel safety
///
/// If the future is dropped, the caller leaves the queue, and a permit that was granted meanwhile
/// is released.
#[must_use = "futures do nothing unless polled"]
pub struct BulkheadAcquireFuture<'a>(Acquire<&'a Shared>);

/// The future returned by [`Bulkhead::acquire_owned`](super::Bulkhead::acquire_owned), which keeps
/// the bulkhead alive.
///
/// # Cancel safety
///
/// If the future is dropped, the caller leaves the queue, and a permit that was granted meanwhile
/// is released.
#[must_use = "futures do nothing unless polled"]
pub struct OwnedBulkheadAcquireFuture(Acquire<Bulkhead>);

impl Handle for Bulkhead {
    type Limit = Shared;

    #[inline]
    fn limit(&self) -> &Shared {
        self.shared()
    }
}

impl<'a> BulkheadAcquireFuture<'a> {
    #[inline]
    pub(super) fn new(shared: &'a Shared, request: Request) -> Self {
        Self(Acquire::new(shared, request))
    }
}

impl OwnedBulkheadAcquireFuture {
    #[inline]
    pub(super) fn new(bulkhead: Bulkhead, request: Request) -> Self {
        Self(Acquire::new(bulkhead, request))
    }
}

impl<'a> Future for BulkheadAcquireFuture<'a> {
    type Output = Result<BulkheadPermit<'a>, Rejection>;

    /// # Panics
    ///
    /// Panics if it is polled again after it was ready.
    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let granted = self.0.poll(cx);
        granted.map_ok(|granted| BulkheadPermit::new(self.0.handle(), granted))
    }
}

impl Future for OwnedBulkheadAcquireFuture {
    type Output = Result<OwnedBulkheadPermit, Rejection>;

    /// # Panics
    ///
    /// Panics if it is polled again after it was ready.
    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let granted = self.0.poll(cx);
        granted.map_ok(|granted| OwnedBulkheadPermit::new(self.0.handle().clone(), granted))
    }
}

impl fmt::Debug for BulkheadAcquireFuture<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkheadAcquireFuture").finish_non_exhaustive()
    }
}

impl fmt::Debug for OwnedBulkheadAcquireFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedBulkheadAcquireFuture").finish_non_exhaustive()
    }
}
