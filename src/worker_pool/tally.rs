//! Counting on the side of whoever does the work.

use crate::sync::CachePadded;
use crate::sync::atomic::{AtomicU64, Ordering};

/// What happened at one desk: a worker's, which only that worker writes to as a rule, or the one that
/// stands for all threads from outside.
#[derive(Debug, Default)]
pub(super) struct Tally(CachePadded<Counts>);

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) begun: Counter,
    pub(super) ended: Counter,
    pub(super) panicked: Counter,
    pub(super) expired: Counter,
    pub(super) shed: Counter,
    /// Found cancelled when it came out of the queue.
    pub(super) cancelled: Counter,
    /// Found already run, by whoever waited for it.
    pub(super) hollow: Counter,
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

    /// The jobs that ran to an end of their own.
    pub(super) fn completed(&self) -> u64 {
        let others = [&self.panicked, &self.expired, &self.shed, &self.cancelled, &self.hollow];
        others.iter().fold(self.ended.get(), |sum, other| sum.saturating_sub(other.get()))
    }

    /// Adds what `other` counted, whose desk is given up.
    pub(super) fn absorb(&self, other: &Self) {
        self.begun.add(other.begun.get());
        self.ended.add(other.ended.get());
        self.panicked.add(other.panicked.get());
        self.expired.add(other.expired.get());
        self.shed.add(other.shed.get());
        self.cancelled.add(other.cancelled.get());
        self.hollow.add(other.hollow.get());
    }

    pub(super) fn running(&self) -> u64 {
        let ended = self.ended.get();
        self.begun.get().saturating_sub(ended)
    }
}

/// Read by anybody, at any time.
///
/// Ordering: relaxed throughout. Each count stands for itself and guards nothing.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    /// Adds one, where there is a single writer: no read-modify-write.
    #[inline(always)]
    pub(super) fn bump(&self) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// Adds `n`, where there may be several.
    #[inline]
    pub(super) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Adds one, and returns how many there were before.
    pub(super) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
