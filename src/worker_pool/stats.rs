//! Counters, each written by the thread that does the work.

use super::run::{DiscardReason, JobEnd};
use crate::sync::{CachePadded, Counter};

/// One in this many jobs has its queue wait measured: reading the clock twice costs as much as the
/// rest of an empty job's path.
pub(crate) const SAMPLE_INTERVAL: u64 = 64;

/// The counters of one worker, or of all other threads together.
#[derive(Debug, Default)]
pub(crate) struct Stats(CachePadded<Counters>);

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) begun: Counter,
    pub(crate) completed: Counter,
    /// Begun, and ended otherwise than by completing.
    pub(crate) not_completed: Counter,
    pub(crate) panicked: Counter,
    pub(crate) expired: Counter,
    pub(crate) shed: Counter,
    pub(crate) cancelled: Counter,
    /// Not accepted, or evicted.
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
    /// Counts how a job ended, unless it completed.
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

    /// The number of jobs that have begun and not ended.
    pub(crate) fn running(&self) -> u64 {
        let ended = self.completed.get() + self.not_completed.get();
        self.begun.get().saturating_sub(ended)
    }
}

/// Counters together with who else writes to them.
#[derive(Clone, Copy)]
pub(crate) enum Recorder<'a> {
    /// A worker's, on that worker's thread: the only writer, which needs no read-modify-write.
    Worker(&'a Stats),
    /// Those of all threads that are not workers.
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

    /// The number of jobs that have begun.
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
