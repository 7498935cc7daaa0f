//! The armed timers of the process, and the protocol between threads that arm timers and the driver
//! thread that fires them.

use super::heap::TimerHeap;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{CachePadded, Mutex, Wakers, discard_panic, thread_id};
use crate::time::Instant;
use std::task::Waker;

/// The armed timers, in shards: threads that arm timers at the same time rarely share a lock.
///
/// # Invariant
///
/// Once the thread that armed a timer has called [`insert`](Self::insert) and, if that returned
/// `true`, has woken the driver, the driver calls [`fire`](Self::fire) no later than the timer's
/// instant. The driver therefore may sleep until the instant that `fire` returned, and need not be
/// woken for each timer: most timers are later than those that are armed already, and are removed
/// before they fire.
#[derive(Debug)]
pub(super) struct TimerQueue {
    shards: Box<[CachePadded<Mutex<TimerHeap>>]>,
    /// The instant, in nanoseconds, at which the driver stops sleeping, or an earlier one if the
    /// driver is being woken for an earlier timer. `fire` stores `u64::MAX` before it examines the
    /// shards.
    wake_at: CachePadded<AtomicU64>,
}

/// The key of a timer in a [`TimerQueue`], held by the timer's owner.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimerKey {
    shard: u32,
    slot: u32,
}

impl TimerQueue {
    pub(super) fn new(shards: usize) -> Self {
        let shard = || CachePadded::new(Mutex::new(TimerHeap::new()));
        Self {
            shards: (0..shards).map(|_| shard()).collect(),
            wake_at: CachePadded::new(AtomicU64::new(u64::MAX)),
        }
    }

    /// Arms a timer. Returns its key, and whether the caller must wake the driver.
    #[must_use]
    pub(super) fn insert(&self, at: Instant, waker: Waker) -> (TimerKey, bool) {
        let thread = thread_id::current().map_or(0, |id| id.number());
        let shard = thread % self.shards.len() as u32;
        let slot = self.shards[shard as usize].lock().insert(at, waker);
        // Ordering: relaxed. If `fire` examines this shard after the insertion, it finds the timer.
        // If it has examined the shard before, the lock orders its store of `u64::MAX` before this
        // load, which then reads that value or a later one. A later value that is not greater than
        // `at` is that of another insertion, after which the driver is woken and examines all
        // shards again, or the instant at which the driver stops sleeping.
        let at = at.as_nanos();
        let is_earliest = at < self.wake_at.load(Ordering::Relaxed)
            && at < self.wake_at.fetch_min(at, Ordering::Relaxed);
        (TimerKey { shard, slot }, is_earliest)
    }

    /// Returns whether a timer has fired. If not, the timer will wake `waker`.
    pub(super) fn has_fired(&self, key: TimerKey, waker: &Waker) -> bool {
        // Cloning and dropping a waker runs user code, so both happen outside the lock.
        let mut fresh = None;
        loop {
            let mut heap = self.heap(key).lock();
            let Some(known) = heap.waker_mut(key.slot) else { return true };
            if known.will_wake(waker) {
                return false;
            }
            if let Some(fresh) = fresh.take() {
                let old = std::mem::replace(known, fresh);
                drop(heap);
                drop(old);
                return false;
            }
            drop(heap);
            fresh = Some(waker.clone());
        }
    }

    /// Removes a timer, which may have fired.
    pub(super) fn remove(&self, key: TimerKey) {
        let waker = self.heap(key).lock().remove(key.slot);
        // Dropping a waker runs user code, so it happens outside the lock.
        drop(waker);
    }

    /// Fires all timers that are due at `now`. Returns the instant until which the driver may
    /// sleep. Called by the driver only.
    pub(super) fn fire(&self, now: Instant) -> Instant {
        self.wake_at.store(u64::MAX, Ordering::Relaxed);
        let mut next = Instant::FAR_FUTURE;
        for shard in &self.shards {
            let mut is_done = false;
            while !is_done {
                let mut wakers = Wakers::new();
                let mut heap = shard.lock();
                while !wakers.is_full() && !is_done {
                    match heap.fire(now) {
                        Some(waker) => wakers.push(waker),
                        None => is_done = true,
                    }
                }
                if is_done {
                    next = next.min(heap.next().unwrap_or(Instant::FAR_FUTURE));
                }
                drop(heap);
                // A waker that panics must not end the driver.
                discard_panic(|| wakers.finish());
            }
        }
        // Ordering: relaxed; see `insert`.
        self.wake_at.store(next.as_nanos(), Ordering::Relaxed);
        next
    }

    fn heap(&self, key: TimerKey) -> &Mutex<TimerHeap> {
        &self.shards[key.shard as usize]
    }
}
