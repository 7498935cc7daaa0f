//! A snapshot of a bulkhead: [`BulkheadSnapshot`].

use crate::wait::QueueOrder;
use std::time::Duration;

/// The state and the counters of a [`Bulkhead`](super::Bulkhead) at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BulkheadSnapshot {
    /// The maximum number of permits in use, as currently configured.
    pub max_concurrent: u32,
    /// The permits in use. It can exceed `max_concurrent` after the limit was lowered.
    pub in_flight: u32,
    /// The maximum number of waiting callers.
    pub max_queue: u32,
    /// The number of waiting callers.
    pub queued: u32,
    /// The order in which waiting callers are served now.
    pub order: QueueOrder,
    /// How long the oldest waiting caller has waited; `None` if no caller waits.
    pub oldest_wait: Option<Duration>,
    /// The median duration of the latest 31 calls that waited for a permit; `None` until 5 such
    /// calls have ended.
    pub median_service_time: Option<Duration>,
    /// Calls rejected because no permit was free or the queue was full.
    pub rejected_full: u64,
    /// Calls rejected because they had waited too long, or their deadline had passed.
    pub rejected_timeout: u64,
    /// Calls rejected because CoDel detected a standing queue, or because their deadline could not
    /// be met.
    pub rejected_shed: u64,
}
