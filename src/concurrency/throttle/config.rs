//! The builder of a throttle.

use super::shared::{Parts, Shared};
use super::state::Strictness;
use super::{POLICY, Throttle};
use crate::error::ConfigError;
use crate::event::Observer;
use crate::policy;
use crate::random::Random;
use crate::sync::PlainArc;
use crate::time::Clock;
use crate::window::Window;
use std::fmt;
use std::time::Duration;

/// Configures a [`Throttle`].
#[derive(Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct ThrottleBuilder {
    name: String,
    pub(super) strictness: Strictness,
    window: Duration,
    probe_interval: Duration,
    clock: Clock,
    random: Random,
    observer: Option<PlainArc<dyn Observer>>,
}

/// The number of steps in which the window advances.
const BUCKETS: u32 = 40;
const DAY: Duration = Duration::from_secs(86_400);

impl ThrottleBuilder {
    pub(super) fn new() -> Self {
        Self {
            name: POLICY.into(),
            strictness: Strictness { multiplier: 2.0, max_rate: 0.9, min_calls: 10 },
            window: Duration::from_secs(120),
            probe_interval: Duration::from_secs(1),
            clock: Clock::system(),
            random: Random::system(),
            observer: None,
        }
    }

    /// Sets the name that rejections and events carry. Default: `throttle`.
    ///
    /// ```
    /// # use mainstay::Throttle;
    /// let built = Throttle::builder().name("search").build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets how many calls are admitted for each call that the dependency accepts, from 1 to 100.
    /// Default: 2, so that a dependency that accepts at least half of the calls is not throttled.
    /// The throttle detects a recovery quickly, at the cost of one wasted call per accepted call.
    ///
    /// ```
    /// # use mainstay::Throttle;
    /// let built = Throttle::builder().accept_multiplier(1.5).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub const fn accept_multiplier(mut self, multiplier: f64) -> Self {
        self.strictness.multiplier = multiplier;
        self
    }

    /// Sets the largest share of calls that is rejected, above 0 and at most 1. Default: 0.9, so
    /// that one call in ten tests whether the dependency has recovered.
    ///
    /// ```
    /// # use mainstay::Throttle;
    /// let built = Throttle::builder().max_rejection_rate(0.95).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub const fn max_rejection_rate(mut self, rate: f64) -> Self {
        self.strictness.max_rate = rate;
        self
    }

    /// Sets how many calls the window must hold before any is rejected. Default: 10.
    ///
    /// ```
    /// # use mainstay::Throttle;
    /// let built = Throttle::builder().min_calls(50).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub const fn min_calls(mut self, calls: u64) -> Self {
        self.strictness.min_calls = calls;
        self
    }

    /// Sets how far back calls count, from 40 ms to a day. Default: two minutes.
    ///
    /// ```
    /// # use mainstay::Throttle;
    /// # use std::time::Duration;
    /// let built = Throttle::builder()
    ///     .window_duration(Duration::from_secs(30))
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub const fn window_duration(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// Sets the interval at which one call is admitted at any rejection rate, from 1 ms to a day.
    /// Default: one second, because with little traffic, one call in ten can be a long wait.
    ///
    /// ```
    /// # use mainstay::Throttle;
    /// # use std::time::Duration;
    /// let built = Throttle::builder()
    ///     .probe_interval(Duration::from_millis(250))
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub const fn probe_interval(mut self, interval: Duration) -> Self {
        self.probe_interval = interval;
        self
    }

    /// Sets the clock. Default: the system clock.
    ///
    /// ```
    /// # use mainstay::{ManualClock, Throttle};
    /// let time = ManualClock::new();
    /// let built = Throttle::builder().clock(time.clock()).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the source of randomness. Default: the system's.
    ///
    /// ```
    /// # use mainstay::{Random, Throttle};
    /// let built = Throttle::builder().random(Random::seeded(1)).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn random(mut self, random: Random) -> Self {
        self.random = random;
        self
    }

    /// Sets the observer of rejections: events of kind `rejected`, with `rejection_percent`.
    /// Default: none.
    ///
    /// ```
    /// # use mainstay::{Event, Throttle};
    /// let built = Throttle::builder()
    ///     .observer(|event: &Event<'_>| eprintln!("{event}"))
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observer = Some(PlainArc::new(observer));
        self
    }

    /// Builds the throttle.
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] that names the first setting that is out of range.
    pub fn build(self) -> Result<Throttle, ConfigError> {
        let name = policy::name(&self.name)?;
        self.validate()?;
        Ok(Throttle::from_shared(Shared::new(Parts {
            name,
            window: Window::time_window(self.window, BUCKETS)?,
            clock: self.clock,
            strictness: self.strictness,
            probe_interval: self.probe_interval,
            random: self.random,
            observer: self.observer,
        })))
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let Strictness { multiplier, max_rate, .. } = self.strictness;
        if !(1.0..=100.0).contains(&multiplier) {
            return Err(ConfigError::new("accept_multiplier", multiplier, "1 to 100"));
        }
        if !(max_rate > 0.0 && max_rate <= 1.0) {
            let accepted = "a share above 0 and at most 1";
            return Err(ConfigError::new("max_rejection_rate", max_rate, accepted));
        }
        if !(Duration::from_millis(40)..=DAY).contains(&self.window) {
            return Err(ConfigError::new("window_duration", self.window, "40 ms to one day"));
        }
        match (Duration::from_millis(1)..=DAY).contains(&self.probe_interval) {
            true => Ok(()),
            false => {
                Err(ConfigError::new("probe_interval", self.probe_interval, "1 ms to one day"))
            }
        }
    }
}

impl fmt::Debug for ThrottleBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThrottleBuilder")
            .field("name", &self.name)
            .field("accept_multiplier", &self.strictness.multiplier)
            .field("max_rejection_rate", &self.strictness.max_rate)
            .field("min_calls", &self.strictness.min_calls)
            .field("window_duration", &self.window)
            .field("probe_interval", &self.probe_interval)
            .finish_non_exhaustive()
    }
}
