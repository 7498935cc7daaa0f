//! Rate limits by other rules than a token bucket: [`RuleRateLimiter`], [`RateRule`].

mod calendar;
mod config;
mod limiter;
mod policy;
mod sliding_counter;
mod sliding_log;
#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests;
mod warm_up;

pub use calendar::CalendarPeriod;
pub use config::RuleRateLimiterBuilder;
pub use limiter::{RuleRateLimiter, RuleRateLimiterSnapshot};
pub use policy::RuleRateLimitPolicy;

use super::turn::{Attempt, RetryAfter};
use crate::error::ConfigError;
use crate::time::Instant;
use calendar::Calendar;
use sliding_counter::SlidingCounter;
use sliding_log::SlidingLog;
use std::time::Duration;
use warm_up::WarmUp;

/// The rule of a [`RuleRateLimiter`].
///
/// | rule | tokens granted in any period | state |
/// |---|---|---|
/// | [`sliding_log`](Self::sliding_log) | at most the limit | 16 bytes per grant of the last period |
/// | [`sliding_counter`](Self::sliding_counter) | at most the limit on average, always less than twice the limit | two counters |
/// | [`calendar`](Self::calendar) | at most the limit in each period of the calendar | one counter |
/// | [`warm_up`](Self::warm_up) | at most the rate, fewer after a pause | two numbers |
///
/// ```
/// use mainstay::rate::{CalendarPeriod, RateRule};
/// use std::time::Duration;
///
/// let strict = RateRule::sliding_log(100, Duration::from_secs(60));
/// let contract = RateRule::calendar(1_000, CalendarPeriod::Day);
/// let cold_cache = RateRule::warm_up(500, Duration::from_secs(30));
/// # let _ = (strict, contract, cold_cache);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateRule(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    SlidingLog { limit: u32, period: Duration },
    SlidingCounter { limit: u32, period: Duration },
    Calendar { limit: u32, period: CalendarPeriod },
    WarmUp { per_second: u32, duration: Duration },
}

impl RateRule {
    /// Creates a rule that grants at most `limit` tokens in any time window of length `period`.
    ///
    /// The limiter stores the time of each grant. Use this for a server that counts in the same way
    /// and penalizes a single request above the limit.
    ///
    /// ```
    /// # use mainstay::{RateRule, RuleRateLimiter};
    /// # use std::time::Duration;
    /// let rule = RateRule::sliding_log(100, Duration::from_secs(60));
    /// let limiter = RuleRateLimiter::new(rule)?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub const fn sliding_log(limit: u32, period: Duration) -> Self {
        Self(Kind::SlidingLog { limit, period })
    }

    /// Creates a rule that estimates the tokens of the last `period` from the counts of the current
    /// window and of the one before, and grants at most `limit`.
    ///
    /// The estimate is exact if the grants of the window before were evenly spread. If all of them
    /// were made at the end of that window, almost twice the limit can be granted within one
    /// period.
    ///
    /// ```
    /// # use mainstay::{RateRule, RuleRateLimiter};
    /// # use std::time::Duration;
    /// let rule = RateRule::sliding_counter(1_000_000, Duration::from_secs(3600));
    /// let limiter = RuleRateLimiter::new(rule)?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub const fn sliding_counter(limit: u32, period: Duration) -> Self {
        Self(Kind::SlidingCounter { limit, period })
    }

    /// Creates a rule that grants at most `limit` tokens in each `period` of the calendar, in UTC.
    ///
    /// All tokens can be granted at once at the beginning of a period. Use this for a quota that is
    /// contracted or billed per calendar period.
    ///
    /// ```
    /// # use mainstay::{RateRule, RuleRateLimiter, rate::CalendarPeriod};
    /// let rule = RateRule::calendar(1_000, CalendarPeriod::Day);
    /// let limiter = RuleRateLimiter::new(rule)?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub const fn calendar(limit: u32, period: CalendarPeriod) -> Self {
        Self(Kind::Calendar { limit, period })
    }

    /// Creates a rule that grants `per_second` evenly spaced tokens per second, and fewer while the
    /// limiter is *cold*.
    ///
    /// A cold limiter starts at a third of the rate. While it is in use, it warms up to the full
    /// rate within `duration`; while no tokens are taken, it cools down in the same time. A new
    /// limiter is cold.
    ///
    /// Use this for a dependency whose caches and connections must be filled first. A request for
    /// several tokens is granted when the first of them is available; the next request waits for
    /// all of them.
    ///
    /// ```
    /// # use mainstay::{RateRule, RuleRateLimiter};
    /// # use std::time::Duration;
    /// let rule = RateRule::warm_up(500, Duration::from_secs(30));
    /// let limiter = RuleRateLimiter::new(rule)?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub const fn warm_up(per_second: u32, duration: Duration) -> Self {
        Self(Kind::WarmUp { per_second, duration })
    }

    /// Returns the largest number of tokens that can be granted at once.
    const fn limit(self) -> u32 {
        match self.0 {
            Kind::SlidingLog { limit, .. }
            | Kind::SlidingCounter { limit, .. }
            | Kind::Calendar { limit, .. } => limit,
            Kind::WarmUp { .. } => u32::MAX,
        }
    }

    fn validate(self) -> Result<(), ConfigError> {
        let max = Duration::from_secs(366 * 86_400);
        let accepted = "above zero, at most 366 days";
        if self.limit() == 0 {
            return Err(ConfigError::new("limit", 0, "at least 1 token"));
        }
        match self.0 {
            Kind::SlidingLog { period, .. } | Kind::SlidingCounter { period, .. }
                if period.is_zero() || period > max =>
            {
                Err(ConfigError::new("period", period, accepted))
            }
            Kind::WarmUp { per_second, .. } if !(1..=1_000_000_000).contains(&per_second) => {
                Err(ConfigError::new("per_second", per_second, "1 to 1,000,000,000"))
            }
            Kind::WarmUp { duration, .. } if duration.is_zero() || duration > max => {
                Err(ConfigError::new("duration", duration, accepted))
            }
            _ => Ok(()),
        }
    }
}

