//! What a limiter returns: [`Grant`], [`Denied`], [`RateLimitStatus`].

use super::engine::Gcra;
use super::timeline::Nanos;
use crate::error::{Error, Reason, Rejection};
use crate::time::seconds;
use std::fmt;
use std::time::Duration;

/// The state of a limiter at the moment of a decision: all that the header fields of a response
/// need.
///
/// [`RateLimiter::peek`](super::RateLimiter::peek) returns it, and [`Grant`] and [`Denied`] contain
/// it.
///
/// | header field | from |
/// |---|---|
/// | `RateLimit-Limit`, or `q` of a `RateLimit-Policy` | [`limit`](Self::limit): the burst |
/// | `RateLimit-Remaining`, or `r` of a `RateLimit` | [`remaining`](Self::remaining) |
/// | `RateLimit-Reset`, or `t` of a `RateLimit` | [`reset_after_secs`](Self::reset_after_secs) |
/// | `Retry-After` | [`retry_after_secs`](Self::retry_after_secs) |
///
/// The decision itself is included: a token that was granted is no longer remaining. The figures
/// are computed when they are read, so figures that are not read cost nothing.
#[derive(Clone, Copy)]
pub struct RateLimitStatus {
    pub(super) gcra: Gcra,
    /// The TAT in units, plus the tokens of queued waiters if the request was denied.
    pub(super) ahead: u64,
    pub(super) now: Nanos,
    pub(super) wanted: u32,
    /// In here, where it fills a gap.
    pub(super) granted: u32,
}

impl RateLimitStatus {
    /// Returns the number of tokens of a full limiter: the burst. `u32::MAX` if there is no limit.
    #[must_use]
    pub const fn limit(&self) -> u32 {
        self.gcra.limit()
    }

    /// Returns the number of tokens that are available. It is 0 while there are waiters.
    #[must_use]
    pub const fn remaining(&self) -> u32 {
        self.gcra.remaining(self.ahead, self.gcra.units(self.now))
    }

    /// Returns the time after which the requested number of tokens is available (again), if no
    /// other request comes first. Zero if it is available now. `None` if it never will be: the
    /// request exceeds the [`limit`](Self::limit).
    ///
    /// The time is exact: one nanosecond earlier the request would be denied. Tokens that queued
    /// waiters wait for are included.
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

    /// Returns the time after which the limiter is full again if there are no requests.
    /// [`Duration::MAX`] if it never is.
    #[must_use]
    pub const fn reset_after(&self) -> Duration {
        match self.gcra.nanos(self.ahead) {
            Some(full) => full.since(self.now),
            None => Duration::MAX,
        }
    }

    /// Returns [`reset_after`](Self::reset_after) in whole seconds, rounded up. `u64::MAX` if the
    /// limiter is never full again.
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

/// Tokens that a limiter granted. Dropping it does not return them; see
/// [`RateLimiter::refund`](super::RateLimiter::refund).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    pub(super) status: RateLimitStatus,
    pub(super) history: History,
}

/// What had happened to a limiter before it granted something; see `Engine::refund`.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct History {
    /// Units that refunds had taken off the TAT.
    pub(super) refunded: u64,
    /// How many times the quota had changed.
    pub(super) changes: u64,
}

impl Grant {
    /// Returns the number of tokens granted.
    #[must_use]
    pub const fn granted(&self) -> u32 {
        self.status.granted
    }

    /// Returns the state of the limiter after the grant.
    #[must_use]
    pub const fn status(&self) -> RateLimitStatus {
        self.status
    }

    /// Returns the number of tokens of a full limiter; see [`RateLimitStatus::limit`].
    #[must_use]
    pub const fn limit(&self) -> u32 {
        self.status.limit()
    }

    /// Returns the number of tokens left; see [`RateLimitStatus::remaining`].
    #[must_use]
    pub const fn remaining(&self) -> u32 {
        self.status.remaining()
    }

    /// Returns the time after which the limiter is full again; see
    /// [`RateLimitStatus::reset_after`].
    #[must_use]
    pub const fn reset_after(&self) -> Duration {
        self.status.reset_after()
    }

    /// For a request of up to `n` tokens that was decided as one for a single token.
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

/// The error of a request that a limiter denied. It converts into [`Rejection`] and
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
    #[must_use]
    pub const fn status(&self) -> RateLimitStatus {
        self.status
    }

    /// Returns the name of the limiter that denied the request. Of a
    /// [group](super::RateLimiterGroup), it is the limiter with the longest time to wait.
    #[must_use]
    pub const fn policy(&self) -> &'static str {
        self.policy
    }

    /// Returns why the request was denied.
    ///
    /// [`RateLimited`](Reason::RateLimited), or of a [keyed limiter](super::KeyedRateLimiter) also
    /// [`Exhausted`](Reason::Exhausted) if it cannot store another key, and
    /// [`Misconfigured`](Reason::Misconfigured) if the quota of the key is out of range.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        self.reason
    }

    /// Returns the number of tokens of a full limiter; see [`RateLimitStatus::limit`].
    #[must_use]
    pub const fn limit(&self) -> u32 {
        self.status.limit()
    }

    /// Returns the number of tokens available; see [`RateLimitStatus::remaining`].
    #[must_use]
    pub const fn remaining(&self) -> u32 {
        self.status.remaining()
    }

    /// Returns the time after which the request would be granted, or `None` if it never would be;
    /// see [`RateLimitStatus::retry_after`]. It is never zero.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        // The last waiter may be leaving the queue at this moment.
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
