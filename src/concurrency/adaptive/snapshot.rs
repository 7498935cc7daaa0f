//! The figures of a limiter at one moment.

use crate::concurrency::controller::{LimitReason, LimitWindow};
use std::time::Duration;

/// The figures of an [`AdaptiveLimiter`](super::AdaptiveLimiter) at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct AdaptiveLimiterSnapshot {
    /// The limit. Below one, the only slot is paused after each call.
    pub limit: f64,
    /// Why it is what it is.
    pub reason: LimitReason,
    /// Calls under way. Above the limit after it was lowered.
    pub in_flight: u32,
    /// Calls that wait for a permit.
    pub queued: u32,
    /// The latency without load, if the controller knows one.
    pub baseline: Option<Duration>,
    /// The number of windows so far.
    pub windows: u64,
    /// The figures of the last window; `None` before the first.
    pub last_window: Option<LimitWindow>,
}
