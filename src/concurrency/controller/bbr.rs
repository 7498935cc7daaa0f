//! BBR: the largest rate times the shortest latency, while the server says that it is overloaded.

use super::{Bounds, LearnedLimit, LimitController, LimitReason, LimitUpdate, LimitWindow};
use super::{WindowRule, bounds_setters};
use crate::error::ConfigError;
use std::time::Duration;

/// A controller that sheds only while the server's own signal says that it is overloaded, and for a
/// cool-down of a second after.
///
/// Its limit is then the largest rate of the last ten seconds times the shortest mean latency in
/// them: by Little's law, the calls under way that this rate needs without a queue. At other times
/// the limit is the highest one. Without a signal it never sheds; see
/// `AdaptiveLimiterBuilder::overload_signal`.
#[derive(Clone, Debug)]
pub struct BbrController {
    bounds: Bounds,
    limit: f64,
    /// Throughput and mean latency, both of the same window; a ring.
    windows: [Option<(f64, f64)>; WINDOWS],
    next: usize,
    cooling: Duration,
    cool_down: Duration,
}

/// Ten seconds of windows of a hundred milliseconds.
const WINDOWS: usize = 100;

impl BbrController {
    /// Creates a controller with the default settings.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bounds: Bounds { initial: Bounds::DEFAULT.max, ..Bounds::DEFAULT },
            limit: Bounds::DEFAULT.max,
            windows: [None; WINDOWS],
            next: 0,
            cooling: Duration::ZERO,
            cool_down: Duration::from_secs(1),
        }
    }

    bounds_setters!();

    /// Sets for how long calls are still shed after the signal has ended. Default one second.
    #[must_use]
    pub const fn cool_down_duration(mut self, duration: Duration) -> Self {
        self.cool_down = duration;
        self
    }

    /// The calls under way that the server needs for its best rate.
    fn product(&self) -> Option<f64> {
        let known = || self.windows.iter().flatten();
        let rate = known().map(|(rate, _)| *rate).max_by(f64::total_cmp)?;
        let latency = known().map(|(_, latency)| *latency).min_by(f64::total_cmp)?;
        Some((rate * latency).ceil())
    }
}

impl Default for BbrController {
    fn default() -> Self {
        Self::new()
    }
}

impl LimitController for BbrController {
    fn limit(&self) -> f64 {
        self.limit
    }

    fn update(&mut self, window: &LimitWindow) -> LimitUpdate {
        if window.succeeded > 0 {
            self.windows[self.next] = Some((window.throughput(), window.mean.as_secs_f64()));
            self.next = (self.next + 1) % WINDOWS;
        }
        self.cooling = match window.overloaded {
            true => self.cool_down,
            false => self.cooling.saturating_sub(window.duration),
        };
        let shed = window.overloaded || !self.cooling.is_zero();
        let (limit, reason) = match self.product() {
            Some(product) if shed => (product, LimitReason::Overloaded),
            _ => (self.bounds.max, LimitReason::Steady),
        };
        self.limit = self.bounds.clamp(limit);
        LimitUpdate { limit: self.limit, reason }
    }

    fn window_rule(&self) -> WindowRule {
        WindowRule { min_duration: Duration::from_millis(100), min_calls: 1, min_latencies: 1 }
    }

    fn adopt(&mut self, learned: LearnedLimit) {
        self.limit = self.bounds.clamp(learned.limit);
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.bounds.validate()
    }
}
