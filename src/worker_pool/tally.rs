//! Counting on the side of whoever does the work.

use super::work::{Discard, Fate};
use crate::sync::{CachePadded, Counter};

/// What happened at one desk: a worker's, which only that worker writes to as a rule, or the one that
/// stands for all threads from outside.
#[derive(Debug, Default)]
pub(super) struct Tally(CachePadded<Counts>);

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) begun: Counter,
    pub(super) completed: Counter,
    /// Begun, and ended otherwise.
    pub(super) otherwise: Counter,
    pub(super) panicked: Counter,
    pub(super) expired: Counter,
    pub(super) shed: Counter,
    /// Found cancelled when it came out of the queue, or handed back by a shutdown and dropped.
    pub(super) cancelled: Counter,
    /// Not taken, or evicted.
    pub(super) rejected: Counter,
}

impl std::ops::Deref for Tally {
    type Target = Counts;

    #[inline(always)]
    fn deref(&self) -> &Counts {
        &self.0
    }
}

/// One in so many jobs has its wait in the queue measured: two looks at the clock cost as much as all the
/// rest of a job's way.
pub(super) const SAMPLE: u64 = 64;

impl Counts {
    pub(super) fn is_sample(&self) -> bool {
        self.begun.get().is_multiple_of(SAMPLE)
    }

    /// Counts what became of a job.
    #[cold]
    pub(super) fn note(&self, fate: Fate) {
        let counter = match fate {
            Fate::Discarded(Discard::Expired) => &self.expired,
            Fate::Discarded(Discard::Shed) => &self.shed,
            Fate::Discarded(Discard::QueueFull) => &self.rejected,
            Fate::Discarded(Discard::ShutDown) | Fate::Cancelled => &self.cancelled,
            Fate::Completed | Fate::Settled => return,
        };
        counter.add(1);
    }

    /// Adds what `other` counted, whose desk is given up.
    pub(super) fn absorb(&self, other: &Self) {
        self.begun.add(other.begun.get());
        self.completed.add(other.completed.get());
        self.otherwise.add(other.otherwise.get());
        self.panicked.add(other.panicked.get());
        self.expired.add(other.expired.get());
        self.shed.add(other.shed.get());
        self.cancelled.add(other.cancelled.get());
        self.rejected.add(other.rejected.get());
    }

    pub(super) fn running(&self) -> u64 {
        let ended = self.completed.get() + self.otherwise.get();
        self.begun.get().saturating_sub(ended)
    }
}
