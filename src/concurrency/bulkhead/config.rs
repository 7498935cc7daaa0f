//! The settings of a bulkhead and its builder.

use super::events::Emitter;
use super::shared::Shared;
use super::{Bulkhead, POLICY};
use crate::codel::CoDel;
use crate::concurrency::queue::QueueConfig;
use crate::error::ConfigError;
use crate::event::Observer;
use crate::policy;
use crate::sync::PlainArc;
use crate::time::Clock;
use std::fmt;
use std::time::Duration;

/// A builder of a [`Bulkhead`].
#[derive(Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct BulkheadBuilder {
    name: String,
    config: Config,
    clock: Clock,
    observer: Option<PlainArc<dyn Observer>>,
}

/// The settings that [`Bulkhead::reconfigure`] replaces.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Config {
    pub(super) max_concurrent: u32,
    pub(super) max_queue: u32,
    pub(super) max_wait: Duration,
    pub(super) queue: QueueConfig,
}

/// The largest accepted `max_queue`. It bounds the memory of the waiters.
const MAX_QUEUE: u32 = 1_000_000;

impl BulkheadBuilder {
    pub(super) fn new() -> Self {
        Self {
            name: POLICY.into(),
            config: Config {
                max_concurrent: 25,
                max_queue: 0,
                max_wait: Duration::from_secs(1),
                queue: QueueConfig::DEFAULT,
            },
            clock: Clock::system(),
            observer: None,
        }
    }

    /// Sets the name that rejections and events carry. Default: `bulkhead`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets how many calls may run at the same time, at least 1. Default: 25, which isolates a
    /// dependency without limiting it in normal operation: 25 calls of 100 ms are 250 per second.
    pub const fn max_concurrent(mut self, calls: u32) -> Self {
        self.config.max_concurrent = calls;
        self
    }

    /// Sets how many callers may wait, up to 1,000,000. Default: 0, so that a call beyond the limit
    /// is rejected immediately: waiting callers prolong an overload.
    pub const fn max_queue(mut self, callers: u32) -> Self {
        self.config.max_queue = callers;
        self
    }

    /// Sets how long a caller waits if there is a [queue](Self::max_queue). Default: one second.
    /// Choose it shorter than the timeout around the bulkhead. A call never waits beyond its
    /// deadline.
    pub const fn max_wait(mut self, max_wait: Duration) -> Self {
        self.config.max_wait = max_wait;
        self
    }

    /// Sets how long the oldest caller may wait before the newest caller is served first. Default:
    /// 100 ms. With [`Duration::MAX`], callers are always served in order of arrival.
    ///
    /// While waits are short, the order of arrival is fair. Callers that have waited for long are
    /// likely to give up, and serving them first may complete no call in time.
    pub const fn lifo_after(mut self, age: Duration) -> Self {
        self.config.queue.lifo_after = age;
        self
    }

    /// Enables the shedding of callers from a standing queue, as CoDel detects it: a queue in
    /// which, for a whole `interval`, no caller waited for less than `target`. Callers that have
    /// waited for more than twice `target` are then rejected with
    /// [`Reason::Shed`](crate::error::Reason::Shed), except for the first of each interval.
    /// `target` must be above zero, and `interval` from `target` to one hour. Disabled by default.
    ///
    /// With a target far below the duration of a call, callers are shed that could have been served
    /// in time.
    pub const fn codel(mut self, target: Duration, interval: Duration) -> Self {
        self.config.queue.codel = Some((target, interval));
        self
    }

    /// Enables [`codel`](Self::codel) with a target of 5 ms and an interval of 100 ms, as
    /// recommended by [RFC 8289](https://www.rfc-editor.org/rfc/rfc8289). Suitable for calls of a
    /// few milliseconds.
    pub const fn shed_standing_queue(self) -> Self {
        self.codel(CoDel::TARGET, CoDel::INTERVAL)
    }

    /// Sets the clock. Default: the system clock.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the observer of rejections (events of kind `rejected`, with `reason`, `limit`,
    /// `in_flight` and `queued`) and of new settings (`reconfigured`, with `limit` and
    /// `max_queue`). Default: none.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observer = Some(PlainArc::new(observer));
        self
    }

    /// Builds the bulkhead.
    ///
    /// # Errors
    ///
    /// Returns an error that names the first setting that is out of range.
    pub fn build(self) -> Result<Bulkhead, ConfigError> {
        let config = self.validate()?;
        let (emitter, clock) = self.into_parts(false)?;
        Ok(Bulkhead::from_shared(Shared::new(config, clock, PlainArc::new(emitter))))
    }

    /// Returns the emitter and the clock. `keyed` is `true` if the bulkhead is that of a key.
    pub(super) fn into_parts(self, keyed: bool) -> Result<(Emitter, Clock), ConfigError> {
        let name = policy::name(&self.name)?;
        Ok((Emitter::new(name, keyed, self.observer), self.clock))
    }

    pub(super) fn validate(&self) -> Result<Config, ConfigError> {
        let config = self.config;
        if config.max_concurrent == 0 {
            return Err(ConfigError::new("max_concurrent", 0, "at least 1"));
        }
        if config.max_queue > MAX_QUEUE {
            return Err(ConfigError::new("max_queue", config.max_queue, "0 to 1000000"));
        }
        config.queue.validate()?;
        Ok(config)
    }
}

impl fmt::Debug for BulkheadBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkheadBuilder")
            .field("name", &self.name)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
