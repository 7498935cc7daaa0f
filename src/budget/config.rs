//! The builder of a budget, with validation and defaults: [`BudgetBuilder`].

use super::shared::{Parts, Shared};
use super::state::{MAX_BALANCE, REPEAT, Rule};
use super::words::Config;
use super::{Budget, POLICY};
use crate::error::ConfigError;
use crate::event::Observer;
use crate::policy;
use crate::sync::PlainArc;
use crate::time::{Clock, nanos};
use std::fmt;
use std::time::Duration;

/// A builder of a [`Budget`].
#[derive(Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct BudgetBuilder {
    name: String,
    percent: u32,
    kind: Kind,
    timeout_cost: u32,
    is_shadow: bool,
    clock: Clock,
    observer: Option<PlainArc<dyn Observer>>,
}

/// The kind of a budget: the calls of which the repeats are a share.
#[derive(Clone, Copy, Debug)]
enum Kind {
    InFlight { min_repeats: u32 },
    Deposits { window: Duration, reserve_per_second: u32 },
    Bucket { capacity: u32 },
}

const MAX_COST: u32 = 1000;

impl BudgetBuilder {
    pub(super) fn new() -> Self {
        Self {
            name: POLICY.into(),
            percent: 20,
            kind: Kind::InFlight { min_repeats: 3 },
            timeout_cost: 2,
            is_shadow: false,
            clock: Clock::system(),
            observer: None,
        }
    }

