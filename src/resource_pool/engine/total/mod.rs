//! A limit on the resources of many pools: permits, and the pools that wait for one.

mod reclaim;
mod state;

use reclaim::Offered;
pub(super) use reclaim::{Reclaimed, Transfer};
use state::{MemberId, Taken, TotalState};

use super::Shared;
use crate::resource_pool::ResourceManager;
use crate::resource_pool::error::ResourceTotal;
use crate::resource_pool::snapshot::ResourceCloseCounts;
use crate::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use crate::sync::{Mutex, PlainArc, PlainMutex, PlainWeak, discard_panic};
use crate::time::Instant;
use std::task::Waker;

/// The limit that many pools share.
pub(in crate::resource_pool) struct TotalLimit<M: ResourceManager> {
    state: Mutex<TotalState<PlainWeak<Shared<M>>>>,
    /// The number of requests in `state`, to be read without its lock.
    requests: AtomicUsize,
    /// The sums of the counters of pools that no longer exist.
    retired: PlainMutex<RetiredStats>,
    /// The tasks that maintain all pools.
    maintenance: PlainMutex<Vec<Waker>>,
}

/// The sums of the counters of pools that no longer exist.
#[derive(Clone, Copy, Default)]
pub(in crate::resource_pool) struct RetiredStats {
    pub(in crate::resource_pool) acquired: u64,
    pub(in crate::resource_pool) timed_out: u64,
    pub(in crate::resource_pool) created: u64,
    pub(in crate::resource_pool) create_failures: u64,
    pub(in crate::resource_pool) create_rejections: u64,
    pub(in crate::resource_pool) closed: ResourceCloseCounts,
}

/// The membership of a pool in a limit. It ends when this value is dropped.
pub(in crate::resource_pool) struct Membership<M: ResourceManager> {
    limit: PlainArc<TotalLimit<M>>,
    id: MemberId,
}

/// The right to have one resource, from the start of its creation until its closing has ended.
/// Dropping it releases the permit, and must not happen under a lock.
pub(in crate::resource_pool) struct TotalPermit {
    /// `None` if the permit has been released.
    limit: Option<PlainArc<dyn ReleasePermit>>,
    holder: MemberId,
}

/// A limit that takes back permits. It hides the type of the manager from [`TotalPermit`].
trait ReleasePermit: Send + Sync {
    fn release(self: PlainArc<Self>, holder: MemberId);
    fn transfer(&self, from: MemberId, to: MemberId);
}

/// The counts of a limit at one moment.
#[derive(Clone, Copy, Debug)]
pub(in crate::resource_pool) struct TotalCounts {
    pub(in crate::resource_pool) max_size: usize,
    pub(in crate::resource_pool) size: usize,
    pub(in crate::resource_pool) requests: usize,
}

/// The result of [`Membership::take`].
pub(super) enum TakenPermit {
    Granted(TotalPermit),
    /// The pool now waits for a permit.
    Requested,
    /// The pool already waited for a permit.
    Pending,
}

impl<M: ResourceManager> TotalLimit<M> {
    pub(in crate::resource_pool) fn new(max_size: usize) -> Self {
        Self {
            state: Mutex::new(TotalState::new(max_size)),
            requests: AtomicUsize::new(0),
            retired: PlainMutex::new(RetiredStats::default()),
            maintenance: PlainMutex::new(Vec::new()),
        }
    }

    pub(in crate::resource_pool) fn counts(&self) -> TotalCounts {
        let state = self.state.lock();
        let (max_size, size) = (state.max_size, state.size);
        TotalCounts { max_size, size, requests: state.requests() }
    }

    pub(in crate::resource_pool) fn retired(&self) -> RetiredStats {
        *self.retired.lock()
    }

    /// Returns all pools that exist.
    pub(in crate::resource_pool) fn pools(&self) -> Vec<PlainArc<Shared<M>>> {
        // Upgraded after the lock is released, because dropping the last reference to a pool takes
        // the lock.
        let pools: Vec<_> = self.state.lock().pools().collect();
        pools.iter().filter_map(PlainWeak::upgrade).collect()
    }

    /// Closes the limit: pools that join later are closed immediately. Returns `false` if the limit
    /// was already closed.
    pub(in crate::resource_pool) fn close(&self) -> bool {
        let was_closed = std::mem::replace(&mut self.state.lock().closed, true);
        self.wake_maintenance();
        !was_closed
    }

    pub(in crate::resource_pool) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Registers a task to be woken when a pool joins, when the limit is closed, and when the limit
    /// is dropped.
    pub(in crate::resource_pool) fn await_join(&self, waker: &Waker) {
        let mut wakers = self.maintenance.lock();
        if !wakers.iter().any(|known| known.will_wake(waker)) {
            let waker = waker.clone();
            wakers.push(waker);
        }
    }

    fn wake_maintenance(&self) {
        let wakers = std::mem::take(&mut *self.maintenance.lock());
        wakers.into_iter().for_each(|waker| discard_panic(|| waker.wake()));
    }

