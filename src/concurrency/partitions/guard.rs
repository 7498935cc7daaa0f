//! The implementation of the guard traits for [`BulkheadPartition`].

use super::future::{BulkheadPartitionAcquireFuture, OwnedBulkheadPartitionAcquireFuture};
use super::permit::{BulkheadPartitionPermit, OwnedBulkheadPartitionPermit};
use super::{BulkheadPartition, POLICY};
use crate::concurrency::queue::{Limit, Request, block};
use crate::error::{Error, Rejection};
use crate::policy::{Admission, Context, Facts, Guard, OwnedGuard, Policy, kind};
use std::future::Future;

impl BulkheadPartition {
    /// Returns the request of a call with the context `cx`.
    fn request(&self, cx: Context) -> Request {
        Request::of(self.cost, None, cx, &self.shared.clock)
    }
}

impl Policy for BulkheadPartition {
    type Kind = kind::Guard;

    fn facts(&self) -> Facts {
        let partition = &self.shared.partitions[self.index];
        let facts = Facts::new(POLICY, partition.full_name)
            .limits_concurrency()
            .identity(std::ptr::from_ref(partition).addr());
        match self.max_wait() {
            None => facts,
            Some(max_wait) => facts.max_queue_wait(max_wait),
        }
    }
}

impl<T: Send, E: Send> Guard<T, E> for BulkheadPartition {
    type Permit<'a> = BulkheadPartitionPermit<'a>;

    fn admit(
        &self,
        cx: Context,
    ) -> impl Future<Output = Result<BulkheadPartitionPermit<'_>, Rejection>> + Send {
        BulkheadPartitionAcquireFuture::new(self, self.request(cx))
    }

    fn admit_blocking(&self, cx: Context) -> Result<BulkheadPartitionPermit<'_>, Rejection> {
        let granted = block(self, self.request(cx))?;
        Ok(BulkheadPartitionPermit::new(self, granted))
    }

    fn record<'a>(&'a self, permit: BulkheadPartitionPermit<'a>, _: &Result<T, Error<E>>) {
        drop(permit);
    }
}

impl<T, E> OwnedGuard<T, E> for BulkheadPartition {
    type OwnedPermit = OwnedBulkheadPartitionPermit;
    type AdmitFuture = OwnedBulkheadPartitionAcquireFuture;

    fn admit_owned(&self, cx: Context) -> Admission<Self::OwnedPermit, Self::AdmitFuture> {
        let request = self.request(cx);
        match request.take(self) {
            Ok(granted) => {
                Admission::Admitted(OwnedBulkheadPartitionPermit::new(self.clone(), granted))
            }
            // The future rejects the call, or waits.
            Err(_) => {
                Admission::Waiting(OwnedBulkheadPartitionAcquireFuture::new(self.clone(), request))
            }
        }
    }

    fn record_owned(permit: Self::OwnedPermit, _: &Result<T, Error<E>>) {
        drop(permit);
    }
}
