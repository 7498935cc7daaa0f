//! The Vegas controller: estimates the queue from the latency in excess of its minimum.

use super::{Bounds, LearnedLimit, LimitController, LimitReason, LimitUpdate, LimitWindow};
use super::{WindowRule, bounds_setters};
use crate::error::ConfigError;
use crate::random::Random;
use std::time::Duration;

/// A controller after TCP Vegas that keeps a short queue in the server.
///
/// With `s = max(1, log10 L)` for a limit `L`, it keeps between `3 · s` and `6 · s` calls queued.
/// It changes the limit by `s`, and by `6 · s` while the queue is at most `s`.
///
/// The queue is estimated as `L · (1 − baseline / latency)` from the mean latency of a window,
/// where the baseline is the smallest mean so far. A minimum never rises, so the baseline is
/// measured again after `U(0.5, 1) · 30 · L` calls. The new baseline is the mean of the next window
/// and includes the queue at that time, so it drifts upwards during a long overload. The baseline
/// of [`BaselineController`](super::BaselineController) does not drift.
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
    ///
    /// ```
    /// use mainstay::concurrency::VegasController;
    /// # use mainstay::Random;
    ///
    /// let controller = VegasController::new().random(Random::seeded(1));
    /// ```
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
            // One step per window, regardless of the number of dropped calls.
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