/// The state of a limiter.
#[derive(Clone, Debug)]
enum State {
    SlidingLog(SlidingLog),
    SlidingCounter(SlidingCounter),
    Calendar(Calendar),
    WarmUp(WarmUp),
}

/// Why a request was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shortage {
    /// The tokens become available after this time, not earlier.
    Until(Duration),
    /// The request exceeds the limit.
    Forever,
    /// Other callers are waiting.
    Waiters,
}

/// The available tokens of a limiter, for its snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Standing {
    remaining: u32,
    reset_after: Duration,
}

impl State {
    /// Creates the state of a limiter that is built at `now`, at which the Unix time is `unix`.
    fn new(rule: RateRule, now: Instant, unix: Duration) -> Self {
        match rule.0 {
            Kind::SlidingLog { limit, period } => Self::SlidingLog(SlidingLog::new(limit, period)),
            Kind::SlidingCounter { limit, period } => {
                Self::SlidingCounter(SlidingCounter::new(limit, period, now))
            }
            Kind::Calendar { limit, period } => {
                Self::Calendar(Calendar::new(limit, period, now, unix))
            }
            Kind::WarmUp { per_second, duration } => {
                Self::WarmUp(WarmUp::new(1e9 / f64::from(per_second), duration, now))
            }
        }
    }

    /// Takes all `n` tokens or none. `n` must not be 0.
    fn take(&mut self, now: Instant, n: u32, attempt: Attempt) -> Result<(), Shortage> {
        match (self, attempt) {
            (Self::SlidingLog(log), _) => log.take(now, n),
            (Self::SlidingCounter(counter), _) => counter.take(now, n),
            (Self::Calendar(calendar), _) => calendar.take(now, n),
            (Self::WarmUp(warm_up), Attempt::First) => warm_up.take(now, n),
            (Self::WarmUp(warm_up), Attempt::AfterWaiting) => warm_up.take_waiting(now, n),
        }
    }

    fn standing(&mut self, now: Instant) -> Standing {
        match self {
            Self::SlidingLog(log) => log.standing(now),
            Self::SlidingCounter(counter) => counter.standing(now),
            Self::Calendar(calendar) => calendar.standing(now),
            Self::WarmUp(warm_up) => warm_up.standing(now),
        }
    }
}

impl RetryAfter for Shortage {
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Until(after) => Some(*after),
            Self::Forever | Self::Waiters => None,
        }
    }
}
