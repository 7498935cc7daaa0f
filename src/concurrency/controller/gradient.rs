//! Gradient2: the ratio of the long-term latency to the latest latency.

use super::smoothing::Ema;
use super::{Bounds, LearnedLimit, LimitController, LimitReason, LimitUpdate, LimitWindow};
use super::{WindowRule, bounds_setters};
use crate::error::ConfigError;
use std::time::Duration;

/// A controller that multiplies the limit by the ratio of long-term to short-term latency:
///
/// ```text
/// gradient = clamp(1.5 · long / short, 0.5, 1)
/// limit   := 0.8 · limit + 0.2 · (limit · gradient + queue)
/// ```
///
/// The long-term latency is an exponential average over 600 windows. It falls by 5 % per window
/// while it exceeds twice the short one, so that it recovers from an overload. The queue term of 4
/// calls lets the limit grow. It is added only while the gradient is 1; otherwise the limit would
/// also grow under a moderate overload.
///
/// In a long overload, the long-term latency adapts to the overload, and the limit grows again.
#[derive(Clone, Debug)]
pub struct Gradient2Controller {
    bounds: Bounds,
    limit: f64,
    long: Ema,
    tolerance: f64,
    queue: f64,
}

const SMOOTHING: f64 = 0.2;

impl Gradient2Controller {
    /// Creates a controller with the default settings.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bounds: Bounds::DEFAULT,
            limit: Bounds::DEFAULT.initial,
            long: Ema::over(600),
            tolerance: 1.5,
            queue: 4.0,
        }
    }

    bounds_setters!();

    /// Sets the factor, 1 to 10, by which the latency may exceed the long-term latency before the
    /// limit falls. Default: 1.5.
    ///
    /// ```
    /// use mainstay::concurrency::Gradient2Controller;
    ///
    /// let controller = Gradient2Controller::new().tolerance(2.0);
    /// ```
    #[must_use]
    pub const fn tolerance(mut self, tolerance: f64) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// Sets the number of calls that may queue in the server. Default: 4.
    ///
    /// ```
    /// use mainstay::concurrency::Gradient2Controller;
    ///
    /// let controller = Gradient2Controller::new().queue(8.0);
    /// ```
    #[must_use]
    pub const fn queue(mut self, calls: f64) -> Self {
        self.queue = calls;
        self
    }
}

impl Default for Gradient2Controller {
    fn default() -> Self {
        Self::new()
    }
}

impl LimitController for Gradient2Controller {
    fn limit(&self) -> f64 {
        self.limit
    }

    fn update(&mut self, window: &LimitWindow) -> LimitUpdate {
        let short = window.mean.as_secs_f64();
        let (gradient, reason) = if window.dropped > 0 {
            (0.5, LimitReason::Dropped)
        } else if short <= 0.0 {
            return LimitUpdate { limit: self.limit, reason: LimitReason::Steady };
        } else {
            let long = self.long.add(short);
            if long > 2.0 * short {
                self.long.set(0.95 * long);
            }
            let gradient = (self.tolerance * long / short).clamp(0.5, 1.0);
            match gradient < 1.0 {
                true => (gradient, LimitReason::Queueing),
                false => (gradient, LimitReason::Growth),
            }
        };
        if reason == LimitReason::Growth && f64::from(window.peak_in_flight) < self.limit / 2.0 {
            return LimitUpdate { limit: self.limit, reason: LimitReason::ApplicationLimited };
        }
        let queue = if gradient < 1.0 { 0.0 } else { self.queue };
        let target = self.limit * gradient + queue;
        self.limit = self.bounds.clamp((1.0 - SMOOTHING) * self.limit + SMOOTHING * target);
        LimitUpdate { limit: self.limit, reason }
    }

    fn window_rule(&self) -> WindowRule {
        WindowRule { min_duration: Duration::from_secs(1), min_calls: 10, min_latencies: 2 }
    }

    fn adopt(&mut self, learned: LearnedLimit) {
        self.limit = self.bounds.clamp(learned.limit);
        if let Some(baseline) = learned.baseline {
            self.long.set(baseline.as_secs_f64());
        }
    }

    fn learned(&self) -> LearnedLimit {
        let long = self.long.get().and_then(|long| Duration::try_from_secs_f64(long).ok());
        LearnedLimit { limit: self.limit, baseline: long }
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.bounds.validate()?;
        if !(1.0..=10.0).contains(&self.tolerance) {
            return Err(ConfigError::new("tolerance", self.tolerance, "1 to 10"));
        }
        match (0.0..=1e6).contains(&self.queue) {
            true => Ok(()),
            false => Err(ConfigError::new("queue", self.queue, "0 to 1000000")),
        }
    }
}
