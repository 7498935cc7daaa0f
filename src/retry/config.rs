use super::{POLICY, Retry};
use crate::backoff::Backoff;
use crate::error::ConfigError;
use crate::policy::{Facts, RepeatSafety};
use crate::random::Random;
use crate::sync::{PlainArc, intern};
use crate::time::Clock;
use std::time::Duration;

/// Sets up a [`Retry`].
#[derive(Clone, Debug)]
pub struct Builder {
    settings: Settings,
}

#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) name: &'static str,
    pub(super) max_attempts: u32,
    pub(super) max_elapsed: Option<Duration>,
    pub(super) backoff: Backoff,
    idempotent: bool,
    pub(super) clock: Clock,
    pub(super) random: Random,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            settings: Settings {
                name: POLICY,
                max_attempts: 3,
                max_elapsed: None,
                backoff: Backoff::exponential(Duration::from_millis(100)),
                idempotent: false,
                clock: Clock::system(),
                random: Random::system(),
            },
        }
    }
}

impl Builder {
    /// What it is called where a pipeline describes itself. Default: `retry`.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.settings.name = intern(name);
        self
    }

    /// How often the operation runs in all, the first time included; at least 1. Default: 3, as
    /// resilience4j: what two repetitions do not cure, more rarely do, and each layer of callers
    /// multiplies them.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.settings.max_attempts = attempts;
        self
    }

    /// Begins no attempt later than this after the first; `None` leaves it to the attempts and to a
    /// timeout around them. Default: `None`.
    #[must_use]
    pub fn max_elapsed(mut self, elapsed: impl Into<Option<Duration>>) -> Self {
        self.settings.max_elapsed = elapsed.into();
        self
    }

    /// How long to wait between attempts. Default: 100 ms, about the time a restarted connection needs,
    /// doubling up to 30 s, with full jitter.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.settings.backoff = backoff;
        self
    }

    /// Says that the operation may run twice without harm: it only reads, say, or carries a key by which
    /// the server knows it again. It changes nothing but what a pipeline's
    /// [`check`](crate::pipeline::Pipeline::check) has to say. Default: `false`, for no retry can know.
    #[must_use]
    pub fn idempotent(mut self, idempotent: bool) -> Self {
        self.settings.idempotent = idempotent;
        self
    }

    /// Whose time it goes by. Default: the system clock.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.settings.clock = clock;
        self
    }

    /// Where jitter comes from. Default: the system's.
    #[must_use]
    pub fn random(mut self, random: Random) -> Self {
        self.settings.random = random;
        self
    }

    /// Makes the retry.
    ///
    /// # Errors
    /// Names the first setting that is out of range, its value, and what is accepted.
    pub fn build(self) -> Result<Retry, ConfigError> {
        if self.settings.max_attempts == 0 {
            return Err(ConfigError::new("max_attempts", 0, "at least 1 attempt"));
        }
        self.settings.backoff.validate()?;
        Ok(Retry(PlainArc::new(self.settings)))
    }
}

impl Settings {
    /// `picks`: whether a rule of the user's picks what is repeated.
    pub(super) fn facts(&self, picks: bool) -> Facts {
        let waits = self.backoff.at_most(self.max_attempts - 1);
        let safety = match (self.idempotent, picks) {
            (true, _) => RepeatSafety::Idempotent,
            (false, true) => RepeatSafety::ByRule,
            (false, false) => RepeatSafety::Unknown,
        };
        Facts {
            max_attempts: Some(self.max_attempts),
            max_wait: self.max_elapsed.into_iter().chain(waits).min(),
            max_elapsed: self.max_elapsed,
            repeat_safety: (self.max_attempts > 1).then_some(safety),
            ..Facts::new(POLICY, self.name)
        }
    }
}
