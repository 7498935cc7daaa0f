//! A snapshot of the state and the counts of a breaker.

use super::CircuitBreaker;
use super::engine::{Phase, Trial};
use super::mode::CircuitBreakerMode;
use super::shared::Shared;
use super::transition::CircuitBreakerState;
use crate::window::{LatencyQuantiles, LatencySummary, WindowCounts};
use std::time::Duration;

/// A snapshot of a [`CircuitBreaker`]. Its fields are not read atomically, but are consistent
/// enough to plot.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct CircuitBreakerSnapshot {
    /// The state. A breaker stays open after its open duration until a call becomes its first
    /// probe.
    pub state: CircuitBreakerState,
    /// The mode.
    pub mode: CircuitBreakerMode,
    /// The counts of the window; of an open breaker, those that tripped it.
    pub counts: WindowCounts,
    /// Calls in flight that have reached the slow threshold, if they are
    /// [tracked](super::CircuitBreakerBuilder::track_in_flight).
    pub overdue: u64,
    /// The outcomes of the probes of a half-open breaker.
    pub trial: WindowCounts,
    /// Probes in flight.
    pub active_probes: u32,
    /// Openings since the breaker was last closed and not ramping up.
    pub openings: u32,
    /// The time until an open breaker admits a probe; zero if it admits one now. `None` if the
    /// breaker is not open or the time is not known.
    pub retry_after: Option<Duration>,
    /// Calls rejected since the breaker was built.
    pub rejected: u64,
    /// Calls since the breaker was built that were admitted in
    /// [shadow mode](CircuitBreakerMode::Shadow) and would have been rejected.
    pub shadow_rejected: u64,
    /// Outcomes since the breaker was built that were not counted, because the state that admitted
    /// their calls had ended.
    pub stale_outcomes: u64,
    /// The latencies of the successful calls in the window, if they are
    /// [recorded](super::CircuitBreakerBuilder::record_latency) and there are any.
    pub latency: Option<LatencySummary>,
}

impl CircuitBreakerSnapshot {
    pub(super) fn of(breaker: &Shared) -> Self {
        let now = breaker.group.clock.now();
        let engine = breaker.engine.snapshot(now);
        let trial = match engine.phase {
            Phase::HalfOpen(trial) => trial,
            _ => Trial::default(),
        };
        let latency = breaker.engine.window.latency(now);
        Self {
            state: engine.state,
            mode: engine.mode,
            counts: engine.counts,
            overdue: engine.overdue,
            trial: trial.counts(),
            active_probes: trial.active,
            openings: engine.openings,
            retry_after: engine.open_until.map(|until| until - now),
            rejected: engine.rejected,
            shadow_rejected: engine.shadowed,
            stale_outcomes: engine.stale,
            latency: latency.and_then(|latency| latency.summary()),
        }
    }
}

impl LatencyQuantiles for CircuitBreaker {
    fn quantile(&self, quantile: f64) -> Option<Duration> {
        self.latency()?.quantile(quantile)
    }
}
