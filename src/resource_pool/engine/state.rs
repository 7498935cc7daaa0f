//! The state of a pool, which its lock protects, and the decisions. Reads no clock, and runs no
//! user code.

use super::jobs::{Job, JobKind};
use super::total::{Membership, TakenPermit, TotalPermit, Transfer};
use crate::resource_pool::ResourceManager;
use crate::resource_pool::config::{Config, ReuseOrder};
use crate::resource_pool::error::{CreationError, ResourcePoolError};
use crate::resource_pool::pooled::Lease;
use crate::resource_pool::snapshot::{ResourceCloseCounts, ResourceCloseReason};
use crate::sync::PlainArc;
use crate::time::Instant;
use crate::wait::{OneshotSender, WaiterKey, WaiterList};
use crate::window::LatencyBuckets;
use std::collections::VecDeque;
use std::task::Waker;
use std::time::Duration;

/// A resource with its times, its generation and its number of uses.
pub(in crate::resource_pool) struct Entry<R> {
    pub(in crate::resource_pool) resource: R,
    pub(in crate::resource_pool) created_at: Instant,
    expires_at: Instant,
    /// When it was last returned, or created.
    pub(super) idle_since: Instant,
    /// When it was last known to be healthy: created, returned or checked.
    healthy_at: Instant,
    pub(in crate::resource_pool) uses: u64,
    generation: u64,
    /// Whether it must be checked even if it was idle for less than `check_after`.
    must_check: bool,
    /// The last field, so that it is released after the resource is dropped.
    pub(super) permit: Option<TotalPermit>,
}

/// Whether an idle resource can be used, must be checked first, or must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fitness {
    Fresh,
    Stale,
    Unfit(ResourceCloseReason),
}

impl<R> Entry<R> {
    pub(super) fn new(resource: R, now: Instant, expires_at: Instant, generation: u64) -> Self {
        Self {
            resource,
            created_at: now,
            expires_at,
            idle_since: now,
            healthy_at: now,
            uses: 0,
            generation,
            must_check: false,
            permit: None,
        }
    }

    pub(super) fn returned(&mut self, now: Instant, must_check: bool) {
        (self.idle_since, self.healthy_at, self.must_check) = (now, now, must_check);
    }

    pub(super) fn checked(&mut self, now: Instant) {
        (self.healthy_at, self.must_check) = (now, false);
    }

    fn fitness(&self, now: Instant, config: &Config, generation: u64, is_spare: bool) -> Fitness {
        if self.generation != generation {
            return Fitness::Unfit(ResourceCloseReason::Evicted);
        }
        if now >= self.expires_at {
            return Fitness::Unfit(ResourceCloseReason::Lifetime);
        }
        if is_spare && config.idle_timeout.is_some_and(|limit| now - self.idle_since >= limit) {
            return Fitness::Unfit(ResourceCloseReason::Idle);
        }
        // A resource that passed a check at `now` is fresh, even if `check_after` is zero.
        let since = now - self.healthy_at;
        match self.must_check || (since >= config.check_after && !since.is_zero()) {
            true => Fitness::Stale,
            false => Fitness::Fresh,
        }
    }
}

/// The error that a waiter receives.
pub(in crate::resource_pool) type Failure<M> = ResourcePoolError<<M as ResourceManager>::Error>;

/// A caller in the queue.
pub(super) struct Waiter<M: ResourceManager> {
    pub(super) sender: OneshotSender<Result<Lease<M>, Failure<M>>>,
    /// `None` from its wake-up until its next poll.
    pub(super) waker: Option<Waker>,
    pub(super) since: Instant,
}

pub(super) struct LastError<E> {
    pub(super) error: PlainArc<CreationError<E>>,
    pub(super) at: Instant,
}

