//! The permits in one atomic word, and the queue of waiting callers under a lock.

use super::config::Config;
use super::state::{ServiceTimes, Shedder, WaitTimes, order};
use crate::error::Reason;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use crate::sync::{Mutex, Wakers, discard_panic};
use crate::time::{Clock, Instant, nanos};
use crate::wait::{Permits, QueueOrder, SemaphoreError, TakeOrWait, WaiterKey, WaiterList};
use std::task::Waker;
use std::time::Duration;

/// The shared state of a bulkhead.
///
/// # Invariants
///
/// 1. `WAITING` is set in `permits` whenever the queue has a member. It is set and cleared under
///    the lock only. While it is set, permits are taken only under the lock, for a waiter.
/// 2. A waiter stays in `Queue::waiters` until its owner, the acquisition, removes it. It is a
///    member of the queue while its status is `Waiting`, and detached afterwards.
/// 3. A waiter whose status is `Granted` owns its permits, and its owner gives them back.
/// 4. Once `CLOSED` is set, no permit is taken and no waiter enters.
pub(super) struct Engine {
    permits: Permits,
    limit: AtomicU32,
    max_queue: AtomicU32,
    /// In nanoseconds.
    max_wait: AtomicU64,
    /// The median service time in nanoseconds; `u64::MAX` if it is unknown.
    median: AtomicU64,
    queue: Mutex<Queue>,
}

struct Queue {
    /// In order of arrival.
    waiters: WaiterList<Waiter>,
    len: u32,
    lifo_after: Duration,
    shedder: Option<Shedder>,
    service_times: ServiceTimes,
    /// The latest known time, which is used if the clock panics.
    now: Instant,
}

struct Waiter {
    cost: u32,
    times: WaitTimes,
    status: WaiterStatus,
    /// `None` before the first call of `check`, and after the status was decided.
    waker: Option<Waker>,
}

/// The progress of a waiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WaiterStatus {
    Waiting,
    /// Granted its permits at this instant.
    Granted(Instant),
    Rejected(Reason),
}

/// The result of entering the queue.
pub(super) enum Entry {
    /// The permits were free, and were taken without waiting.
    Granted,
    Rejected(Reason),
    /// In the queue. The caller must serve the queue if `is_next`.
    Queued {
        key: WaiterKey,
        is_next: bool,
    },
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
            queue: Mutex::new(Queue {
                waiters: WaiterList::new(),
                len: 0,
                lifo_after: config.lifo_after,
                shedder: config.codel.map(Shedder::new),
                service_times: ServiceTimes::new(),
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
        let queue = self.queue.lock();
        let oldest = queue.waiters.front().map(|waiter| waiter.times.since);
        QueueFigures {
            len: queue.len,
            order: oldest.map_or(QueueOrder::Fifo, |oldest| order(now, oldest, queue.lifo_after)),
            oldest_wait: oldest.map(|oldest| now.since(oldest)),
        }
    }

    pub(super) fn queued(&self) -> u32 {
        self.queue.lock().len
    }

    /// Takes permits, unless there are waiters.
    #[inline]
    pub(super) fn take(&self, cost: u32) -> Result<(), Reason> {
        self.permits.take(cost).map_err(|error| match error {
            SemaphoreError::Exhausted => Reason::ConcurrencyLimited,
            SemaphoreError::Closed => Reason::ShutDown,
        })
    }

    /// Releases permits that were granted without a wait.
    #[inline]
    pub(super) fn give_back(&self, cost: u32, clock: &Clock) {
        if self.permits.give_back(cost) {
            self.serve_by(clock, None);
        }
    }

    /// Releases permits that were granted to a waiter at the instant `granted`.
    #[cold]
    pub(super) fn give_back_later(&self, cost: u32, granted: Instant, clock: &Clock) {
        // The queue is served in any case, because that records the duration of the call.
        let _waiting = self.permits.give_back(cost);
        self.serve_by(clock, Some(granted));
    }

    /// Enters the queue, unless permits can be taken now.
    #[cold]
    pub(super) fn enter(&self, cost: u32, times: WaitTimes) -> Entry {
        let mut queue = self.queue.lock();
        if cost > self.limit() {
            return Entry::Rejected(Reason::ConcurrencyLimited);
        }
        if let Some(reason) = times.rejection(times.since, self.median()) {
            return Entry::Rejected(reason);
        }
        if queue.len >= self.max_queue() {
            return Entry::Rejected(Reason::QueueFull);
        }
        match self.permits.take_or_wait(cost, queue.len == 0) {
            TakeOrWait::Taken => return Entry::Granted,
            TakeOrWait::Closed => return Entry::Rejected(Reason::ShutDown),
            TakeOrWait::Wait => {}
        }
        let waiter = Waiter { cost, times, status: WaiterStatus::Waiting, waker: None };
        let key = queue.waiters.push_back(waiter);
        queue.len += 1;
        let is_next = queue.len > 1 && queue.next(times.since) == Some(key);
        Entry::Queued { key, is_next }
    }

    /// Returns the status of a waiter. If it still waits, `waker` becomes its waker. If not, the
    /// waiter is removed.
    pub(super) fn check(&self, key: WaiterKey, waker: &Waker) -> WaiterStatus {
        // Cloning and dropping a waker runs user code, so both happen outside the lock.
        let mut fresh = None;
        loop {
            let mut queue = self.queue.lock();
            let waiter = queue.waiters.get_mut(key).expect("its owner has not removed it");
            if waiter.status != WaiterStatus::Waiting {
                if fresh.is_some() {
                    drop(queue);
                    fresh = None;
                    continue;
                }
                let status = waiter.status;
                queue.waiters.remove(key);
                return status;
            }
            if waiter.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
                return WaiterStatus::Waiting;
            }
            if let Some(fresh) = fresh.take() {
                let old = waiter.waker.replace(fresh);
                drop(queue);
                drop(old);
                return WaiterStatus::Waiting;
            }
            drop(queue);
            fresh = Some(waker.clone());
        }
    }

