//! Counters of a pool, for each thread.

use crate::sync::Counter;

/// The counters of one thread number, or of all threads that have no number.
#[derive(Debug, Default)]
pub(super) struct Stats {
    pub(super) hits: Counter,
    pub(super) misses: Counter,
    pub(super) created: Counter,
    pub(super) recycled: Counter,
    pub(super) discarded: Counter,
}
