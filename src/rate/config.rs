use super::core::Core;
use super::gcra::Plan;
use super::{POLICY, Quota, RateLimiter, Shared, Teller};
use crate::error::ConfigError;
use crate::event::Observer;
use crate::sync::{PlainArc, PlainMutex, intern};
use crate::time::Clock;
use std::fmt;

/// Sets up a [`RateLimiter`].
#[derive(Clone)]
pub struct Builder {
    quota: Quota,
    name: String,
    clock: Clock,
    observer: Option<PlainArc<dyn Observer>>,
}

impl Builder {
    pub(super) fn new(quota: Quota) -> Self {
        Self { quota, name: POLICY.into(), clock: Clock::system(), observer: None }
    }

    /// What refusals and events call this limiter. Default: `rate_limiter`.
    ///
    /// Names are kept for the life of the process: name limits, not requests.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Whose time it goes by. Default: the system clock.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Who hears of refusals (events of kind `refused`, with `wanted`, `limit`, `remaining` and
    /// `retry_after`) and of other quotas (`reconfigured`, with `limit`). Refusals come from whichever
    /// thread was refused, in no particular order; while nobody listens they cost nothing.
    #[must_use]
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observer = Some(PlainArc::new(observer));
        self
    }

    /// Makes the limiter, full.
    ///
    /// # Errors
    /// The quota is out of range.
    pub fn build(self) -> Result<RateLimiter, ConfigError> {
        let plan = Plan::new(&self.quota)?;
        Ok(RateLimiter(PlainArc::new(Shared {
            core: Core::new(plan),
            origin: self.clock.now(),
            clock: self.clock,
            teller: Teller::new(intern(&self.name), self.observer),
            quota: PlainMutex::new(self.quota),
        })))
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("quota", &self.quota)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
