//! The transfer of permits between pools: a pool closes an idle resource, or drops an unfinished
//! job, in favor of another pool.

use super::{Membership, TotalPermit};
use crate::resource_pool::ResourceManager;
use crate::resource_pool::engine::jobs::{Job, JobKind, PermitUse};
use crate::resource_pool::engine::state::State;
use crate::resource_pool::engine::{BoxedEntry, Shared};
use crate::resource_pool::events::PoolEvent;
use crate::resource_pool::snapshot::ResourceCloseReason;
use crate::sync::{PlainArc, PlainWeak, discard_panic};
use crate::time::{Clock, Instant};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Poll, Waker};
use std::time::Duration;

/// A permit that is offered to a pool.
pub(in crate::resource_pool::engine) struct Offered<M: ResourceManager> {
    /// The resource that must be closed before the permit is used, if there is one.
    pub(super) spare: Option<Spare<M>>,
    pub(super) permit: TotalPermit,
}

/// A resource that is offered to another pool. Its owner counts it as closing.
pub(super) struct Spare<M: ResourceManager> {
    entry: BoxedEntry<M>,
    owner: PlainArc<Shared<M>>,
    timeout: Duration,
}

/// A resource that is closed in favor of another pool. Its owner counts it as closing until this
/// value is dropped.
pub(in crate::resource_pool::engine) struct Reclaimed<M: ResourceManager> {
    entry: Option<BoxedEntry<M>>,
    owner: PlainArc<Shared<M>>,
    timeout: Duration,
}

/// What a pool gives to another pool.
pub(in crate::resource_pool::engine) enum Transfer<M: ResourceManager> {
    /// A resource, and when the oldest waiting caller of the pool entered the queue, if there is
    /// one.
    Resource(BoxedEntry<M>, Option<Instant>),
    /// A job that no caller polls, with its permit.
    Job(Job<M>),
}

impl<M: ResourceManager> Reclaimed<M> {
    fn new(spare: Spare<M>) -> Self {
        let Spare { entry, owner, timeout } = spare;
        Self { entry: Some(entry), owner, timeout }
    }

    /// Closes the resource. A panic of the manager is discarded.
    pub(in crate::resource_pool::engine) async fn close(mut self, clock: &Clock) {
        let Some(entry) = self.entry.take() else { return };
        let manager = self.owner.manager.clone();
        let mut closing = pin!(clock.timeout(self.timeout, manager.close(entry.resource)));
        poll_fn(|cx| {
            let mut poll = Poll::Ready(());
            discard_panic(|| poll = closing.as_mut().poll(cx).map(drop));
            poll
        })
        .await;
    }
}

impl<M: ResourceManager> Drop for Reclaimed<M> {
    fn drop(&mut self) {
        discard_panic(|| drop(self.entry.take()));
        let mut state = self.owner.state.lock();
        state.closing -= 1;
        state.size -= 1;
        drop(state);
        discard_panic(|| self.owner.settle(self.owner.clock.now()));
    }
}

impl<M: ResourceManager> State<M> {
    /// Returns whether a pool has requested a permit.
    #[inline]
    pub(in crate::resource_pool::engine) fn is_contended(&self) -> bool {
        self.total.as_ref().is_some_and(Membership::is_contended)
    }

    /// Returns when the resource that another pool may take became idle, if there is such a
    /// resource.
    fn spare_since(&self) -> Option<Instant> {
        let is_spare = self.waiting == 0 || self.paused;
        self.idle.front().filter(|_| is_spare).map(|entry| entry.idle_since)
    }

    fn take_spare(&mut self) -> Option<BoxedEntry<M>> {
        self.spare_since()?;
        self.closing += 1;
        self.idle.pop_front()
    }

    /// Removes a job that holds a permit, if no task polls the jobs of this pool.
    fn take_orphan(&mut self) -> Option<Job<M>> {
        if self.waiting > 0 || !self.drivers.is_empty() {
            return None;
        }
        let holds_permit = |kind| !matches!(kind, JobKind::Create { permit: PermitUse::Later, .. });
        let mut slot = 0;
        while let Some(job) = self.jobs.slot(slot) {
            if job.is_some_and(|job| job.future.is_some() && holds_permit(job.kind)) {
                break;
            }
            slot += 1;
        }
        let job = self.jobs.remove(self.jobs.slot_key(slot)?)?;
        self.uncount(job.kind);
        if job.kind == JobKind::Check {
            self.stats.closed.count(ResourceCloseReason::Reclaimed);
        }
        Some(job)
    }

