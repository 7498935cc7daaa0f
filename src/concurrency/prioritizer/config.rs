//! The settings of a prioritizer: [`PrioritizerBuilder`].

use super::shared::{Parts, Shared};
use super::{LimitSource, POLICY, Prioritizer};
use crate::error::ConfigError;
use crate::event::Observer;
use crate::policy;
use crate::random::Random;
use crate::sync::PlainArc;
use crate::time::Clock;
use std::fmt;
use std::time::Duration;

/// A builder of a [`Prioritizer`].
#[must_use]
pub struct PrioritizerBuilder {
    name: String,
    limiters: Vec<Box<dyn LimitSource>>,
    pub(super) update_interval: Duration,
    max_users: usize,
    pub(super) usage_half_life: Duration,
    clock: Clock,
    random: Random,
    observer: Option<PlainArc<dyn Observer>>,
}

impl PrioritizerBuilder {
    pub(super) fn new() -> Self {
        Self {
            name: POLICY.into(),
            limiters: Vec::new(),
            update_interval: Duration::from_millis(500),
            max_users: 10_000,
            usage_half_life: Duration::from_secs(10),
            clock: Clock::system(),
            random: Random::system(),
            observer: None,
        }
    }

    /// Sets the name that rejections and events carry. Default: `prioritizer`.
    ///
    /// ```
    /// # use mainstay::{Bulkhead, Prioritizer};
    /// # let bulkhead = Bulkhead::builder().build()?;
    /// let built = Prioritizer::builder().limiter(bulkhead).name("api").build()?;
    /// assert_eq!(built.name(), "api");
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Adds a limiter that limits the calls below the prioritizer. At least one is required,
    /// because the rejection rate depends on the free permits of the limiters.
    ///
    /// ```
    /// # use mainstay::{AdaptiveLimiter, Prioritizer};
    /// let limiter = AdaptiveLimiter::builder().build()?;
    /// let prioritizer = Prioritizer::builder().limiter(limiter.clone()).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn limiter(mut self, limiter: impl LimitSource + 'static) -> Self {
        self.limiters.push(Box::new(limiter));
        self
    }

    /// Sets the interval between updates of the rejection rate, from 10 ms to one minute. Default:
    /// 500 ms, which is long enough to complete many calls and short enough to react to a burst.
    ///
    /// ```
    /// # use mainstay::{Bulkhead, Prioritizer};
    /// # let bulkhead = Bulkhead::builder().build()?;
    /// let built = Prioritizer::builder()
    ///     .limiter(bulkhead)
    ///     .update_interval(std::time::Duration::from_millis(100))
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn update_interval(mut self, interval: Duration) -> Self {
        self.update_interval = interval;
        self
    }

    /// Sets the maximum number of [users](crate::policy::Caller::with_user) whose usage is stored,
    /// from 1 to 1,000,000. Default: 10,000, which takes at most half a megabyte. If there are
    /// more, those that have not called recently are evicted, and start again without usage.
    ///
    /// ```
    /// # use mainstay::{Bulkhead, Prioritizer};
    /// # let bulkhead = Bulkhead::builder().build()?;
    /// let built = Prioritizer::builder().limiter(bulkhead).max_users(1000).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn max_users(mut self, users: usize) -> Self {
        self.max_users = users;
        self
    }

    /// Sets the time in which the usage of a user is halved, from one second to one day. Default:
    /// 10 s, which is many update intervals, and short enough that a burst is soon forgiven.
    ///
    /// With a longer time, users are compared by their usage over a longer period. A user that sent
    /// many calls is then rejected first for longer after it has reduced its load.
    ///
    /// ```
    /// # use mainstay::{Bulkhead, Prioritizer};
    /// # let bulkhead = Bulkhead::builder().build()?;
    /// let built = Prioritizer::builder()
    ///     .limiter(bulkhead)
    ///     .usage_half_life(std::time::Duration::from_secs(300))
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn usage_half_life(mut self, half_life: Duration) -> Self {
        self.usage_half_life = half_life;
        self
    }

    /// Sets the clock. Default: the system clock.
    ///
    /// ```
    /// # use mainstay::{Bulkhead, ManualClock, Prioritizer};
    /// # let bulkhead = Bulkhead::builder().build()?;
    /// let time = ManualClock::new();
    /// let built = Prioritizer::builder().limiter(bulkhead).clock(time.clock()).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the random number generator, which selects the calls to reject among those with the
    /// priority of the threshold. Default: the generator of the system.
    ///
    /// ```
    /// # use mainstay::{Bulkhead, Prioritizer, Random};
    /// # let bulkhead = Bulkhead::builder().build()?;
    /// let built = Prioritizer::builder().limiter(bulkhead).random(Random::seeded(1)).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn random(mut self, random: Random) -> Self {
        self.random = random;
        self
    }

    /// Sets the observer of rejections: events of kind `rejected`, with `class`, `level` and
    /// `rejection_percent`. Default: none.
    ///
    /// ```
    /// # use mainstay::{Bulkhead, Event, Prioritizer};
    /// # let bulkhead = Bulkhead::builder().build()?;
    /// let built = Prioritizer::builder()
    ///     .limiter(bulkhead)
    ///     .observer(|event: &Event<'_>| eprintln!("{event}"))
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observer = Some(PlainArc::new(observer));
        self
    }

    /// Builds the prioritizer.
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] that names the first setting that is missing or out of range.
    pub fn build(self) -> Result<Prioritizer, ConfigError> {
        let name = policy::name(&self.name)?;
        if self.limiters.is_empty() {
            return Err(ConfigError::new("limiter", "none", "at least one limiter"));
        }
        self.validate()?;
        Ok(Prioritizer(PlainArc::new(Shared::new(Parts {
            name,
            limiters: self.limiters,
            update_interval: self.update_interval,
            max_users: self.max_users,
            usage_half_life: self.usage_half_life,
            clock: self.clock,
            random: self.random,
            observer: self.observer,
        }))))
    }
}

impl PrioritizerBuilder {
    /// Validates all settings except for the limiters.
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        policy::name(&self.name)?;
        let accepted = Duration::from_millis(10)..=Duration::from_secs(60);
        if !accepted.contains(&self.update_interval) {
            let accepted = "10 ms to one minute";
            return Err(ConfigError::new("update_interval", self.update_interval, accepted));
        }
        if !(1..=1_000_000).contains(&self.max_users) {
            return Err(ConfigError::new("max_users", self.max_users, "1 to 1000000"));
        }
        let accepted = Duration::from_secs(1)..=Duration::from_secs(24 * 60 * 60);
        if !accepted.contains(&self.usage_half_life) {
            let accepted = "one second to one day";
            return Err(ConfigError::new("usage_half_life", self.usage_half_life, accepted));
        }
        Ok(())
    }
}

impl fmt::Debug for PrioritizerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrioritizerBuilder")
            .field("name", &self.name)
            .field("limiters", &self.limiters.len())
            .field("update_interval", &self.update_interval)
            .field("max_users", &self.max_users)
            .field("usage_half_life", &self.usage_half_life)
            .finish_non_exhaustive()
    }
}
