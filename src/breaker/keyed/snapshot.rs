//! The figures of a keyed breaker at a moment.

use crate::window::WindowCounts;

/// The figures of a [`KeyedCircuitBreaker`](super::KeyedCircuitBreaker) at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyedCircuitBreakerSnapshot {
    /// The number of keys.
    pub keys: usize,
    /// The maximum number of keys.
    pub max_keys: usize,
    /// Breakers that are open or half-open by their rules.
    pub open: usize,
    /// How often a breaker stayed closed because
    /// [too many](super::KeyedCircuitBreakerBuilder::max_open_share) were open.
    pub suppressed: u64,
    /// Keys that were evicted to make room for others.
    pub evicted: u64,
    /// How often a new key was rejected for lack of room.
    pub rejected: u64,
}

/// The sum over all breakers of a [`KeyedCircuitBreaker`](super::KeyedCircuitBreaker).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyedCircuitBreakerTotals {
    /// The counts of all windows.
    pub counts: WindowCounts,
    /// Calls that the present breakers have rejected.
    pub rejected: u64,
    /// Closed breakers.
    pub closed: usize,
    /// Open breakers.
    pub open: usize,
    /// Half-open breakers.
    pub half_open: usize,
}
