use super::gcra::Plan;
use crate::error::{Error, Reason, Rejection};
use crate::time::seconds;
use std::fmt;
use std::time::Duration;

/// What a limiter answers, granted or not: all that a response's header fields need.
///
/// | header field | from |
/// |---|---|
/// | `RateLimit-Limit`, or `q` of a `RateLimit-Policy` | [`limit`](Self::limit): the burst |
/// | `RateLimit-Remaining`, or `r` of a `RateLimit` | [`remaining`](Self::remaining) |
/// | `RateLimit-Reset`, or `t` of a `RateLimit` | [`reset_after_secs`](Self::reset_after_secs) |
/// | `Retry-After` | [`retry_after_secs`](Refused::retry_after_secs) of what was refused |
///
/// The figures are those of the moment of the decision, this decision included. They are computed when
/// they are asked for, so that who does not ask does not pay.
#[derive(Clone, Copy)]
pub struct Answer {
    pub(super) plan: Plan,
    /// The arrival, in units; of a refused request, behind those who wait.
    pub(super) ahead: u64,
    /// Nanoseconds since the limiter's origin.
    pub(super) now: u64,
    pub(super) wanted: u32,
    pub(super) granted: u32,
    pub(super) before: Before,
}

/// What had happened to a limiter before it granted something; see `Core::refund`.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Before {
    /// Units that refunds had taken off the arrival.
    pub(super) refunded: u64,
    /// How often the quota had changed.
    pub(super) changes: u64,
}

impl Answer {
    /// How many tokens were granted.
    #[must_use]
    pub const fn granted(&self) -> u32 {
        self.granted
    }

    /// How many tokens there can be at once: the burst, and not the count of a period where they differ.
    /// `u32::MAX` if there is no limit.
    #[must_use]
    pub const fn limit(&self) -> u32 {
        self.plan.limit()
    }

    /// How many tokens are left; none while others wait.
    #[must_use]
    pub const fn remaining(&self) -> u32 {
        self.plan.remaining(self.ahead, self.plan.units(self.now))
    }

    /// After which time as many tokens as were asked for can be had (again), if nobody else comes first;
    /// zero if at once. `None` if never: more than a full limiter has, or nothing is admitted at all.
    ///
    /// It is exact: a nanosecond earlier it would be refused. Behind others who wait it is when the last of
    /// them is due, and what was asked for after that.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        if self.wanted == 0 || self.plan.is_unlimited() {
            return Some(Duration::ZERO);
        }
        if !self.plan.is_ordinary(self.wanted) {
            return None;
        }
        match self.plan.nanos(self.plan.due(self.ahead, self.wanted)) {
            Some(due) => Some(Duration::from_nanos(due.saturating_sub(self.now))),
            None => None,
        }
    }

    /// After which time the limiter is full again, if nobody asks. [`Duration::MAX`] if never.
    #[must_use]
    pub const fn reset_after(&self) -> Duration {
        match self.plan.nanos(self.ahead) {
            Some(full) => Duration::from_nanos(full.saturating_sub(self.now)),
            None => Duration::MAX,
        }
    }

    /// The same in whole seconds, rounded up. `u64::MAX` if never.
    #[must_use]
    pub const fn reset_after_secs(&self) -> u64 {
        seconds(self.reset_after())
    }
}

impl Answer {
    /// The answer to who asked for up to `n`, where one was asked about.
    pub(super) const fn up_to(mut self, n: u32) -> Self {
        if self.plan.is_unlimited() {
            (self.wanted, self.granted) = (n, n);
        }
        self
    }
}

impl PartialEq for Answer {
    fn eq(&self, other: &Self) -> bool {
        let figures =
            |a: &Self| (a.granted(), a.limit(), a.remaining(), a.retry_after(), a.reset_after());
        figures(self) == figures(other)
    }
}

impl Eq for Answer {}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("granted", &self.granted())
            .field("limit", &self.limit())
            .field("remaining", &self.remaining())
            .field("retry_after", &self.retry_after())
            .field("reset_after", &self.reset_after())
            .finish()
    }
}

/// A limiter did not grant what was asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    pub(super) answer: Answer,
    pub(super) policy: &'static str,
    pub(super) reason: Reason,
}

impl Refused {
    #[inline(always)]
    pub(super) const fn new(answer: Answer, policy: &'static str) -> Self {
        Self { answer, policy, reason: Reason::RateLimited }
    }

    /// The figures.
    #[must_use]
    pub const fn answer(&self) -> Answer {
        self.answer
    }

    /// The name of the limiter that refused: of several, the one that bound.
    #[must_use]
    pub const fn policy(&self) -> &'static str {
        self.policy
    }

    /// [`RateLimited`](Reason::RateLimited); of a keyed limiter also that there are too many keys, or that
    /// the key's own quota is out of range.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        self.reason
    }

    /// As [`Answer::retry_after`]; but never zero, for whoever was refused because others wait.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.answer.retry_after().map(|after| after.max(Duration::from_nanos(1)))
    }

    /// The same in whole seconds, rounded up: who comes back then is not too early.
    #[must_use]
    pub fn retry_after_secs(&self) -> Option<u64> {
        self.retry_after().map(seconds)
    }
}

impl From<Refused> for Rejection {
    fn from(refused: Refused) -> Self {
        let rejection = Self::new(refused.reason, refused.policy);
        match refused.retry_after() {
            Some(after) => rejection.with_retry_after(after),
            None => rejection,
        }
    }
}

impl<E> From<Refused> for Error<E> {
    fn from(refused: Refused) -> Self {
        Self::Rejected(refused.into())
    }
}

impl fmt::Debug for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused")
            .field("policy", &self.policy)
            .field("reason", &self.reason)
            .field("answer", &self.answer)
            .finish()
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Rejection::from(*self).fmt(f)
    }
}

impl std::error::Error for Refused {}
