//! Futures that poll the jobs of a pool while no caller waits: maintenance and draining.

use super::Shared;
use crate::resource_pool::ResourceManager;
use crate::sync::{PlainArc, PlainWeak};
use crate::time::{Expiry, Instant, Sleep};
use crate::wait::WaiterKey;
use pin_project::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

impl<M: ResourceManager> Shared<M> {
    /// Registers a future as a driver, which polls jobs, or replaces its waker.
    fn register(&self, key: &mut Option<WaiterKey>, waker: Waker) {
        let mut state = self.state.lock();
        let before = match key {
            Some(key) => state.drivers.get_mut(*key).and_then(|slot| slot.replace(waker)),
            None => {
                *key = Some(state.drivers.push_back(Some(waker)));
                None
            }
        };
        drop(state);
        drop(before);
    }

    fn unregister(self: &PlainArc<Self>, key: &mut Option<WaiterKey>) {
        let Some(key) = key.take() else { return };
        let mut state = self.state.lock();
        let waker = state.drivers.remove(key);
        let driver = state.take_driver();
        let is_contended = state.is_contended();
        drop(state);
        if let Some(driver) = driver {
            driver.wake();
        }
        drop(waker);
        if is_contended {
            self.settle(self.clock.now());
        }
    }

    /// Starts the checks of idle resources that are due, and settles. If `examine_all`, closes
    /// every idle resource that must be closed.
    fn maintain(self: &PlainArc<Self>, examine_all: bool) {
        let now = self.clock.now();
        let mut state = self.state.lock();
        state.evicting |= examine_all;
        let interval = state.config.maintenance_interval;
        while let Some(entry) = state.take_for_check(now, interval) {
            self.start_check(&mut state, entry);
        }
        drop(state);
        self.settle(now);
        if examine_all {
            self.report_leaks(now);
        }
    }
}

/// The future returned by [`ResourcePool::maintenance`](super::super::ResourcePool::maintenance).
///
/// It does not keep the pool open: it ends when the pool is closed and drained, or when the last
/// handle is dropped.
///
/// # Cancel safety
///
/// Dropping the future ends maintenance. Waiting callers continue the creations and checks under
/// way.
#[must_use = "futures do nothing unless polled"]
pub struct ResourcePoolMaintenanceFuture<M: ResourceManager> {
    pool: PlainWeak<Shared<M>>,
    driver: Option<WaiterKey>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl<M: ResourceManager> ResourcePoolMaintenanceFuture<M> {
    pub(in crate::resource_pool) fn new(pool: &PlainArc<Shared<M>>) -> Self {
        Self { pool: PlainArc::downgrade(pool), driver: None, pause: None }
    }

    /// Returns the address of the pool, which no other pool has while this future exists.
    pub(in crate::resource_pool) fn address(&self) -> usize {
        self.pool.as_ptr().addr()
    }
}

impl<M: ResourceManager> Future for ResourcePoolMaintenanceFuture<M> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let Some(pool) = this.pool.upgrade() else { return Poll::Ready(()) };
        if this.driver.is_none() {
            pool.state.lock().maintainers += 1;
        }
        pool.register(&mut this.driver, cx.waker().clone());
        pool.poll_ready();
        let is_due = match &mut this.pause {
            Some(pause) => pause.as_mut().poll(cx).is_ready(),
            None => true,
        };
        pool.maintain(is_due);
        if pool.state.lock().is_drained() {
            return Poll::Ready(());
        }
        if is_due {
            let interval = pool.state.lock().config.maintenance_interval;
            let mut pause = Box::pin(pool.clock.sleep(interval));
            if pause.as_mut().poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
            this.pause = Some(pause);
        }
        Poll::Pending
    }
}

impl<M: ResourceManager> Drop for ResourcePoolMaintenanceFuture<M> {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.upgrade()
            && self.driver.is_some()
        {
            pool.state.lock().maintainers -= 1;
            pool.unregister(&mut self.driver);
        }
    }
}

/// The result of [draining](super::super::ResourcePool::drain_timeout) a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResourcePoolDrainReport {
    /// The number of resources that left the pool since the drain began.
    pub closed: u64,
    /// The number of resources still in use. Each is closed when it returns.
    pub in_use: usize,
    /// The number of resources that are still being created, checked or closed.
    pub unfinished: usize,
}

impl ResourcePoolDrainReport {
    /// Returns whether all resources are closed.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.in_use == 0 && self.unfinished == 0
    }
}

/// The future of a drain.
#[pin_project(PinnedDrop)]
pub(in crate::resource_pool) struct Drain<'a, M: ResourceManager> {
    pool: &'a PlainArc<Shared<M>>,
    driver: Option<WaiterKey>,
    closed_before: Option<u64>,
    expiry: Expiry,
}

impl<'a, M: ResourceManager> Drain<'a, M> {
    pub(in crate::resource_pool) fn new(pool: &'a PlainArc<Shared<M>>, deadline: Instant) -> Self {
        Self { pool, driver: None, closed_before: None, expiry: Expiry::new(deadline) }
    }
}

impl<M: ResourceManager> Future for Drain<'_, M> {
    type Output = ResourcePoolDrainReport;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let pool = *this.pool;
        pool.register(this.driver, cx.waker().clone());
        let closed_before =
            *this.closed_before.get_or_insert_with(|| pool.state.lock().stats.closed.total());
        pool.close();
        pool.poll_ready();
        if !pool.state.lock().is_drained() && this.expiry.poll(&pool.clock, cx).is_pending() {
            return Poll::Pending;
        }
        let state = pool.state.lock();
        Poll::Ready(ResourcePoolDrainReport {
            closed: state.stats.closed.total() - closed_before,
            in_use: state.in_use(),
            unfinished: state.creating + state.checking + state.closing,
        })
    }
}

#[pin_project::pinned_drop]
impl<M: ResourceManager> PinnedDrop for Drain<'_, M> {
    fn drop(self: Pin<&mut Self>) {
        let this = self.project();
        this.pool.unregister(this.driver);
    }
}

impl<M: ResourceManager> fmt::Debug for ResourcePoolMaintenanceFuture<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResourcePoolMaintenanceFuture").finish_non_exhaustive()
    }
}
