//! The permits in one atomic word, and the queue of waiting callers under a lock.

use super::config::Config;
use crate::concurrency::queue::{CallerQueue, Entry, Granted, WaitTimes, WaiterStatus};
use crate::error::Reason;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use crate::sync::{Mutex, Wakers, discard_panic};
use crate::time::{Clock, Instant, nanos};
use crate::wait::{Permits, QueueOrder, SemaphoreError, TakeOrWait, WaiterKey};
use std::task::Waker;
use std::time::Duration;

/// The shared state of a bulkhead.
///
/// # Invariants
///
/// 1. `WAITING` is set in `permits` whenever a caller waits. It is set and cleared under the lock
///    only. While it is set, permits are taken only under the lock, for a waiter.
/// 2. Once `CLOSED` is set, no permit is taken and no waiter enters.
pub(super) struct Engine {
    permits: Permits,
    limit: AtomicU32,
    max_queue: AtomicU32,
    /// In nanoseconds.
    max_wait: AtomicU64,
    /// The median service time in nanoseconds; `u64::MAX` if it is unknown.
    median: AtomicU64,
    waiting: Mutex<Waiting>,
}

struct Waiting {
    queue: CallerQueue,
    /// The latest known time, which is used if the clock panics.
    now: Instant,
}

/// The figures of the queue at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueueFigures {
    pub(super) len: u32,
    pub(super) order: QueueOrder,
    pub(super) oldest_wait: Option<Duration>,
}

impl Engine {
    pub(super) fn new(config: Config) -> Self {
        Self {
            permits: Permits::new(config.max_concurrent),
            limit: AtomicU32::new(config.max_concurrent),
            max_queue: AtomicU32::new(config.max_queue),
            max_wait: AtomicU64::new(nanos(config.max_wait)),
            median: AtomicU64::new(u64::MAX),
            waiting: Mutex::new(Waiting {
                queue: CallerQueue::new(config.queue),
                now: Instant::ORIGIN,
            }),
        }
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit.load(Relaxed)
    }

    pub(super) fn max_queue(&self) -> u32 {
        self.max_queue.load(Relaxed)
    }

    pub(super) fn max_wait(&self) -> Duration {
        Duration::from_nanos(self.max_wait.load(Relaxed))
    }