    /// Runs `act` under the lock, and publishes the number of requests.
    fn update<T>(&self, act: impl FnOnce(&mut TotalState<PlainWeak<Shared<M>>>) -> T) -> T {
        let mut state = self.state.lock();
        let result = act(&mut state);
        // Ordering: relaxed; see `Membership::is_contended`.
        self.requests.store(state.requests(), Relaxed);
        result
    }
}

impl<M: ResourceManager> Membership<M> {
    /// Makes `pool` a member of the limit. If the limit is closed, closes the pool.
    pub(in crate::resource_pool) fn join(
        limit: &PlainArc<TotalLimit<M>>,
        pool: &PlainArc<Shared<M>>,
    ) {
        let weak = PlainArc::downgrade(pool);
        let (id, is_closed) = limit.update(|state| (state.join(weak), state.closed));
        pool.state.lock().total = Some(Self { limit: limit.clone(), id });
        limit.wake_maintenance();
        if is_closed {
            pool.close();
        }
    }

    /// Returns the number of places and how many of them are in use.
    pub(super) fn usage(&self) -> ResourceTotal {
        let TotalCounts { max_size, size, .. } = self.limit.counts();
        ResourceTotal { size, max_size }
    }

    /// Returns whether any pool has a request. Called under the lock of this pool.
    #[inline]
    pub(super) fn is_contended(&self) -> bool {
        // Ordering: relaxed. A pool makes its request, then searches the other pools for an idle
        // resource, each under its lock. If this pool has not been searched yet, the search finds
        // the resource that becomes idle now. If it has been searched, the lock makes the request
        // visible here.
        self.limit.requests.load(Relaxed) > 0
    }

    /// Takes a permit, or requests one if none is free.
    pub(super) fn take(&self, now: Instant) -> TakenPermit {
        match self.limit.update(|state| state.take(self.id, now)) {
            Taken::Granted => TakenPermit::Granted(self.permit()),
            Taken::Requested => TakenPermit::Requested,
            Taken::Pending => TakenPermit::Pending,
        }
    }

    /// Takes a permit if one is free.
    pub(super) fn try_take(&self) -> Option<TotalPermit> {
        self.limit.update(|state| state.try_take(self.id)).then(|| self.permit())
    }

    fn permit(&self) -> TotalPermit {
        TotalPermit { limit: Some(self.limit.clone()), holder: self.id }
    }

    /// Removes the request of this pool, if it has one.
    pub(super) fn withdraw(&self) {
        self.limit.update(|state| state.withdraw(self.id));
    }

    /// Returns whether the request of another pool goes before the callers of this pool, the first
    /// of which has waited since `oldest`. `None`: this pool has no callers.
    pub(super) fn has_precedence(&self, oldest: Option<Instant>) -> bool {
        self.limit.state.lock().has_precedence(self.id, oldest)
    }
}

impl<M: ResourceManager> Shared<M> {
    /// Adds the counters of this pool, which is being dropped, to those of the limit.
    pub(super) fn retire(&self) {
        let state = self.state.lock();
        let Some(total) = &state.total else { return };
        let mut retired = total.limit.retired.lock();
        retired.acquired += state.stats.acquired;
        retired.timed_out += state.stats.timed_out;
        retired.created += state.stats.created;
        retired.create_failures += state.stats.create_failures;
        retired.create_rejections += state.stats.create_rejections;
        retired.closed.add(&state.stats.closed);
    }
}

impl<M: ResourceManager> ReleasePermit for TotalLimit<M> {
    /// Offers the permit to the pools that have a request, until one accepts it.
    fn release(self: PlainArc<Self>, mut holder: MemberId) {
        while let Some((to, pool)) = self.update(|state| state.release(holder)) {
            holder = to;
            let Some(pool) = pool.upgrade() else { continue };
            let permit = TotalPermit { limit: Some(self.clone()), holder };
            match pool.offer(Offered { permit, spare: None }) {
                Ok(()) => return,
                Err(offered) => offered.permit.forget(),
            }
        }
    }

    fn transfer(&self, from: MemberId, to: MemberId) {
        self.state.lock().transfer(from, to);
    }
}

impl TotalPermit {
    /// Transfers the permit to another pool of the same limit.
    fn move_to(&mut self, to: MemberId) {
        if let Some(limit) = &self.limit
            && self.holder != to
        {
            limit.transfer(self.holder, to);
            self.holder = to;
        }
    }

    /// Drops the permit without releasing it.
    fn forget(mut self) {
        self.limit = None;
    }
}

impl Drop for TotalPermit {
    fn drop(&mut self) {
        if let Some(limit) = self.limit.take() {
            limit.release(self.holder);
        }
    }
}

impl<M: ResourceManager> Drop for TotalLimit<M> {
    /// Wakes the maintenance futures, which then end.
    fn drop(&mut self) {
        self.wake_maintenance();
    }
}

impl<M: ResourceManager> Drop for Membership<M> {
    fn drop(&mut self) {
        let pool = self.limit.update(|state| state.leave(self.id));
        drop(pool);
    }
}