/// The state of a pool.
///
/// # Invariants
///
/// 1. `size` counts each resource once: idle, in use, in a job, or in the oneshot of a waiter.
/// 2. `size` is raised only by [`next_step`](Self::next_step), and only below the maximum.
/// 3. After [`Shared::settle`](super::Shared::settle), [`next_step`](Self::next_step) has nothing
///    left to do.
/// 4. If a job is ready, and there is a waiter or a driver, one of them has been woken to poll it.
pub(super) struct State<M: ResourceManager> {
    pub(super) config: Config,
    /// In the order of their return: the one idle for the longest time is at the front.
    pub(super) idle: VecDeque<Box<Entry<M::Resource>>>,
    waiters: WaiterList<Waiter<M>>,
    pub(super) waiting: usize,
    /// The wakers of maintenance and drains, which poll jobs while there is no waiter.
    pub(super) drivers: WaiterList<Option<Waker>>,
    pub(super) jobs: WaiterList<Job<M>>,
    /// The jobs to poll.
    pub(super) ready: VecDeque<WaiterKey>,
    pub(super) size: usize,
    pub(super) creating: usize,
    pub(super) checking: usize,
    pub(super) closing: usize,
    pub(super) generation: u64,
    pub(super) paused: bool,
    pub(super) closed: bool,
    /// The number of maintenance futures. While there is one, `min_idle` resources are kept.
    pub(super) maintainers: usize,
    /// Whether all idle resources must be examined, because the settings or the generation changed.
    pub(super) evicting: bool,
    /// The number of failed creations since the last success.
    pub(super) failures: u32,
    /// The wait after the last failed creation.
    pub(super) delay: Duration,
    pub(super) retry_at: Instant,
    pub(super) last_error: Option<LastError<M::Error>>,
    /// The number of waiters that are still to receive the last error, which is permanent.
    pub(super) failing: usize,
    pub(super) stats: Stats,
    /// The last field: all permits are released first.
    pub(super) total: Option<Membership<M>>,
}

pub(super) struct Stats {
    pub(super) acquired: u64,
    pub(super) timed_out: u64,
    pub(super) created: u64,
    pub(super) create_failures: u64,
    pub(super) closed: ResourceCloseCounts,
    pub(super) waits: Box<[u64]>,
}

/// The next action of the shell.
pub(super) enum Step<M: ResourceManager> {
    Deliver(Waiter<M>, Box<Entry<M::Resource>>),
    Fail(Waiter<M>, Failure<M>),
    Close(Box<Entry<M::Resource>>, ResourceCloseReason),
    Check(Box<Entry<M::Resource>>),
    /// A creation, with a permit if the pool is a member of a limit.
    Create(Option<TotalPermit>),
    /// Search the other pools of the limit for a permit.
    Reclaim,
    Transfer(Transfer<M>),
    Nothing,
}

