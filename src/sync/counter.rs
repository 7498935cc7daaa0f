//! A statistics counter.

use super::atomic::{AtomicU64, Ordering};

/// A statistics counter that only increases, with one writer or many, and any number of readers.
///
/// # Performance
///
/// [`increment`](Self::increment) is one load and one store; [`add`](Self::add) is one atomic
/// read-modify-write.
// Ordering: relaxed throughout. A counter protects no other memory.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds one and returns the new value. There must be only one writer at a time: increments of
    /// concurrent writers can be lost.
    #[inline(always)]
    pub(crate) fn increment(&self) -> u64 {
        let value = self.0.load(Ordering::Relaxed).wrapping_add(1);
        self.0.store(value, Ordering::Relaxed);
        value
    }

    /// Adds `n` and returns the new value. Any number of threads may call it at the same time, but
    /// not at the same time as [`increment`](Self::increment).
    #[inline]
    pub(crate) fn add(&self, n: u64) -> u64 {
        self.0.fetch_add(n, Ordering::Relaxed).wrapping_add(n)
    }

    /// Returns the current value.
    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::Counter;

    #[test]
    fn both_ways_of_adding_return_the_new_value() {
        let counter = Counter::default();
        assert_eq!(counter.get(), 0);
        assert_eq!(counter.increment(), 1);
        assert_eq!(counter.add(5), 6);
        assert_eq!(counter.get(), 6);
    }
}
