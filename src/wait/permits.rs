//! The permits of a limit in one atomic word, with flags for waiters and for closing.

use super::SemaphoreError;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Free permits, and two flags: `WAITING` while callers wait for permits, and `CLOSED`.
///
/// While `WAITING` is set, [`take`](Self::take) takes nothing: free permits are reserved for the
/// waiters. Methods that set, clear or ignore `WAITING` are called only under the lock of the
/// owner's queue.
///
/// No wake-up is lost, because flag and permits share a word. If the addition of a
/// [`give_back`](Self::give_back) precedes the exchange that sets the flag, that exchange reads
/// these permits. Otherwise the returning thread reads the flag.
#[derive(Debug)]
pub(crate) struct Permits {
    /// `free << 2 | CLOSED | WAITING`, where `free` is signed: it is negative after the limit was
    /// lowered below the number of permits in use.
    state: AtomicU64,
}

const WAITING: u64 = 0b01;
const CLOSED: u64 = 0b10;

/// The result of [`Permits::take_or_wait`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TakeOrWait {
    Taken,
    /// `WAITING` is set.
    Wait,
    Closed,
}

const fn free(state: u64) -> i64 {
    state.cast_signed() >> 2
}

/// The summand that changes the number of free permits by `permits`.
const fn delta(permits: i64) -> u64 {
    (permits << 2).cast_unsigned()
}

impl Permits {
    pub(crate) fn new(limit: u32) -> Self {
        Self { state: AtomicU64::new(delta(i64::from(limit))) }
    }

    /// Returns the number of permits that [`take`](Self::take) can take: zero while there are
    /// waiters.
    pub(crate) fn takable(&self) -> u32 {
        let state = self.state.load(Ordering::Relaxed);
        if state & (WAITING | CLOSED) == 0 { to_count(free(state)) } else { 0 }
    }

    /// Returns the number of permits in use, if there are `limit` permits.
    pub(crate) fn in_use(&self, limit: u32) -> u32 {
        to_count(i64::from(limit) - free(self.state.load(Ordering::Relaxed)))
    }

    pub(crate) fn has_waiters(&self) -> bool {
        self.state.load(Ordering::Relaxed) & WAITING != 0
    }

    pub(crate) fn is_closed(&self) -> bool {
        // Ordering: acquire, with the release in `close`.
        self.state.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Takes `count` permits, unless there are waiters.
    #[inline]
    pub(crate) fn take(&self, count: u32) -> Result<(), SemaphoreError> {
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

    /// Returns permits. If this returns `true`, the caller must serve the waiters.
    #[inline]
    #[must_use]
    pub(crate) fn give_back(&self, count: u32) -> bool {
        self.change(i64::from(count))
    }

    /// Changes the number of free permits by `permits`, which may be negative. If this returns
    /// `true`, the caller must serve the waiters.
    #[inline]
    #[must_use]
    pub(crate) fn change(&self, permits: i64) -> bool {
        // Ordering: release, so that what the holder did happens before what the next holder does,
        // which acquires in `exchange`. Every later change is a read-modify-write, which continues
        // the release sequence.
        self.state.fetch_add(delta(permits), Ordering::Release) & WAITING != 0
    }

    #[inline]
    fn exchange(&self, state: u64, new: u64) -> Result<(), u64> {
        // Ordering: acquire, with the release in `change`.
        self.state
            .compare_exchange_weak(state, new, Ordering::Acquire, Ordering::Relaxed)
            .map(|_| ())
    }

    /// Takes permits for the next waiter. Called under the lock.
    pub(crate) fn take_for_waiter(&self, count: u32) -> bool {
        let mut state = self.state.load(Ordering::Relaxed);
        while state & CLOSED == 0 && free(state) >= i64::from(count) {
            match self.exchange(state, state.wrapping_sub(delta(i64::from(count)))) {
                Ok(()) => return true,
                Err(now) => state = now,
            }
        }
        false
    }

    /// Takes `count` permits if the caller `is_next` and they are free, and sets `WAITING`
    /// otherwise. Called under the lock.
    pub(crate) fn take_or_wait(&self, count: u32, is_next: bool) -> TakeOrWait {
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            if state & CLOSED != 0 {
                return TakeOrWait::Closed;
            }
            let takes = is_next && free(state) >= i64::from(count);
            let new =
                if takes { state.wrapping_sub(delta(i64::from(count))) } else { state | WAITING };
            match self.exchange(state, new) {
                Ok(()) if takes => return TakeOrWait::Taken,
                Ok(()) => return TakeOrWait::Wait,
                Err(now) => state = now,
            }
        }
    }

    /// Clears `WAITING`. Called under the lock, when the queue is empty.
    pub(crate) fn clear_waiting(&self) {
        // Ordering: relaxed. It publishes no data, and a read-modify-write does not end the
        // release sequence of an earlier `give_back`.
        self.state.fetch_and(!WAITING, Ordering::Relaxed);
    }

    /// Returns whether `CLOSED` is set. Called under the lock: if it is not, the closing thread
    /// takes the lock later.
    pub(crate) fn is_closed_under_lock(&self) -> bool {
        self.state.load(Ordering::Relaxed) & CLOSED != 0
    }

    /// Sets `CLOSED`. Returns whether there were waiters, or `None` if it was set already.
    pub(crate) fn close(&self) -> Option<bool> {
        // Ordering: release, with the acquire in `is_closed`.
        let state = self.state.fetch_or(CLOSED, Ordering::Release);
        (state & CLOSED == 0).then_some(state & WAITING != 0)
    }
}

fn to_count(permits: i64) -> u32 {
    u32::try_from(permits.max(0)).unwrap_or(u32::MAX)
}
