use std::fmt;
use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

/// A moment of one [`Clock`](super::Clock): nanoseconds since that clock's origin.
///
/// Eight bytes, so that it fits into an atomic word. Arithmetic stays within the range and does not
/// panic: what lies before the origin is the origin, and what lies more than 584 years after it is
/// [`Instant::FAR_FUTURE`], which for every purpose here means *never*.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The clock's origin.
    pub const ORIGIN: Self = Self(0);
    /// Later than any instant that will come.
    pub const FAR_FUTURE: Self = Self(u64::MAX);

    /// The instant `nanos` nanoseconds after the origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    #[inline]
    pub(crate) const fn from_origin(since: Duration) -> Self {
        Self(nanos(since))
    }

    /// Nanoseconds since the clock's origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How much later this is than `earlier`; zero if it is not.
    #[inline]
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// `duration` in nanoseconds, or as many as there can be.
#[inline]
pub(crate) const fn nanos(duration: Duration) -> u64 {
    // Not by way of `as_nanos`, whose 128 bits cost more than the rest of a reading.
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(duration.subsec_nanos() as u64)
}

/// `duration` in whole seconds, rounded up: who waits as long does not come too early.
pub(crate) const fn seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add((duration.subsec_nanos() > 0) as u64)
}

impl Add<Duration> for Instant {
    type Output = Self;
    #[inline]
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;
    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(duration)))
    }
}

impl Sub for Instant {
    type Output = Duration;
    /// As [`since`](Self::since).
    #[inline]
    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

/// When to give up: an [`Instant`], or never.
///
/// ```
/// use mainstay::time::{Deadline, Instant};
/// use std::time::Duration;
///
/// let now = Instant::ORIGIN;
/// let deadline = Deadline::after(now, Duration::from_secs(2)).earlier(Deadline::NEVER);
/// assert_eq!(deadline.remaining(now + Duration::from_secs(1)), Some(Duration::from_secs(1)));
/// assert!(deadline.has_passed(now + Duration::from_secs(2)));
/// assert_eq!(Deadline::NEVER.remaining(now), None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Deadline(Instant);

impl Deadline {
    /// No deadline.
    pub const NEVER: Self = Self(Instant::FAR_FUTURE);

    /// At `instant`.
    #[must_use]
    pub const fn at(instant: Instant) -> Self {
        Self(instant)
    }

    /// `duration` after `now`.
    #[inline]
    #[must_use]
    pub fn after(now: Instant, duration: Duration) -> Self {
        Self(now + duration)
    }

    /// The instant, unless there is no deadline.
    #[must_use]
    pub fn instant(self) -> Option<Instant> {
        (self != Self::NEVER).then_some(self.0)
    }

    /// The time left at `now`, zero if none is; `None` if there is no deadline.
    #[must_use]
    pub fn remaining(self, now: Instant) -> Option<Duration> {
        self.instant().map(|instant| instant - now)
    }

    /// Whether nothing is left at `now`.
    #[inline]
    #[must_use]
    pub fn has_passed(self, now: Instant) -> bool {
        self != Self::NEVER && now >= self.0
    }

    /// The earlier of two.
    #[inline]
    #[must_use]
    pub fn earlier(self, other: Self) -> Self {
        self.min(other)
    }
}

impl Default for Deadline {
    fn default() -> Self {
        Self::NEVER
    }
}

impl fmt::Debug for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.instant() {
            Some(instant) => f.debug_tuple("Deadline").field(&instant).finish(),
            None => f.write_str("Deadline::NEVER"),
        }
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_stays_within_its_range() {
        let instant = Instant::from_nanos(5);
        assert_eq!(instant + Duration::MAX, Instant::FAR_FUTURE);
        assert_eq!(instant - Duration::MAX, Instant::ORIGIN);
        assert_eq!(Instant::ORIGIN - instant, Duration::ZERO);
        assert_eq!(instant - Instant::ORIGIN, Duration::from_nanos(5));
        assert_eq!(Deadline::after(instant, Duration::MAX), Deadline::NEVER);
        assert!(!Deadline::NEVER.has_passed(Instant::FAR_FUTURE));
    }
}
