//! TCP Vegas: the queue is what the latency exceeds its minimum by.

use super::{Bounds, LearnedLimit, LimitController, LimitReason, LimitUpdate, LimitWindow};
use super::{WindowRule, bounds_setters};
use crate::error::ConfigError;
use crate::random::Random;
use std::time::Duration;

/// A controller that keeps a short queue in the server: between `3 · log10 L` and `6 · log10 L`
/// calls, by steps of `log10 L`.
///
/// The queue is estimated as `L · (1 − baseline / latency)` from the mean latency of a window,
/// where the baseline is the smallest mean seen. A baseline only ever falls, so it is measured
/// afresh after `U(0.5, 1) · 30 · L` calls. A fresh measurement is of the next window, with
/// whatever queue there is then: over a long overload the baseline drifts upwards.
/// [`BaselineController`](super::BaselineController) does not.
#[derive(Clone, Debug)]
pub struct VegasController {
    bounds: Bounds,
    limit: f64,
    baseline: Option<f64>,
    calls_to_probe: f64,
    random: Random,
}

impl VegasController {
    /// Creates a controller with the default settings.
    #[must_use]
    pub fn new() -> Self {
        Self {
            bounds: Bounds::DEFAULT,
            limit: Bounds::DEFAULT.initial,
            baseline: None,
            calls_to_probe: f64::INFINITY,
            random: Random::system(),
        }
    }

    bounds_setters!();

    /// Sets the source of the jitter between measurements of the baseline.
    #[must_use]
    pub fn random(mut self, random: Random) -> Self {
        self.random = random;
        self
    }
}

impl Default for VegasController {
    fn default() -> Self {
        Self::new()
    }
}

impl LimitController for VegasController {
    fn limit(&self) -> f64 {
        self.limit
    }

    fn update(&mut self, window: &LimitWindow) -> LimitUpdate {
        let step = self.limit.max(1.0).log10().max(1.0);
        self.calls_to_probe -= window.calls() as f64;
        let latency = window.mean.as_secs_f64();
        let (limit, reason) = if window.dropped > 0 {
            // One step in a window, however many calls were dropped in it.
            (self.limit - step, LimitReason::Dropped)
        } else if latency <= 0.0 {
            (self.limit, LimitReason::Steady)
        } else {
            if self.calls_to_probe <= 0.0 || self.baseline.is_none() {
                self.baseline = Some(latency);
                self.calls_to_probe = (0.5 + self.random.unit() / 2.0) * 30.0 * self.limit.max(1.0);
                return LimitUpdate { limit: self.limit, reason: LimitReason::Probe };
            }
            let baseline = self.baseline.map_or(latency, |known| known.min(latency));
            self.baseline = Some(baseline);
            let queue = (self.limit * (1.0 - baseline / latency)).ceil();
            let (alpha, beta) = (3.0 * step, 6.0 * step);
            if !window.saturates(self.limit / 2.0) {
                (self.limit, LimitReason::ApplicationLimited)
            } else if queue <= step {
                (self.limit + beta, LimitReason::SlowStart)
            } else if queue < alpha {
                (self.limit + step, LimitReason::Growth)
            } else if queue > beta {
                (self.limit - step, LimitReason::Queueing)
            } else {
                (self.limit, LimitReason::Steady)
            }
        };
        self.limit = self.bounds.clamp(limit);
        LimitUpdate { limit: self.limit, reason }
    }

    fn window_rule(&self) -> WindowRule {
        WindowRule { min_duration: Duration::from_millis(100), min_calls: 10, min_latencies: 2 }
    }

    fn adopt(&mut self, learned: LearnedLimit) {
        self.limit = self.bounds.clamp(learned.limit);
        self.baseline = learned.baseline.map(|baseline| baseline.as_secs_f64());
    }

    fn learned(&self) -> LearnedLimit {
        let baseline = self.baseline.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        LearnedLimit { limit: self.limit, baseline }
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.bounds.validate()
    }
}
