//! The settings of a retry: [`RetryBuilder`], validation and defaults.

use super::Retry;
use crate::backoff::Backoff;
use crate::error::ConfigError;
use crate::policy::{self, Facts, RepeatSafety};
use crate::random::Random;
use crate::sync::PlainArc;
use crate::time::Clock;
use std::time::Duration;

const POLICY: &str = "retry";

/// A builder of a [`Retry`].
#[derive(Clone, Debug)]
pub struct RetryBuilder {
    name: String,
    config: Config,
}

#[derive(Clone, Debug)]
pub(super) struct Config {
    name: &'static str,
    pub(super) max_attempts: u32,
    pub(super) max_elapsed: Option<Duration>,
    pub(super) max_retry_after: Duration,
    pub(super) backoff: Backoff,
    is_idempotent: bool,
    pub(super) clock: Clock,
    pub(super) random: Random,
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
            },
        }
    }
}

impl RetryBuilder {
    /// Sets the name that a pipeline shows in its lints and debug output. Default: `retry`.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Sets how often the operation runs in total, including the first attempt; at least 1.
    ///
    /// Default: 3, as in resilience4j. More attempts rarely succeed where two retries did not, and
    /// they multiply with the retries of every caller above.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.config.max_attempts = attempts;
        self
    }

    /// Sets the longest time from the first attempt to the start of the last.
    ///
    /// Default: unlimited, because `max_attempts` and the deadline of a timeout apply anyway.
    #[must_use]
    pub fn max_elapsed(mut self, elapsed: Duration) -> Self {
        self.config.max_elapsed = Some(elapsed);
        self
    }

    /// Sets the longest wait that a server may ask for. If it asks for more, the retry stops and
    /// returns the result of the last attempt.
    ///
    /// It applies to [`RetryDecision::RetryAfter`](super::RetryDecision::RetryAfter) and
    /// [`Outcome::Unavailable`](crate::outcome::Outcome::Unavailable).
    ///
    /// Default: 60 s, longer than most servers ask for and about as long as a caller can be kept
    /// waiting.
    #[must_use]
    pub fn max_retry_after(mut self, wait: Duration) -> Self {
        self.config.max_retry_after = wait;
        self
    }

    /// Sets the wait between attempts.
    ///
    /// Default: 100 ms, about the time that reconnecting takes, doubling up to 30 s, with full
    /// jitter.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.config.backoff = backoff;
        self
    }

    /// Declares that the operation may safely run more than once: for example, it only reads, or it
    /// carries a key by which the server recognizes a repetition.
    ///
    /// This affects nothing but the lints of [`Pipeline::check`](crate::pipeline::Pipeline::check).
    /// Default: not declared, because a retry cannot know.
    #[must_use]
    pub fn assume_idempotent(mut self) -> Self {
        self.config.is_idempotent = true;
        self
    }

    /// Sets the clock. Default: the system clock.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.config.clock = clock;
        self
    }

    /// Sets the source of the jitter. Default: the system's.
    #[must_use]
    pub fn random(mut self, random: Random) -> Self {
        self.config.random = random;
        self
    }

    /// Builds the retry.
    ///
    /// # Errors
    /// Returns the first setting that is out of range, its value, and what is accepted.
    pub fn build(self) -> Result<Retry, ConfigError> {
        let name = policy::name(&self.name)?;
        if self.config.max_attempts == 0 {
            return Err(ConfigError::new("max_attempts", 0, "at least 1 attempt"));
        }
        self.config.backoff.validate("backoff")?;
        Ok(Retry(PlainArc::new(Config { name, ..self.config })))
    }
}

impl Config {
    /// Returns the safety of a retry whose rule was not written for retrying.
    pub(super) const fn repeat_safety(&self) -> RepeatSafety {
        if self.is_idempotent { RepeatSafety::Idempotent } else { RepeatSafety::Unknown }
    }

    /// Returns the safety of a retry with a rule written by the user.
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
            ..Facts::new(POLICY, self.name)
        }
    }
}
