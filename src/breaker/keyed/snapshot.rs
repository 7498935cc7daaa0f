//! The snapshot and the totals of a keyed breaker.

use crate::window::WindowCounts;

/// A snapshot of the table of a [`KeyedCircuitBreaker`](super::KeyedCircuitBreaker).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyedCircuitBreakerSnapshot {
    /// The number of keys.
    pub keys: usize,
    /// The maximum number of keys.
    pub max_keys: usize,
    /// Breakers that are open or half-open by their rules.
    pub open: usize,
    /// Openings that were suppressed because
    /// [too many](super::KeyedCircuitBreakerBuilder::max_open_share) breakers were open.
    pub suppressed: u64,
    /// Keys that were evicted for new keys.
    pub evicted: u64,
    /// New keys that were rejected because the table was full.
    pub rejected: u64,
}

/// The sum over all breakers of a [`KeyedCircuitBreaker`](super::KeyedCircuitBreaker).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyedCircuitBreakerTotals {
    /// The counts of all windows.
    pub counts: WindowCounts,
    /// Calls rejected by the breakers that are in the table.
    pub rejected: u64,
    /// Closed breakers.
    pub closed: usize,
    /// Open breakers.
    pub open: usize,
    /// Half-open breakers.
    pub half_open: usize,
}
