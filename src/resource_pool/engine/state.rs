//! The state of a pool, which is protected by a lock, and the decisions of the pool. This module
//! reads no clock and runs no user code.

use super::entry::{Entry, Fitness};
use super::jobs::{Job, JobKind};
use super::leases::Leases;
use super::queue::{Waiter, WaiterStatus};
use super::timers::SlotTimer;
use super::total::{Membership, TakenPermit, TotalPermit, Transfer};
use crate::error::Rejection;
use crate::resource_pool::ResourceManager;
use crate::resource_pool::config::{Config, ReuseOrder};
use crate::resource_pool::error::{CreationError, ResourcePoolError};
use crate::resource_pool::snapshot::{ResourceCloseCounts, ResourceCloseReason};
use crate::sync::PlainArc;
use crate::time::Instant;
use crate::wait::{WaiterKey, WaiterList};
use crate::window::LatencyBuckets;
use std::collections::VecDeque;
use std::task::Waker;
use std::time::Duration;

/// How long the pool waits before it asks the guard again if the rejection has no `retry_after`. A
/// `retry_after` is clamped to the minimum and the maximum below: asking is cheap, and the guard
/// may admit a creation earlier.
const REJECTION_WAIT: Duration = Duration::from_millis(100);
const MIN_REJECTION_WAIT: Duration = Duration::from_millis(1);
const MAX_REJECTION_WAIT: Duration = Duration::from_secs(1);

/// The error that a waiter receives.
pub(in crate::resource_pool) type Failure<M> = ResourcePoolError<<M as ResourceManager>::Error>;

pub(super) struct LastError<E> {
    pub(super) error: PlainArc<CreationError<E>>,
    pub(super) at: Instant,
}

/// The state of a pool.
///
/// # Invariants
///
/// 1. `size` counts each resource once: idle, in use, in a job, or received by a waiter.
/// 2. `size` is increased only by [`next_step`](Self::next_step) and by
///    [`Shared::offer`](super::Shared::offer), and only below the maximum.
/// 3. After [`Shared::settle`](super::Shared::settle), [`next_step`](Self::next_step) has nothing
///    left to do.
/// 4. If a job is ready, and there is a waiter or a driver, one of them has been woken to poll it.
/// 5. A waiter stays in `waiters` until its owner, the acquire future, removes it. It is in the
///    queue while its status is `Waiting`, and detached afterwards.
pub(super) struct State<M: ResourceManager> {
    pub(super) config: Config,
    /// In the order of return: the resource that has been idle for the longest time is at the
    /// front.
    pub(super) idle: VecDeque<Box<Entry<M::Resource>>>,
    pub(super) waiters: WaiterList<Waiter<M>>,
    /// The timers of the slots of `waiters`, except for those that waiters use.
    pub(super) slot_timers: Vec<Option<SlotTimer<M>>>,
    /// The number of waiters in the queue.
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
    /// The number of waiters that must still receive the last error, which is permanent.
    pub(super) failing: usize,
    pub(super) rejections: Rejections,
    pub(super) leases: Leases,
    pub(super) stats: Stats,
    /// The last field, so that all permits are released before the pool leaves the limit.
    pub(super) total: Option<Membership<M>>,
}

pub(super) struct Stats {
    pub(super) acquired: u64,
    pub(super) timed_out: u64,
    pub(super) created: u64,
    pub(super) create_failures: u64,
    pub(super) create_rejections: u64,
    pub(super) closed: ResourceCloseCounts,
    pub(super) waits: Box<[u64]>,
}

impl Stats {
    /// Counts a resource acquired after a wait.
    pub(super) fn acquired_after(&mut self, waited: Duration) {
        self.acquired += 1;
        self.waits[LatencyBuckets::ALL.of(waited)] += 1;
    }
}

/// The creations that the guard has rejected since the last one that succeeded.
pub(super) struct Rejections {
    pub(super) last: Option<(Rejection, Instant)>,
    /// While other resources exist, no creation begins before this instant.
    until: Instant,
    /// The number of waiters that must still receive the last rejection.
    pub(super) pending: usize,
}