    /// Decides which resource or job this pool must give to a pool that has requested a permit.
    pub(in crate::resource_pool::engine) fn next_transfer(&mut self) -> Option<Transfer<M>> {
        if !self.is_contended() {
            return None;
        }
        let oldest = self.oldest();
        let total = self.total.as_ref()?;
        if self.waiting > 0 && !self.paused {
            if self.idle.is_empty() || !total.has_precedence(oldest) {
                return None;
            }
            self.closing += 1;
            return self.idle.pop_front().map(|entry| Transfer::Resource(entry, oldest));
        }
        // The callers for which this pool made its own request may have left.
        total.withdraw();
        if !total.has_precedence(None) {
            return None;
        }
        match self.take_spare() {
            Some(entry) => Some(Transfer::Resource(entry, None)),
            None => self.take_orphan().map(Transfer::Job),
        }
    }
}

impl<M: ResourceManager> Shared<M> {
    /// Accepts a permit if callers of this pool need a resource.
    ///
    /// # Errors
    ///
    /// Returns the permit if they do not.
    pub(super) fn offer(self: &PlainArc<Self>, offered: Offered<M>) -> Result<(), Offered<M>> {
        let now = self.clock.now();
        let mut state = self.state.lock();
        let id = state.total.as_ref().filter(|_| state.needs_permit(now)).map(|total| total.id);
        let Some(id) = id else {
            drop(state);
            return Err(offered);
        };
        let Offered { mut permit, spare } = offered;
        permit.move_to(id);
        state.size += 1;
        state.creating += 1;
        let starts_at = state.next_creation();
        let reclaimed = spare.map(Reclaimed::new);
        self.start_creation(&mut state, starts_at, now, Some(permit), reclaimed);
        let driver = state.take_driver();
        drop(state);
        discard_panic(|| driver.into_iter().for_each(Waker::wake));
        Ok(())
    }

    /// Gives a resource to another pool, or takes it back if no pool accepts it. Drops a job, which
    /// releases its permit.
    pub(in crate::resource_pool::engine) fn transfer(
        self: &PlainArc<Self>,
        transfer: Transfer<M>,
        now: Instant,
    ) {
        match transfer {
            Transfer::Resource(entry, oldest) => {
                self.transfer_resource(entry, oldest, now);
            }
            Transfer::Job(job) => discard_panic(|| drop(job)),
        }
    }

    /// Offers a resource to the pools that have a request, or takes it back if no pool accepts it.
    /// Returns whether a pool has accepted it.
    fn transfer_resource(
        self: &PlainArc<Self>,
        mut entry: BoxedEntry<M>,
        oldest: Option<Instant>,
        now: Instant,
    ) -> bool {
        let age = now - entry.created_at;
        let (membership, timeout) = {
            let state = self.state.lock();
            let total = state.total.as_ref();
            (total.map(|total| (total.limit.clone(), total.id)), state.config.close_timeout)
        };
        while let Some((limit, id)) = &membership
            && let Some(pool) = limit.update(|state| state.choose(*id, oldest))
        {
            let Some(pool) = pool.upgrade() else { continue };
            let Some(permit) = entry.permit.take() else { break };
            let spare = Spare { entry, owner: self.clone(), timeout };
            match pool.offer(Offered { permit, spare: Some(spare) }) {
                Ok(()) => {
                    let reason = ResourceCloseReason::Reclaimed;
                    self.state.lock().stats.closed.count(reason);
                    self.emitter.emit(PoolEvent::Closed { reason, age }, now);
                    return true;
                }
                Err(Offered { permit, spare }) => {
                    let Some(spare) = spare else { return true };
                    entry = spare.entry;
                    entry.permit = Some(permit);
                }
            }
        }
        let mut state = self.state.lock();
        state.closing -= 1;
        state.idle.push_front(entry);
        false
    }

    /// Searches the other pools for a permit: that of the resource that has been idle for the
    /// longest time, or else that of a job that no task polls.
    #[cold]
    pub(in crate::resource_pool::engine) fn reclaim(self: &PlainArc<Self>, now: Instant) {
        let weak: Vec<PlainWeak<Self>> = {
            let state = self.state.lock();
            let Some(total) = &state.total else { return };
            total.limit.state.lock().holders_except(total.id).collect()
        };
        let pools: Vec<_> = weak.iter().filter_map(PlainWeak::upgrade).collect();
        loop {
            let since = |pool: &&PlainArc<Self>| pool.state.lock().spare_since();
            let spares = pools.iter().filter_map(|pool| Some((since(&pool)?, pool)));
            let Some((_, owner)) = spares.min_by_key(|(since, _)| *since) else { break };
            // Another thread may have taken the resource since.
            let taken = owner.state.lock().take_spare();
            let Some(entry) = taken else { continue };
            if !owner.transfer_resource(entry, None, now) {
                owner.settle(now);
            }
            return;
        }
        for pool in &pools {
            let orphan = pool.state.lock().take_orphan();
            if let Some(job) = orphan {
                return discard_panic(|| drop(job));
            }
        }
    }
}
