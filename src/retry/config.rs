//! The builder of a retry, with validation and defaults: [`RetryBuilder`].

use super::Retry;
use super::events::Emitter;
use crate::backoff::Backoff;
use crate::budget::Budget;
use crate::error::ConfigError;
use crate::event::Observer;
use crate::policy::{self, Facts, RepeatSafety};
use crate::random::Random;
use crate::sync::PlainArc;
use crate::time::Clock;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

pub(super) const POLICY: &str = "retry";

/// A builder of a [`Retry`].
#[derive(Clone)]
pub struct RetryBuilder {
    name: String,
    config: Config,
    observer: Option<PlainArc<dyn Observer>>,
}

// A builder calls no observer.
impl UnwindSafe for RetryBuilder {}
impl RefUnwindSafe for RetryBuilder {}

/// The settings of a retry.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) name: &'static str,
    pub(super) max_attempts: u32,
    pub(super) max_elapsed: Option<Duration>,
    pub(super) max_retry_after: Duration,
    pub(super) backoff: Backoff,
    pub(super) is_idempotent: bool,
    pub(super) clock: Clock,
    pub(super) random: Random,
    pub(super) budget: Option<Budget>,
    pub(super) emitter: PlainArc<Emitter>,
}

impl Default for RetryBuilder {
    fn default() -> Self {
        Self {
            name: POLICY.to_owned(),
            config: Config {
                name: POLICY,
                max_attempts: 3,
                max_elapsed: None,
                max_retry_after: Duration::from_secs(60),
                backoff: Backoff::exponential(Duration::from_millis(100)),
                is_idempotent: false,
                clock: Clock::system(),
                random: Random::system(),
                budget: None,
                emitter: PlainArc::new(Emitter::new(None)),
            },
            observer: None,
        }
    }
}

