//! The queue of callers, and the timers of its slots. Runs no user code.

use super::entry::Entry;
use super::leases::Caller;
use super::state::{Failure, State};
use super::timers::SlotTimer;
use crate::resource_pool::ResourceManager;
use crate::time::Instant;
use crate::wait::WaiterKey;
use std::task::Waker;

/// A caller that waits.
pub(super) struct Waiter<M: ResourceManager> {
    pub(super) status: WaiterStatus<M>,
    /// `None` from its wake-up until its next poll.
    pub(super) waker: Option<Waker>,
    pub(super) since: Instant,
}

/// The progress of a waiter.
pub(super) enum WaiterStatus<M: ResourceManager> {
    /// In the queue.
    Waiting,
    /// Received a resource at this instant.
    Served(Box<Entry<M::Resource>>, Instant),
    /// Received an error at this instant.
    Failed(Failure<M>, Instant),
}

impl<M: ResourceManager> State<M> {
    pub(super) fn enqueue(&mut self, waker: Waker, since: Instant) -> WaiterKey {
        self.waiting += 1;
        let (status, waker) = (WaiterStatus::Waiting, Some(waker));
        self.waiters.push_back(Waiter { status, waker, since })
    }

    /// Returns when the first caller in the queue began to wait.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.waiters.front().map(|waiter| waiter.since)
    }

    /// Gives the first waiter its final status and returns its waker. There must be a waiter.
    #[inline]
    pub(super) fn notify(&mut self, status: WaiterStatus<M>) -> Option<Waker> {
        let key = self.waiters.front_key()?;
        self.waiters.detach(key);
        self.waiting -= 1;
        let waiter = self.waiters.get_mut(key)?;
        waiter.status = status;
        waiter.waker.take()
    }

    /// Gives a returned resource to the first waiter, if no other step is possible. Returns the
    /// waker of the waiter, and the waker of the task that must poll the ready jobs.
    ///
    /// # Errors
    ///
    /// Returns the resource if there is no waiter, or if [`next_step`](Self::next_step) must
    /// decide.
    #[inline]
    pub(super) fn hand_over(
        &mut self,
        entry: Box<Entry<M::Resource>>,
        now: Instant,
    ) -> Result<[Option<Waker>; 2], Box<Entry<M::Resource>>> {
        let is_fresh = !entry.must_check && entry.healthy_at == now;
        if self.waiting == 0
            || !is_fresh
            || !self.idle.is_empty()
            || self.paused
            || self.failing > 0
            || self.rejections.pending > 0
            || self.is_contended()
        {
            return Err(entry);
        }
        let waiter = self.notify(WaiterStatus::Served(entry, now));
        Ok([waiter, self.take_driver()])
    }

    /// Removes a waiter that has received a resource or an error, and counts a resource as
    /// acquired.
    #[inline]
    pub(super) fn collect(
        &mut self,
        key: WaiterKey,
        since: Instant,
        by: Caller,
    ) -> Option<Waiter<M>> {
        let mut waiter = self.waiters.remove(key)?;
        if let WaiterStatus::Served(entry, at) = &mut waiter.status {
            self.stats.acquired_after(*at - since);
            self.begin_lease(entry, *at, by);
        }
        Some(waiter)
    }

    /// Takes the timer of the slot of a waiter that has just entered the queue.
    pub(super) fn take_timer(&mut self, key: WaiterKey, deadline: Instant) -> Option<SlotTimer<M>> {
        let mut timer = self.slot_timers.get_mut(key.slot() as usize)?.take()?;
        timer.offer(deadline);
        Some(timer)
    }

    /// Keeps the timer of a waiter that has been removed, for the next waiter in the same slot.
    #[inline]
    pub(super) fn keep_timer(&mut self, key: WaiterKey, timer: Option<SlotTimer<M>>) {
        if timer.is_none() {
            return;
        }
        if self.slot_timers.len() <= key.slot() as usize {
            self.slot_timers.resize_with(key.slot() as usize + 1, || None);
        }
        self.slot_timers[key.slot() as usize] = timer;
    }

    /// Removes a waiter that leaves before it has collected a resource or an error.
    pub(super) fn remove(&mut self, key: WaiterKey) -> Option<Waiter<M>> {
        let waiter = self.waiters.remove(key)?;
        if let WaiterStatus::Waiting = waiter.status {
            self.waiting -= 1;
        }
        Some(waiter)
    }
}
