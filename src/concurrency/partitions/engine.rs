//! The permits and the queues of all partitions, under one lock.

use super::config::{Config, PartitionConfig};
use super::state::{Candidate, Share, State};
use crate::concurrency::queue::{CallerQueue, Entry, Granted, NextWaiter, WaitTimes, WaiterStatus};
use crate::error::Reason;
use crate::sync::{Mutex, Wakers, discard_panic};
use crate::time::{Clock, Instant};
use crate::wait::{QueueOrder, WaiterKey};
use std::task::Waker;
use std::time::Duration;

/// The shared state of a partitioned bulkhead.
///
/// # Invariants
///
/// 1. While the lock is not held, too few permits are free for the next waiter. An exception is the
///    time from a release of permits, the departure of a waiter or a change of the settings until
///    the same thread calls `serve`. In that time, a new caller takes permits only if it comes
///    before all waiters.
/// 2. Once `closed` is set, no permit is taken and no waiter enters.
pub(super) struct Engine {
    queues: Mutex<Queues>,
}

struct Queues {
    permits: State,
    /// One for each partition.
    queues: Box<[Queue]>,
    /// The number of waiting callers in all partitions.
    waiting: u32,
    /// The number of callers that have entered a queue: the sequence number of the last one.
    arrivals: u64,
    closed: bool,
    /// The last reading of the clock. It is used by `take`, which does not read the clock, and if
    /// the clock panics.
    now: Instant,
}

struct Queue {
    callers: CallerQueue,
    max_len: u32,
    max_wait: Duration,
}

/// The state of a partition at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct PartitionFigures {
    pub(super) share: Share,
    pub(super) max_queue: u32,
    pub(super) queued: u32,
    pub(super) order: QueueOrder,
    pub(super) oldest_since: Option<Instant>,
    pub(super) median: Option<Duration>,
}

impl Engine {
    pub(super) fn new(config: &Config) -> Self {
        let shares = config.partitions.iter().map(|partition| (partition.min, partition.max));
        Self {
            queues: Mutex::new(Queues {
                permits: State::new(config.max_concurrent, shares),
                queues: config.partitions.iter().map(Queue::new).collect(),
                waiting: 0,
                arrivals: 0,
                closed: false,
                now: Instant::ORIGIN,
            }),
        }
    }

    /// Returns the limit and the number of permits in use, over all partitions.
    pub(super) fn permits(&self) -> (u32, u32) {
        let queues = self.queues.lock();
        (queues.permits.max, queues.permits.in_use)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.queues.lock().closed
    }

    pub(super) fn figures(&self, partition: usize, now: Instant) -> PartitionFigures {
        self.queues.lock().figures(partition, now)
    }

    pub(super) fn all_figures(&self, now: Instant) -> Vec<PartitionFigures> {
        let queues = self.queues.lock();
        (0..queues.queues.len()).map(|partition| queues.figures(partition, now)).collect()
    }

    pub(super) fn share(&self, partition: usize) -> Share {
        self.queues.lock().permits.shares[partition]
    }

    pub(super) fn median(&self, partition: usize) -> Option<Duration> {
        self.with_queue(partition, |queue| queue.median())
    }

    /// Returns how long a caller waits by default, or `None` if the partition has no queue.
    pub(super) fn max_wait(&self, partition: usize) -> Option<Duration> {
        let queue = &self.queues.lock().queues[partition];
        (queue.max_len > 0).then_some(queue.max_wait)
    }

    /// Runs `f` under the lock. `f` must not run user code.
    pub(super) fn with_queue<R>(
        &self,
        partition: usize,
        f: impl FnOnce(&mut CallerQueue) -> R,
    ) -> R {
        f(&mut self.queues.lock().queues[partition].callers)
    }

    /// Takes permits if they are free and no waiting caller comes first.
    pub(super) fn take(&self, partition: usize, cost: u32) -> Result<(), Reason> {
        self.queues.lock().take(partition, cost)
    }

    /// Releases permits after a call that ran.
    pub(super) fn give_back(&self, partition: usize, granted: Granted, clock: &Clock) {
        let mut queues = self.queues.lock();
        queues.permits.give_back(partition, granted.cost());
        let waiting = queues.waiting > 0;
        drop(queues);
        // The duration of a call that waited is recorded when the queues are served.
        let released = granted.waiter().map(|slot| Released { partition, slot });
        if waiting || released.is_some() {
            self.serve_by(clock, released);
        }
    }