impl RetryBuilder {
    /// Sets the name that events, lints and the debug output of a pipeline carry. Default: `retry`.
    ///
    /// ```
    /// # use mainstay::Retry;
    /// let built = Retry::builder().name("search").build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Sets the maximum number of attempts, including the first. It must be at least 1.
    ///
    /// Default: 3, as in resilience4j. If two retries fail, more retries rarely succeed, and
    /// attempts multiply if the caller retries as well.
    ///
    /// ```
    /// # use mainstay::Retry;
    /// let built = Retry::builder().max_attempts(5).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.config.max_attempts = attempts;
        self
    }

    /// Sets the maximum time from the start of the first attempt to the start of the last.
    ///
    /// Default: unlimited, because `max_attempts` and the deadline of an outer timeout already
    /// limit the retry.
    ///
    /// ```
    /// # use mainstay::Retry;
    /// # use std::time::Duration;
    /// let built = Retry::builder().max_elapsed(Duration::from_secs(10)).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub fn max_elapsed(mut self, elapsed: Duration) -> Self {
        self.config.max_elapsed = Some(elapsed);
        self
    }

    /// Sets the maximum wait that a server may request. If the server requests a longer wait, the
    /// retry stops and returns the result of the last attempt.
    ///
    /// The maximum applies to [`RetryDecision::RetryAfter`](super::RetryDecision::RetryAfter) and
    /// [`Outcome::Unavailable`](crate::outcome::Outcome::Unavailable).
    ///
    /// Default: 60 s, which is longer than the wait that most servers request, and about as long as
    /// most callers can wait.
    ///
    /// ```
    /// # use mainstay::Retry;
    /// # use std::time::Duration;
    /// let built = Retry::builder()
    ///     .max_retry_after(Duration::from_secs(5))
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub fn max_retry_after(mut self, wait: Duration) -> Self {
        self.config.max_retry_after = wait;
        self
    }

    /// Sets the wait between attempts.
    ///
    /// Default: exponential from 100 ms, about the time to reconnect, doubling up to 30 s, with
    /// full jitter.
    ///
    /// ```
    /// # use mainstay::{Backoff, Retry};
    /// # use std::time::Duration;
    /// let built = Retry::builder()
    ///     .backoff(Backoff::constant(Duration::from_secs(1)))
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.config.backoff = backoff;
        self
    }

    /// Declares that the operation may safely run more than once: for example, it only reads data,
    /// or it sends an idempotency key by which the server detects repeated requests.
    ///
    /// The declaration affects only the lints of
    /// [`Pipeline::check`](crate::pipeline::Pipeline::check). Default: not declared, because a
    /// retry cannot determine this.
    #[must_use]
    pub fn assume_idempotent(mut self) -> Self {
        self.config.is_idempotent = true;
        self
    }

    /// Sets the clock. Default: the system clock.
    ///
    /// ```
    /// # use mainstay::{ManualClock, Retry};
    /// let time = ManualClock::new();
    /// let built = Retry::builder().clock(time.clock()).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.config.clock = clock;
        self
    }

    /// Sets the random number generator for the jitter. Default: the generator of the system.
    ///
    /// ```
    /// # use mainstay::{Random, Retry};
    /// let built = Retry::builder().random(Random::seeded(1)).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub fn random(mut self, random: Random) -> Self {
        self.config.random = random;
        self
    }

    /// Sets the budget that every retry draws from, after the rule has decided to retry.
    ///
    /// If the budget is exhausted, the retry stops and returns the result of the last attempt. A
    /// budget of calls in flight also counts a retry that waits. Share one budget among all retries
    /// and hedges of one dependency. Default: none; [`Pipeline::standard`] adds one.
    ///
    /// ```
    /// # use mainstay::{Budget, Retry};
    /// let budget = Budget::builder().build()?;
    /// let built = Retry::builder().budget(&budget).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// [`Pipeline::standard`]: crate::pipeline::Pipeline::standard
    #[must_use]
    pub fn budget(mut self, budget: impl Into<Budget>) -> Self {
        self.config.budget = Some(budget.into());
        self
    }

    /// Sets the observer of retries; see [Observability](super#observability). Default: none.
    ///
    /// ```
    /// # use mainstay::{Event, Retry};
    /// let built = Retry::builder()
    ///     .observer(|event: &Event<'_>| eprintln!("{event}"))
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observer = Some(PlainArc::new(observer));
        self
    }

    /// Builds the retry.
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] that names the first setting that is out of range.
    pub fn build(self) -> Result<Retry, ConfigError> {
        let name = policy::name(&self.name)?;
        if self.config.max_attempts == 0 {
            return Err(ConfigError::new("max_attempts", 0, "at least 1 attempt"));
        }
        self.config.backoff.validate("backoff")?;
        let emitter = PlainArc::new(Emitter::new(self.observer));
        Ok(Retry(PlainArc::new(Config { name, emitter, ..self.config })))
    }
}

impl Config {
    /// Returns the repeat safety of a retry with the default rule or a classifier, which do not
    /// consider whether a repeat is safe.
    pub(super) const fn repeat_safety(&self) -> RepeatSafety {
        if self.is_idempotent { RepeatSafety::Idempotent } else { RepeatSafety::Unknown }
    }

    /// Returns the repeat safety of a retry with a rule of the user, which is assumed to select
    /// only results after which a repeat is safe.
    pub(super) const fn repeat_safety_by_rule(&self) -> RepeatSafety {
        if self.is_idempotent { RepeatSafety::Idempotent } else { RepeatSafety::ByRule }
    }

    pub(super) fn facts(&self, safety: RepeatSafety) -> Facts {
        let backoff = self.backoff.max_total(self.max_attempts - 1);
        Facts {
            max_attempts: Some(self.max_attempts),
            max_wait: self.max_elapsed.into_iter().chain(backoff).min(),
            max_elapsed: self.max_elapsed,
            repeat_safety: (self.max_attempts > 1).then_some(safety),
            has_budget: self.budget.is_some(),
            ..Facts::new(POLICY, self.name)
        }
    }
}

impl fmt::Debug for RetryBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryBuilder")
            .field("name", &self.name)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
