use super::CircuitBreaker;
use super::manual::CircuitBreakerMode;
use super::transition::CircuitBreakerState;
use super::word::{Phase, Trial};
use crate::window::{LatencyHistogram, LatencyQuantiles, LatencySummary, WindowCounts as Counts};
use std::time::Duration;

/// The figures of a breaker at a moment; consistent enough to plot.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct CircuitBreakerSnapshot {
    /// The state. A breaker is open until somebody comes to be its first probe, even if its wait is over.
    pub state: CircuitBreakerState,
    /// Who decides.
    pub mode: CircuitBreakerMode,
    /// What the window holds; of an open breaker, what tripped it.
    pub counts: Counts,
    /// Calls under way that have taken too long already, if [those are watched](super::CircuitBreakerBuilder::track_in_flight).
    pub overdue: u64,
    /// What the probes of a half-open breaker have shown so far.
    pub trial: Counts,
    /// Probes under way.
    pub probes: u32,
    /// How often it has opened since it was last closed for good.
    pub openings: u32,
    /// How long an open breaker will still refuse; zero if it would take a probe.
    pub retry_after: Option<Duration>,
    /// Calls rejected since it was built.
    pub rejected: u64,
    /// Calls since it was built that passed in [shadow](CircuitBreakerMode::Shadow) and would have been rejected.
    pub shadowed: u64,
    /// Outcomes since it was built that came too late to count.
    pub stale: u64,
    /// How long calls took, if [latencies are kept](super::CircuitBreakerBuilder::record_latency) and there are any.
    pub latency: Option<LatencySummary>,
}

impl CircuitBreaker {
    /// The present figures.
    #[must_use]
    pub fn snapshot(&self) -> CircuitBreakerSnapshot {
        let now = self.0.family.clock.now();
        let look = self.0.core.look(now);
        let trial = match look.phase {
            Phase::HalfOpen(trial) => trial,
            _ => Trial::default(),
        };
        CircuitBreakerSnapshot {
            state: look.state,
            mode: look.mode,
            counts: look.counts,
            overdue: look.overdue,
            trial: trial.counts(),
            probes: trial.leased,
            openings: look.openings,
            retry_after: look.open_until.map(|until| until - now),
            rejected: look.rejected,
            shadowed: look.shadowed,
            stale: look.stale,
            latency: self.0.core.window.latency(now).and_then(|latency| latency.summary()),
        }
    }

    /// How long the successful calls in the window took; `None` if [that is not kept](super::CircuitBreakerBuilder::record_latency).
    ///
    /// ```
    /// use mainstay::breaker::CircuitBreaker;
    /// use mainstay::window::LatencyQuantiles;
    ///
    /// let breaker = CircuitBreaker::builder().record_latency().build()?;
    /// # fn send() -> Result<(), std::io::Error> { Ok(()) }
    /// breaker.call_blocking(send)?;
    /// let delay = breaker.quantile(0.95); // what a hedge would ask
    /// assert_eq!(delay, breaker.latency().unwrap().quantile(0.95));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn latency(&self) -> Option<LatencyHistogram> {
        self.0.core.window.latency(self.0.family.clock.now())
    }
}

impl LatencyQuantiles for CircuitBreaker {
    fn quantile(&self, quantile: f64) -> Option<Duration> {
        self.latency()?.quantile(quantile)
    }
}
