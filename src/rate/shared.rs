//! The state that the clones of a limiter share: the engine, the clock and the observer.

use super::engine::Engine;
use super::events::Emitter;
use super::timeline::{Nanos, Timeline};
use super::{Denied, Grant, Quota, RateLimitStatus, RateLimiter};
use crate::sync::PlainMutex;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};

/// The state that all clones of a limiter share.
pub(super) struct Shared {
    pub(super) engine: Engine,
    pub(super) timeline: Timeline,
    pub(super) emitter: Emitter,
    /// The quota in force.
    pub(super) quota: PlainMutex<Quota>,
}

impl Shared {
    /// Reads the clock, and handles a clock that was set back.
    pub(super) fn checked_now(&self) -> Nanos {
        self.engine.check_clock(self.timeline.now(), || self.timeline.now())
    }

    #[inline(always)]
    pub(super) fn try_acquire(&self, n: u32, now: Nanos) -> Result<Grant, Denied> {
        match self.engine.take_fast(n, now) {
            Some(Ok(grant)) => Ok(grant),
            Some(Err(status)) => Err(self.deny(status)),
            None => self.try_acquire_slow(n, now),
        }
    }

    #[cold]
    fn try_acquire_slow(&self, n: u32, now: Nanos) -> Result<Grant, Denied> {
        let now = self.engine.check_clock(now, || self.timeline.now());
        self.engine.take(n, now).map_err(|status| self.deny(status))
    }

    #[inline(always)]
    pub(super) fn deny(&self, status: RateLimitStatus) -> Denied {
        let denied = Denied::new(status, self.emitter.name);
        self.emitter.denied(denied, || self.timeline.instant(status.now))
    }
}

// Decisions are atomic: if an observer, a waker or a clock panics, each decision has either been
// applied completely or not at all.
impl UnwindSafe for RateLimiter {}
impl RefUnwindSafe for RateLimiter {}

impl fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter")
            .field("name", &self.name())
            .field("quota", &self.quota())
            .finish_non_exhaustive()
    }
}
