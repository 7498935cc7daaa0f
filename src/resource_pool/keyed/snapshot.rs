//! The state and the counters of a keyed pool.

use crate::resource_pool::engine::total::RetiredStats;
use crate::resource_pool::{ResourceCloseCounts, ResourcePoolSnapshot};

/// The state and the counters of a [`KeyedResourcePool`](super::KeyedResourcePool), summed over the
/// pools of all keys. The values of one pool are consistent; the pools are read one after another.
///
/// The counters include those of keys that were removed.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct KeyedResourcePoolSnapshot {
    /// The number of keys.
    pub keys: usize,
    /// The maximum number of keys.
    pub max_keys: usize,
    /// The number of keys that were removed for other keys.
    pub evicted_keys: u64,
    /// The number of new keys that were rejected because no other key could be removed.
    pub rejected_keys: u64,
    /// The maximum number of resources over all keys.
    pub max_total_size: usize,
    /// The number of resources that exist, are being created or are being closed. Never above
    /// `max_total_size`.
    pub total_size: usize,
    /// The number of keys that wait for a place of another key.
    pub waiting_keys: usize,
    /// The number of resources that are ready for use.
    pub idle: usize,
    /// The number of resources that callers hold.
    pub in_use: usize,
    /// The number of creations that are in progress or wait for their next attempt.
    pub creating: usize,
    /// The number of resources that are being checked.
    pub checking: usize,
    /// The number of resources that are being closed.
    pub closing: usize,
    /// The number of callers that wait.
    pub waiting: usize,
    /// Whether the keyed pool is closed.
    pub is_closed: bool,
    /// The number of resources handed to callers.
    pub acquired: u64,
    /// The number of acquisitions that timed out.
    pub timed_out: u64,
    /// The number of resources created.
    pub created: u64,
    /// The number of creations that failed or timed out.
    pub create_failures: u64,
    /// The number of creations that a guard rejected.
    pub create_rejections: u64,
    /// The number of resources that left the pools, by reason.
    pub closed: ResourceCloseCounts,
}

impl KeyedResourcePoolSnapshot {
    pub(super) fn add_retired(&mut self, retired: &RetiredStats) {
        self.acquired += retired.acquired;
        self.timed_out += retired.timed_out;
        self.created += retired.created;
        self.create_failures += retired.create_failures;
        self.create_rejections += retired.create_rejections;
        self.closed.add(&retired.closed);
    }

    pub(super) fn add(&mut self, pool: &ResourcePoolSnapshot) {
        self.idle += pool.idle;
        self.in_use += pool.in_use;
        self.creating += pool.creating;
        self.checking += pool.checking;
        self.closing += pool.closing;
        self.waiting += pool.waiting;
        self.acquired += pool.acquired;
        self.timed_out += pool.timed_out;
        self.created += pool.created;
        self.create_failures += pool.create_failures;
        self.create_rejections += pool.create_rejections;
        self.closed.add(&pool.closed);
    }
}
