//! One vocabulary of errors for every policy: [`Error`], [`Rejection`], [`TimedOut`], [`ConfigError`].
//!
//! However many policies stand around an operation, the caller sees one flat [`Error<E>`]: the
//! operation failed by itself, it took too long, or it was never started and here is who refused it
//! and when to come back.

use crate::time::{nanos, seconds};
use std::fmt;
use std::time::Duration;

/// Why a guarded call did not return `Ok`.
///
/// ```
/// use mainstay::error::Error;
///
/// fn status(error: &Error<std::io::Error>) -> u16 {
///     match error {
///         Error::Operation(_) => 502,
///         Error::Timeout(_) => 504,
///         Error::Rejected(_) => 503,
///         _ => 500,
///     }
/// }
/// # let _ = status;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error<E> {
    /// The operation ran and failed by itself.
    Operation(E),
    /// The operation took longer than it was given, and was dropped.
    Timeout(TimedOut),
    /// The operation was never started.
    Rejected(Rejection),
}

impl<E> Error<E> {
    /// The operation's own error, if that is what it is.
    #[must_use]
    pub fn operation(&self) -> Option<&E> {
        match self {
            Self::Operation(error) => Some(error),
            _ => None,
        }
    }

    /// Whether a policy refused to start the operation.
    #[must_use]
    pub const fn is_rejected(&self) -> bool {
        matches!(self, Self::Rejected(_))
    }

    /// Whether a time limit ended the operation.
    #[must_use]
    pub const fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout(_))
    }

    /// When it is worth trying again, if a policy that refused knows.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Rejected(rejection) => rejection.retry_after(),
            _ => None,
        }
    }

    /// The same in whole seconds, rounded up, as the header field `Retry-After` has it.
    #[must_use]
    pub fn retry_after_secs(&self) -> Option<u64> {
        self.retry_after().map(seconds)
    }

    /// Applies `f` to the operation's own error.
    pub fn map_operation<F>(self, f: impl FnOnce(E) -> F) -> Error<F> {
        match self {
            Self::Operation(error) => Error::Operation(f(error)),
            Self::Timeout(timed_out) => Error::Timeout(timed_out),
            Self::Rejected(rejection) => Error::Rejected(rejection),
        }
    }
}

impl<E> Error<Error<E>> {
    /// Joins the errors of a pipeline inside a pipeline.
    ///
    /// ```
    /// use mainstay::error::Error;
    /// let nested: Error<Error<&str>> = Error::Operation(Error::Operation("refused"));
    /// assert_eq!(nested.flatten(), Error::Operation("refused"));
    /// ```
    pub fn flatten(self) -> Error<E> {
        match self {
            Self::Operation(inner) => inner,
            Self::Timeout(timed_out) => Error::Timeout(timed_out),
            Self::Rejected(rejection) => Error::Rejected(rejection),
        }
    }
}

impl<E> From<Rejection> for Error<E> {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl<E> From<TimedOut> for Error<E> {
    fn from(timed_out: TimedOut) -> Self {
        Self::Timeout(timed_out)
    }
}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operation(error) => error.fmt(f),
            Self::Timeout(timed_out) => timed_out.fmt(f),
            Self::Rejected(rejection) => rejection.fmt(f),
        }
    }
}

impl<E: std::error::Error> std::error::Error for Error<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // Transparent: this error displays as the operation's own, so its source is that one's.
            Self::Operation(error) => error.source(),
            Self::Timeout(_) | Self::Rejected(_) => None,
        }
    }
}

/// A time limit passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOut {
    policy: &'static str,
    limit: Duration,
}

impl TimedOut {
    /// An answer of `policy`, whose limit was `limit`.
    #[must_use]
    pub const fn new(policy: &'static str, limit: Duration) -> Self {
        Self { policy, limit }
    }

    /// The name of the timeout that ended the call.
    #[must_use]
    pub const fn policy(&self) -> &'static str {
        self.policy
    }

    /// How long the operation was given.
    #[must_use]
    pub const fn limit(&self) -> Duration {
        self.limit
    }
}

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "timed out after {:?} ({})", self.limit, self.policy)
    }
}

impl std::error::Error for TimedOut {}

