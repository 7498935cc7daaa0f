//! Callers in the queue: entering, polling and leaving it.

use super::Shared;
use super::leases::Caller;
use super::queue::{Waiter, WaiterStatus};
use super::state::{Failure, Step};
use super::timers::WaitLimit;
use crate::resource_pool::ResourceManager;
use crate::resource_pool::pooled::Lease;
use crate::sync::{PlainArc, keep_panic};
use crate::time::Instant;
use crate::wait::WaiterKey;
use std::panic::resume_unwind;
use std::task::Waker;
use std::time::Duration;

/// The result of [`Shared::enqueue`].
pub(in crate::resource_pool) enum Enqueued<M: ResourceManager> {
    Taken(Lease<M>),
    Queued {
        key: WaiterKey,
        limit: WaitLimit<M>,
        /// Whether the waiter need not be polled before its next wake-up.
        is_settled: bool,
    },
    Closed,
}

/// The resource or the error that a waiter has received, and when.
pub(in crate::resource_pool) struct Delivery<M: ResourceManager> {
    pub(in crate::resource_pool) result: Result<Lease<M>, Failure<M>>,
    pub(in crate::resource_pool) at: Instant,
}

impl<M: ResourceManager> Shared<M> {
    /// Takes a resource that has become idle since the caller's first attempt, or adds a waiter to
    /// the queue.
    #[cold]
    pub(in crate::resource_pool) fn enqueue(
        self: &PlainArc<Self>,
        now: Instant,
        timeout: Option<Duration>,
        by: Caller,
        waker: Waker,
    ) -> Enqueued<M> {
        let mut state = self.state.lock();
        if state.closed {
            return Enqueued::Closed;
        }
        if let Some(mut entry) = state.take(now) {
            state.stats.acquired += 1;
            state.begin_lease(&mut entry, now, by);
            drop(state);
            let lease = Lease::new(self.clone(), entry);
            drop(waker); // if this unwinds, the lease returns the resource
            return Enqueued::Taken(lease);
        }
        let deadline = now + timeout.unwrap_or(state.config.acquire_timeout);
        let key = state.enqueue(waker, now);
        let timer = state.take_timer(key, deadline);
        self.update_hint(&state);
        let step = state.next_step(now);
        let is_settled = matches!(step, Step::Nothing) && state.ready.is_empty();
        let mut panic = None;
        if is_settled {
            drop(state);
        } else {
            keep_panic(&mut panic, || self.take_steps(state, step, now, None));
        }
        let mut limit = WaitLimit::new(self, key, deadline, timer);
        if let Some(panic) = panic {
            drop(self.leave(key, &mut limit)); // the future has not received its key
            resume_unwind(panic);
        }
        Enqueued::Queued { key, limit, is_settled }
    }

    /// Polls the ready jobs. If the waiter has then received a resource or an error, removes the
    /// waiter and returns the delivery. Otherwise, `waker` becomes the waker of the waiter.
    pub(in crate::resource_pool) fn poll_waiter(
        self: &PlainArc<Self>,
        key: WaiterKey,
        (since, by): (Instant, Caller),
        limit: &mut WaitLimit<M>,
        waker: &Waker,
    ) -> Option<Delivery<M>> {
        let mut has_polled = false;
        // Cloning and dropping a waker runs user code, so both happen outside the lock.
        let mut fresh = None;
        loop {
            let mut state = self.state.lock();
            if !has_polled && !state.ready.is_empty() {
                has_polled = true;
                drop(state);
                self.poll_ready();
                continue;
            }
            let waiter = state.waiters.get_mut(key).expect("only its owner removes it");
            if !matches!(waiter.status, WaiterStatus::Waiting) {
                if fresh.is_some() {
                    drop(state);
                    fresh = None;
                    continue;
                }
                let waiter = state.collect(key, since, by)?;
                state.keep_timer(key, limit.take_slot_timer());
                drop(state);
                return self.delivery(waiter.status);
            }
            let mut before = None;
            if !waiter.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
                let Some(fresh) = fresh.take() else {
                    drop(state);
                    fresh = Some(waker.clone());
                    continue;
                };
                before = waiter.waker.replace(fresh);
            }
            // A job may have become ready after `poll_ready`, when this waiter had no waker.
            let driver = state.take_driver();
            drop(state);
            driver.into_iter().for_each(Waker::wake);
            drop(before);
            return None;
        }
    }

    fn delivery(self: &PlainArc<Self>, status: WaiterStatus<M>) -> Option<Delivery<M>> {
        let (result, at) = match status {
            WaiterStatus::Waiting => return None,
            WaiterStatus::Served(entry, at) => (Ok(Lease::new(self.clone(), entry)), at),
            WaiterStatus::Failed(failure, at) => (Err(failure), at),
        };
        Some(Delivery { result, at })
    }

    /// Removes a waiter, and wakes another task if a job is ready. Returns the resource or the
    /// error that the waiter had received; a resource is not counted as acquired.
    #[cold]
    pub(in crate::resource_pool) fn leave(
        self: &PlainArc<Self>,
        key: WaiterKey,
        limit: &mut WaitLimit<M>,
    ) -> Option<Delivery<M>> {
        let mut state = self.state.lock();
        let Waiter { status, waker, since: _ } = state.remove(key)?;
        state.keep_timer(key, limit.take_slot_timer());
        self.update_hint(&state);
        let driver = state.take_driver();
        let is_contended = state.is_contended();
        drop(state);
        let delivery = self.delivery(status);
        // If a waker panics, the delivery returns its resource.
        let mut panic = None;
        keep_panic(&mut panic, || driver.into_iter().for_each(Waker::wake));
        keep_panic(&mut panic, || drop(waker));
        if is_contended {
            keep_panic(&mut panic, || self.settle(self.clock.now()));
        }
        if let Some(panic) = panic {
            drop(delivery);
            resume_unwind(panic);
        }
        delivery
    }
}
