//! The permits in one atomic word, and the queue of waiters under a lock.

use std::task::Waker;

use super::QueueOrder;
use super::error::SemaphoreError;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::{Mutex, Wakers};
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
    /// `free << 2 | CLOSED | WAITING`, where `free` is signed: it is negative after the limit was
    /// lowered below the number of permits in use.
    state: AtomicU64,
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

const WAITING: u64 = 0b01;
const CLOSED: u64 = 0b10;

const fn free(state: u64) -> i64 {
    state.cast_signed() >> 2
}

/// The summand that changes the number of free permits by `permits`.
const fn delta(permits: i64) -> u64 {
    (permits << 2).cast_unsigned()
}

impl Engine {
    pub(super) fn new(limit: u32, order: QueueOrder) -> Self {
        Self {
            state: AtomicU64::new(delta(i64::from(limit))),
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
        let state = self.state.load(Ordering::Relaxed);
        if state & (WAITING | CLOSED) == 0 { to_count(free(state)) } else { 0 }
    }

    pub(super) fn in_use(&self) -> u32 {
        to_count(i64::from(self.limit()) - free(self.state.load(Ordering::Relaxed)))
    }

    pub(super) fn has_waiters(&self) -> bool {
        self.state.load(Ordering::Relaxed) & WAITING != 0
    }

    pub(super) fn has_ended(&self) -> bool {
        // Ordering: acquire, with the release in `end`.
        self.state.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Takes `count` permits, unless there are waiters.
    #[inline]
    pub(super) fn take(&self, count: u32) -> Result<(), SemaphoreError> {
        // Ordering: relaxed; the exchange checks the value.
        let mut state = self.state.load(Ordering::Relaxed);
        while state & (WAITING | CLOSED) == 0 && free(state) >= i64::from(count) {
            match self.exchange(state, state.wrapping_sub(delta(i64::from(count)))) {
                Ok(()) => return Ok(()),
                Err(now) => state = now,
            }
        }
        Err(if state & CLOSED == 0 { SemaphoreError::Exhausted } else { SemaphoreError::Closed })
    }

    #[inline]
    pub(super) fn give_back(&self, count: u32) {
        // Ordering: release, so that what the holder did happens before what the next holder does,
        // which acquires in `exchange`. Every later change is a read-modify-write, which continues
        // the release sequence.
        //
        // No wake-up is lost, because flag and permits share a word. If this addition precedes the
        // exchange that sets the flag, that exchange reads these permits. Otherwise this thread
        // reads the flag.
        let state = self.state.fetch_add(delta(i64::from(count)), Ordering::Release);
        if state & WAITING != 0 {
            self.serve();
        }
    }

    #[inline]
    fn exchange(&self, state: u64, new: u64) -> Result<(), u64> {
        // Ordering: acquire, with the release in `give_back`.
        self.state
            .compare_exchange_weak(state, new, Ordering::Acquire, Ordering::Relaxed)
            .map(|_| ())
    }

    /// Grants free permits to the waiters at the front of the queue, and wakes them.
    #[cold]
    fn serve(&self) {
        let mut wakers = Wakers::new();
        loop {
            let mut waiters = self.waiters.lock();
            while !wakers.is_full()
                && let Some(next) = waiters.front()
                && self.take_for_waiter(next.count)
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

    /// Takes permits for the waiter at the front. Called under the lock.
    fn take_for_waiter(&self, count: u32) -> bool {
        let mut state = self.state.load(Ordering::Relaxed);
        while state & CLOSED == 0 && free(state) >= i64::from(count) {
            match self.exchange(state, state.wrapping_sub(delta(i64::from(count)))) {
                Ok(()) => return true,
                Err(now) => state = now,
            }
        }
        false
    }

    /// Clears `WAITING` if the queue is empty. Called under the lock.
    fn update_waiting(&self, waiters: &WaiterList<Waiter>) {
        if waiters.is_empty() {
            // Ordering: relaxed. It publishes no data, and a read-modify-write does not end the
            // release sequence of an earlier `give_back`.
            self.state.fetch_and(!WAITING, Ordering::Relaxed);
        }
    }

    /// Enters the queue, unless the permits can be taken now.
    #[cold]
    pub(super) fn enter(&self, count: u32, waker: &Waker) -> Progress {
        // Cloning and dropping a waker runs user code, so both happen outside the lock.
        let waiter = Waiter { count, waker: Some(waker.clone()) };
        let mut waiters = self.waiters.lock();
        let is_next = waiters.is_empty() || self.order == QueueOrder::Lifo;
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            if state & CLOSED != 0 {
                return Progress::Closed;
            }
            let takes = is_next && free(state) >= i64::from(count);
            let new =
                if takes { state.wrapping_sub(delta(i64::from(count))) } else { state | WAITING };
            match self.exchange(state, new) {
                Ok(()) if takes => break,
                Ok(()) => {
                    return Progress::Queued(match self.order {
                        QueueOrder::Fifo => waiters.push_back(waiter),
                        QueueOrder::Lifo => waiters.push_front(waiter),
                    });
                }
                Err(now) => state = now,
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
        // Ordering: relaxed. If this does not read CLOSED, the closing thread takes the lock later,
        // and finds the new waker.
        if self.state.load(Ordering::Relaxed) & CLOSED == 0 {
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
        // Ordering: as in `give_back`.
        let state =
            self.state.fetch_add(delta(i64::from(limit) - i64::from(old)), Ordering::Release);
        drop(waiters);
        if state & WAITING != 0 {
            self.serve();
        }
    }

    /// Closes the semaphore. Returns `true` if this call closed it.
    pub(super) fn end(&self) -> bool {
        // Ordering: release, with the acquire in `has_ended`.
        let state = self.state.fetch_or(CLOSED, Ordering::Release);
        // A waiter that enters the queue before this has set WAITING in the same word. If it still
        // holds the lock, `wake_all` waits for the lock.
        let closed = state & CLOSED == 0;
        if closed && state & WAITING != 0 {
            self.wake_all();
        }
        closed
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

fn to_count(permits: i64) -> u32 {
    u32::try_from(permits.max(0)).unwrap_or(u32::MAX)
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