impl<M: ResourceManager> State<M> {
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            idle: VecDeque::new(),
            waiters: WaiterList::new(),
            waiting: 0,
            drivers: WaiterList::new(),
            jobs: WaiterList::new(),
            ready: VecDeque::new(),
            size: 0,
            creating: 0,
            checking: 0,
            closing: 0,
            generation: 0,
            paused: false,
            closed: false,
            maintainers: 0,
            evicting: false,
            failures: 0,
            delay: Duration::ZERO,
            retry_at: Instant::ORIGIN,
            last_error: None,
            failing: 0,
            stats: Stats {
                acquired: 0,
                timed_out: 0,
                created: 0,
                create_failures: 0,
                closed: ResourceCloseCounts::default(),
                waits: vec![0; LatencyBuckets::ALL.len()].into(),
            },
            total: None,
        }
    }

    pub(super) fn in_use(&self) -> usize {
        self.size - self.idle.len() - self.creating - self.checking - self.closing
    }

    /// Takes the next idle resource if it can be used without a check and there are no waiters.
    #[inline]
    pub(super) fn take(&mut self, now: Instant) -> Option<Box<Entry<M::Resource>>> {
        if self.waiting > 0 || self.paused || self.closed || self.is_contended() {
            return None;
        }
        match self.fitness(self.next_idle()?, now) {
            Fitness::Fresh => self.pop_idle(),
            _ => None,
        }
    }

    /// Takes the next idle resource for a check if it needs one and there are no waiters.
    pub(super) fn take_stale(&mut self, now: Instant) -> Option<Box<Entry<M::Resource>>> {
        if self.waiting > 0 || self.paused || self.closed || self.is_contended() {
            return None;
        }
        match self.fitness(self.next_idle()?, now) {
            Fitness::Stale => {
                self.checking += 1;
                self.pop_idle()
            }
            _ => None,
        }
    }

    /// Returns whether [`next_step`](Self::next_step) may have something to do after a resource was
    /// returned.
    #[inline]
    pub(super) fn is_unsettled(&self, now: Instant) -> bool {
        self.waiting > 0
            || self.closed
            || self.is_contended()
            || self.evicting
            || self.size > self.config.max_size
            || self
                .idle
                .front()
                .is_some_and(|entry| matches!(self.fitness(entry, now), Fitness::Unfit(_)))
    }

    fn fitness(&self, entry: &Entry<M::Resource>, now: Instant) -> Fitness {
        let is_spare = self.idle.len() > self.config.min_idle;
        entry.fitness(now, &self.config, self.generation, is_spare)
    }

    /// Returns the reason why a returned resource must be closed, if there is one.
    pub(super) fn unfit(
        &self,
        entry: &Entry<M::Resource>,
        now: Instant,
    ) -> Option<ResourceCloseReason> {
        if self.closed {
            return Some(ResourceCloseReason::PoolClosed);
        }
        match entry.fitness(now, &self.config, self.generation, false) {
            Fitness::Unfit(reason) => Some(reason),
            _ if self.size - self.closing > self.config.max_size => {
                Some(ResourceCloseReason::Resized)
            }
            _ => None,
        }
    }

    fn next_idle(&self) -> Option<&Entry<M::Resource>> {
        let next = match self.config.reuse_order {
            ReuseOrder::Lifo => self.idle.back(),
            ReuseOrder::Fifo => self.idle.front(),
        };
        next.map(|entry| &**entry)
    }

    fn pop_idle(&mut self) -> Option<Box<Entry<M::Resource>>> {
        match self.config.reuse_order {
            ReuseOrder::Lifo => self.idle.pop_back(),
            ReuseOrder::Fifo => self.idle.pop_front(),
        }
    }

    /// Decides the next step, and changes the state accordingly.
    pub(super) fn next_step(&mut self, now: Instant) -> Step<M> {
        if self.closed {
            return self.next_step_of_closing();
        }
        if let Some((entry, reason)) = self.take_unfit(now) {
            return Step::Close(entry, reason);
        }
        while self.failing > 0 {
            self.failing -= 1;
            if let Some(last) = &self.last_error
                && let Some(waiter) = self.waiters.pop_front()
            {
                self.waiting -= 1;
                return Step::Fail(waiter, Failure::<M>::CreationFailed(last.error.clone()));
            }
        }
        if let Some(transfer) = self.next_transfer() {
            return Step::Transfer(transfer);
        }
        if self.paused {
            return Step::Nothing;
        }
        if self.waiting > 0
            && let Some(next) = self.next_idle()
        {
            match self.fitness(next, now) {
                Fitness::Fresh => {
                    if let (Some(waiter), Some(entry)) = (self.waiters.pop_front(), self.pop_idle())
                    {
                        self.waiting -= 1;
                        return Step::Deliver(waiter, entry);
                    }
                }
                // At most one check for each waiter.
                Fitness::Stale if self.checking < self.waiting => {
                    if let Some(entry) = self.pop_idle() {
                        self.checking += 1;
                        return Step::Check(entry);
                    }
                }
                Fitness::Stale => {}
                Fitness::Unfit(reason) => {
                    if let Some(entry) = self.pop_idle() {
                        return Step::Close(entry, reason);
                    }
                }
            }
        }
        let needed = self.waiting + if self.maintainers > 0 { self.config.min_idle } else { 0 };
        if !self.can_create(needed) {
            return Step::Nothing;
        }
        let permit = match &self.total {
            // The wait after a failure needs no permit.
            Some(total) if self.is_due(now) => match self.can_create(self.waiting) {
                true => match total.take(now) {
                    TakenPermit::Granted(permit) => Some(permit),
                    TakenPermit::Requested => return Step::Reclaim,
                    TakenPermit::Pending => return Step::Nothing,
                },
                false => match total.try_take() {
                    Some(permit) => Some(permit),
                    None => return Step::Nothing,
                },
            },
            _ => None,
        };
        self.size += 1;
        self.creating += 1;
        Step::Create(permit)
    }

    /// Returns whether another resource may be created for `needed` callers.
    fn can_create(&self, needed: usize) -> bool {
        self.idle.len() + self.checking + self.creating < needed
            && self.creating < self.config.max_creating
            && self.size < self.config.max_size
    }

    /// Returns whether the wait after the last failure has ended.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.failures == 0 || self.retry_at <= now
    }

    /// Returns whether callers need a permit of the limit.
    pub(super) fn needs_permit(&self, now: Instant) -> bool {
        !self.closed && !self.paused && self.is_due(now) && self.can_create(self.waiting)
    }

    /// Returns since when the first caller has waited.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.waiters.front().map(|waiter| waiter.since)
    }

    /// Removes a job without a resource from the counts.
    pub(super) fn uncount(&mut self, kind: JobKind) {
        self.size -= 1;
        match kind {
            JobKind::Create { .. } => self.creating -= 1,
            JobKind::Check => self.checking -= 1,
            JobKind::Close => self.closing -= 1,
        }
    }

    fn next_step_of_closing(&mut self) -> Step<M> {
        if let Some(waiter) = self.waiters.pop_front() {
            self.waiting -= 1;
            return Step::Fail(waiter, Failure::<M>::Closed);
        }
        match self.idle.pop_front() {
            Some(entry) => Step::Close(entry, ResourceCloseReason::PoolClosed),
            None => Step::Nothing,
        }
    }

    /// Takes an idle resource that must be closed. Examines all idle resources while `evicting` is
    /// set, and otherwise only the one that was idle for the longest time.
    fn take_unfit(
        &mut self,
        now: Instant,
    ) -> Option<(Box<Entry<M::Resource>>, ResourceCloseReason)> {
        if self.size - self.closing > self.config.max_size
            && let Some(entry) = self.idle.pop_front()
        {
            return Some((entry, ResourceCloseReason::Resized));
        }
        let examined = if self.evicting { self.idle.len() } else { self.idle.len().min(1) };
        for index in 0..examined {
            if let Fitness::Unfit(reason) = self.fitness(&self.idle[index], now) {
                return self.idle.remove(index).map(|entry| (entry, reason));
            }
        }
        self.evicting = false;
        None
    }

    /// Takes an idle resource for a check by maintenance, if its last return or check is at least
    /// `interval` ago.
    pub(super) fn take_for_check(
        &mut self,
        now: Instant,
        interval: Duration,
    ) -> Option<Box<Entry<M::Resource>>> {
        if self.closed || self.checking >= self.config.max_creating {
            return None;
        }
        let index = self.idle.iter().position(|entry| now - entry.healthy_at >= interval)?;
        self.checking += 1;
        self.idle.remove(index)
    }

    pub(super) fn enqueue(&mut self, waiter: Waiter<M>) -> WaiterKey {
        self.waiting += 1;
        self.waiters.push_back(waiter)
    }

    pub(super) fn dequeue(&mut self, key: WaiterKey) -> Option<Waiter<M>> {
        let waiter = self.waiters.remove(key)?;
        self.waiting -= 1;
        Some(waiter)
    }

    /// Stores the waker of a waiter and returns the one before.
    pub(super) fn set_waker(&mut self, key: WaiterKey, waker: Waker) -> Option<Waker> {
        match self.waiters.get_mut(key) {
            Some(waiter) => waiter.waker.replace(waker),
            None => Some(waker),
        }
    }

    /// Returns whether the pool is closed and has no resources left.
    pub(super) fn is_drained(&self) -> bool {
        self.closed && self.size == 0
    }

    /// Takes the waker of the task that must poll the ready jobs, or that waits until the pool is
    /// drained. Returns `None` if there is nothing to do, or if that task has been woken already.
    pub(super) fn take_driver(&mut self) -> Option<Waker> {
        if self.ready.is_empty() && !self.is_drained() {
            return None;
        }
        match self.waiters.front_mut() {
            Some(waiter) => waiter.waker.take(),
            None => self.drivers.front_mut().and_then(Option::take),
        }
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
#[path = "tests/state.rs"]
mod tests;
