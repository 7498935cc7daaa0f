//! A snapshot of a limiter.

use crate::concurrency::controller::{LimitReason, LimitWindow};
use std::time::Duration;

/// A snapshot of an [`AdaptiveLimiter`](super::AdaptiveLimiter).
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct AdaptiveLimiterSnapshot {
    /// The limit. Below one, one call runs at a time, with a pause after each.
    pub limit: f64,
    /// The reason for the limit.
    pub reason: LimitReason,
    /// Calls in flight, which can exceed the limit after it was lowered.
    pub in_flight: u32,
    /// Calls that wait for a permit.
    pub queued: u32,
    /// The latency without load, if the controller has measured it.
    pub baseline: Option<Duration>,
    /// The number of windows so far.
    pub windows: u64,
    /// The statistics of the last window, or `None` before the first window has closed.
    pub last_window: Option<LimitWindow>,
}
