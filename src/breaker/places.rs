//! How many breakers of one family may be shut at once.

use crate::share;
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// A breaker that opens takes a place, and gives it back when it closes. If too large a share is shut, what
/// is wrong is likely on this side, and to shut the rest would make an outage of a nuisance.
#[derive(Debug)]
pub(super) struct Places {
    /// Of the breakers that there are, so many may be shut; one in any case.
    share: f64,
    breakers: AtomicUsize,
    shut: AtomicUsize,
    /// How often one would have opened, and there was no place.
    spared: AtomicU64,
}

impl Places {
    pub(super) fn new(share: f64) -> Self {
        Self {
            share,
            breakers: AtomicUsize::new(0),
            shut: AtomicUsize::new(0),
            spared: AtomicU64::new(0),
        }
    }

    fn bound(&self) -> usize {
        (share::at_most(self.share, self.breakers.load(Relaxed) as u64) as usize).max(1)
    }

    pub(super) fn shut(&self) -> usize {
        self.shut.load(Relaxed)
    }

    pub(super) fn spared(&self) -> u64 {
        self.spared.load(Relaxed)
    }

    pub(super) fn is_full(&self) -> bool {
        self.shut() >= self.bound()
    }

    pub(super) fn spare(&self) {
        self.spared.fetch_add(1, Relaxed);
    }

    pub(super) fn join(&self) {
        self.breakers.fetch_add(1, Relaxed);
    }

    /// A breaker is gone, perhaps a shut one.
    pub(super) fn part(&self, shut: bool) {
        self.breakers.fetch_sub(1, Relaxed);
        if shut {
            self.give_back();
        }
    }

    /// Ordering: relaxed. One word has one order of modifications, which makes the bound exact.
    pub(super) fn take(&self) -> bool {
        let more = |shut| (shut < self.bound()).then(|| shut + 1);
        self.shut.fetch_update(Relaxed, Relaxed, more).is_ok()
    }

    pub(super) fn give_back(&self) {
        self.shut.fetch_sub(1, Relaxed);
    }
}
