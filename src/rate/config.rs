//! The builder of a rate limiter: [`RateLimiterBuilder`].

use super::engine::{Engine, Gcra};
use super::events::Emitter;
use super::shared::Shared;
use super::timeline::Timeline;
use super::{POLICY, Quota, RateLimiter};
use crate::error::ConfigError;
use crate::event::Observer;
use crate::policy;
use crate::sync::{PlainArc, PlainMutex};
use crate::time::Clock;
use std::fmt;

/// A builder of a [`RateLimiter`], returned by [`RateLimiter::builder`].
#[derive(Clone)]
pub struct RateLimiterBuilder {
    quota: Quota,
    name: String,
    clock: Clock,
    observer: Option<PlainArc<dyn Observer>>,
}

impl RateLimiterBuilder {
    pub(super) fn new(quota: Quota) -> Self {
        Self { quota, name: POLICY.into(), clock: Clock::system(), observer: None }
    }

    /// Sets the name of the limiter, which appears in errors and events: 1 to 128 bytes without
    /// control characters. Default: `rate_limiter`.
    ///
    /// Names are never freed. Use a fixed name per limit, not a name per request.
    ///
    /// ```
    /// # use mainstay::{Quota, RateLimiter};
    /// let limiter = RateLimiter::builder(Quota::per_second(50)).name("mail").build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the clock. Default: [`Clock::system`], which works under every runtime.
    ///
    /// If the clock is set back by more than two seconds, the limiter becomes empty and refills
    /// from the earlier time. If the clock then returns to the later time, the tokens that were
    /// granted at that time are counted as used again.
    ///
    /// A limiter measures time for at least thirteen years after it was built. After that no tokens
    /// become available: the limiter grants the remaining tokens of its burst and then denies every
    /// request.
    ///
    /// ```
    /// # use mainstay::{ManualClock, Quota, RateLimiter};
    /// let time = ManualClock::new();
    /// let limiter = RateLimiter::builder(Quota::per_second(50))
    ///     .clock(time.clock())
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the observer. Default: none; a denial then emits no event and has no additional cost.
    ///
    /// For each denied request the observer receives an event of kind `denied`, on the thread of
    /// the request. Its fields are `wanted`, `limit`, `remaining` and, if known, `retry_after`. For
    /// each change of the quota it receives an event of kind `reconfigured` with the field `limit`.
    ///
    /// ```
    /// use mainstay::{event::Event, rate::{Quota, RateLimiter}};
    ///
    /// let limiter = RateLimiter::builder(Quota::per_second(50))
    ///     .observer(|event: &Event<'_>| eprintln!("{event}"))
    ///     .build()?;
    /// # let _ = limiter;
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observer = Some(PlainArc::new(observer));
        self
    }

    /// Builds the limiter. All tokens of its burst are available.
    ///
    /// # Errors
    /// Returns an error if the quota is [out of range](Quota#accepted-quotas) or the name is
    /// invalid.
    pub fn build(self) -> Result<RateLimiter, ConfigError> {
        let gcra = Gcra::new(&self.quota)?;
        let name = policy::name(&self.name)?;
        Ok(RateLimiter(PlainArc::new(Shared {
            engine: Engine::new(gcra),
            timeline: Timeline::new(self.clock),
            emitter: Emitter::new(name, self.observer),
            quota: PlainMutex::new(self.quota),
        })))
    }
}

impl fmt::Debug for RateLimiterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiterBuilder")
            .field("quota", &self.quota)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
