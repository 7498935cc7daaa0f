//! Thresholds for a class of calls that differ from those of the breaker.

use crate::error::ConfigError;
use std::time::Duration;

/// Thresholds for some of the calls of one breaker.
///
/// What is slow for a lookup is fast for a report, and a failed payment is worse than a failed
/// picture. Calls of all classes count in one window and share one state. How much a single failure
/// weighs is decided by the classifier: see
/// [`Outcome::WeightedFailure`](crate::outcome::Outcome::WeightedFailure).
///
/// A class decides when a closed breaker opens. A trial is judged by the breaker's own rates,
/// whichever classes its probes belong to; whether a probe was slow is decided by its own class.
///
/// ```
/// use mainstay::breaker::{CallClass, CircuitBreaker};
/// use std::time::Duration;
///
/// let shop = CircuitBreaker::builder()
///     .slow_calls(Duration::from_millis(100), 0.5)
///     .build()?;
/// let ten_seconds = Duration::from_secs(10);
/// let reports = shop.for_class(CallClass::new().slow_after(ten_seconds))?;
/// let payments = shop.for_class(CallClass::new().failure_rate(0.1))?;
///
/// # let (report, pay) = (|| Ok::<(), ()>(()), || Ok::<(), ()>(()));
/// // Slow only if it takes ten seconds or longer.
/// let _ = reports.call_blocking(|| report());
/// // If it fails, the breaker opens if 10 % of all calls have failed.
/// let _ = payments.call_blocking(|| pay());
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CallClass {
    pub(crate) failure_rate: Option<f64>,
    pub(crate) slow_after: Option<Duration>,
}

impl CallClass {
    pub(crate) const DEFAULT: Self = Self::new();

    /// Creates a class with all thresholds of the breaker.
    #[must_use]
    pub const fn new() -> Self {
        Self { failure_rate: None, slow_after: None }
    }

    /// Sets the failure rate, above 0 and at most 1, at which a failed call of this class opens the
    /// breaker. The share is that of all calls in the window, and the breaker's own
    /// [minimum](super::CircuitBreakerBuilder::min_calls) applies. Default: the breaker's rate.
    ///
    /// ```
    /// use mainstay::breaker::{CallClass, CircuitBreaker};
    ///
    /// let payments = CallClass::new().failure_rate(0.1);
    /// let payments = CircuitBreaker::new().for_class(payments)?;
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub const fn failure_rate(mut self, rate: f64) -> Self {
        self.failure_rate = Some(rate);
        self
    }

    /// Sets from when on a call of this class is slow. Default: the breaker's threshold.
    ///
    /// Only for breakers that time their calls, because [slow
    /// calls](super::CircuitBreakerBuilder::slow_calls) count or
    /// [latencies](super::CircuitBreakerBuilder::record_latency) are recorded. Calls [in
    /// flight](super::CircuitBreakerBuilder::track_in_flight) become overdue by the breaker's own
    /// threshold.
    ///
    /// ```
    /// use mainstay::breaker::CallClass;
    /// use std::time::Duration;
    ///
    /// let reports = CallClass::new().slow_after(Duration::from_secs(10));
    /// ```
    #[must_use]
    pub const fn slow_after(mut self, threshold: Duration) -> Self {
        self.slow_after = Some(threshold);
        self
    }

    /// `timed`: whether the breaker times its calls.
    pub(crate) fn validate(&self, timed: bool) -> Result<(), ConfigError> {
        match (self.failure_rate, self.slow_after) {
            (Some(rate), _) if !(rate > 0.0 && rate <= 1.0) => {
                Err(ConfigError::new("failure_rate", rate, "a share above 0 and at most 1"))
            }
            (_, Some(Duration::ZERO)) => {
                Err(ConfigError::new("slow_after", Duration::ZERO, "longer than zero"))
            }
            (_, Some(threshold)) if !timed => {
                let accepted = "none, or a breaker with slow_calls or record_latency";
                Err(ConfigError::new("slow_after", threshold, accepted))
            }
            _ => Ok(()),
        }
    }
}
