//! The waiting callers of a limit, in order of arrival.

use super::rules::{QueueConfig, ServiceTimes, Shedder, WaitTimes, order};
use crate::error::Reason;
use crate::time::Instant;
use crate::wait::{QueueOrder, WaiterKey, WaiterList};
use std::task::Waker;
use std::time::Duration;

/// A queue of callers that wait for permits.
///
/// # Invariants
///
/// 1. A waiter is a member of the queue while its status is `Waiting`, and detached afterwards.
/// 2. A waiter whose status is `Granted` owns its permits. It is removed when they are released.
/// 3. Every other waiter is removed by its owner, the acquisition.
pub(in crate::concurrency) struct CallerQueue {
    waiters: WaiterList<Waiter>,
    len: u32,
    lifo_after: Duration,
    shedder: Option<Shedder>,
    service_times: ServiceTimes,
    /// The median of `service_times`, if it is known.
    median: Option<Duration>,
}

struct Waiter {
    cost: u32,
    /// The sequence number that was passed to `push`.
    arrival: u64,
    times: WaitTimes,
    status: WaiterStatus,
    /// `None` before the first call of `check`, and after the status was decided.
    waker: Option<Waker>,
}

/// A caller that may be served next.
#[derive(Clone, Copy, Debug)]
pub(in crate::concurrency) struct NextWaiter {
    pub(in crate::concurrency) key: WaiterKey,
    pub(in crate::concurrency) cost: u32,
    /// The sequence number that was passed to `push`.
    pub(in crate::concurrency) arrival: u64,
    times: WaitTimes,
}

/// The progress of a waiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::concurrency) enum WaiterStatus {
    Waiting,
    /// Granted its permits at this instant.
    Granted(Instant),
    Rejected(Reason),
}

impl CallerQueue {
    pub(in crate::concurrency) fn new(config: QueueConfig) -> Self {
        Self {
            waiters: WaiterList::new(),
            len: 0,
            lifo_after: config.lifo_after,
            shedder: config.codel.map(Shedder::new),
            service_times: ServiceTimes::new(),
            median: None,
        }
    }

    pub(in crate::concurrency) fn reconfigure(&mut self, config: QueueConfig) {
        self.lifo_after = config.lifo_after;
        self.shedder = config.codel.map(Shedder::new);
    }

    pub(in crate::concurrency) const fn len(&self) -> u32 {
        self.len
    }

    /// Returns when the oldest waiter entered the queue.
    pub(in crate::concurrency) fn oldest_since(&self) -> Option<Instant> {
        Some(self.waiters.front()?.times.since)
    }

    /// Returns the median service time, if it is known.
    pub(in crate::concurrency) const fn median(&self) -> Option<Duration> {
        self.median
    }

    /// Returns the order in which waiters are served at `now`.
    pub(in crate::concurrency) fn order(&self, now: Instant) -> QueueOrder {
        match self.oldest_since() {
            Some(oldest) => order(now, oldest, self.lifo_after),
            None => QueueOrder::Fifo,
        }
    }

    /// Returns the waiter that is served next at `now`.
    pub(in crate::concurrency) fn next(&self, now: Instant) -> Option<NextWaiter> {
        let key = match self.order(now) {
            QueueOrder::Fifo => self.waiters.front_key()?,
            QueueOrder::Lifo => self.waiters.back_key()?,
        };
        let &Waiter { cost, arrival, times, .. } = self.waiters.get(key)?;
        Some(NextWaiter { key, cost, arrival, times })
    }

    /// Returns the reason to reject a new caller, if there is one. Ignores the length of the queue.
    pub(in crate::concurrency) fn rejects_new(&self, times: &WaitTimes) -> Option<Reason> {
        times.rejection(times.since, self.median)
    }