    pub(super) fn median(&self) -> Option<Duration> {
        match self.median.load(Relaxed) {
            u64::MAX => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }

    pub(super) fn in_use(&self) -> u32 {
        self.permits.in_use(self.limit())
    }

    pub(super) fn takable(&self) -> u32 {
        self.permits.takable()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.permits.is_closed()
    }

    pub(super) fn figures(&self, now: impl FnOnce() -> Instant) -> QueueFigures {
        // Before the lock: the clock may be user code.
        let now = now();
        self.with_queue(|queue| QueueFigures {
            len: queue.len(),
            order: queue.order(now),
            oldest_wait: queue.oldest_since().map(|since| now.since(since)),
        })
    }

    pub(super) fn queued(&self) -> u32 {
        self.with_queue(|queue| queue.len())
    }

    /// Runs `f` under the lock. `f` must not run user code.
    pub(super) fn with_queue<R>(&self, f: impl FnOnce(&mut CallerQueue) -> R) -> R {
        f(&mut self.waiting.lock().queue)
    }

    /// Takes permits, unless there are waiters.
    #[inline]
    pub(super) fn take(&self, cost: u32) -> Result<(), Reason> {
        self.permits.take(cost).map_err(|error| match error {
            SemaphoreError::Exhausted => Reason::ConcurrencyLimited,
            SemaphoreError::Closed => Reason::ShutDown,
        })
    }

    /// Releases permits after a call that ran.
    #[inline]
    pub(super) fn give_back(&self, granted: Granted, clock: &Clock) {
        let waiting = self.permits.give_back(granted.cost());
        // A call that waited is recorded when the queue is served.
        if waiting || granted.waiter().is_some() {
            self.serve_by(clock, granted.waiter());
        }
    }

    /// Releases the permits of a waiter whose call did not run, so that the time since the grant is
    /// not a service time.
    #[cold]
    pub(super) fn cancel(&self, granted: Granted, clock: &Clock) {
        if let Some(slot) = granted.waiter() {
            self.with_queue(|queue| queue.release(slot, None));
        }
        if self.permits.give_back(granted.cost()) {
            self.serve_by(clock, None);
        }
    }

    /// Enters the queue, unless permits can be taken now.
    #[cold]
    pub(super) fn enter(&self, cost: u32, times: WaitTimes) -> Result<Entry, Reason> {
        let mut waiting = self.waiting.lock();
        let queue = &mut waiting.queue;
        if cost > self.limit() {
            return Err(Reason::ConcurrencyLimited);
        }
        if let Some(reason) = queue.rejects_new(&times) {
            return Err(reason);
        }
        if queue.len() >= self.max_queue() {
            return Err(Reason::QueueFull);
        }
        match self.permits.take_or_wait(cost, queue.len() == 0) {
            TakeOrWait::Taken => return Ok(Entry::Granted),
            TakeOrWait::Closed => return Err(Reason::ShutDown),
            TakeOrWait::Wait => {}
        }
        let key = queue.push(cost, 0, times);
        let next = queue.next(times.since);
        let is_next = queue.len() > 1 && next.is_some_and(|next| next.key == key);
        Ok(Entry::Queued { key, is_next })
    }

    /// Removes a waiter, unless it was granted permits, and returns its status. If it was waiting,
    /// the queue is served.
    #[cold]
    pub(super) fn leave(&self, key: WaiterKey, clock: &Clock) -> WaiterStatus {
        let mut waiting = self.waiting.lock();
        // Dropped at the end: dropping a waker runs user code.
        let (status, _waker) = waiting.queue.leave(key);
        self.update_waiting(&waiting.queue);
        drop(waiting);
        if status == WaiterStatus::Waiting {
            // The next waiter may need fewer permits than the one that left.
            self.serve_by(clock, None);
        }
        status
    }

    /// Serves the queue after permits were released or a waiter has left. `released` is the slot of
    /// the waiter that was granted the released permits; the time since then is recorded as a
    /// service time.
    #[cold]
    pub(super) fn serve_by(&self, clock: &Clock, released: Option<u32>) {
        struct OnPanic<'a>(&'a Engine, Option<u32>);
        impl Drop for OnPanic<'_> {
            fn drop(&mut self) {
                discard_panic(|| self.0.serve(None, self.1));
            }
        }
        // The clock may be user code. If it panics, the queue is served as of the latest known
        // time.
        let on_panic = OnPanic(self, released);
        let now = clock.now();
        std::mem::forget(on_panic);
        self.serve(Some(now), released);
    }

    /// Grants free permits to the next waiters, rejects the waiters that must not be served, and
    /// wakes both. Ends when the next waiter must wait for permits.
    pub(super) fn serve(&self, now: Option<Instant>, released: Option<u32>) {
        let mut released = released;
        self.end_each(|waiting| {
            if let Some(slot) = released.take() {
                waiting.queue.release(slot, now);
                self.median.store(waiting.queue.median().map_or(u64::MAX, nanos), Relaxed);
            }
            waiting.now = now.unwrap_or(waiting.now);
            self.serve_next(&mut waiting.queue, waiting.now)
        });
    }

    /// Decides the status of the next waiter, and returns its waker. Returns `None` if the next
    /// waiter must wait for permits.
    fn serve_next(&self, queue: &mut CallerQueue, now: Instant) -> Option<Option<Waker>> {
        let next = queue.next(now)?;
        let status = if let Some(reason) = queue.rejects(&next, now, self.limit()) {
            WaiterStatus::Rejected(reason)
        } else if !self.permits.take_for_waiter(next.cost) {
            return None;
        } else if queue.sheds(&next, now) {
            // `WAITING` is set, but this thread is serving the waiters already.
            let _waiting = self.permits.give_back(next.cost);
            WaiterStatus::Rejected(Reason::Shed)
        } else {
            WaiterStatus::Granted(now)
        };
        Some(queue.end(next.key, status))
    }

    /// Calls `end`, which ends the wait of one waiter and returns its waker, until it returns
    /// `None`. Calls the wakers outside the lock.
    fn end_each(&self, mut end: impl FnMut(&mut Waiting) -> Option<Option<Waker>>) {
        let mut wakers = Wakers::new();
        loop {
            let mut waiting = self.waiting.lock();
            while !wakers.is_full()
                && let Some(waker) = end(&mut waiting)
            {
                waker.into_iter().for_each(|waker| wakers.push(waker));
            }
            self.update_waiting(&waiting.queue);
            drop(waiting);
            if !wakers.is_full() {
                return wakers.finish();
            }
            wakers.wake_all();
        }
    }

    /// Clears `WAITING` if the queue is empty. Called under the lock.
    fn update_waiting(&self, queue: &CallerQueue) {
        if queue.len() == 0 {
            self.permits.clear_waiting();
        }
    }

    /// Replaces the settings. The caller must serve the queue afterwards.
    pub(super) fn reconfigure(&self, config: Config) {
        let mut waiting = self.waiting.lock();
        let old = self.limit();
        // Ordering: relaxed; written under the lock only, and read elsewhere for display.
        self.limit.store(config.max_concurrent, Relaxed);
        self.max_queue.store(config.max_queue, Relaxed);
        self.max_wait.store(nanos(config.max_wait), Relaxed);
        waiting.queue.reconfigure(config.queue);
        let _waiting = self.permits.change(i64::from(config.max_concurrent) - i64::from(old));
    }

    /// Closes the bulkhead and rejects all waiters. Returns `true` if this call closed it.
    pub(super) fn close(&self) -> bool {
        let closed = self.permits.close();
        // A waiter that entered the queue before `CLOSED` was set has set `WAITING` in the same
        // word, so `closed` is `Some(true)`. If its thread still holds the lock, `end_each` waits
        // for it.
        if closed == Some(true) {
            self.end_each(|waiting| waiting.queue.reject_oldest(Reason::ShutDown));
        }
        closed.is_some()
    }
}
