//! Counters of a pool, for each thread.

use crate::sync::Counter;

/// What was counted for one thread number, or for all threads without one.
#[derive(Debug, Default)]
pub(super) struct Stats {
    pub(super) hits: Counter,
    pub(super) misses: Counter,
    pub(super) created: Counter,
    pub(super) recycled: Counter,
    pub(super) discarded: Counter,
}
