//! A partitioned bulkhead on a manual clock, shared by its tests.

use mainstay::concurrency::{
    BulkheadPartition, BulkheadPartitionPermit, PartitionedBulkhead, PartitionedBulkheadBuilder,
};
use mainstay::error::{Reason, Rejection};
use mainstay::time::ManualClock;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// Ten permits: five guaranteed to users, two to reports, none to batch, which may use six.
pub(crate) fn settings(time: &ManualClock) -> PartitionedBulkheadBuilder {
    PartitionedBulkhead::builder()
        .name("api")
        .max_concurrent(10)
        .clock(time.clock())
        .partition("users", |users| users.min_concurrent(5).max_queue(9))
        .partition("reports", |reports| reports.min_concurrent(2))
        .partition("batch", |batch| batch.max_concurrent(6).max_queue(9))
}

pub(crate) fn build(time: &ManualClock) -> (PartitionedBulkhead, [BulkheadPartition; 3]) {
    let bulkhead = settings(time).build().unwrap();
    let partitions = ["users", "reports", "batch"].map(|name| bulkhead.partition(name).unwrap());
    (bulkhead, partitions)
}

pub(crate) fn take(
    partition: &BulkheadPartition,
    count: usize,
) -> Vec<BulkheadPartitionPermit<'_>> {
    (0..count).map(|_| partition.try_acquire().unwrap()).collect()
}

pub(crate) fn poll<F: Future + ?Sized>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// Returns whether the caller was granted a permit. The permit is leaked, so it stays in use.
pub(crate) fn is_granted<F, P>(future: &mut Pin<Box<F>>) -> bool
where
    F: Future<Output = Result<P, Rejection>> + ?Sized,
{
    match poll(future) {
        Poll::Ready(Ok(permit)) => {
            std::mem::forget(permit);
            true
        }
        _ => false,
    }
}

pub(crate) fn reason<P: std::fmt::Debug>(result: Result<P, Rejection>) -> Reason {
    result.unwrap_err().reason()
}
