//! Counting on the side of whoever does the work.

use crate::sync::{CachePadded, Counter};
use crate::worker_pool::run::{Discard, JobEnd};

/// What happened at one desk: a worker's, which only that worker writes to as a rule, or the one that
/// stands for all threads from outside.
#[derive(Debug, Default)]
pub(crate) struct WorkerStats(CachePadded<Stats>);

#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub(crate) begun: Counter,
    pub(crate) completed: Counter,
    /// Begun, and ended otherwise.
    pub(crate) otherwise: Counter,
    pub(crate) panicked: Counter,
    pub(crate) expired: Counter,
    pub(crate) shed: Counter,
    /// Found cancelled when it came out of the queue, or handed back by a shutdown and dropped.
    pub(crate) cancelled: Counter,
    /// Not taken, or evicted.
    pub(crate) rejected: Counter,
}

impl std::ops::Deref for WorkerStats {
    type Target = Stats;

    #[inline(always)]
    fn deref(&self) -> &Stats {
        &self.0
    }
}

/// One in so many jobs has its wait in the queue measured: two looks at the clock cost as much as all the
/// rest of a job's way.
pub(crate) const SAMPLE: u64 = 64;

impl Stats {
    pub(crate) fn is_sample(&self) -> bool {
        self.begun.get().is_multiple_of(SAMPLE)
    }

    /// Stats what became of a job.
    #[cold]
    pub(crate) fn note(&self, end: JobEnd) {
        let counter = match end {
            JobEnd::Discarded(Discard::Expired) => &self.expired,
            JobEnd::Discarded(Discard::Shed) => &self.shed,
            JobEnd::Discarded(Discard::QueueFull) => &self.rejected,
            JobEnd::Discarded(Discard::ShutDown) | JobEnd::Cancelled => &self.cancelled,
            JobEnd::Completed | JobEnd::Settled => return,
        };
        counter.add(1);
    }

    /// Adds what `other` counted, whose desk is given up.
    pub(crate) fn absorb(&self, other: &Self) {
        self.begun.add(other.begun.get());
        self.completed.add(other.completed.get());
        self.otherwise.add(other.otherwise.get());
        self.panicked.add(other.panicked.get());
        self.expired.add(other.expired.get());
        self.shed.add(other.shed.get());
        self.cancelled.add(other.cancelled.get());
        self.rejected.add(other.rejected.get());
    }

    pub(crate) fn running(&self) -> u64 {
        let ended = self.completed.get() + self.otherwise.get();
        self.begun.get().saturating_sub(ended)
    }
}
