//! Maintenance and draining of all keys.

use crate::resource_pool::engine::driver::Drain;
use crate::resource_pool::engine::total::TotalLimit;
use crate::resource_pool::{
    ResourceManager, ResourcePoolDrainReport, ResourcePoolMaintenanceFuture,
};
use crate::sync::{PlainArc, PlainWeak};
use crate::time::Instant;
use std::collections::HashSet;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

/// The future returned by
/// [`KeyedResourcePool::maintenance`](super::KeyedResourcePool::maintenance).
///
/// It does not keep the keyed pool open: it ends when the keyed pool is closed and drained, or when
/// the last handle and guard are dropped.
///
/// # Cancel safety
///
/// Dropping the future ends maintenance.
#[must_use = "futures do nothing unless polled"]
pub struct KeyedResourcePoolMaintenanceFuture<M: ResourceManager> {
    limit: PlainWeak<TotalLimit<M>>,
    pools: Vec<ResourcePoolMaintenanceFuture<M>>,
    /// The addresses of the pools in `pools`. Each future holds a weak reference to its pool, so no
    /// other pool has the same address.
    known: HashSet<usize>,
}

impl<M: ResourceManager> KeyedResourcePoolMaintenanceFuture<M> {
    pub(super) fn new(limit: &PlainArc<TotalLimit<M>>) -> Self {
        let limit = PlainArc::downgrade(limit);
        Self { limit, pools: Vec::new(), known: HashSet::new() }
    }
}

impl<M: ResourceManager> Future for KeyedResourcePoolMaintenanceFuture<M> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let Some(limit) = this.limit.upgrade() else { return Poll::Ready(()) };
        // Register before reading the pools: a pool that joins after the read wakes this task.
        limit.await_join(cx.waker());
        for pool in limit.pools() {
            if this.known.insert(PlainArc::as_ptr(&pool).addr()) {
                this.pools.push(ResourcePoolMaintenanceFuture::new(&pool));
            }
        }
        let (pools, known) = (&mut this.pools, &mut this.known);
        pools.retain_mut(|pool| {
            let is_pending = Pin::new(&mut *pool).poll(cx).is_pending();
            if !is_pending {
                known.remove(&pool.address());
            }
            is_pending
        });
        if this.pools.is_empty() && limit.is_closed() { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// Closes all pools of the limit, and waits until their resources are closed or until `deadline`.
pub(super) async fn drain<M: ResourceManager>(
    limit: PlainArc<TotalLimit<M>>,
    deadline: Instant,
) -> ResourcePoolDrainReport {
    let pools = limit.pools();
    let mut drains: Vec<_> =
        pools.iter().map(|pool| Box::pin(Drain::new(pool, deadline))).collect();
    let mut sum = ResourcePoolDrainReport { closed: 0, in_use: 0, unfinished: 0 };
    poll_fn(|cx| {
        drains.retain_mut(|drain| match drain.as_mut().poll(cx) {
            Poll::Ready(report) => {
                sum.closed += report.closed;
                sum.in_use += report.in_use;
                sum.unfinished += report.unfinished;
                false
            }
            Poll::Pending => true,
        });
        if drains.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    sum
}

impl<M: ResourceManager> fmt::Debug for KeyedResourcePoolMaintenanceFuture<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedResourcePoolMaintenanceFuture")
            .field("pools", &self.pools.len())
            .finish_non_exhaustive()
    }
}
