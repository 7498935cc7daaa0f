//! The state and counters of a pool at one moment.

use super::shared::Shared;
use super::stats::Counters;
use crate::window::LatencySummary;

/// The state of a pool, and its counters since it was built.
///
/// Each value is exact at the moment when it is read. The values are read one after another, so
/// their sums are consistent only while the pool is idle. A job counts as ended shortly after its
/// handle has received the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerPoolSnapshot {
    /// The number of jobs in the queue. May include jobs that were cancelled, or run by the thread
    /// that waits for them, until they reach the front of the queue or their slots are needed.
    pub queued: usize,
    /// The number of jobs that are running, on workers and on callers' threads.
    pub running: usize,
    /// The number of worker threads.
    pub workers: usize,
    /// The number of worker threads that sleep. One more may be searching the queue.
    pub idle: usize,
    /// The number of jobs that returned; each job of a scope and each item of a map counts.
    pub completed: u64,
    /// The number of jobs that panicked, and of jobs whose captures panicked when they were
    /// dropped.
    pub panicked: u64,
    /// The number of jobs that were cancelled by their handle, or discarded by a shutdown. A job
    /// that a shutdown returned counts when it is dropped without having been run.
    pub cancelled: u64,
    /// The number of jobs that were not accepted, or were evicted, because the queue was full or
    /// the pool was shut down.
    pub rejected: u64,
    /// The number of jobs whose deadline passed while they waited.
    pub expired: u64,
    /// The number of jobs that were shed under overload.
    pub shed: u64,
    /// How long jobs waited in the queue, over the last few thousand samples; `None` before the
    /// first. One in 64 jobs is a sample.
    pub queue_wait: Option<LatencySummary>,
}

impl WorkerPoolSnapshot {
    pub(crate) fn of(pool: &Shared) -> Self {
        let (workers, idle) = pool.queue.idle.present();
        let mut snapshot = Self {
            queued: pool.queue.jobs.len(),
            running: 0,
            workers,
            idle,
            completed: 0,
            panicked: 0,
            cancelled: 0,
            rejected: 0,
            expired: 0,
            shed: 0,
            queue_wait: pool.queue_waits.summary(),
        };
        pool.for_each_stats(|stats| snapshot.add(stats));
        snapshot
    }

    fn add(&mut self, stats: &Counters) {
        self.running += stats.running() as usize;
        self.completed += stats.completed.get();
        self.panicked += stats.panicked.get();
        self.cancelled += stats.cancelled.get();
        self.rejected += stats.rejected.get();
        self.expired += stats.expired.get();
        self.shed += stats.shed.get();
    }
}
