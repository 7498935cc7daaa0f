//! The permits, and the queue of waiters under a lock.

use std::task::Waker;

use super::QueueOrder;
use super::error::SemaphoreError;
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::{Mutex, Wakers};
use crate::wait::permits::{Permits, TakeOrWait};
use crate::wait::waiter_list::{WaiterKey, WaiterList};

/// The shared state of a semaphore.
///
/// # Invariants
///
/// 1. `WAITING` is set whenever `waiters` has a member. It is set and cleared under the lock only.
/// 2. While `WAITING` is set, permits are taken only under the lock, for the next waiter: by
///    [`serve`](Self::serve) for the front of the queue, or in LIFO order by [`enter`](Self::enter)
///    for a new waiter.
/// 3. A waiter that is no longer in the queue has been granted its permits, unless it left the
///    queue itself.
/// 4. Once `CLOSED` is set, no permit is taken and no waiter enters the queue.
pub(super) struct Engine {
    permits: Permits,
    limit: AtomicU32,
    order: QueueOrder,
    waiters: Mutex<WaiterList<Waiter>>,
}

struct Waiter {
    count: u32,
    /// `None` once it was woken because the semaphore was closed.
    waker: Option<Waker>,
}

/// The progress of a waiter.
pub(super) enum Progress {
    Granted,
    Closed,
    Queued(WaiterKey),
}

impl Engine {
    pub(super) fn new(limit: u32, order: QueueOrder) -> Self {
        Self {
            permits: Permits::new(limit),
            limit: AtomicU32::new(limit),
            order,
            waiters: Mutex::new(WaiterList::new()),
        }
    }

    pub(super) fn order(&self) -> QueueOrder {
        self.order
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Returns the number of permits that a new caller can take: zero while there are waiters.
    pub(super) fn takable(&self) -> u32 {
        self.permits.takable()
    }

    pub(super) fn in_use(&self) -> u32 {
        self.permits.in_use(self.limit())
    }

    pub(super) fn has_waiters(&self) -> bool {
        self.permits.has_waiters()
    }

    pub(super) fn has_ended(&self) -> bool {
        self.permits.is_closed()
    }

    /// Takes `count` permits, unless there are waiters.
    #[inline]
    pub(super) fn take(&self, count: u32) -> Result<(), SemaphoreError> {
        self.permits.take(count)
    }

    #[inline]
    pub(super) fn give_back(&self, count: u32) {
        if self.permits.give_back(count) {
            self.serve();
        }
    }

    /// Grants free permits to the waiters at the front of the queue, and wakes them.
    #[cold]
    fn serve(&self) {
        let mut wakers = Wakers::new();
        loop {
            let mut waiters = self.waiters.lock();
            while !wakers.is_full()
                && let Some(next) = waiters.front()
                && self.permits.take_for_waiter(next.count)
                && let Some(next) = waiters.pop_front()
            {
                // A waiter lacks a waker only after CLOSED was set, and then no waiter is granted
                // permits.
                next.waker.into_iter().for_each(|waker| wakers.push(waker));
            }
            self.update_waiting(&waiters);
            drop(waiters);
            if !wakers.is_full() {
                return wakers.finish();
            }
            wakers.wake_all();
        }
    }

    /// Clears `WAITING` if the queue is empty. Called under the lock.
    fn update_waiting(&self, waiters: &WaiterList<Waiter>) {
        if waiters.is_empty() {
            self.permits.clear_waiting();
        }
    }

    /// Enters the queue, unless the permits can be taken now.
    #[cold]
    pub(super) fn enter(&self, count: u32, waker: &Waker) -> Progress {
        // Cloning and dropping a waker runs user code, so both happen outside the lock.
        let waiter = Waiter { count, waker: Some(waker.clone()) };
        let mut waiters = self.waiters.lock();
        let is_next = waiters.is_empty() || self.order == QueueOrder::Lifo;
        match self.permits.take_or_wait(count, is_next) {
            TakeOrWait::Taken => {}
            TakeOrWait::Closed => return Progress::Closed,
            TakeOrWait::Wait => {
                return Progress::Queued(match self.order {
                    QueueOrder::Fifo => waiters.push_back(waiter),
                    QueueOrder::Lifo => waiters.push_front(waiter),
                });
            }
        }
        drop(waiters);
        // Dropping the unused waker may panic; `taken` then gives the permits back.
        let taken = Taken { engine: self, count };
        drop(waiter);
        std::mem::forget(taken);
        Progress::Granted
    }

    /// Returns the progress of a waiter. If it is still queued, `waker` replaces its waker.
    pub(super) fn check(&self, key: WaiterKey, waker: &Waker) -> Progress {
        // As in `enter`: declared before the guard, and therefore dropped after it.
        let mut waker = Some(waker.clone());
        let mut waiters = self.waiters.lock();
        let Some(waiter) = waiters.get_mut(key) else { return Progress::Granted };
        // If this does not read CLOSED, the closing thread takes the lock later, and finds the new
        // waker.
        if !self.permits.is_closed_under_lock() {
            std::mem::swap(&mut waiter.waker, &mut waker);
            return Progress::Queued(key);
        }
        let removed = waiters.remove(key);
        self.update_waiting(&waiters);
        drop(waiters);
        drop(removed);
        Progress::Closed
    }

    /// Leaves the queue. Returns `false` if the permits had been granted.
    #[cold]
    pub(super) fn leave(&self, key: WaiterKey) -> bool {
        let mut waiters = self.waiters.lock();
        let removed = waiters.remove(key);
        self.update_waiting(&waiters);
        let has_more = !waiters.is_empty();
        drop(waiters);
        if removed.is_some() && has_more {
            // The next waiter may need fewer permits than the one that left.
            self.serve();
        }
        removed.is_some()
    }

    pub(super) fn set_limit(&self, limit: u32) {
        let waiters = self.waiters.lock();
        // Ordering: relaxed; written under the lock only, and read otherwise for display.
        let old = self.limit.load(Ordering::Relaxed);
        self.limit.store(limit, Ordering::Relaxed);
        let waiting = self.permits.change(i64::from(limit) - i64::from(old));
        drop(waiters);
        if waiting {
            self.serve();
        }
    }

    /// Closes the semaphore. Returns `true` if this call closed it.
    pub(super) fn end(&self) -> bool {
        let closed = self.permits.close();
        // A waiter that enters the queue before this has set WAITING in the same word. If it still
        // holds the lock, `wake_all` waits for the lock.
        if closed == Some(true) {
            self.wake_all();
        }
        closed.is_some()
    }

    /// Wakes all waiters, which then find CLOSED set. They leave the queue themselves, so that a
    /// waiter that is not in it can rely on having been granted its permits.
    #[cold]
    fn wake_all(&self) {
        let mut wakers = Wakers::new();
        let mut slot = 0;
        loop {
            // No waiter enters after CLOSED, so the slots are the same in every round.
            let mut waiters = self.waiters.lock();
            while !wakers.is_full()
                && let Some(waiter) = waiters.slot(slot)
            {
                slot += 1;
                waiter
                    .and_then(|waiter| waiter.waker.take())
                    .into_iter()
                    .for_each(|waker| wakers.push(waker));
            }
            drop(waiters);
            if !wakers.is_full() {
                return wakers.finish();
            }
            wakers.wake_all();
        }
    }
}

/// Permits that are given back if the thread unwinds.
struct Taken<'a> {
    engine: &'a Engine,
    count: u32,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.engine.give_back(self.count);
    }
}
