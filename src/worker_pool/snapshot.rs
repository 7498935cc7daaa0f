//! The figures of a pool at one moment.

use super::shared::Shared;
use super::stats::Counters;
use crate::window::LatencySummary;

/// What a pool is doing, and has done since it was built.
///
/// Each figure is exact at the moment when it is read. The figures are read one after another while
/// the pool runs, so they add up only while it is quiet. A job counts as ended shortly after its
/// handle has received the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerPoolSnapshot {
    /// Jobs that wait in the queue. May include jobs that were cancelled, or run by the thread that
    /// waits for them, until they reach the front of the queue or their place is needed.
    pub queued: usize,
    /// Jobs that are running, on workers and on threads that run a job themselves.
    pub running: usize,
    /// Worker threads.
    pub workers: usize,
    /// Worker threads that sleep. One more may be looking for work.
    pub idle: usize,
    /// Jobs that returned; each job of a scope and each item of a map counts.
    pub completed: u64,
    /// Jobs that panicked, and jobs whose captures panicked when they were dropped.
    pub panicked: u64,
    /// Jobs that were cancelled by their handle, or handed back by a shutdown and not run since.
    pub cancelled: u64,
    /// Jobs that were not accepted, or evicted from the queue, because it was full or shut down.
    pub rejected: u64,
    /// Jobs whose deadline passed while they waited.
    pub expired: u64,
    /// Jobs that were shed under overload.
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