    /// Sets the name that events carry. Default: `budget`.
    ///
    /// ```
    /// # use mainstay::Budget;
    /// let built = Budget::builder().name("search").build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets how many repeats are allowed per 100 calls, from 1 to 100.
    ///
    /// Default: 20, as in Envoy, Finagle and Linkerd: repeats then add at most a fifth to the load
    /// of a dependency that fails every call.
    ///
    /// ```
    /// # use mainstay::Budget;
    /// let built = Budget::builder().percent(10).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub const fn percent(mut self, percent: u32) -> Self {
        self.percent = percent;
        self
    }

    /// Limits the repeats in flight to a share of the calls in flight, but not below `min_repeats`
    /// (at most 40,000). This is the default, with a minimum of 3, so that a client with few calls
    /// may retry.
    ///
    /// ```
    /// # use mainstay::Budget;
    /// let built = Budget::builder().of_calls_in_flight(10).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub const fn of_calls_in_flight(mut self, min_repeats: u32) -> Self {
        self.kind = Kind::InFlight { min_repeats };
        self
    }

    /// Limits the repeats to a share of the calls of about the last `window` (from 100 ms to one
    /// hour), plus a reserve of `reserve_per_second` repeats per second (at most 80,000 per
    /// window).
    ///
    /// Finagle uses 10 s and 10 per second. This kind suits clients with few calls in flight at a
    /// time.
    ///
    /// ```
    /// # use mainstay::Budget;
    /// # use std::time::Duration;
    /// let built = Budget::builder()
    ///     .of_recent_calls(Duration::from_secs(10), 10)
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub const fn of_recent_calls(mut self, window: Duration, reserve_per_second: u32) -> Self {
        self.kind = Kind::Deposits { window, reserve_per_second };
        self
    }

    /// Limits the repeats to a share of all calls, plus `capacity` (at least 1). Unused repeats
    /// accumulate up to `capacity`, and the budget starts with `capacity` repeats.
    ///
    /// This kind does not read the clock. It suits hedges, for example with 5 % and a capacity of
    /// 10.
    ///
    /// ```
    /// # use mainstay::Budget;
    /// let built = Budget::builder().percent(5).of_all_calls(10).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub const fn of_all_calls(mut self, capacity: u32) -> Self {
        self.kind = Kind::Bucket { capacity };
        self
    }

    /// Sets the cost of a repeat after a timeout, from 1 to 1000. A repeat after any other failure
    /// costs 1.
    ///
    /// Default: 2. A timeout has occupied the dependency for as long as the caller was willing to
    /// wait, and is more often a sign of overload than a quick error is.
    ///
    /// ```
    /// # use mainstay::Budget;
    /// let built = Budget::builder().timeout_cost(3).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub const fn timeout_cost(mut self, cost: u32) -> Self {
        self.timeout_cost = cost;
        self
    }

    /// Grants every repeat, and only counts and reports those that would be denied. Default: off. Use
    /// it to choose the settings before they are enforced.
    ///
    /// ```
    /// # use mainstay::Budget;
    /// let budget = Budget::builder().of_calls_in_flight(0).shadow().build()?;
    /// assert!(budget.try_acquire().is_ok());
    /// assert_eq!((budget.snapshot().grants, budget.snapshot().denials), (0, 1));
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub const fn shadow(mut self) -> Self {
        self.is_shadow = true;
        self
    }

    /// Sets the clock. Default: the system clock.
    ///
    /// ```
    /// # use mainstay::{Budget, ManualClock};
    /// let time = ManualClock::new();
    /// let built = Budget::builder().clock(time.clock()).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the observer of denied repeats: events of kind `exhausted`, with `cost`. Default: none.
    ///
    /// ```
    /// # use mainstay::{Budget, Event};
    /// let built = Budget::builder()
    ///     .observer(|event: &Event<'_>| eprintln!("{event}"))
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observer = Some(PlainArc::new(observer));
        self
    }

    /// Builds the budget.
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] that names the first setting that is out of range.
    pub fn build(self) -> Result<Budget, ConfigError> {
        Ok(Budget(PlainArc::new(Shared::new(self.into_parts()?))))
    }

    pub(super) fn into_parts(self) -> Result<Parts, ConfigError> {
        let name = policy::name(&self.name)?;
        let config = self.config()?;
        let Self { is_shadow, clock, observer, .. } = self;
        Ok(Parts { name, clock, config, keyed: false, is_shadow, observer })
    }

    /// Returns the settings that can be replaced, if they are in range.
    pub(super) fn config(&self) -> Result<Config, ConfigError> {
        let rule = self.rule()?;
        if !(1..=MAX_COST).contains(&self.timeout_cost) {
            return Err(ConfigError::new("timeout_cost", self.timeout_cost, "1 to 1000"));
        }
        Ok(Config { rule, timeout_cost: self.timeout_cost })
    }

    /// Returns the error that names the kind of budget.
    pub(super) fn kind_error(&self) -> ConfigError {
        let accepted = "the kind of budget that was built";
        match self.kind {
            Kind::InFlight { min_repeats } => {
                ConfigError::new("of_calls_in_flight", min_repeats, accepted)
            }
            Kind::Deposits { window, .. } => ConfigError::new("of_recent_calls", window, accepted),
            Kind::Bucket { capacity } => ConfigError::new("of_all_calls", capacity, accepted),
        }
    }

    fn rule(&self) -> Result<Rule, ConfigError> {
        let percent = self.percent;
        if !(1..=100).contains(&percent) {
            return Err(ConfigError::new("percent", percent, "1 to 100"));
        }
        match self.kind {
            Kind::InFlight { min_repeats: min } => match min <= MAX_BALANCE as u32 {
                true => Ok(Rule::InFlight { percent, min }),
                false => Err(ConfigError::new("of_calls_in_flight", min, "at most 40,000")),
            },
            Kind::Deposits { window, reserve_per_second } => {
                if !(Duration::from_millis(100)..=Duration::from_secs(3600)).contains(&window) {
                    let accepted = "a window of 100 ms to one hour";
                    return Err(ConfigError::new("of_recent_calls", window, accepted));
                }
                let half_nanos = nanos(window) / 2;
                let per_second = u128::from(reserve_per_second) * u128::from(REPEAT);
                let reserve = (per_second * u128::from(half_nanos) / 1_000_000_000) as u64;
                if reserve > MAX_BALANCE * REPEAT {
                    let accepted = "a reserve of at most 80,000 repeats per window";
                    return Err(ConfigError::new("of_recent_calls", reserve_per_second, accepted));
                }
                Ok(Rule::Deposits { percent, reserve, half_nanos })
            }
            Kind::Bucket { capacity: 0 } => {
                Err(ConfigError::new("of_all_calls", 0, "a capacity of at least 1"))
            }
            Kind::Bucket { capacity } => {
                Ok(Rule::Bucket { percent, capacity: u64::from(capacity) * REPEAT })
            }
        }
    }
}

impl fmt::Debug for BudgetBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BudgetBuilder")
            .field("name", &self.name)
            .field("percent", &self.percent)
            .field("kind", &self.kind)
            .field("timeout_cost", &self.timeout_cost)
            .finish_non_exhaustive()
    }
}
