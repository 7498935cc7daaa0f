//! The controllers that adjust an adaptive limit, and their input and output.

mod aimd;
mod baseline;
mod bbr;
mod gradient;
mod smoothing;
#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests;
#[cfg(test)]
#[cfg(not(mainstay_loom))]
#[path = "tests/thresholds.rs"]
mod thresholds;
#[cfg(test)]
#[cfg(not(mainstay_loom))]
#[path = "tests/traces.rs"]
mod traces;
mod vegas;

pub use aimd::AimdController;
pub use baseline::BaselineController;
pub use bbr::BbrController;
pub use gradient::Gradient2Controller;
pub use vegas::VegasController;

use crate::error::ConfigError;
use std::fmt;
use std::time::Duration;

/// A controller that adjusts a concurrency limit after each window of calls.
///
/// A controller is plain state: it reads no clock, takes no lock and never waits. The limiter
/// closes a window of finished calls, passes its statistics to [`update`](Self::update), and
/// applies the returned limit. The same windows give the same limits, so a controller can be tested
/// with a table, and run in the [simulator](crate::concurrency::simulator).
///
/// ```
/// use mainstay::concurrency::{LimitController, LimitReason, LimitUpdate, LimitWindow};
///
/// /// Halves the limit when the median exceeds 100 ms, and adds one otherwise.
/// struct Simple(f64);
///
/// impl LimitController for Simple {
///     fn limit(&self) -> f64 {
///         self.0
///     }
///     fn update(&mut self, window: &LimitWindow) -> LimitUpdate {
///         let reason = match window.p50.as_millis() > 100 {
///             true => LimitReason::Queueing,
///             false => LimitReason::Growth,
///         };
///         self.0 = match reason {
///             LimitReason::Queueing => (self.0 / 2.0).max(1.0),
///             _ => (self.0 + 1.0).min(200.0),
///         };
///         LimitUpdate { limit: self.0, reason }
///     }
/// }
///
/// let mut controller = Simple(8.0);
/// assert_eq!(controller.update(&LimitWindow::default()).limit, 9.0);
/// ```
pub trait LimitController: Send {
    /// Returns the current limit. Before the first [`update`](Self::update) it is the initial
    /// limit.
    ///
    /// A limit below one admits one call at a time, with a pause after each: a limit of 0.25 keeps
    /// the only slot busy for a quarter of the time.
    fn limit(&self) -> f64;

    /// Updates the limit from the statistics of one window, and returns the new limit.
    fn update(&mut self, window: &LimitWindow) -> LimitUpdate;

    /// Returns the rule that determines when a window may be closed.
    fn window_rule(&self) -> WindowRule {
        WindowRule::default()
    }

    /// Adopts a limit that was learned earlier, possibly by another process.
    ///
    /// The default implementation ignores it.
    fn adopt(&mut self, learned: LearnedLimit) {
        let _ = learned;
    }

    /// Returns the state to keep across a restart: the limit, and the latency without load if the
    /// controller has measured it.
    fn learned(&self) -> LearnedLimit {
        LearnedLimit { limit: self.limit(), baseline: None }
    }

    /// Validates the settings.
    ///
    /// # Errors
    ///
    /// Returns an error that names the first setting out of range. The limiter's builder returns
    /// it.
    fn validate(&self) -> Result<(), ConfigError> {
        Ok(())
    }
}

impl<C: LimitController + ?Sized> LimitController for Box<C> {
    fn limit(&self) -> f64 {
        (**self).limit()
    }

    fn update(&mut self, window: &LimitWindow) -> LimitUpdate {
        (**self).update(window)
    }

    fn window_rule(&self) -> WindowRule {
        (**self).window_rule()
    }

    fn adopt(&mut self, learned: LearnedLimit) {
        (**self).adopt(learned);
    }

    fn learned(&self) -> LearnedLimit {
        (**self).learned()
    }

    fn validate(&self) -> Result<(), ConfigError> {
        (**self).validate()
    }
}

/// The statistics of one window of finished calls.
///
/// Latencies are those of successful calls only. A call that the server rejects ends quickly, and
/// its latency would appear healthy. All latencies are zero if no call of the window succeeded.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LimitWindow {
    /// How long the window lasted.
    pub duration: Duration,
    /// Calls that succeeded.
    pub succeeded: u64,
    /// Calls whose end indicates an overload: a timeout, or a rejection by the server.
    pub dropped: u64,
    /// Calls that the limiter rejected, or that had to wait for a permit.
    pub rejected: u64,
    /// The peak number of calls in flight.
    pub peak_in_flight: u32,
    /// The shortest latency.
    pub min: Duration,
    /// The mean latency.
    pub mean: Duration,
    /// The median latency.
    pub p50: Duration,
    /// The latency within which nine calls of ten ended.
    pub p90: Duration,
    /// The latency within which 99 calls of 100 ended.
    pub p99: Duration,
    /// Whether the overload signal returned true; `false` without a signal.
    pub overloaded: bool,
}

impl LimitWindow {
    /// Returns the number of calls that succeeded or were dropped.
    #[must_use]
    pub const fn calls(&self) -> u64 {
        self.succeeded + self.dropped
    }

    /// Returns the share of calls that were dropped, from 0 to 1.
    #[must_use]
    pub fn drop_rate(&self) -> f64 {
        match self.calls() {
            0 => 0.0,
            calls => self.dropped as f64 / calls as f64,
        }
    }

