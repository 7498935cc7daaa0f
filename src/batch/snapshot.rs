//! The counters of a batcher: [`BatcherSnapshot`] and [`BatcherDrainReport`].

use std::time::Duration;

/// The state and the counters of a [`Batcher`](super::Batcher) at one moment.
///
/// Every accepted item is counted in exactly one of `queued`, `in_flight`, `succeeded`, `failed`,
/// `unsent`, `cancelled` and `abandoned`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatcherSnapshot {
    /// The number of queued items.
    pub queued: usize,
    /// The number of callers that wait to enter the queue.
    pub waiting: usize,
    /// The number of items that were sent and have not been answered.
    pub in_flight: usize,
    /// The number of running batches.
    pub running: usize,
    /// The time for which the oldest item has been queued.
    pub lag: Duration,
    /// The number of items that entered the queue.
    pub accepted: u64,
    /// The number of items for which the operation returned a value.
    pub succeeded: u64,
    /// The number of items whose operation failed or panicked.
    pub failed: u64,
    /// The number of items that were answered without being sent, because their deadline had
    /// passed or a drain timed out.
    pub unsent: u64,
    /// The number of items that were dropped with their call before they were sent.
    pub cancelled: u64,
    /// The number of items whose operation was dropped before it ended, because all calls of their
    /// batch were dropped or a drain timed out.
    pub abandoned: u64,
    /// The number of calls that did not enter the queue, because it was full or closed.
    pub rejected: u64,
    /// The number of batches that were started, without the parts of split batches.
    pub batches: u64,
    /// The number of batches, or parts of batches, that failed and were split.
    pub splits: u64,
}

/// The report of a drain: the outcomes of the items that ended while the drain ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatcherDrainReport {
    /// The number of items for which the operation returned a value.
    pub succeeded: u64,
    /// The number of items whose operation failed or panicked.
    pub failed: u64,
    /// The number of items that were answered without being sent.
    pub unsent: u64,
    /// The number of items that were sent, and whose operation was dropped before it ended.
    pub abandoned: u64,
}

impl BatcherDrainReport {
    /// Returns whether the operation ended for every item that was not cancelled.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.unsent == 0 && self.abandoned == 0
    }

    pub(super) fn between(before: Counts, after: Counts) -> Self {
        Self {
            succeeded: after.succeeded - before.succeeded,
            failed: after.failed - before.failed,
            unsent: after.unsent - before.unsent,
            abandoned: after.abandoned - before.abandoned,
        }
    }
}

/// The counters. The fields are those of [`BatcherSnapshot`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) accepted: u64,
    pub(super) succeeded: u64,
    pub(super) failed: u64,
    pub(super) unsent: u64,
    pub(super) cancelled: u64,
    pub(super) abandoned: u64,
    pub(super) rejected: u64,
    pub(super) batches: u64,
    pub(super) splits: u64,
}
