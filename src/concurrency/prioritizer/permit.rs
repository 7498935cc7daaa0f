//! The permits of a prioritizer: [`PrioritizerPermit`], [`OwnedPrioritizerPermit`].

use super::Prioritizer;
use super::shared::{CallEnd, Shared};
use std::fmt;

/// A permit for one call. Dropping it records the call as completed.
///
/// If a limiter below the prioritizer rejects the call, use [`rejected`](Self::rejected) instead:
/// the server has not done the work of the call, so it does not count as completed.
#[must_use = "a permit that is dropped records the end of its call"]
pub struct PrioritizerPermit<'a> {
    shared: &'a Shared,
    end: CallEnd,
}

/// A [`PrioritizerPermit`] that keeps its prioritizer alive.
#[must_use = "a permit that is dropped records the end of its call"]
pub struct OwnedPrioritizerPermit {
    prioritizer: Prioritizer,
    end: CallEnd,
}

impl<'a> PrioritizerPermit<'a> {
    pub(super) const fn new(shared: &'a Shared) -> Self {
        Self { shared, end: CallEnd::Completed }
    }

    /// Records that a limiter below the prioritizer rejected the call.
    pub fn rejected(mut self) {
        self.end = CallEnd::Rejected;
    }
}

impl Drop for PrioritizerPermit<'_> {
    fn drop(&mut self) {
        self.shared.end(self.end);
    }
}

impl OwnedPrioritizerPermit {
    pub(super) const fn new(prioritizer: Prioritizer) -> Self {
        Self { prioritizer, end: CallEnd::Completed }
    }

    /// Records that a limiter below the prioritizer rejected the call.
    pub fn rejected(mut self) {
        self.end = CallEnd::Rejected;
    }
}

impl Drop for OwnedPrioritizerPermit {
    fn drop(&mut self) {
        self.prioritizer.0.end(self.end);
    }
}

impl fmt::Debug for PrioritizerPermit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrioritizerPermit").finish_non_exhaustive()
    }
}

impl fmt::Debug for OwnedPrioritizerPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedPrioritizerPermit").finish_non_exhaustive()
    }
}
