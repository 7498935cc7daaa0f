use std::fmt;
use std::time::Duration;

/// How much is admitted: so many tokens a period, and so many at once.
///
/// Tokens come back evenly, not all at the end of the period: of 60 a minute there is one each second.
/// The burst is what comes together when nobody asks for a while, and what can then be had at once; by
/// default as many as come in a period.
///
/// So a limiter that was idle grants up to twice the count within one period, less one: all that had come
/// together, and what comes back meanwhile. A thousand a day are up to 1,999 on the first day. Where the
/// count is a promise to others, [`burst`](Self::burst) says how much of it may come ahead of time; of
/// `count` tokens with a burst of *b*, less than `count + b` are granted in any period.
///
/// ```
/// use mainstay::rate::Quota;
/// use std::time::Duration;
///
/// let quota = Quota::per_second(50);                       // and up to 50 at once
/// let even = Quota::per_minute(600).burst(1);              // one each 100 ms, none ahead of time
/// let slow = Quota::with_period(Duration::from_secs(90));  // one each 90 s
/// # let _ = (quota, even, slow);
/// ```
///
/// A quota is checked where it is put into force. Accepted are rates up to one token a nanosecond, which is
/// as fine as the clock tells, and bursts of at least one that come back within four years.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Quota {
    /// `None`: no limit.
    pub(super) rate: Option<Rate>,
    pub(super) burst: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Rate {
    pub(super) count: u32,
    pub(super) period: Duration,
}

const SECOND: Duration = Duration::from_secs(1);

impl Quota {
    /// `count` tokens in each second. With a count of 0, here and below, nothing is admitted.
    #[must_use]
    pub const fn per_second(count: u32) -> Self {
        Self::per(count, SECOND)
    }

    /// `count` tokens in each minute.
    #[must_use]
    pub const fn per_minute(count: u32) -> Self {
        Self::per(count, Duration::from_secs(60))
    }

    /// `count` tokens in each hour.
    #[must_use]
    pub const fn per_hour(count: u32) -> Self {
        Self::per(count, Duration::from_secs(3600))
    }

    /// `count` tokens in each 24 hours.
    #[must_use]
    pub const fn per_day(count: u32) -> Self {
        Self::per(count, Duration::from_secs(24 * 3600))
    }

    /// `count` tokens in each `period`.
    #[must_use]
    pub const fn per(count: u32, period: Duration) -> Self {
        Self { rate: Some(Rate { count, period }), burst: None }
    }

    /// One token in each `period`, and no more than one at once.
    #[must_use]
    pub const fn with_period(period: Duration) -> Self {
        Self::per(1, period)
    }

    /// No limit: everything is admitted, and nothing counted.
    #[must_use]
    pub const fn unlimited() -> Self {
        Self { rate: None, burst: None }
    }

    /// Up to `tokens` at once. Default: as many as come in a period, which makes it up to twice as many in
    /// the first.
    ///
    /// Without a burst to spend, those who [wait](super::RateLimiter::acquire) come a little short: what a
    /// timer is late is lost.
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
