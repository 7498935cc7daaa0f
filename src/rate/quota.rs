//! The limit of a rate limiter: [`Quota`].

use std::fmt;
use std::time::Duration;

/// The limit of a rate limiter: a rate and a burst.
///
/// Tokens become available evenly, not all at the end of the period: with 60 tokens per minute, one
/// becomes available each second. The *burst* is the number of tokens that accumulate while there
/// are no requests, and that can then be granted at once. By default it is the `count` of the rate.
///
/// A limiter that was idle can therefore grant up to `2 × count - 1` tokens within one period: the
/// burst, plus the tokens that become available during the period. For example, a quota of 1,000
/// per day grants up to 1,999 on the first day. If `count` must not be exceeded by as much, set a
/// smaller [`burst`](Self::burst): with a burst of *b*, fewer than `count + b` tokens are granted
/// in any period.
///
/// ```
/// use mainstay::rate::Quota;
/// use std::time::Duration;
///
/// let quota = Quota::per_second(50);                       // with a burst of 50
/// let even = Quota::per_minute(600).burst(1);              // one every 100 ms
/// let slow = Quota::with_period(Duration::from_secs(90));  // one every 90 s
/// # let _ = (quota, even, slow);
/// ```
///
/// # Accepted quotas
///
/// A quota is validated when a limiter is built or reconfigured with it. The rate must be at most
/// one token per nanosecond, the resolution of the clock. The burst must be at least 1, and an
/// empty limiter must be full again within four years. A count of 0 is accepted with any burst.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Quota {
    /// `None` if there is no limit.
    pub(super) rate: Option<Rate>,
    pub(super) burst: Option<u32>,
}

/// A rate of `count` tokens per `period`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Rate {
    pub(super) count: u32,
    pub(super) period: Duration,
}

const SECOND: Duration = Duration::from_secs(1);

impl Quota {
    /// Creates a quota of `count` tokens per second. A count of 0 grants nothing.
    ///
    /// ```
    /// # use mainstay::Quota;
    /// let quota = Quota::per_second(50);
    /// ```
    #[must_use]
    pub const fn per_second(count: u32) -> Self {
        Self::per(count, SECOND)
    }

    /// Creates a quota of `count` tokens per minute. A count of 0 grants nothing.
    ///
    /// ```
    /// # use mainstay::Quota;
    /// let quota = Quota::per_minute(50);
    /// ```
    #[must_use]
    pub const fn per_minute(count: u32) -> Self {
        Self::per(count, Duration::from_secs(60))
    }

    /// Creates a quota of `count` tokens per hour. A count of 0 grants nothing.
    ///
    /// ```
    /// # use mainstay::Quota;
    /// let quota = Quota::per_hour(50);
    /// ```
    #[must_use]
    pub const fn per_hour(count: u32) -> Self {
        Self::per(count, Duration::from_secs(3600))
    }

    /// Creates a quota of `count` tokens per 24 hours. A count of 0 grants nothing.
    ///
    /// ```
    /// # use mainstay::Quota;
    /// let quota = Quota::per_day(50);
    /// ```
    #[must_use]
    pub const fn per_day(count: u32) -> Self {
        Self::per(count, Duration::from_secs(24 * 3600))
    }

    /// Creates a quota of `count` tokens per `period`. A count of 0 grants nothing.
    ///
    /// ```
    /// use mainstay::rate::Quota;
    /// use std::time::Duration;
    ///
    /// let quota = Quota::per(3, Duration::from_millis(500)); // with a burst of 3
    /// # let _ = quota;
    /// ```
    #[must_use]
    pub const fn per(count: u32, period: Duration) -> Self {
        Self { rate: Some(Rate { count, period }), burst: None }
    }

    /// Creates a quota of one token per `period`, with a burst of 1.
    ///
    /// ```
    /// # use mainstay::Quota;
    /// # use std::time::Duration;
    /// // One token every 100 ms, at most one at once.
    /// let quota = Quota::with_period(Duration::from_millis(100));
    /// ```
    #[must_use]
    pub const fn with_period(period: Duration) -> Self {
        Self::per(1, period)
    }

    /// Creates a quota without a limit: every request is granted, and no tokens are counted.
    #[must_use]
    pub const fn unlimited() -> Self {
        Self { rate: None, burst: None }
    }

    /// Sets the burst: the number of tokens that accumulate while there are no requests, and that
    /// can be granted at once. Default: the `count` of the rate.
    ///
    /// ```
    /// use mainstay::rate::{Quota, RateLimiter};
    ///
    /// let limiter = RateLimiter::new(Quota::per_hour(100).burst(2))?;
    /// assert!(limiter.try_acquire_n(2).is_ok());
    /// assert!(limiter.try_acquire().is_err());
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub const fn burst(mut self, tokens: u32) -> Self {
        self.burst = Some(tokens);
        self
    }
}

impl fmt::Debug for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rate {
            None => f.write_str("unlimited")?,
            Some(Rate { count, period }) => write!(f, "{count} per {period:?}")?,
        }
        self.burst.map_or(Ok(()), |burst| write!(f, ", burst {burst}"))
    }
}
