//! The builder of a rate limiter with a rule: [`RuleRateLimiterBuilder`].

use super::limiter::Shared;
use super::{RateRule, RuleRateLimiter, State};
use crate::error::ConfigError;
use crate::event::{Observer, Outbox};
use crate::policy;
use crate::rate::POLICY;
use crate::rate::turn::Turn;
use crate::sync::{Counter, PlainArc, PlainMutex};
use crate::time::Clock;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A builder of a [`RuleRateLimiter`], returned by [`RuleRateLimiter::builder`].
#[derive(Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct RuleRateLimiterBuilder {
    rule: RateRule,
    name: String,
    clock: Clock,
    unix_time: Option<Duration>,
    observer: Option<PlainArc<dyn Observer>>,
}

// The observer is the only field that may not be unwind safe, and a builder does not call it.
impl UnwindSafe for RuleRateLimiterBuilder {}
impl RefUnwindSafe for RuleRateLimiterBuilder {}

impl RuleRateLimiterBuilder {
    pub(super) fn new(rule: RateRule) -> Self {
        let (name, clock) = (POLICY.into(), Clock::system());
        Self { rule, name, clock, unix_time: None, observer: None }
    }

    /// Sets the name that errors and events carry. Default: `rate_limiter`.
    ///
    /// ```
    /// # use mainstay::{RateRule, RuleRateLimiter};
    /// # use std::time::Duration;
    /// let rule = RateRule::sliding_log(100, Duration::from_secs(60));
    /// let limiter = RuleRateLimiter::builder(rule).name("mail").build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the clock. Default: the system clock.
    ///
    /// ```
    /// # use mainstay::{ManualClock, RateRule, RuleRateLimiter};
    /// # use std::time::Duration;
    /// let time = ManualClock::new();
    /// let rule = RateRule::sliding_log(100, Duration::from_secs(60));
    /// let limiter = RuleRateLimiter::builder(rule).clock(time.clock()).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the current Unix time, from which [`RateRule::calendar`] computes its windows. Default:
    /// the system time when the limiter is built.
    ///
    /// After it is built, the limiter follows its clock, so a change of the system time does not
    /// move its windows.
    ///
    /// ```
    /// # use mainstay::{ManualClock, RateRule, RuleRateLimiter, rate::CalendarPeriod};
    /// # use std::time::Duration;
    /// let time = ManualClock::new();
    /// let rule = RateRule::calendar(1_000, CalendarPeriod::Day);
    /// let limiter = RuleRateLimiter::builder(rule)
    ///     .clock(time.clock())
    ///     .unix_time(Duration::from_secs(1_708_992_000)) // 2024-02-27 00:00
    ///     .build()?;
    /// assert_eq!(limiter.snapshot().reset_after, Duration::from_secs(86_400));
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub const fn unix_time(mut self, since_epoch: Duration) -> Self {
        self.unix_time = Some(since_epoch);
        self
    }

    /// Sets the observer of denied requests: events of kind `denied`, with the fields `wanted` and,
    /// if known, `retry_after`. Default: none.
    ///
    /// ```
    /// # use mainstay::{Event, RateRule, RuleRateLimiter};
    /// # use std::time::Duration;
    /// let rule = RateRule::sliding_log(100, Duration::from_secs(60));
    /// let limiter = RuleRateLimiter::builder(rule)
    ///     .observer(|event: &Event<'_>| eprintln!("{event}"))
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observer = Some(PlainArc::new(observer));
        self
    }

    /// Builds the limiter. All tokens are available at first; a limiter that warms up starts cold.
    ///
    /// # Errors
    ///
    /// Returns an error if the name is invalid, or if the limit, rate, period or duration of the
    /// rule is out of range.
    pub fn build(self) -> Result<RuleRateLimiter, ConfigError> {
        let name = policy::name(&self.name)?;
        self.rule.validate()?;
        let unix = self
            .unix_time
            .unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
        let state = State::new(self.rule, self.clock.now(), unix);
        Ok(RuleRateLimiter(PlainArc::new(Shared {
            name,
            rule: self.rule,
            state: PlainMutex::new(state),
            turn: Turn::new(&self.clock),
            clock: self.clock,
            denials: Counter::default(),
            observer: self.observer,
            outbox: Outbox::new(),
        })))
    }
}

impl fmt::Debug for RuleRateLimiterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuleRateLimiterBuilder")
            .field("rule", &self.rule)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
