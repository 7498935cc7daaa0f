//! The builder of a limiter.

use super::engine::{Engine, Gcra};
use super::events::Emitter;
use super::timeline::Timeline;
use super::{POLICY, Quota, RateLimiter, Shared};
use crate::error::ConfigError;
use crate::event::Observer;
use crate::policy;
use crate::sync::{PlainArc, PlainMutex};
use crate::time::Clock;
use std::fmt;

/// A builder of [`RateLimiter`]s, made by [`RateLimiter::builder`].
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

    /// Sets the name of the limiter in errors and events: 1 to 128 bytes without control
    /// characters. Default: `rate_limiter`.
    ///
    /// Names are stored for the life of the process. Name limits, not requests.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the clock. Default: [`Clock::system`], which works under every runtime.
    ///
    /// A clock that is ahead and then set back by more than two seconds leaves the limiter empty,
    /// but not waiting for the later time. If the clock then returns to the later time, the tokens
    /// granted there count again.
    ///
    /// A limiter counts time for at least thirteen years after it was built. Then its time stops:
    /// it grants what is left of its burst and nothing more.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the observer. Default: none; a denial then reports nothing and costs nothing more.
    ///
    /// It receives an event of kind `denied` for each denied request, with `wanted`, `limit`,
    /// `remaining` and, if it is known, `retry_after`, on the thread of the request; and an event
    /// of kind `reconfigured`, with `limit`, for each change of the quota.
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

    /// Builds the limiter, full.
    ///
    /// # Errors
    /// The quota is [out of range](Quota#accepted-quotas), or the name is not accepted.
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