    /// Releases the permits of a waiter whose call did not run. The time since the grant is not
    /// recorded as a service time.
    #[cold]
    pub(super) fn cancel(&self, partition: usize, granted: Granted, clock: &Clock) {
        if let Some(slot) = granted.waiter() {
            self.with_queue(partition, |queue| queue.release(slot, None));
        }
        self.give_back(partition, Granted::immediately(granted.cost()), clock);
    }

    /// Takes permits if that is possible by now, or enters the queue of the partition. Returns a
    /// reason if the caller must be rejected.
    #[cold]
    pub(super) fn enter(
        &self,
        partition: usize,
        cost: u32,
        times: WaitTimes,
    ) -> Result<Entry, Reason> {
        let mut queues = self.queues.lock();
        if cost > queues.permits.max_cost(partition) {
            return Err(Reason::ConcurrencyLimited);
        }
        if let Some(reason) = queues.queues[partition].callers.rejects_new(&times) {
            return Err(reason);
        }
        match queues.take(partition, cost) {
            Ok(()) => return Ok(Entry::Granted),
            Err(Reason::ConcurrencyLimited) => {}
            Err(reason) => return Err(reason),
        }
        let queue = &queues.queues[partition];
        if queue.callers.len() >= queue.max_len {
            return Err(Reason::QueueFull);
        }
        queues.arrivals += 1;
        queues.waiting += 1;
        let arrival = queues.arrivals;
        let key = queues.queues[partition].callers.push(cost, arrival, times);
        let is_next = queues.waiting > 1 && queues.next_served(times.since).is_some();
        Ok(Entry::Queued { key, is_next })
    }

    /// Removes a waiter, unless it was granted permits, and returns its status. If it was waiting,
    /// the queues are served.
    #[cold]
    pub(super) fn leave(&self, partition: usize, key: WaiterKey, clock: &Clock) -> WaiterStatus {
        let mut queues = self.queues.lock();
        // Dropped at the end: dropping a waker runs user code.
        let (status, _waker) = queues.queues[partition].callers.leave(key);
        let left = status == WaiterStatus::Waiting;
        queues.waiting -= u32::from(left);
        let serves = left && queues.waiting > 0;
        drop(queues);
        if serves {
            // The next waiter may need fewer permits than the one that left.
            self.serve_by(clock, None);
        }
        status
    }

    /// Reads the clock and serves the queues, after permits were released or added or a waiter has
    /// left. `released` is the waiter whose call has ended; the duration of the call is recorded as
    /// a service time.
    #[cold]
    pub(super) fn serve_by(&self, clock: &Clock, released: Option<Released>) {
        struct OnPanic<'a>(&'a Engine, Option<Released>);
        impl Drop for OnPanic<'_> {
            fn drop(&mut self) {
                discard_panic(|| self.0.serve(None, self.1));
            }
        }
        // The clock may be user code. If it panics, the waiters are served with its last reading.
        let on_panic = OnPanic(self, released);
        let now = clock.now();
        std::mem::forget(on_panic);
        self.serve(Some(now), released);
    }

    /// Grants free permits to the next waiters, rejects the waiters that must not be served, and
    /// wakes all of them. Ends when the next waiter must wait for permits. `now` is `None` if the
    /// clock has panicked.
    pub(super) fn serve(&self, now: Option<Instant>, released: Option<Released>) {
        let mut released = released;
        self.end_each(|queues| {
            if let Some(Released { partition, slot }) = released.take() {
                queues.queues[partition].callers.release(slot, now);
            }
            queues.now = now.unwrap_or(queues.now);
            queues.serve_next(queues.now)
        });
    }

    /// Calls `end`, which ends the wait of one waiter and returns its waker, until it returns
    /// `None`. Calls the wakers outside the lock.
    fn end_each(&self, mut end: impl FnMut(&mut Queues) -> Option<Option<Waker>>) {
        let mut wakers = Wakers::new();
        loop {
            let mut queues = self.queues.lock();
            while !wakers.is_full()
                && let Some(waker) = end(&mut queues)
            {
                waker.into_iter().for_each(|waker| wakers.push(waker));
            }
            drop(queues);
            if !wakers.is_full() {
                return wakers.finish();
            }
            wakers.wake_all();
        }
    }

    /// Replaces the settings. The caller must serve the queues afterwards.
    pub(super) fn reconfigure(&self, config: &Config) {
        let mut queues = self.queues.lock();
        queues.permits.max = config.max_concurrent;
        for (index, partition) in config.partitions.iter().enumerate() {
            let share = &mut queues.permits.shares[index];
            (share.min, share.max) = (partition.min, partition.max);
            let queue = &mut queues.queues[index];
            (queue.max_len, queue.max_wait) = (partition.max_queue, partition.max_wait);
            queue.callers.reconfigure(partition.queue);
        }
    }

    /// Closes the bulkhead and rejects all waiters. Returns `true` if this call closed it.
    pub(super) fn close(&self) -> bool {
        let mut queues = self.queues.lock();
        if std::mem::replace(&mut queues.closed, true) {
            return false;
        }
        drop(queues);
        self.end_each(|queues| {
            let all = &mut queues.queues;
            let waker =
                all.iter_mut().find_map(|queue| queue.callers.reject_oldest(Reason::ShutDown))?;
            queues.waiting -= 1;
            Some(waker)
        });
        true
    }
}

