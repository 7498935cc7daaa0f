//! Counting on the side of whoever does the work.

use crate::sync::CachePadded;
use crate::sync::atomic::{AtomicU64, Ordering};
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
        match end {
            JobEnd::Discarded(Discard::Expired) => self.expired.add(1),
            JobEnd::Discarded(Discard::Shed) => self.shed.add(1),
            JobEnd::Discarded(Discard::QueueFull) => self.rejected.add(1),
            JobEnd::Discarded(Discard::ShutDown) | JobEnd::Cancelled => self.cancelled.add(1),
            JobEnd::Completed | JobEnd::Settled => {}
        }
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

/// Read by anybody, at any time.
///
/// Ordering: relaxed throughout. Each count stands for itself and guards nothing.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds one, where there is a single writer: no read-modify-write.
    #[inline(always)]
    pub(crate) fn bump(&self) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// Adds `n`, where there may be several.
    #[inline]
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Adds one, and returns how many there were before.
    pub(crate) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
