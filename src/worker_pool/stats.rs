//! Job counters: one set for each worker, and one for all other threads.

use super::run::{DiscardReason, JobEnd};
use crate::sync::{CachePadded, Counter};

/// The queue wait of one in this many jobs is measured, because reading the clock twice costs as
/// much as everything else that the pool does for a job.
pub(crate) const SAMPLE_INTERVAL: u64 = 64;

/// The counters of one worker, or of all other threads together.
#[derive(Debug, Default)]
pub(crate) struct Stats(CachePadded<Counters>);

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) begun: Counter,
    pub(crate) completed: Counter,
    /// Jobs that began and ended, but did not complete.
    pub(crate) not_completed: Counter,
    pub(crate) panicked: Counter,
    pub(crate) expired: Counter,
    pub(crate) shed: Counter,
    pub(crate) cancelled: Counter,
    /// Jobs that were not accepted, or were evicted.
    pub(crate) rejected: Counter,
}

impl std::ops::Deref for Stats {
    type Target = Counters;

    #[inline(always)]
    fn deref(&self) -> &Counters {
        &self.0
    }
}

impl Counters {
    /// Counts the end of a job that did not complete, unless it is already counted.
    #[cold]
    pub(crate) fn add_end(&self, end: JobEnd) {
        let counter = match end {
            JobEnd::Discarded(DiscardReason::Expired) => &self.expired,
            JobEnd::Discarded(DiscardReason::Shed) => &self.shed,
            JobEnd::Discarded(DiscardReason::QueueFull) => &self.rejected,
            JobEnd::Discarded(DiscardReason::ShutDown | DiscardReason::Dropped)
            | JobEnd::Cancelled => &self.cancelled,
            JobEnd::Completed | JobEnd::Counted => return,
        };
        counter.add(1);
    }

    /// Adds the counters of a worker that ends.
    pub(crate) fn absorb(&self, other: &Self) {
        self.begun.add(other.begun.get());
        self.completed.add(other.completed.get());
        self.not_completed.add(other.not_completed.get());
        self.panicked.add(other.panicked.get());
        self.expired.add(other.expired.get());
        self.shed.add(other.shed.get());
        self.cancelled.add(other.cancelled.get());
        self.rejected.add(other.rejected.get());
    }

    /// Returns the number of jobs that have begun and not ended.
    pub(crate) fn running(&self) -> u64 {
        let ended = self.completed.get() + self.not_completed.get();
        self.begun.get().saturating_sub(ended)
    }
}

/// Counters, and whether other threads also write to them.
#[derive(Clone, Copy)]
pub(crate) enum Recorder<'a> {
    /// The counters of a worker, on its own thread. It is the only writer, so it needs no atomic
    /// read-modify-write.
    Worker(&'a Stats),
    /// The counters of all threads that are not workers.
    Shared(&'a Stats),
}

impl<'a> Recorder<'a> {
    #[inline(always)]
    pub(crate) fn stats(self) -> &'a Stats {
        match self {
            Self::Worker(stats) | Self::Shared(stats) => stats,
        }
    }

    #[inline(always)]
    pub(crate) fn add_begun(self) {
        self.add_one(|stats| &stats.begun);
    }

    #[inline(always)]
    pub(crate) fn add_completed(self) {
        self.add_one(|stats| &stats.completed);
    }

    #[inline(always)]
    pub(crate) fn add_not_completed(self) {
        self.add_one(|stats| &stats.not_completed);
    }

    /// Returns the number of jobs that have begun.
    pub(crate) fn begun(self) -> u64 {
        self.stats().begun.get()
    }

    #[inline(always)]
    fn add_one(self, counter: impl FnOnce(&Counters) -> &Counter) {
        match self {
            Self::Worker(stats) => {
                counter(stats).increment();
            }
            Self::Shared(stats) => {
                counter(stats).add(1);
            }
        }
    }
}