    /// Returns the number of successful calls per second.
    #[must_use]
    pub fn throughput(&self) -> f64 {
        match self.duration.is_zero() {
            true => 0.0,
            false => self.succeeded as f64 / self.duration.as_secs_f64(),
        }
    }

    /// Returns the mean number of successful calls in flight, by Little's law.
    #[must_use]
    pub fn mean_in_flight(&self) -> f64 {
        self.throughput() * self.mean.as_secs_f64()
    }

    /// Returns true if the window used up `limit`: calls were rejected or waited, or the peak
    /// number of calls in flight was at least 90 % of it.
    ///
    /// A window that did not use up the limit gives no information about a higher one, so the limit
    /// must not grow.
    #[must_use]
    pub fn saturates(&self, limit: f64) -> bool {
        self.rejected > 0 || f64::from(self.peak_in_flight) >= 0.9 * limit.floor().max(1.0)
    }
}

/// The rule that determines when a window may be closed: when all its conditions are met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowRule {
    /// The shortest time that a window lasts.
    pub min_duration: Duration,
    /// The smallest number of calls that a window holds.
    pub min_calls: u64,
    /// The shortest time that a window lasts, as a multiple of the shortest latency, so that most
    /// of its calls also began in it.
    pub min_latencies: u32,
}

impl Default for WindowRule {
    /// Returns a rule of one second, twice the shortest latency, and 50 calls, of which five exceed
    /// the p90.
    fn default() -> Self {
        Self { min_duration: Duration::from_secs(1), min_calls: 50, min_latencies: 2 }
    }
}

/// A limit and its reason.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LimitUpdate {
    /// The limit from now on.
    pub limit: f64,
    /// The reason for which the limit changed or stayed the same.
    pub reason: LimitReason,
}

/// The reason for which a limit changed or stayed the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LimitReason {
    /// The limit doubles until the first sign of congestion.
    SlowStart,
    /// The limit is used up and there is no queue: it grows.
    Growth,
    /// Latencies lie between the thresholds for growth and decrease.
    Steady,
    /// The limit was not used up, so the window gives no information about a higher one.
    ApplicationLimited,
    /// The latency indicates that calls queue in the server.
    Queueing,
    /// Calls timed out or were rejected by the server.
    Dropped,
    /// The latency exceeds the highest healthy one, or nearly all calls take the same, long time.
    Unhealthy,
    /// The limit is lowered for one window, to measure the latency without a queue.
    Probe,
    /// The probe has ended.
    ProbeEnd,
    /// The overload signal returned true, or did recently.
    Overloaded,
    /// The limit is capped at a multiple of the peak number of calls in flight.
    Headroom,
    /// The limit was set by the user: initial, restored or reconfigured.
    Set,
}

impl LimitReason {
    /// Returns the name of the reason, which is stable across releases.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SlowStart => "slow_start",
            Self::Growth => "growth",
            Self::Steady => "steady",
            Self::ApplicationLimited => "application_limited",
            Self::Queueing => "queueing",
            Self::Dropped => "dropped",
            Self::Unhealthy => "unhealthy",
            Self::Probe => "probe",
            Self::ProbeEnd => "probe_end",
            Self::Overloaded => "overloaded",
            Self::Headroom => "headroom",
            Self::Set => "set",
        }
    }
}

impl fmt::Display for LimitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The learned state of a controller, to be kept across a restart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LearnedLimit {
    /// The limit.
    pub limit: f64,
    /// The latency without load, if the controller has measured it.
    pub baseline: Option<Duration>,
}

/// The range of a limit, and its initial value.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bounds {
    initial: f64,
    min: f64,
    max: f64,
}

impl Bounds {
    const DEFAULT: Self = Self { initial: 20.0, min: 1.0, max: 200.0 };

    fn clamp(&self, limit: f64) -> f64 {
        // Not `f64::clamp`, which panics if the range is empty: `build` reports an invalid range.
        limit.min(self.max).max(self.min)
    }

    /// Validates the bounds. The smallest accepted limit admits one call per hundred latencies.
    fn validate(&self) -> Result<(), ConfigError> {
        let limit = |field, value: f64, low: f64, high: f64, accepted| match value >= low
            && value <= high
        {
            true => Ok(()),
            false => Err(ConfigError::new(field, value, accepted)),
        };
        limit("min_limit", self.min, 0.01, 1e6, "0.01 to 1000000")?;
        limit(
            "max_limit",
            self.max,
            self.min.max(1.0),
            1e6,
            "1 to 1000000, and at least min_limit",
        )?;
        limit("initial_limit", self.initial, self.min, self.max, "min_limit to max_limit")
    }
}

/// Defines the setters for [`Bounds`], which every controller has.
macro_rules! bounds_setters {
    () => {
        /// Sets the initial limit. Default: 20 (for BBR 200), small enough for a server that has
        /// just started.
        #[must_use]
        pub const fn initial_limit(mut self, limit: f64) -> Self {
            self.bounds.initial = limit;
            self.limit = limit;
            self
        }

        /// Sets the minimum limit. Default: 1, because the limit can recover only if calls are
        /// admitted. Below one, one call runs at a time, with a pause after each.
        #[must_use]
        pub const fn min_limit(mut self, limit: f64) -> Self {
            self.bounds.min = limit;
            self
        }

        /// Sets the maximum limit. Default: 200 calls, which most servers can hold in memory.
        #[must_use]
        pub const fn max_limit(mut self, limit: f64) -> Self {
            self.bounds.max = limit;
            self
        }
    };
}
use bounds_setters;