/// The next action that the shell must perform.
pub(super) enum Step<M: ResourceManager> {
    /// A waiter has received a resource. Its waker must be called.
    Served(Option<Waker>),
    /// A waiter has received an error. Its waker must be called.
    Failed(Option<Waker>),
    Close(Box<Entry<M::Resource>>, ResourceCloseReason),
    Check(Box<Entry<M::Resource>>),
    /// Start a creation at this instant, or immediately if the instant has passed. If it has passed
    /// and the pool is a member of a limit, the creation has a permit.
    Create(Instant, Option<TotalPermit>),
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
            slot_timers: Vec::new(),
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
            rejections: Rejections { last: None, until: Instant::ORIGIN, pending: 0 },
            leases: Leases::new(),
            stats: Stats {
                acquired: 0,
                timed_out: 0,
                created: 0,
                create_failures: 0,
                create_rejections: 0,
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

    /// Returns whether a step may be possible after a resource was returned.
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
            return self.next_step_of_closing(now);
        }
        if let Some((entry, reason)) = self.take_unfit(now) {
            return Step::Close(entry, reason);
        }
        while self.failing > 0 {
            self.failing -= 1;
            if let Some(last) = &self.last_error
                && self.waiting > 0
            {
                let failure = Failure::<M>::CreationFailed(last.error.clone());
                return Step::Failed(self.notify(WaiterStatus::Failed(failure, now)));
            }
        }
        if self.rejections.pending > 0
            && let Some((rejection, _)) = self.rejections.last
        {
            self.rejections.pending = (self.rejections.pending - 1).min(self.waiting);
            if self.waiting > 0 {
                let failure = Failure::<M>::Rejected(rejection);
                return Step::Failed(self.notify(WaiterStatus::Failed(failure, now)));
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
                    if let Some(entry) = self.pop_idle() {
                        return Step::Served(self.notify(WaiterStatus::Served(entry, now)));
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
        // No resource is created for `min_idle` while the guard is expected to reject it.
        let keeps_idle = self.maintainers > 0 && now >= self.rejections.until;
        let needed = self.waiting + if keeps_idle { self.config.min_idle } else { 0 };
        if !self.can_create(needed) {
            return Step::Nothing;
        }
        let starts_at = self.next_creation();
        let permit = match &self.total {
            // The wait after a failure needs no permit.
            Some(total) if starts_at <= now => match self.can_create(self.waiting) {
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
        Step::Create(starts_at, permit)
    }

    /// Returns whether another resource may be created if `needed` resources are needed.
    fn can_create(&self, needed: usize) -> bool {
        self.idle.len() + self.checking + self.creating < needed
            && self.creating < self.config.max_creating
            && self.size < self.config.max_size
    }

    /// Returns whether callers need a permit of the limit.
    pub(super) fn needs_permit(&self, now: Instant) -> bool {
        let is_open = !self.closed && !self.paused;
        is_open && self.next_creation() <= now && self.can_create(self.waiting)
    }

    /// Removes a job and its resource from the counts.
    pub(super) fn uncount(&mut self, kind: JobKind) {
        self.size -= 1;
        match kind {
            JobKind::Create { .. } => self.creating -= 1,
            JobKind::Check => self.checking -= 1,
            JobKind::Close => self.closing -= 1,
        }
    }

    /// Returns the instant at which the next creation may begin.
    pub(super) fn next_creation(&self) -> Instant {
        let after_failure = match self.failures {
            0 => Instant::ORIGIN,
            _ => self.retry_at,
        };
        // If no resource exists, the guard is asked for each caller without delay.
        let after_rejection = match self.size - self.closing {
            0 => Instant::ORIGIN,
            _ => self.rejections.until,
        };
        after_failure.max(after_rejection)
    }

    /// Applies the rejection of a creation. If no other resource exists, the callers receive the
    /// rejection. Otherwise they wait for the other resources or for the next creation.
    pub(super) fn creation_rejected(&mut self, rejection: Rejection, now: Instant) {
        self.creating -= 1;
        self.size -= 1;
        self.stats.create_rejections += 1;
        let wait = rejection.retry_after().unwrap_or(REJECTION_WAIT);
        self.rejections.until = now + wait.clamp(MIN_REJECTION_WAIT, MAX_REJECTION_WAIT);
        self.rejections.last = Some((rejection, now));
        if self.size == self.closing {
            self.rejections.pending = self.waiting;
        }
    }

    /// Resets the failures and rejections after a creation has succeeded. Returns the last error,
    /// for the caller to drop outside the lock.
    pub(super) fn creation_succeeded(&mut self) -> Option<LastError<M::Error>> {
        self.failures = 0;
        self.delay = Duration::ZERO;
        (self.rejections.last, self.rejections.until) = (None, Instant::ORIGIN);
        self.last_error.take()
    }

    fn next_step_of_closing(&mut self, now: Instant) -> Step<M> {
        if self.waiting > 0 {
            let closed = WaiterStatus::Failed(Failure::<M>::Closed, now);
            return Step::Failed(self.notify(closed));
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

    /// Takes an idle resource for a check by maintenance, if it was last returned or checked at
    /// least `interval` ago.
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