/// The waiter whose permits were released.
#[derive(Clone, Copy)]
pub(super) struct Released {
    partition: usize,
    slot: u32,
}

impl Queues {
    /// Returns the next waiter of each partition at `now`.
    fn candidates(&self, now: Instant) -> impl Iterator<Item = Candidate> {
        self.queues.iter().enumerate().filter_map(move |(partition, queue)| {
            let NextWaiter { cost, arrival, .. } = queue.callers.next(now)?;
            Some(Candidate { partition, cost, arrival })
        })
    }

    /// Returns the partition whose next waiter can be served at `now`, or `None` if there is no
    /// waiter or the next waiter must wait for permits.
    fn next_served(&self, now: Instant) -> Option<usize> {
        if self.waiting == 0 || self.closed {
            return None;
        }
        let next = self.permits.next(self.candidates(now))?;
        self.permits.is_free(next.cost).then_some(next.partition)
    }

    /// Returns a partition whose next waiter can never be served, because a limit was lowered.
    fn next_too_expensive(&self, now: Instant) -> Option<usize> {
        let too_expensive =
            |next: &Candidate| next.cost > self.permits.max_cost(next.partition) && !self.closed;
        self.candidates(now).find(too_expensive).map(|next| next.partition)
    }

    /// Decides the status of the next waiter, and returns its waker. Returns `None` if there is no
    /// waiter to serve.
    fn serve_next(&mut self, now: Instant) -> Option<Option<Waker>> {
        let partition = self.next_too_expensive(now).or_else(|| self.next_served(now))?;
        let max_cost = self.permits.max_cost(partition);
        let queue = &mut self.queues[partition].callers;
        let next = queue.next(now)?;
        let status = if let Some(reason) = queue.rejects(&next, now, max_cost) {
            WaiterStatus::Rejected(reason)
        } else if queue.sheds(&next, now) {
            WaiterStatus::Rejected(Reason::Shed)
        } else {
            self.permits.take(partition, next.cost);
            WaiterStatus::Granted(now)
        };
        self.waiting -= 1;
        Some(queue.end(next.key, status))
    }

    /// Takes permits if they are free and no waiting caller comes first.
    fn take(&mut self, partition: usize, cost: u32) -> Result<(), Reason> {
        if self.closed {
            return Err(Reason::ShutDown);
        }
        let new = Candidate { partition, cost, arrival: u64::MAX };
        let is_first = self.waiting == 0
            || self.queues[partition].callers.len() == 0
                && self.permits.next(self.candidates(self.now).chain([new])) == Some(new);
        if !is_first || !self.permits.is_free(cost) || !self.permits.is_within_max(partition, cost)
        {
            return Err(Reason::ConcurrencyLimited);
        }
        self.permits.take(partition, cost);
        Ok(())
    }

    fn figures(&self, partition: usize, now: Instant) -> PartitionFigures {
        let queue = &self.queues[partition];
        PartitionFigures {
            share: self.permits.shares[partition],
            max_queue: queue.max_len,
            queued: queue.callers.len(),
            order: queue.callers.order(now),
            oldest_since: queue.callers.oldest_since(),
            median: queue.callers.median(),
        }
    }
}

impl Queue {
    fn new(config: &PartitionConfig) -> Self {
        let callers = CallerQueue::new(config.queue);
        Self { callers, max_len: config.max_queue, max_wait: config.max_wait }
    }
}
