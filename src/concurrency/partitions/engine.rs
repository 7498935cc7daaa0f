//! The permits and the queues of all partitions, under one lock.

use super::config::{Config, PartitionConfig};
use super::state::{Oldest, Share, State};
use crate::error::Reason;
use crate::sync::{Mutex, Wakers, discard_panic};
use crate::time::{Clock, Instant};
use crate::wait::{WaiterKey, WaiterList};
use std::task::Waker;
use std::time::Duration;

/// The shared state of a partitioned bulkhead.
///
/// # Invariants
///
/// 1. While the lock is not held, no permit is free that a waiting caller may take, except between
///    the return of a permit, or a change of the settings, and the call of `serve` by the same
///    thread. In the meantime, new callers receive no permit.
/// 2. A waiter stays in `Queue::waiters` until its owner removes it. It is a member of the queue
///    while its status is `Waiting`, and detached afterwards.
/// 3. A waiter whose status is `Granted` owns a permit, which the owner of the waiter gives back.
pub(super) struct Engine {
    queues: Mutex<Queues>,
}

struct Queues {
    permits: State,
    /// One for each partition.
    queues: Box<[Queue]>,
    /// The number of waiting callers in all partitions.
    waiting: u32,
    arrivals: u64,
    closed: bool,
    /// The last reading of the clock, which is used if the clock panics.
    now: Instant,
}

struct Queue {
    /// In order of arrival.
    waiters: WaiterList<Waiter>,
    len: u32,
    max_len: u32,
    max_wait: Duration,
}

struct Waiter {
    arrival: u64,
    times: WaitTimes,
    status: WaiterStatus,
    /// `None` before the first call of `check`, and after the status was decided.
    waker: Option<Waker>,
}

/// The times of one waiting caller.
#[derive(Clone, Copy, Debug)]
pub(super) struct WaitTimes {
    pub(super) since: Instant,
    pub(super) give_up: Instant,
}

/// The progress of a waiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WaiterStatus {
    Waiting,
    Granted,
    Rejected(Reason),
}

/// The result of entering a queue.
pub(super) enum Entry {
    /// A permit has become free since the caller tried to take one.
    Granted,
    Rejected(Reason),
    Queued(WaiterKey),
}

