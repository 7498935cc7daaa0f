//! The results of a request: [`Grant`], [`Denied`] and [`RateLimitStatus`].

use super::engine::Gcra;
use super::timeline::Nanos;
use crate::error::{Error, Reason, Rejection};
use crate::time::seconds;
use std::fmt;
use std::time::Duration;

/// The state of a limiter at the time of a decision, with all values for the rate limit header
/// fields of an HTTP response.
///
/// It is returned by [`RateLimiter::peek`](super::RateLimiter::peek), and is part of every
/// [`Grant`] and [`Denied`].
///
/// | header field | method |
/// |---|---|
/// | `RateLimit-Limit`, or `q` of a `RateLimit-Policy` | [`limit`](Self::limit): the burst |
/// | `RateLimit-Remaining`, or `r` of a `RateLimit` | [`remaining`](Self::remaining) |
/// | `RateLimit-Reset`, or `t` of a `RateLimit` | [`reset_after_secs`](Self::reset_after_secs) |
/// | `Retry-After` | [`retry_after_secs`](Self::retry_after_secs) |
///
/// The status includes the decision itself: tokens that were just granted are not counted as
/// remaining. Each value is computed when its method is called, so unused values cost nothing.
#[derive(Clone, Copy)]
pub struct RateLimitStatus {
    pub(super) gcra: Gcra,
    /// The TAT in units, plus the tokens of queued waiters if the request was denied.
    pub(super) ahead: u64,
    pub(super) now: Nanos,
    pub(super) wanted: u32,
    /// The tokens granted. Part of [`Grant`], but stored here because it fits into the padding.
    pub(super) granted: u32,
}

impl RateLimitStatus {
    /// Returns the number of tokens of a full limiter: the burst, or `u32::MAX` if there is no
    /// limit.
    #[inline]
    #[must_use]
    pub const fn limit(&self) -> u32 {
        self.gcra.limit()
    }

    /// Returns the number of available tokens. It is 0 while there are waiters.
    #[inline]
    #[must_use]
    pub const fn remaining(&self) -> u32 {
        self.gcra.remaining(self.ahead, self.gcra.units(self.now))
    }

    /// Returns the time after which a request for the same number of tokens would be granted, if no
    /// other request is granted first. Returns zero if the tokens are available now, and `None` if
    /// they will never be available, for example because the request exceeds the
    /// [`limit`](Self::limit).
    ///
    /// The time is exact: one nanosecond earlier the request would be denied. It includes the time
    /// for the tokens of queued waiters.
    #[inline]
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        if self.wanted == 0 || self.gcra.is_unlimited() {
            return Some(Duration::ZERO);
        }
        if !self.gcra.is_ordinary(self.wanted) {
            return None;
        }
        match self.gcra.nanos(self.gcra.due(self.ahead, self.wanted)) {
            Some(due) => Some(due.since(self.now)),
            None => None,
        }
    }

    /// Returns [`retry_after`](Self::retry_after) in whole seconds, rounded up.
    #[must_use]
    pub fn retry_after_secs(&self) -> Option<u64> {
        self.retry_after().map(seconds)
    }

    /// Returns the time after which the limiter is full again if there are no requests, or
    /// [`Duration::MAX`] if it will never be full.
    #[inline]
    #[must_use]
    pub const fn reset_after(&self) -> Duration {
        match self.gcra.nanos(self.ahead) {
            Some(full) => full.since(self.now),
            None => Duration::MAX,
        }
    }

    /// Returns [`reset_after`](Self::reset_after) in whole seconds, rounded up, or `u64::MAX` if
    /// the limiter will never be full.
    #[must_use]
    pub const fn reset_after_secs(&self) -> u64 {
        seconds(self.reset_after())
    }
}

impl PartialEq for RateLimitStatus {
    fn eq(&self, other: &Self) -> bool {
        let figures = |s: &Self| (s.limit(), s.remaining(), s.retry_after(), s.reset_after());
        figures(self) == figures(other)
    }
}

impl Eq for RateLimitStatus {}

impl fmt::Debug for RateLimitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitStatus")
            .field("limit", &self.limit())
            .field("remaining", &self.remaining())
            .field("retry_after", &self.retry_after())
            .field("reset_after", &self.reset_after())
            .finish()
    }
}

/// Tokens granted by a limiter. Dropping a `Grant` does not return the tokens; see
/// [`RateLimiter::refund`](super::RateLimiter::refund).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    pub(super) status: RateLimitStatus,
    pub(super) history: History,
}

/// The counters of a limiter as they were before a grant; see `Engine::refund`.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct History {
    /// The total number of units that refunds had subtracted from the TAT.
    pub(super) refunded: u64,
    /// The number of changes of the quota.
    pub(super) changes: u64,
}

impl Grant {
    /// Returns the number of tokens granted.
    #[inline]
    #[must_use]
    pub const fn granted(&self) -> u32 {
        self.status.granted
    }

