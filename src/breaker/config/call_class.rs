//! [`CallClass`]: thresholds of some calls that differ from those of their breaker.

use crate::error::ConfigError;
use std::time::Duration;

/// Thresholds for some of the calls of one breaker. A duration that is slow for a lookup can be
/// normal for a report, and a failed payment is worse than a failed image. Calls of all classes
/// share one window and one state. The weight of a single failure is set by the classifier: see
/// [`Outcome::WeightedFailure`](crate::outcome::Outcome::WeightedFailure).
///
/// The failure rate of a class applies while the breaker is closed. A trial is judged by the
/// breaker's own rates, regardless of the classes of its probes. The slow threshold of a class
/// applies to its probes, too.
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
/// // Counts as slow only if it takes ten seconds or longer.
/// let _ = reports.call_blocking(|| report());
/// // A failed payment opens the breaker if at least 10 % of all calls have failed.
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

    /// Creates a class that uses all thresholds of the breaker.
    #[must_use]
    pub const fn new() -> Self {
        Self { failure_rate: None, slow_after: None }
    }

    /// Sets the failure rate, above 0 and at most 1, at which a failed call of this class opens the
    /// breaker. The rate is that of all calls in the window, of any class, and the breaker's own
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

    /// Sets the duration from which a call of this class is slow. Default: the breaker's threshold.
    ///
    /// Requires a breaker that times its calls, by
    /// [`slow_calls`](super::CircuitBreakerBuilder::slow_calls) or
    /// [`record_latency`](super::CircuitBreakerBuilder::record_latency). Calls [in
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

    /// Validates the thresholds. `timed` is true if the breaker times its calls.
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
