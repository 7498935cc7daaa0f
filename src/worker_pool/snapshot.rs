use super::Shared;
use super::stats::Stats;
use crate::worker_pool::queue::wait_times::QueueWaits;

/// What a pool does, and did since it was built.
///
/// Each figure is right by itself. They are read one after another while others go on, so that they fit
/// together only when the pool is quiet; a job counts as ended a moment after its handle has the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerPoolSnapshot {
    /// Jobs that wait in the queue, including those cancelled, or begun by who waits for them, whose turn
    /// has not come yet.
    pub queued: usize,
    /// Jobs that are being run, on workers or by those who submitted or joined them.
    pub running: usize,
    /// Threads.
    pub workers: usize,
    /// WorkerCount that sleep. One more may be looking for work.
    pub idle: usize,
    /// Jobs that ran to an end, each job of a scope and item of a map among them.
    pub completed: u64,
    /// Jobs that panicked, or whose captures did on being dropped.
    pub panicked: u64,
    /// Jobs cancelled by their handle whose turn came since, and those that a shutdown handed back and nobody
    /// ran.
    pub cancelled: u64,
    /// Jobs not taken, or dropped, because the queue was full or the pool shut down.
    pub rejected: u64,
    /// Jobs whose deadline passed while they waited.
    pub expired: u64,
    /// Jobs shed under overload.
    pub shed: u64,
    /// How long jobs waited in the queue; `None` before the first sample.
    pub queue_wait: Option<QueueWaits>,
}

impl WorkerPoolSnapshot {
    pub(crate) fn of(pool: &Shared) -> Self {
        let (workers, idle) = pool.queue.idle.present();
        let mut sum = Self {
            queued: pool.queue.lanes.len(),
            running: 0,
            workers,
            idle,
            completed: 0,
            panicked: 0,
            cancelled: 0,
            rejected: 0,
            expired: 0,
            shed: 0,
            queue_wait: pool.queue_wait.quantiles(),
        };
        pool.for_each_stats(|stats| sum.add(stats));
        sum
    }

    fn add(&mut self, stats: &Stats) {
        self.running += stats.running() as usize;
        self.completed += stats.completed.get();
        self.panicked += stats.panicked.get();
        self.cancelled += stats.cancelled.get();
        self.rejected += stats.rejected.get();
        self.expired += stats.expired.get();
        self.shed += stats.shed.get();
    }
}
