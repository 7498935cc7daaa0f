//! A snapshot of a limiter.

use super::Quota;
use std::time::Duration;

/// The state of a limiter at one moment; returned by
/// [`RateLimiter::snapshot`](super::RateLimiter::snapshot).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateLimiterSnapshot {
    /// The quota in force.
    pub quota: Quota,
    /// The tokens of a full limiter.
    pub limit: u32,
    /// The tokens available; 0 while there are waiters.
    pub remaining: u32,
    /// The time after which the limiter is full again if there are no requests.
    pub reset_after: Duration,
    /// The number of waiters.
    pub waiters: usize,
    /// The tokens that all waiters together wait for.
    pub queued_tokens: u64,
}
