//! The figures of a keyed rate limiter at one moment.

#[cfg(doc)]
use super::KeyedRateLimiter;

/// The key counts of a keyed limiter at one moment; returned by [`KeyedRateLimiter::snapshot`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyedRateLimiterSnapshot {
    /// The number of stored keys, including those whose tokens are all available again but which
    /// have not been removed yet.
    pub keys: usize,
    /// The maximum number of keys.
    pub max_keys: usize,
    /// The number of keys that were evicted to make room for new keys.
    pub evicted: u64,
    /// The number of times that a new key was rejected because the limiter was full.
    pub rejected: u64,
}
