//! The builder of a hedge, with validation and defaults: [`HedgeBuilder`].

use super::words::{Config, DelayConfig};
use super::{Hedge, POLICY, Shared};
use crate::budget::Budget;
use crate::error::ConfigError;
use crate::event::Observer;
use crate::policy;
use crate::sync::PlainArc;
use crate::time::Clock;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

/// A builder of a [`Hedge`].
#[derive(Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct HedgeBuilder {
    name: String,
    delay: DelaySetting,
    min_delay: Duration,
    max_attempts: u32,
    hedges_failures: bool,
    is_idempotent: bool,
    is_shadow: bool,
    budget: BudgetConfig,
    clock: Clock,
    observer: Option<PlainArc<dyn Observer>>,
}

// A builder calls no observer.
impl UnwindSafe for HedgeBuilder {}
impl RefUnwindSafe for HedgeBuilder {}

#[derive(Clone, Copy, Debug)]
enum DelaySetting {
    Fixed(Duration),
    Quantile { quantile: f64, initial: Duration },
}

/// The budget of a hedge.
#[derive(Clone)]
pub(super) enum BudgetConfig {
    /// One of its own, with the default settings.
    Default,
    Given(Budget),
    Unlimited,
}

/// The arguments of [`Shared::new`].
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) name: &'static str,
    pub(super) config: Config,
    pub(super) budget: BudgetConfig,
    pub(super) clock: Clock,
    pub(super) observer: Option<PlainArc<dyn Observer>>,
    /// Whether the hedge is that of one of many keys.
    pub(super) keyed: bool,
}

const MAX_ATTEMPTS: u32 = 10;

impl HedgeBuilder {
    pub(super) fn new() -> Self {
        Self {
            name: POLICY.into(),
            delay: DelaySetting::Quantile { quantile: 0.95, initial: Duration::from_millis(100) },
            min_delay: Duration::from_millis(1),
            max_attempts: 2,
            hedges_failures: false,
            is_idempotent: false,
            is_shadow: false,
            budget: BudgetConfig::Default,
            clock: Clock::system(),
            observer: None,
        }
    }

