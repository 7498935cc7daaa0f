//! A class of calls with thresholds of its own.

use crate::error::ConfigError;
use std::time::Duration;

/// Thresholds of their own for some of the calls of one breaker: what is slow for a look-up is quick for a
/// report, and a failed payment is worse than a failed picture.
///
/// Calls of all classes count into one window and see one state. How much a single failure counts is for
/// the classifier to say: see [`Outcome::Grave`](crate::outcome::Outcome::Grave).
///
/// A class decides when a closed breaker opens. A trial is judged by the breaker's own rates, whichever calls
/// happen to be its probes; what is slow among them, each class says for its own.
///
/// ```
/// use mainstay::breaker::{CircuitBreaker, CallClass};
/// use std::time::Duration;
///
/// let shop = CircuitBreaker::builder().slow_calls(Duration::from_millis(100), 0.5).build()?;
/// let reports = shop.for_class(CallClass::new().slow_after(Duration::from_secs(10)))?;
/// let payments = shop.for_class(CallClass::new().failure_rate(0.1))?;
///
/// # let (report, pay) = (|| Ok::<(), ()>(()), || Ok::<(), ()>(()));
/// let _ = reports.call_blocking(|| report()); // a quick one if it takes no more than 10 s
/// let _ = payments.call_blocking(|| pay());   // if it fails, 10 % of failures are enough to open
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CallClass {
    pub(super) failure_rate: Option<f64>,
    pub(super) slow_after: Option<Duration>,
}

impl CallClass {
    pub(super) const ORDINARY: Self = Self::new();

    /// All thresholds those of the breaker.
    #[must_use]
    pub const fn new() -> Self {
        Self { failure_rate: None, slow_after: None }
    }

    /// When a call of this class fails, the breaker opens if at least this share of all calls in the window
    /// did, above 0 and at most 1. The breaker's own [minimum](super::CircuitBreakerBuilder::min_calls) stands.
    #[must_use]
    pub const fn failure_rate(mut self, rate: f64) -> Self {
        self.failure_rate = Some(rate);
        self
    }

    /// A call of this class is slow if it took so long. Only for breakers that time their calls, for [slow
    /// calls](super::CircuitBreakerBuilder::slow_calls) count or their [latency](super::CircuitBreakerBuilder::record_latency) is kept; those
    /// [under way](super::CircuitBreakerBuilder::track_in_flight) go by the breaker's own threshold.
    #[must_use]
    pub const fn slow_after(mut self, threshold: Duration) -> Self {
        self.slow_after = Some(threshold);
        self
    }

    /// `timed`: whether the breaker times its calls.
    pub(super) fn validate(&self, timed: bool) -> Result<(), ConfigError> {
        match (self.failure_rate, self.slow_after) {
            (Some(rate), _) if !(rate > 0.0 && rate <= 1.0) => {
                Err(ConfigError::new("class.failure_rate", rate, "a share above 0 and at most 1"))
            }
            (_, Some(Duration::ZERO)) => {
                Err(ConfigError::new("class.slow_after", Duration::ZERO, "longer than nothing"))
            }
            (_, Some(threshold)) if !timed => {
                let accepted = "none, or a breaker with slow_calls or latency";
                Err(ConfigError::new("class.slow_after", threshold, accepted))
            }
            _ => Ok(()),
        }
    }
}