    /// Removes a waiter, and returns its status. If it is `Waiting`, the waiter has left the queue,
    /// and the caller must serve the queue. The caller must drop the waker last, because dropping
    /// it runs user code.
    #[cold]
    pub(super) fn leave(&self, key: WaiterKey) -> (WaiterStatus, Option<Waker>) {
        let mut queue = self.queue.lock();
        let waiter = queue.waiters.remove(key).expect("its owner has not removed it");
        if waiter.status == WaiterStatus::Waiting {
            queue.len -= 1;
            self.update_waiting(&queue);
        }
        (waiter.status, waiter.waker)
    }

    /// Serves the queue after permits were released or a waiter has left. `granted` is the instant
    /// at which the released permits were granted to a waiter; the time since then is recorded as a
    /// service time.
    #[cold]
    pub(super) fn serve_by(&self, clock: &Clock, granted: Option<Instant>) {
        struct OnPanic<'a>(&'a Engine);
        impl Drop for OnPanic<'_> {
            fn drop(&mut self) {
                discard_panic(|| self.0.serve(None, None));
            }
        }
        // The clock may be user code. If it panics, the queue is served as of the latest known
        // time.
        let on_panic = OnPanic(self);
        let now = clock.now();
        std::mem::forget(on_panic);
        self.serve(Some(now), granted.map(|granted| now.since(granted)));
    }

    /// Grants free permits to the next waiters, rejects the waiters that must not be served, and
    /// wakes both. Ends when the next waiter must wait for permits.
    pub(super) fn serve(&self, now: Option<Instant>, service_time: Option<Duration>) {
        let mut wakers = Wakers::new();
        let mut queue = self.queue.lock();
        if let Some(time) = service_time {
            queue.service_times.record(time);
            let median = queue.service_times.median();
            self.median.store(median.map_or(u64::MAX, nanos), Relaxed);
        }
        let now = now.unwrap_or(queue.now);
        queue.now = now;
        loop {
            while !wakers.is_full()
                && let Some(key) = queue.next(now)
                && let Some(status) = self.decide(&mut queue, key, now)
            {
                queue.end(key, status).into_iter().for_each(|waker| wakers.push(waker));
            }
            self.update_waiting(&queue);
            drop(queue);
            if !wakers.is_full() {
                return wakers.finish();
            }
            wakers.wake_all();
            queue = self.queue.lock();
        }
    }

    /// Decides the status of the next waiter. Returns `None` if it must wait for permits.
    fn decide(&self, queue: &mut Queue, key: WaiterKey, now: Instant) -> Option<WaiterStatus> {
        let is_last = queue.len == 1;
        let &mut Waiter { cost, times, .. } = queue.waiters.get_mut(key)?;
        if let Some(reason) = times.rejection(now, self.median()) {
            return Some(WaiterStatus::Rejected(reason));
        }
        if cost > self.limit() {
            // The limit was lowered. A waiter that can never be served must not block the others.
            return Some(WaiterStatus::Rejected(Reason::ConcurrencyLimited));
        }
        if !self.permits.take_for_waiter(cost) {
            return None;
        }
        let waited = now.since(times.since);
        if queue.shedder.as_mut().is_some_and(|shedder| shedder.sheds(now, waited, is_last)) {
            // `WAITING` is set, but this thread is serving the waiters already.
            let _waiting = self.permits.give_back(cost);
            return Some(WaiterStatus::Rejected(Reason::Shed));
        }
        Some(WaiterStatus::Granted(now))
    }

    /// Clears `WAITING` if the queue is empty. Called under the lock.
    fn update_waiting(&self, queue: &Queue) {
        if queue.len == 0 {
            self.permits.clear_waiting();
        }
    }

    /// Replaces the settings. The caller must serve the queue afterwards.
    pub(super) fn reconfigure(&self, config: Config) {
        let mut queue = self.queue.lock();
        let old = self.limit();
        // Ordering: relaxed; written under the lock only, and read elsewhere for display.
        self.limit.store(config.max_concurrent, Relaxed);
        self.max_queue.store(config.max_queue, Relaxed);
        self.max_wait.store(nanos(config.max_wait), Relaxed);
        queue.lifo_after = config.lifo_after;
        queue.shedder = config.codel.map(Shedder::new);
        let _waiting = self.permits.change(i64::from(config.max_concurrent) - i64::from(old));
    }

    /// Closes the bulkhead and rejects all waiters. Returns `true` if this call closed it.
    pub(super) fn close(&self) -> bool {
        let closed = self.permits.close();
        // A waiter that entered the queue before `CLOSED` was set has set `WAITING` in the same
        // word, so `closed` is `Some(true)`. If its thread still holds the lock, `reject_all` waits
        // for it.
        if closed == Some(true) {
            self.reject_all(Reason::ShutDown);
        }
        closed.is_some()
    }

    #[cold]
    fn reject_all(&self, reason: Reason) {
        let mut wakers = Wakers::new();
        loop {
            let mut queue = self.queue.lock();
            while !wakers.is_full()
                && let Some(key) = queue.waiters.front_key()
            {
                queue
                    .end(key, WaiterStatus::Rejected(reason))
                    .into_iter()
                    .for_each(|waker| wakers.push(waker));
            }
            self.update_waiting(&queue);
            drop(queue);
            if !wakers.is_full() {
                return wakers.finish();
            }
            wakers.wake_all();
        }
    }
}

impl Queue {
    /// Returns the waiter that is served next at `now`.
    fn next(&self, now: Instant) -> Option<WaiterKey> {
        match order(now, self.waiters.front()?.times.since, self.lifo_after) {
            QueueOrder::Fifo => self.waiters.front_key(),
            QueueOrder::Lifo => self.waiters.back_key(),
        }
    }

    /// Sets the final status of a waiter and removes it from the queue. Returns its waker.
    fn end(&mut self, key: WaiterKey, status: WaiterStatus) -> Option<Waker> {
        self.waiters.detach(key);
        self.len -= 1;
        let waiter = self.waiters.get_mut(key)?;
        waiter.status = status;
        waiter.waker.take()
    }
}