    /// Sets the name that events and lints carry. Default: `hedge`.
    ///
    /// ```
    /// # use mainstay::Hedge;
    /// let built = Hedge::builder().name("search").build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets a fixed delay before each further attempt.
    ///
    /// Default: [`delay_quantile(0.95, 100 ms)`](Self::delay_quantile).
    ///
    /// ```
    /// # use mainstay::Hedge;
    /// # use std::time::Duration;
    /// let built = Hedge::builder().delay(Duration::from_millis(50)).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub const fn delay(mut self, delay: Duration) -> Self {
        self.delay = DelaySetting::Fixed(delay);
        self
    }

    /// Sets the delay to a quantile of the latencies of the attempts of the last 30 s: the fraction
    /// `quantile` of them, above 0 and below 1, took at most as long. Until 20 attempts have been
    /// measured, the delay is `initial_delay`.
    ///
    /// Default: 0.95 and 100 ms. About one call in twenty is then hedged, which adds 5 % to the
    /// load.
    ///
    /// ```
    /// # use mainstay::Hedge;
    /// # use std::time::Duration;
    /// let built = Hedge::builder()
    ///     .delay_quantile(0.99, Duration::from_millis(200))
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub const fn delay_quantile(mut self, quantile: f64, initial_delay: Duration) -> Self {
        self.delay = DelaySetting::Quantile { quantile, initial: initial_delay };
        self
    }

    /// Sets the minimum of a delay that is computed from latencies. Default: 1 ms, the resolution
    /// of most timers.
    ///
    /// ```
    /// # use mainstay::Hedge;
    /// # use std::time::Duration;
    /// let built = Hedge::builder().min_delay(Duration::from_millis(5)).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub const fn min_delay(mut self, delay: Duration) -> Self {
        self.min_delay = delay;
        self
    }

    /// Sets the maximum number of attempts, including the first, from 1 to 10. Default: 2. A third
    /// attempt is rarely faster than both others.
    ///
    /// ```
    /// # use mainstay::Hedge;
    /// let built = Hedge::builder().max_attempts(3).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub const fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// Makes a failure of an attempt start the next attempt immediately. By default, a failure
    /// starts no attempt, and ends the call if no other attempt runs.
    ///
    /// ```
    /// # use mainstay::Hedge;
    /// let built = Hedge::builder().hedge_failures().build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub const fn hedge_failures(mut self) -> Self {
        self.hedges_failures = true;
        self
    }

    /// Declares that the operation may safely run several times concurrently: for example, it only
    /// reads data.
    ///
    /// The declaration affects only the lints of
    /// [`Pipeline::check`](crate::pipeline::Pipeline::check). Default: not declared.
    ///
    /// ```
    /// # use mainstay::Hedge;
    /// let built = Hedge::builder().assume_idempotent().build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub const fn assume_idempotent(mut self) -> Self {
        self.is_idempotent = true;
        self
    }

    /// Starts no further attempt, and only counts and reports those that would be started. Default:
    /// off. Use it to find out how much load a hedge would add; the delay is measured meanwhile.
    ///
    /// ```
    /// # use mainstay::Hedge;
    /// let built = Hedge::builder().shadow().build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub const fn shadow(mut self) -> Self {
        self.is_shadow = true;
        self
    }

    /// Sets the budget that every further attempt draws from.
    ///
    /// Default: a budget for this hedge alone, of 5 % of all calls and a capacity of 10. Without a
    /// budget, a dependency that becomes slow for all calls would receive twice its usual load. If
    /// the budget is exhausted, the next attempt is suppressed; attempts that run are not affected.
    ///
    /// ```
    /// # use mainstay::{Budget, Hedge};
    /// let budget = Budget::builder().build()?;
    /// let built = Hedge::builder().budget(&budget).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn budget(mut self, budget: impl Into<Budget>) -> Self {
        self.budget = BudgetConfig::Given(budget.into());
        self
    }

    /// Removes the budget: every call may start up to `max_attempts` attempts. See
    /// [`budget`](Self::budget).
    ///
    /// ```
    /// # use mainstay::Hedge;
    /// let built = Hedge::builder().without_budget().build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn without_budget(mut self) -> Self {
        self.budget = BudgetConfig::Unlimited;
        self
    }

    /// Sets the clock. Default: the system clock.
    ///
    /// ```
    /// # use mainstay::{Hedge, ManualClock};
    /// let time = ManualClock::new();
    /// let built = Hedge::builder().clock(time.clock()).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the observer; see [Observability](super#observability). Default: none.
    ///
    /// ```
    /// # use mainstay::{Event, Hedge};
    /// let built = Hedge::builder()
    ///     .observer(|event: &Event<'_>| eprintln!("{event}"))
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observer = Some(PlainArc::new(observer));
        self
    }

    /// Builds the hedge.
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] that names the first setting that is out of range.
    pub fn build(self) -> Result<Hedge, ConfigError> {
        Ok(Hedge(PlainArc::new(Shared::new(self.into_parts()?))))
    }

    pub(super) fn into_parts(self) -> Result<Parts, ConfigError> {
        let (name, config) = (policy::name(&self.name)?, self.config()?);
        let Self { budget, clock, observer, .. } = self;
        Ok(Parts { name, config, budget, clock, observer, keyed: false })
    }

    /// Returns the settings that can be replaced, if they are in range.
    pub(super) fn config(&self) -> Result<Config, ConfigError> {
        if !(1..=MAX_ATTEMPTS).contains(&self.max_attempts) {
            return Err(ConfigError::new("max_attempts", self.max_attempts, "1 to 10"));
        }
        let delay = match self.delay {
            DelaySetting::Fixed(delay) => DelayConfig::Fixed(delay),
            DelaySetting::Quantile { quantile, initial } if quantile > 0.0 && quantile < 1.0 => {
                DelayConfig::Quantile { quantile, initial, min: self.min_delay }
            }
            DelaySetting::Quantile { quantile, .. } => {
                let accepted = "a share above 0 and below 1";
                return Err(ConfigError::new("delay_quantile", quantile, accepted));
            }
        };
        Ok(Config {
            delay,
            max_attempts: self.max_attempts,
            hedges_failures: self.hedges_failures,
            is_idempotent: self.is_idempotent,
            is_shadow: self.is_shadow,
        })
    }

    /// Returns the error that names the kind of delay.
    pub(super) fn kind_error(&self) -> ConfigError {
        match self.delay {
            DelaySetting::Fixed(delay) => {
                ConfigError::new("delay", delay, "a quantile, as the hedge was built")
            }
            DelaySetting::Quantile { quantile, .. } => {
                let accepted = "a fixed delay, as the hedge was built";
                ConfigError::new("delay_quantile", quantile, accepted)
            }
        }
    }
}

impl fmt::Debug for HedgeBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HedgeBuilder")
            .field("name", &self.name)
            .field("delay", &self.delay)
            .field("max_attempts", &self.max_attempts)
            .finish_non_exhaustive()
    }
}
