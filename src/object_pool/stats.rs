//! Counters of a pool, for each thread.

use crate::sync::atomic::{AtomicU64, Ordering};

/// What was counted for one thread number, or for all threads without one.
#[derive(Debug, Default)]
pub(super) struct Stats {
    pub(super) hits: Counter,
    pub(super) misses: Counter,
    pub(super) created: Counter,
    pub(super) recycled: Counter,
    pub(super) discarded: Counter,
}

/// A counter that any thread may read at any time.
///
/// Ordering: relaxed throughout. Each count stands for itself and guards nothing.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    /// Adds one and returns the sum, without a read-modify-write. Only for a counter with a single
    /// writer at a time.
    #[inline]
    pub(super) fn bump(&self) -> u64 {
        let sum = self.0.load(Ordering::Relaxed).wrapping_add(1);
        self.0.store(sum, Ordering::Relaxed);
        sum
    }

    /// Adds `n` and returns the sum, for a counter with many writers.
    pub(super) fn add(&self, n: u64) -> u64 {
        self.0.fetch_add(n, Ordering::Relaxed).wrapping_add(n)
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
