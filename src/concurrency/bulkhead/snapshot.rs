//! A snapshot of a bulkhead.

use crate::wait::QueueOrder;
use std::time::Duration;

/// The state and the counters of a [`Bulkhead`](super::Bulkhead) at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BulkheadSnapshot {
    /// How many calls may run at the same time.
    pub max_concurrent: u32,
    /// The permits in use. It can exceed `max_concurrent` after that was lowered.
    pub in_flight: u32,
    /// How many callers may wait.
    pub max_queue: u32,
    /// Callers that wait.
    pub queued: u32,
    /// The order in which waiting callers are served now.
    pub order: QueueOrder,
    /// How long the oldest waiting caller has waited.
    pub oldest_wait: Option<Duration>,
    /// The median duration of the latest calls that had to wait for a permit, if there were enough.
    pub median_service_time: Option<Duration>,
    /// Calls rejected because the limit or the queue was full.
    pub rejected_full: u64,
    /// Calls rejected because they had waited too long, or their deadline had passed.
    pub rejected_timeout: u64,
    /// Calls rejected because the queue was standing, or their deadline could not be met.
    pub rejected_shed: u64,
}