    /// Returns the state of the limiter after the grant.
    #[inline]
    #[must_use]
    pub const fn status(&self) -> RateLimitStatus {
        self.status
    }

    /// Returns the number of tokens of a full limiter; see [`RateLimitStatus::limit`].
    #[inline]
    #[must_use]
    pub const fn limit(&self) -> u32 {
        self.status.limit()
    }

    /// Returns the number of remaining tokens; see [`RateLimitStatus::remaining`].
    #[inline]
    #[must_use]
    pub const fn remaining(&self) -> u32 {
        self.status.remaining()
    }

    /// Returns the time after which the limiter is full again; see
    /// [`RateLimitStatus::reset_after`].
    #[inline]
    #[must_use]
    pub const fn reset_after(&self) -> Duration {
        self.status.reset_after()
    }

    /// Converts the grant of a request for up to `n` tokens, which was decided as a request for one
    /// token. An unlimited quota grants all `n`.
    pub(super) const fn up_to(mut self, n: u32) -> Self {
        if self.status.gcra.is_unlimited() {
            (self.status.wanted, self.status.granted) = (n, n);
        }
        self
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant")
            .field("granted", &self.granted())
            .field("status", &self.status)
            .finish()
    }
}

/// The error returned when a limiter denies a request. It converts into [`Rejection`] and
/// [`Error`](crate::error::Error).
///
/// ```
/// use mainstay::rate::{Quota, RateLimiter};
///
/// let limiter = RateLimiter::builder(Quota::per_minute(1)).name("mail").build()?;
/// limiter.try_acquire()?;
/// let denied = limiter.try_acquire().unwrap_err();
/// assert_eq!(denied.policy(), "mail");
/// assert!(denied.retry_after_secs().is_some_and(|seconds| seconds <= 60));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Denied {
    pub(super) status: RateLimitStatus,
    pub(super) policy: &'static str,
    pub(super) reason: Reason,
}

impl Denied {
    #[inline(always)]
    pub(super) const fn new(status: RateLimitStatus, policy: &'static str) -> Self {
        Self { status, policy, reason: Reason::RateLimited }
    }

    /// Returns the state of the limiter.
    #[inline]
    #[must_use]
    pub const fn status(&self) -> RateLimitStatus {
        self.status
    }

    /// Returns the name of the limiter that denied the request. For a
    /// [group](super::RateLimiterGroup), it is the member with the longest
    /// [`retry_after`](Self::retry_after).
    #[must_use]
    pub const fn policy(&self) -> &'static str {
        self.policy
    }

    /// Returns the reason why the request was denied.
    ///
    /// It is [`RateLimited`](Reason::RateLimited) in most cases. A [keyed
    /// limiter](super::KeyedRateLimiter) also returns [`Exhausted`](Reason::Exhausted) if it cannot
    /// store another key, and [`Misconfigured`](Reason::Misconfigured) if the quota of the key is
    /// out of range.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        self.reason
    }

    /// Returns the number of tokens of a full limiter; see [`RateLimitStatus::limit`].
    #[inline]
    #[must_use]
    pub const fn limit(&self) -> u32 {
        self.status.limit()
    }

    /// Returns the number of available tokens; see [`RateLimitStatus::remaining`].
    #[inline]
    #[must_use]
    pub const fn remaining(&self) -> u32 {
        self.status.remaining()
    }

    /// Returns the time after which the request would be granted, or `None` if it never would be;
    /// see
    /// [`RateLimitStatus::retry_after`]. It is never zero.
    #[inline]
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        // The status may say zero if the last waiter leaves the queue concurrently.
        self.status.retry_after().map(|after| after.max(Duration::from_nanos(1)))
    }

    /// Returns [`retry_after`](Self::retry_after) in whole seconds, rounded up: the value of a
    /// `Retry-After` header field.
    #[must_use]
    pub fn retry_after_secs(&self) -> Option<u64> {
        self.retry_after().map(seconds)
    }

    /// Returns the time after which the limiter is full again; see
    /// [`RateLimitStatus::reset_after`].
    #[inline]
    #[must_use]
    pub const fn reset_after(&self) -> Duration {
        self.status.reset_after()
    }
}

impl From<Denied> for Rejection {
    fn from(denied: Denied) -> Self {
        let rejection = Self::new(denied.reason, denied.policy);
        match denied.retry_after() {
            Some(after) => rejection.with_retry_after(after),
            None => rejection,
        }
    }
}

impl<E> From<Denied> for Error<E> {
    fn from(denied: Denied) -> Self {
        Self::Rejected(denied.into())
    }
}

impl fmt::Debug for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Denied")
            .field("policy", &self.policy)
            .field("reason", &self.reason)
            .field("status", &self.status)
            .finish()
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Rejection::from(*self).fmt(f)
    }
}

impl std::error::Error for Denied {}
