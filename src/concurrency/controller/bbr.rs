//! BBR: the highest throughput times the lowest latency, while the server is overloaded.

use super::{Bounds, LearnedLimit, LimitController, LimitReason, LimitUpdate, LimitWindow};
use super::{WindowRule, bounds_setters};
use crate::error::ConfigError;
use std::time::Duration;

/// A controller that sheds load only while the overload signal is true, and for a cool-down of one
/// second afterwards.
///
/// While it sheds load, its limit is the highest throughput of the last ten seconds times the
/// lowest mean latency in that time. By Little's law, this is the number of calls in flight that
/// the throughput requires without a queue. Otherwise the limit is the maximum limit. Without a
/// signal the controller never sheds load; see
/// [`overload_signal`](crate::concurrency::AdaptiveLimiterBuilder::overload_signal). For a server
/// in this process, [`CpuLoad`](crate::concurrency::CpuLoad) is such a signal.
#[derive(Clone, Debug)]
pub struct BbrController {
    bounds: Bounds,
    limit: f64,
    /// A ring of the throughput and the mean latency of each window.
    windows: [Option<(f64, f64)>; WINDOWS],
    next: usize,
    cooling: Duration,
    cool_down: Duration,
}

/// The number of windows of 100 ms in ten seconds.
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

    /// Sets how long load is still shed after the signal has ended. Default: one second.
    ///
    /// ```
    /// use mainstay::concurrency::BbrController;
    /// # use std::time::Duration;
    ///
    /// let controller = BbrController::new().cool_down_duration(Duration::from_secs(2));
    /// ```
    #[must_use]
    pub const fn cool_down_duration(mut self, duration: Duration) -> Self {
        self.cool_down = duration;
        self
    }

    /// Returns the number of calls in flight that the server needs for its highest throughput.
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
