//! The limit on how many breakers of one group may be open at the same time.

use crate::share;
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// A counter of the open and half-open breakers of a group, which limits them to a share of all.
///
/// If a large share of the breakers opens at once, the fault is probably in this process or its
/// network. Opening the others as well would turn a partial failure into an outage.
#[derive(Debug)]
pub(crate) struct OpenLimit {
    /// The share of the breakers that may be open. One breaker may always be open.
    max_share: f64,
    breakers: AtomicUsize,
    open: AtomicUsize,
    /// The number of openings suppressed because the limit was reached.
    suppressed: AtomicU64,
}

// Ordering: relaxed throughout. The counters guard no other data. Each counter has a single
// modification order, which makes the limit exact.
impl OpenLimit {
    pub(crate) fn new(max_share: f64) -> Self {
        Self {
            max_share,
            breakers: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            suppressed: AtomicU64::new(0),
        }
    }

    fn max_open(&self) -> usize {
        let breakers = self.breakers.load(Relaxed) as u64;
        (share::at_most(self.max_share, breakers) as usize).max(1)
    }

    /// The number of breakers that are open or half-open.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    pub(crate) fn suppressed(&self) -> u64 {
        self.suppressed.load(Relaxed)
    }

    pub(super) fn is_reached(&self) -> bool {
        self.open() >= self.max_open()
    }

    pub(super) fn count_suppressed(&self) {
        self.suppressed.fetch_add(1, Relaxed);
    }

    pub(super) fn add_breaker(&self) {
        self.breakers.fetch_add(1, Relaxed);
    }

    pub(super) fn remove_breaker(&self) {
        self.breakers.fetch_sub(1, Relaxed);
    }

    /// Increments the number of open breakers; returns false if the limit is reached.
    pub(super) fn try_open(&self) -> bool {
        let one_more = |open| (open < self.max_open()).then(|| open + 1);
        self.open.fetch_update(Relaxed, Relaxed, one_more).is_ok()
    }

    /// Decrements the number of open breakers.
    pub(super) fn release(&self) {
        self.open.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_share_of_the_breakers_is_open() {
        let limit = OpenLimit::new(0.5);
        (0..4).for_each(|_| limit.add_breaker());
        assert!(limit.try_open() && limit.try_open());
        assert!(limit.is_reached() && !limit.try_open());
        limit.release();
        assert!(!limit.is_reached() && limit.try_open());
        assert_eq!(limit.open(), 2);
    }
}