/// Which kind of limit refused a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// A circuit breaker is open, or half-open with all its probes under way.
    CircuitOpen,
    /// A concurrency limit is used up.
    ConcurrencyLimited,
    /// There is no room for one more: of keys, say.
    Exhausted,
    /// A setting that is found out only when it is used, such as a key's own quota, is out of range.
    Misconfigured,
    /// A rate limiter has no tokens, or others wait for them.
    RateLimited,
    /// A queue has no room.
    QueueFull,
    /// The time to wait, for room or in the queue, was over before it came to its turn.
    QueueTimeout,
    /// Dropped under overload, so that the rest is served in time.
    Shed,
    /// A pool, a queue or a ring is being shut down.
    ShutDown,
    /// A policy written by the user rejected the call; its name says which.
    Custom,
}

impl Reason {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::CircuitOpen => "circuit open",
            Self::ConcurrencyLimited => "concurrency limited",
            Self::Exhausted => "exhausted",
            Self::Misconfigured => "misconfigured",
            Self::RateLimited => "rate limited",
            Self::QueueFull => "queue full",
            Self::QueueTimeout => "waited too long",
            Self::Shed => "shed",
            Self::ShutDown => "shut down",
            Self::Custom => "custom policy",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A policy refused to start an operation.
///
/// Small and `Copy`: refusing must be cheapest when there is most to refuse.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Rejection {
    policy: &'static str,
    /// `u64::MAX`: unknown.
    retry_after_nanos: u64,
    reason: Reason,
}

impl Rejection {
    /// An answer of the policy named `policy`.
    #[must_use]
    pub const fn new(reason: Reason, policy: &'static str) -> Self {
        Self { policy, retry_after_nanos: u64::MAX, reason }
    }

    /// The same, with the time after which trying again makes sense.
    #[must_use]
    pub fn with_retry_after(mut self, retry_after: Duration) -> Self {
        self.retry_after_nanos = nanos(retry_after);
        self
    }

    /// Which kind of limit refused.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        self.reason
    }

    /// The name of the policy that refused.
    #[must_use]
    pub const fn policy(&self) -> &'static str {
        self.policy
    }

    /// After which time trying again makes sense, if the policy can tell. Not a promise: others may
    /// come first.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self.retry_after_nanos {
            u64::MAX => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }

    /// The same in whole seconds, rounded up, as the header field `Retry-After` has it.
    #[must_use]
    pub fn retry_after_secs(&self) -> Option<u64> {
        self.retry_after().map(seconds)
    }
}

impl fmt::Debug for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejection")
            .field("reason", &self.reason)
            .field("policy", &self.policy)
            .field("retry_after", &self.retry_after())
            .finish()
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rejected by {}: {}", self.policy, self.reason)?;
        match self.retry_after() {
            Some(after) => write!(f, "; try again in {after:?}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Rejection {}

/// A setting that a builder does not accept.
///
/// ```
/// use mainstay::breaker::CircuitBreaker;
///
/// let error = CircuitBreaker::builder().failure_rate(1.5).build().unwrap_err();
/// assert_eq!(error.field(), "failure_rate");
/// assert_eq!(error.to_string(), "failure_rate is 1.5; accepted: a share above 0 and at most 1");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    field: &'static str,
    value: String,
    accepted: &'static str,
}

impl ConfigError {
    /// `field` was given `value`, but takes only what `accepted` says.
    #[must_use]
    pub fn new(field: &'static str, value: impl fmt::Debug, accepted: &'static str) -> Self {
        Self { field, value: format!("{value:?}"), accepted }
    }

    /// The name of the setting, which is that of the builder's method.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        self.field
    }

    /// What it was given.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// What it would accept.
    #[must_use]
    pub const fn accepted(&self) -> &'static str {
        self.accepted
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}; accepted: {}", self.field, self.value, self.accepted)
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

    #[test]
    fn rejections_stay_small() {
        assert_eq!(size_of::<Rejection>(), 32);
        assert_eq!(size_of::<Result<(), Rejection>>(), 32);
    }

    #[test]
    fn a_rejection_says_who_why_and_when() {
        let rejection = Rejection::new(Reason::CircuitOpen, "search")
            .with_retry_after(Duration::from_millis(1500));
        assert_eq!(rejection.to_string(), "rejected by search: circuit open; try again in 1.5s");
        assert_eq!(Error::<()>::from(rejection).retry_after(), Some(Duration::from_millis(1500)));
        assert_eq!(Rejection::new(Reason::ShutDown, "search").retry_after(), None);
    }

    #[test]
    fn an_operations_error_is_shown_as_it_is() {
        let error = Error::Operation(std::io::Error::other("no route"));
        assert_eq!(error.to_string(), "no route");
        assert_eq!(error.map_operation(|e| e.kind()).operation(), Some(&std::io::ErrorKind::Other));
    }
}