/// The figures of a partition at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct PartitionFigures {
    pub(super) share: Share,
    pub(super) max_queue: u32,
    pub(super) queued: u32,
    pub(super) oldest_since: Option<Instant>,
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

    /// Returns the maximum number of permits and the number in use, of all partitions.
    pub(super) fn permits(&self) -> (u32, u32) {
        let queues = self.queues.lock();
        (queues.permits.max, queues.permits.in_use)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.queues.lock().closed
    }

    pub(super) fn figures(&self, partition: usize) -> PartitionFigures {
        self.queues.lock().figures(partition)
    }

    pub(super) fn all_figures(&self) -> Vec<PartitionFigures> {
        let queues = self.queues.lock();
        (0..queues.queues.len()).map(|partition| queues.figures(partition)).collect()
    }

    pub(super) fn max_wait(&self, partition: usize) -> Duration {
        self.queues.lock().queues[partition].max_wait
    }

    /// Takes a permit, unless a waiting caller can use it.
    pub(super) fn take(&self, partition: usize) -> Result<(), Reason> {
        self.queues.lock().take(partition)
    }

    /// Returns a permit.
    pub(super) fn give_back(&self, partition: usize, clock: &Clock) {
        let mut queues = self.queues.lock();
        queues.permits.give_back(partition);
        let waiting = queues.waiting > 0;
        drop(queues);
        if waiting {
            self.serve_by(clock);
        }
    }

    /// Enters the queue of a partition, unless a permit can be taken now.
    pub(super) fn enter(&self, partition: usize, times: WaitTimes) -> Entry {
        let mut queues = self.queues.lock();
        if times.give_up <= times.since {
            return Entry::Rejected(Reason::QueueTimeout);
        }
        match queues.take(partition) {
            Ok(()) => return Entry::Granted,
            Err(Reason::ConcurrencyLimited) => {}
            Err(reason) => return Entry::Rejected(reason),
        }
        let queue = &queues.queues[partition];
        if queue.len >= queue.max_len {
            return Entry::Rejected(match queue.max_len {
                0 => Reason::ConcurrencyLimited,
                _ => Reason::QueueFull,
            });
        }
        queues.arrivals += 1;
        queues.waiting += 1;
        let arrival = queues.arrivals;
        let waiter = Waiter { arrival, times, status: WaiterStatus::Waiting, waker: None };
        let queue = &mut queues.queues[partition];
        queue.len += 1;
        Entry::Queued(queue.waiters.push_back(waiter))
    }

    /// Returns the status of a waiter. If the waiter still waits, `waker` becomes its waker.
    /// Otherwise the waiter is removed.
    pub(super) fn check(&self, partition: usize, key: WaiterKey, waker: &Waker) -> WaiterStatus {
        // Cloning and dropping a waker runs user code, so both happen outside the lock.
        let mut fresh = None;
        loop {
            let mut queues = self.queues.lock();
            let waiters = &mut queues.queues[partition].waiters;
            let waiter = waiters.get_mut(key).expect("its owner has not removed it");
            if waiter.status != WaiterStatus::Waiting {
                if fresh.is_some() {
                    drop(queues);
                    fresh = None;
                    continue;
                }
                let status = waiter.status;
                waiters.remove(key);
                return status;
            }
            if waiter.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
                return WaiterStatus::Waiting;
            }
            if let Some(fresh) = fresh.take() {
                let old = waiter.waker.replace(fresh);
                drop(queues);
                drop(old);
                return WaiterStatus::Waiting;
            }
            drop(queues);
            fresh = Some(waker.clone());
        }
    }

    /// Removes a waiter, and returns its status. The caller must drop the waker last, because
    /// dropping it runs user code.
    ///
    /// A waiter that leaves makes no permit available, so no queue needs to be served.
    pub(super) fn leave(&self, partition: usize, key: WaiterKey) -> (WaiterStatus, Option<Waker>) {
        let mut queues = self.queues.lock();
        let queue = &mut queues.queues[partition];
        let waiter = queue.waiters.remove(key).expect("its owner has not removed it");
        if waiter.status == WaiterStatus::Waiting {
            queue.len -= 1;
            queues.waiting -= 1;
        }
        (waiter.status, waiter.waker)
    }

    /// Serves the queues after permits were returned or added.
    #[cold]
    pub(super) fn serve_by(&self, clock: &Clock) {
        struct OnPanic<'a>(&'a Engine);
        impl Drop for OnPanic<'_> {
            fn drop(&mut self) {
                discard_panic(|| self.0.serve(None));
            }
        }
        // The clock may be user code. If it panics, the waiters are served with its last reading.
        let on_panic = OnPanic(self);
        let now = clock.now();
        std::mem::forget(on_panic);
        self.serve(Some(now));
    }

    /// Grants the free permits to the next waiters, rejects those whose wait has timed out, and
    /// wakes both.
    fn serve(&self, now: Option<Instant>) {
        self.decide_all(|queues| {
            queues.now = now.unwrap_or(queues.now);
            let now = queues.now;
            let partition = queues.next()?;
            let front = queues.queues[partition].waiters.front()?;
            if now >= front.times.give_up {
                return Some((partition, WaiterStatus::Rejected(Reason::QueueTimeout)));
            }
            queues.permits.take(partition);
            Some((partition, WaiterStatus::Granted))
        });
    }

    /// Calls `decide` until it returns `None`. `decide` returns a partition and the new status of
    /// its oldest waiter, which is then woken outside the lock.
    fn decide_all(&self, mut decide: impl FnMut(&mut Queues) -> Option<(usize, WaiterStatus)>) {
        let mut wakers = Wakers::new();
        loop {
            let mut queues = self.queues.lock();
            while !wakers.is_full()
                && let Some((partition, status)) = decide(&mut queues)
            {
                queues.end(partition, status).into_iter().for_each(|waker| wakers.push(waker));
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
        }
    }

    /// Closes the bulkhead and rejects all waiters. Returns `true` if this call closed it.
    pub(super) fn close(&self) -> bool {
        let mut queues = self.queues.lock();
        if std::mem::replace(&mut queues.closed, true) {
            return false;
        }
        drop(queues);
        self.decide_all(|queues| {
            let partition = queues.queues.iter().position(|queue| queue.len > 0)?;
            Some((partition, WaiterStatus::Rejected(Reason::ShutDown)))
        });
        true
    }
}

impl Queues {
    /// Returns the partition whose oldest waiter receives the next permit.
    fn next(&self) -> Option<usize> {
        if self.waiting == 0 || self.closed {
            return None;
        }
        let oldest = self.queues.iter().enumerate().filter_map(|(partition, queue)| {
            Some(Oldest { partition, arrival: queue.waiters.front()?.arrival })
        });
        self.permits.next(oldest)
    }

    fn take(&mut self, partition: usize) -> Result<(), Reason> {
        if self.closed {
            return Err(Reason::ShutDown);
        }
        if !self.permits.has_room(partition) || self.next().is_some() {
            return Err(Reason::ConcurrencyLimited);
        }
        self.permits.take(partition);
        Ok(())
    }

    /// Sets the status of the oldest waiter of a partition, and detaches the waiter from the queue.
    /// Returns its waker.
    fn end(&mut self, partition: usize, status: WaiterStatus) -> Option<Waker> {
        let queue = &mut self.queues[partition];
        let key = queue.waiters.front_key()?;
        queue.waiters.detach(key);
        queue.len -= 1;
        self.waiting -= 1;
        let waiter = queue.waiters.get_mut(key)?;
        waiter.status = status;
        waiter.waker.take()
    }

    fn figures(&self, partition: usize) -> PartitionFigures {
        let queue = &self.queues[partition];
        PartitionFigures {
            share: self.permits.shares[partition],
            max_queue: queue.max_len,
            queued: queue.len,
            oldest_since: queue.waiters.front().map(|waiter| waiter.times.since),
        }
    }
}

impl Queue {
    fn new(config: &PartitionConfig) -> Self {
        let (max_len, max_wait) = (config.max_queue, config.max_wait);
        Self { waiters: WaiterList::new(), len: 0, max_len, max_wait }
    }
}
