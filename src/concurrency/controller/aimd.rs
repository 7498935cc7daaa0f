//! Additive increase, multiplicative decrease.

use super::{Bounds, LearnedLimit, LimitController, LimitReason, LimitUpdate, LimitWindow};
use super::{WindowRule, bounds_setters};
use crate::error::ConfigError;
use std::time::Duration;

/// A controller that reacts only to dropped calls. It multiplies the limit by 0.9 after a window
/// with a dropped call, as TCP Reno does. After any other window it adds one to the limit, if at
/// least half of the limit was used.
///
/// It needs no latency and no baseline, but detects an overload only when calls time out or are
/// rejected. Use it if the server itself rejects excess work.
#[derive(Clone, Debug)]
pub struct AimdController {
    bounds: Bounds,
    limit: f64,
    decrease: f64,
    timeout: Option<Duration>,
}

impl AimdController {
    /// Creates a controller with the default settings.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bounds: Bounds::DEFAULT,
            limit: Bounds::DEFAULT.initial,
            decrease: 0.9,
            timeout: None,
        }
    }

    bounds_setters!();

    /// Sets the factor of a decrease, above 0 and below 1. Default: 0.9.
    ///
    /// ```
    /// use mainstay::concurrency::AimdController;
    ///
    /// let controller = AimdController::new().decrease_factor(0.8);
    /// ```
    #[must_use]
    pub const fn decrease_factor(mut self, factor: f64) -> Self {
        self.decrease = factor;
        self
    }

    /// Sets the p90 from which a window counts as dropped even if its calls succeeded. Default
    /// none.
    ///
    /// ```
    /// use mainstay::concurrency::AimdController;
    /// # use std::time::Duration;
    ///
    /// let controller = AimdController::new().latency_timeout(Duration::from_secs(1));
    /// ```
    #[must_use]
    pub const fn latency_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

impl Default for AimdController {
    fn default() -> Self {
        Self::new()
    }
}

impl LimitController for AimdController {
    fn limit(&self) -> f64 {
        self.limit
    }

    fn update(&mut self, window: &LimitWindow) -> LimitUpdate {
        let late = self.timeout.is_some_and(|timeout| window.p90 >= timeout);
        let (limit, reason) = if window.dropped > 0 || late {
            (self.limit * self.decrease, LimitReason::Dropped)
        } else if f64::from(window.peak_in_flight) * 2.0 >= self.limit.floor() {
            (self.limit + 1.0, LimitReason::Growth)
        } else {
            (self.limit, LimitReason::ApplicationLimited)
        };
        self.limit = self.bounds.clamp(limit);
        LimitUpdate { limit: self.limit, reason }
    }

    /// Returns a rule of at least 100 ms per window. Each decrease is small, so windows can be
    /// short.
    fn window_rule(&self) -> WindowRule {
        WindowRule { min_duration: Duration::from_millis(100), min_calls: 1, min_latencies: 1 }
    }

    fn adopt(&mut self, learned: LearnedLimit) {
        self.limit = self.bounds.clamp(learned.limit);
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.bounds.validate()?;
        match self.decrease > 0.0 && self.decrease < 1.0 {
            true => Ok(()),
            false => Err(ConfigError::new(
                "decrease_factor",
                self.decrease,
                "a factor above 0 and below 1",
            )),
        }
    }
}
