//! The queue of waiters, and what else a decision needs to know when the state word alone does not
//! decide.
//!
//! Tokens are never assigned to a waiter in advance: the first waiter takes them itself when they
//! are available. So a waiter that gives up, at whatever moment, wastes nothing, and only the first
//! needs a timer.

use super::gcra::Gcra;
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};
use crate::sync::{Mutex, MutexGuard};
use crate::wait::{WaiterKey, WaiterList};
use std::task::Waker;

#[derive(Debug)]
pub(super) struct WaitQueue {
    waiters: Mutex<Waiters>,
    /// The tokens that all of them wait for. Changed under the lock, read without it for estimates.
    queued_tokens: AtomicU64,
}

/// What is under the lock of the queue.
///
/// Invariant: the `slow` bit of the state word is set if and only if [`is_slow`](Self::is_slow).
/// Both change only under the lock. While the bit is set, only the holder of the lock changes the
/// word.
#[derive(Debug)]
pub(super) struct Waiters {
    list: WaiterList<Waiter>,
    len: usize,
    /// The last waiter was granted its tokens so late that the TAT is still in the past: the next
    /// request is counted from the TAT, if it follows soon.
    pub(super) is_catching_up: bool,
    /// The clock was set back, and the limiter counts by the earlier time. This is the TAT by the
    /// later time, which applies again if the clock returns to it.
    pub(super) set_back_from: Option<u64>,
}

#[derive(Debug)]
struct Waiter {
    cost: u32,
    /// `None`: has been woken, and has not polled since.
    waker: Option<Waker>,
}

/// A waiter that is to be woken. Wakers are user code: to be called after every lock was released.
#[must_use]
pub(crate) struct WakeUp(Option<Waker>);

impl WakeUp {
    pub(super) const NONE: Self = Self(None);

    pub(crate) fn wake(self) {
        if let Some(waker) = self.0 {
            waker.wake();
        }
    }
}

/// A waker that was replaced or belongs to a waiter that left. Dropping it may run user code: to be
/// dropped after the lock was released.
pub(super) type Discarded = Option<Waker>;

impl WaitQueue {
    pub(super) fn new() -> Self {
        let waiters =
            Waiters { list: WaiterList::new(), len: 0, is_catching_up: false, set_back_from: None };
        Self { waiters: Mutex::new(waiters), queued_tokens: AtomicU64::new(0) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Waiters> {
        self.waiters.lock()
    }

    pub(super) fn queued_tokens(&self) -> u64 {
        self.queued_tokens.load(Relaxed)
    }

    /// Appends a waiter for `cost` tokens.
    pub(super) fn enter(
        &self,
        waiters: &mut Waiters,
        cost: u32,
        waker: Option<Waker>,
    ) -> WaiterKey {
        waiters.len += 1;
        self.queued_tokens.fetch_add(cost.into(), Relaxed);
        waiters.list.push_back(Waiter { cost, waker })
    }

    /// Removes a waiter. If it was the first, the next is to be woken.
    pub(super) fn leave(&self, waiters: &mut Waiters, key: WaiterKey) -> (WakeUp, Discarded) {
        let was_first = waiters.list.is_front(key);
        let waiter = waiters.list.remove(key);
        if let Some(waiter) = &waiter {
            waiters.len -= 1;
            self.queued_tokens.fetch_sub(waiter.cost.into(), Relaxed);
        }
        let wake_up = if was_first { waiters.wake_first() } else { WakeUp::NONE };
        (wake_up, waiter.and_then(|waiter| waiter.waker))
    }
}

impl Waiters {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_first(&self, key: WaiterKey) -> bool {
        self.list.is_front(key)
    }

    /// Whether the state word alone does not decide.
    pub(super) fn is_slow(&self) -> bool {
        self.len > 0 || self.is_catching_up || self.set_back_from.is_some()
    }

    /// The time from which a request is counted that was not queued.
    pub(super) fn start(&self, gcra: &Gcra, tat: u64, now: u64) -> u64 {
        match self.is_catching_up {
            true => gcra.catch_up_start(tat, now),
            false => Gcra::start(tat, now),
        }
    }

    /// The first waiter is to poll again.
    pub(super) fn wake_first(&mut self) -> WakeUp {
        WakeUp(self.list.front_mut().and_then(|waiter| waiter.waker.take()))
    }

    /// Stores the waker of a waiter; leaves the one before in `waker`.
    pub(super) fn set_waker(&mut self, key: WaiterKey, waker: &mut Option<Waker>) {
        if let Some(waiter) = self.list.get_mut(key) {
            std::mem::swap(&mut waiter.waker, waker);
        }
    }
}
