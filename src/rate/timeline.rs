//! The time of one limiter: nanoseconds since it was built.

use crate::time::{Clock, Instant};
use std::time::Duration;

/// Nanoseconds since a limiter was built, by its clock. Before that: 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Nanos(u64);

impl Nanos {
    pub(super) const fn new(nanos: u64) -> Self {
        Self(nanos)
    }

    #[inline(always)]
    pub(super) const fn get(self) -> u64 {
        self.0
    }

    /// Returns the time from `earlier` to `self`; zero if `earlier` is not earlier.
    pub(super) const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// A clock, and the instant at which a limiter was built.
#[derive(Debug)]
pub(super) struct Timeline {
    clock: Clock,
    origin: Instant,
}

impl Timeline {
    pub(super) fn new(clock: Clock) -> Self {
        let origin = clock.now();
        Self { clock, origin }
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Reads the clock.
    #[inline(always)]
    pub(super) fn now(&self) -> Nanos {
        self.nanos(self.clock.now())
    }

    #[inline(always)]
    pub(super) fn nanos(&self, instant: Instant) -> Nanos {
        Nanos(instant.as_nanos().saturating_sub(self.origin.as_nanos()))
    }

    pub(super) fn instant(&self, nanos: Nanos) -> Instant {
        Instant::from_nanos(self.origin.as_nanos().saturating_add(nanos.0))
    }
}
