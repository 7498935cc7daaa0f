//! The implementation of the guard traits for [`BulkheadPartition`].

use super::future::{
    BulkheadPartitionAcquireFuture, OwnedBulkheadPartitionAcquireFuture, Request, block,
};
use super::permit::{BulkheadPartitionPermit, OwnedBulkheadPartitionPermit};
use super::{BulkheadPartition, POLICY};
use crate::error::{Error, Rejection};
use crate::policy::{Admission, Context, Facts, Guard, OwnedGuard, Policy, kind};
use std::future::Future;

impl Policy for BulkheadPartition {
    type Kind = kind::Guard;

    fn facts(&self) -> Facts {
        let partition = &self.shared.partitions[self.index];
        let facts = Facts::new(POLICY, partition.full_name)
            .limits_concurrency()
            .identity(std::ptr::from_ref(partition).addr());
        match self.shared.engine.figures(self.index).max_queue {
            0 => facts,
            _ => facts.max_queue_wait(self.shared.engine.max_wait(self.index)),
        }
    }
}

impl<T: Send, E: Send> Guard<T, E> for BulkheadPartition {
    type Permit<'a> = BulkheadPartitionPermit<'a>;

    fn admit(
        &self,
        cx: Context,
    ) -> impl Future<Output = Result<BulkheadPartitionPermit<'_>, Rejection>> + Send {
        BulkheadPartitionAcquireFuture::new(self, Request::of(self, cx))
    }

    fn admit_blocking(&self, cx: Context) -> Result<BulkheadPartitionPermit<'_>, Rejection> {
        block(self, Request::of(self, cx))?;
        Ok(BulkheadPartitionPermit::new(self))
    }

    fn record<'a>(&'a self, permit: BulkheadPartitionPermit<'a>, _: &Result<T, Error<E>>) {
        drop(permit);
    }
}

impl<T, E> OwnedGuard<T, E> for BulkheadPartition {
    type OwnedPermit = OwnedBulkheadPartitionPermit;
    type AdmitFuture = OwnedBulkheadPartitionAcquireFuture;

    fn admit_owned(&self, cx: Context) -> Admission<Self::OwnedPermit, Self::AdmitFuture> {
        let request = Request::of(self, cx);
        match self.take(&request) {
            Ok(()) => Admission::Admitted(OwnedBulkheadPartitionPermit::new(self.clone())),
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
