//! A user-defined rule that trips the breaker, and the statistics that it receives.

use crate::sync::PlainArc;
use crate::window::{LatencyHistogram, WindowCounts};

/// The statistics that a [`trip_when`](super::CircuitBreakerBuilder::trip_when) rule receives.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TripStats {
    /// The counts of the window, including the call that just ended. Overdue calls in flight are
    /// counted as slow if calls in flight are
    /// [tracked](super::CircuitBreakerBuilder::track_in_flight).
    pub counts: WindowCounts,
    /// The number of failures since the last success, if [consecutive
    /// failures](super::CircuitBreakerBuilder::consecutive_failures) are counted; otherwise 0.
    pub consecutive_failures: u32,
    /// The latencies of the successful calls in the window, if they are
    /// [recorded](super::CircuitBreakerBuilder::record_latency).
    pub latency: Option<LatencyHistogram>,
}

/// A rule that returns whether to trip.
pub(crate) type TripRule = PlainArc<dyn Fn(&TripStats) -> bool + Send + Sync>;
