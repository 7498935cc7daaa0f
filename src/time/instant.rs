//! Instants and deadlines.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

/// A point in time of one [`Clock`](super::Clock), in nanoseconds since that clock's origin.
///
/// An instant takes eight bytes and fits into an atomic word. Arithmetic saturates and does not
/// panic: the earliest instant is the origin, and every result more than 584 years after it is
/// [`Instant::FAR_FUTURE`], which means *never*.
///
/// ```
/// use mainstay::time::Instant;
/// use std::time::Duration;
///
/// let start = Instant::from_nanos(1_000);
/// let end = start + Duration::from_micros(2);
/// assert_eq!(end - start, Duration::from_micros(2));
/// assert_eq!(start - end, Duration::ZERO);
/// assert_eq!(start + Duration::MAX, Instant::FAR_FUTURE);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The clock's origin.
    pub const ORIGIN: Self = Self(0);
    /// The latest instant, which no clock reaches.
    pub const FAR_FUTURE: Self = Self(u64::MAX);

    /// Creates the instant `nanos` nanoseconds after the origin.
    ///
    /// ```
    /// # use mainstay::time::Instant;
    /// let instant = Instant::from_nanos(5);
    /// assert_eq!(instant - Instant::ORIGIN, std::time::Duration::from_nanos(5));
    /// ```
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    #[inline]
    pub(crate) const fn from_origin(since: Duration) -> Self {
        Self(nanos(since))
    }

    /// Returns the nanoseconds since the clock's origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Returns the duration since `earlier`, or zero if `earlier` is later.
    ///
    /// ```
    /// use mainstay::time::Instant;
    ///
    /// let (early, late) = (Instant::from_nanos(3), Instant::from_nanos(8));
    /// assert_eq!(late.since(early).as_nanos(), 5);
    /// assert!(early.since(late).is_zero());
    /// ```
    #[inline]
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Returns `duration` in nanoseconds, saturating.
#[inline]
pub(crate) const fn nanos(duration: Duration) -> u64 {
    // `as_nanos` is not used: its 128-bit arithmetic costs more than the rest of reading a clock.
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(duration.subsec_nanos() as u64)
}

/// Returns `duration` in whole seconds, rounded up, so that a wait of that length is never too
/// short.
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
    /// Returns the duration since `earlier`, as [`since`](Self::since) does.
    #[inline]
    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

/// The instant at which an operation must be complete, or [no limit](Self::NEVER).
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

    /// Creates a deadline at `instant`.
    ///
    /// ```
    /// use mainstay::time::{Deadline, Instant};
    ///
    /// let deadline = Deadline::at(Instant::from_nanos(5));
    /// assert!(deadline.has_passed(Instant::from_nanos(5)));
    /// ```
    #[must_use]
    pub const fn at(instant: Instant) -> Self {
        Self(instant)
    }

    /// Creates a deadline `duration` after `now`.
    ///
    /// ```
    /// use mainstay::time::{Clock, Deadline};
    /// use std::time::Duration;
    ///
    /// let now = Clock::system().now();
    /// let deadline = Deadline::after(now, Duration::from_secs(2));
    /// assert!(!deadline.has_passed(now));
    /// ```
    #[inline]
    #[must_use]
    pub fn after(now: Instant, duration: Duration) -> Self {
        Self(now + duration)
    }

    /// Returns the instant, or `None` if there is no deadline.
    #[must_use]
    pub fn instant(self) -> Option<Instant> {
        (self != Self::NEVER).then_some(self.0)
    }

    /// Returns the time left at `now`: zero if the deadline has passed, and `None` if there is no
    /// deadline.
    ///
    /// ```
    /// use mainstay::time::{Deadline, Instant};
    /// use std::time::Duration;
    ///
    /// let now = Instant::ORIGIN;
    /// let deadline = Deadline::after(now, Duration::from_secs(2));
    /// assert_eq!(deadline.remaining(now), Some(Duration::from_secs(2)));
    /// assert_eq!(Deadline::NEVER.remaining(now), None);
    /// ```
    #[must_use]
    pub fn remaining(self, now: Instant) -> Option<Duration> {
        self.instant().map(|instant| instant - now)
    }

    /// Returns whether the deadline has passed at `now`.
    ///
    /// ```
    /// use mainstay::time::{Deadline, Instant};
    ///
    /// assert!(!Deadline::NEVER.has_passed(Instant::FAR_FUTURE));
    /// ```
    #[inline]
    #[must_use]
    pub fn has_passed(self, now: Instant) -> bool {
        self != Self::NEVER && now >= self.0
    }

    /// Returns the earlier of two deadlines.
    ///
    /// ```
    /// use mainstay::time::{Deadline, Instant};
    ///
    /// let deadline = Deadline::at(Instant::ORIGIN);
    /// assert_eq!(deadline.earlier(Deadline::NEVER), deadline);
    /// ```
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
    fn durations_are_added_and_subtracted() {
        let five = Duration::from_nanos(5);
        let mut instant = Instant::from_nanos(7);
        assert_eq!(instant - five, Instant::from_nanos(2));
        instant += five;
        assert_eq!(instant, Instant::from_nanos(12));
    }

    #[test]
    fn seconds_are_rounded_up() {
        for (nanos, expected) in [(0, 0), (1, 1), (1_000_000_000, 1), (1_000_000_001, 2)] {
            assert_eq!(seconds(Duration::from_nanos(nanos)), expected, "{nanos} ns");
        }
        assert_eq!(seconds(Duration::MAX), u64::MAX);
    }

    #[test]
    fn debug_of_a_deadline_shows_its_instant_or_never() {
        let instant = Instant::from_nanos(5);
        assert_eq!(format!("{:?}", Deadline::at(instant)), format!("Deadline({instant:?})"));
        assert_eq!(format!("{:?}", Deadline::NEVER), "Deadline::NEVER");
    }

    #[test]
    fn arithmetic_saturates_at_the_origin_and_the_far_future() {
        let instant = Instant::from_nanos(5);
        assert_eq!(instant + Duration::MAX, Instant::FAR_FUTURE);
        assert_eq!(instant - Duration::MAX, Instant::ORIGIN);
        assert_eq!(Instant::ORIGIN - instant, Duration::ZERO);
        assert_eq!(instant - Instant::ORIGIN, Duration::from_nanos(5));
        assert_eq!(Deadline::after(instant, Duration::MAX), Deadline::NEVER);
        assert!(!Deadline::NEVER.has_passed(Instant::FAR_FUTURE));
    }
}
