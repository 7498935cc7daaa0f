//! Counting without a read-modify-write.

use crate::sync::Counter;

/// What happened in the name of one thread id, or of all threads that have none.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) hits: Counter,
    pub(super) misses: Counter,
    pub(super) created: Counter,
    pub(super) recycled: Counter,
    pub(super) discarded: Counter,
}