    /// Returns the reason to reject the next waiter at `now` even if its permits are free.
    /// `max_cost` is the largest number of permits that a caller can ever hold.
    pub(in crate::concurrency) fn rejects(
        &self,
        next: &NextWaiter,
        now: Instant,
        max_cost: u32,
    ) -> Option<Reason> {
        // After the limit was lowered, a waiter that can never be served must not block the others.
        let too_expensive = (next.cost > max_cost).then_some(Reason::ConcurrencyLimited);
        next.times.rejection(now, self.median).or(too_expensive)
    }

    /// Decides whether to shed the next waiter. Called only when its permits are free.
    pub(in crate::concurrency) fn sheds(&mut self, next: &NextWaiter, now: Instant) -> bool {
        let (waited, is_last) = (now.since(next.times.since), self.len == 1);
        self.shedder.as_mut().is_some_and(|shedder| shedder.sheds(now, waited, is_last))
    }

    pub(in crate::concurrency) fn push(
        &mut self,
        cost: u32,
        arrival: u64,
        times: WaitTimes,
    ) -> WaiterKey {
        self.len += 1;
        let status = WaiterStatus::Waiting;
        self.waiters.push_back(Waiter { cost, arrival, times, status, waker: None })
    }

    /// Sets the final status of a waiter and removes it from the queue. Returns its waker.
    pub(in crate::concurrency) fn end(
        &mut self,
        key: WaiterKey,
        status: WaiterStatus,
    ) -> Option<Waker> {
        self.waiters.detach(key);
        self.len -= 1;
        let waiter = self.waiters.get_mut(key)?;
        waiter.status = status;
        waiter.waker.take()
    }

    /// Rejects the oldest waiter, and returns its waker. Returns `None` if no caller waits.
    pub(in crate::concurrency) fn reject_oldest(
        &mut self,
        reason: Reason,
    ) -> Option<Option<Waker>> {
        let key = self.waiters.front_key()?;
        Some(self.end(key, WaiterStatus::Rejected(reason)))
    }

    /// Returns the status of a waiter. If it is still waiting and its stored waker does not wake
    /// the same task as `waker`, swaps the stored waker with `fresh`, a clone of `waker`. Returns
    /// `None` if `fresh` is needed but is `None`.
    pub(in crate::concurrency) fn check(
        &mut self,
        key: WaiterKey,
        waker: &Waker,
        fresh: &mut Option<Waker>,
    ) -> Option<WaiterStatus> {
        let waiter = self.waiters.get_mut(key).expect("its owner has not removed it");
        let wakes = |known: &Waker| known.will_wake(waker);
        if waiter.status == WaiterStatus::Waiting && !waiter.waker.as_ref().is_some_and(wakes) {
            // The caller drops the old waker outside the lock.
            *fresh = waiter.waker.replace(fresh.take()?);
        }
        Some(waiter.status)
    }

    /// Removes a waiter, unless it was granted permits, and returns its status and its waker. The
    /// caller must drop the waker outside the lock, because dropping it runs user code.
    pub(in crate::concurrency) fn leave(
        &mut self,
        key: WaiterKey,
    ) -> (WaiterStatus, Option<Waker>) {
        let waiter = self.waiters.get_mut(key).expect("its owner has not removed it");
        let status = waiter.status;
        let waker = waiter.waker.take();
        if status == WaiterStatus::Waiting {
            self.len -= 1;
        }
        if !matches!(status, WaiterStatus::Granted(_)) {
            self.waiters.remove(key);
        }
        (status, waker)
    }

    /// Removes the waiter in `slot`, whose permits were released. If the call ran until `ended`,
    /// its duration is recorded as a service time.
    pub(in crate::concurrency) fn release(&mut self, slot: u32, ended: Option<Instant>) {
        let key = self.waiters.key_at(slot);
        let waiter = key.and_then(|key| self.waiters.remove(key)).map(|waiter| waiter.status);
        if let (Some(WaiterStatus::Granted(at)), Some(ended)) = (waiter, ended) {
            self.service_times.record(ended.since(at));
            self.median = self.service_times.median();
        }
    }
}
