//! The errors of all policies: [`Error`], [`Rejection`], [`TimedOut`], [`ConfigError`].
//!
//! A call through any number of policies returns one flat [`Error<E>`]: the operation failed, it
//! exceeded a time limit, or a policy rejected the call before the operation started.

mod result;

pub use result::OperationResult;

use crate::time::{nanos, seconds};
use std::fmt::{self, Write};
use std::time::Duration;

/// The error of a call through policies.
///
/// # Examples
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
///
/// # As `std::error::Error`
///
/// `Error<E>` implements [`std::error::Error`] for every `E` that implements `Debug` and `Display`.
/// The bound is not `E: std::error::Error`, because `anyhow::Error` and `Box<dyn Error>` do not
/// implement that trait. So `?` converts an `Error<E>` into either of these types, even if `E` is
/// one of them, as in a Tower stack or an application that uses `anyhow`.
///
/// An `Error::Operation` displays as the operation's error. Its
/// [`source`](std::error::Error::source) is `None`, because the bound gives no access to the causes
/// of `E`. To read the causes, call [`operation`](Self::operation), or convert with
/// [`into_boxed`](Self::into_boxed), which keeps them:
///
/// ```
/// use mainstay::error::Error;
/// use std::error::Error as _;
///
/// # #[derive(Debug)]
/// # struct Failed(std::io::Error);
/// # impl std::fmt::Display for Failed {
/// #     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str("failed") }
/// # }
/// # impl std::error::Error for Failed {
/// #     fn source(&self) -> Option<&(dyn std::error::Error + 'static)> { Some(&self.0) }
/// # }
/// fn search() -> Result<(), Error<Failed>> {
///     Err(Error::Operation(Failed(std::io::Error::other("no route"))))
/// }
///
/// fn handle() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
///     search().map_err(Error::into_boxed)?;
///     Ok(())
/// }
///
/// let cause = handle().unwrap_err().source().unwrap().to_string();
/// assert_eq!(cause, "no route");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error<E> {
    /// The operation ran and failed.
    Operation(E),
    /// The operation exceeded a time limit and was dropped.
    Timeout(TimedOut),
    /// A policy rejected the call; the operation was not started.
    Rejected(Rejection),
}

impl<E> Error<E> {
    /// Returns the operation's error, if the operation failed.
    #[must_use]
    pub fn operation(&self) -> Option<&E> {
        match self {
            Self::Operation(error) => Some(error),
            _ => None,
        }
    }

    /// Returns whether a policy rejected the call.
    #[must_use]
    pub const fn is_rejected(&self) -> bool {
        matches!(self, Self::Rejected(_))
    }

    /// Returns whether the operation exceeded a time limit.
    #[must_use]
    pub const fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout(_))
    }

    /// Returns the delay after which a retry can succeed, if the rejecting policy stated one.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Rejected(rejection) => rejection.retry_after(),
            _ => None,
        }
    }

    /// Returns [`retry_after`](Self::retry_after) in whole seconds, rounded up, as in the header
    /// field `Retry-After`.
    #[must_use]
    pub fn retry_after_secs(&self) -> Option<u64> {
        self.retry_after().map(seconds)
    }

    /// Returns the kind of the error, or the reason of the rejection, as a label.
    pub(crate) const fn cause(&self) -> &'static str {
        match self {
            Self::Operation(_) => "operation",
            Self::Timeout(_) => "timeout",
            Self::Rejected(rejection) => rejection.reason().as_str(),
        }
    }

    /// Converts the operation's error by `f`.
    ///
    /// ```
    /// use mainstay::error::Error;
    ///
    /// let error = Error::Operation(std::io::Error::other("no route"));
    /// let error: Error<String> = error.map_operation(|error| error.to_string());
    /// assert_eq!(error.operation().unwrap(), "no route");
    /// ```
    pub fn map_operation<F>(self, f: impl FnOnce(E) -> F) -> Error<F> {
        match self {
            Self::Operation(error) => Error::Operation(f(error)),
            Self::Timeout(timed_out) => Error::Timeout(timed_out),
            Self::Rejected(rejection) => Error::Rejected(rejection),
        }
    }

    /// Converts this error into a boxed error: the operation's error with its chain of causes, or
    /// the [`TimedOut`] or [`Rejection`].
    ///
    /// ```
    /// use mainstay::error::{Error, Reason, Rejection};
    ///
    /// let rejection = Rejection::new(Reason::QueueFull, "mailer");
    /// let error: Error<std::io::Error> = rejection.into();
    /// let boxed = error.into_boxed();
    /// assert!(boxed.downcast_ref::<Rejection>().is_some());
    /// ```
    #[must_use]
    pub fn into_boxed(self) -> Box<dyn std::error::Error + Send + Sync>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        match self {
            Self::Operation(error) => error.into(),
            Self::Timeout(timed_out) => timed_out.into(),
            Self::Rejected(rejection) => rejection.into(),
        }
    }
}

impl<E> Error<Error<E>> {
    /// Flattens the error of a pipeline that runs inside another pipeline.
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

// `source` is not implemented: see the documentation of the type.
impl<E: fmt::Debug + fmt::Display> std::error::Error for Error<E> {}

/// The error of an operation that exceeded a time limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOut {
    policy: &'static str,
    limit: Duration,
}

impl TimedOut {
    /// Creates the error of the timeout named `policy`, whose time limit is `limit`.
    ///
    /// ```
    /// use mainstay::error::TimedOut;
    /// use std::time::Duration;
    ///
    /// let timed_out = TimedOut::new("search", Duration::from_secs(2));
    /// assert_eq!(timed_out.to_string(), "timed out after 2s (search)");
    /// ```
    #[must_use]
    pub const fn new(policy: &'static str, limit: Duration) -> Self {
        Self { policy, limit }
    }

    /// Returns the name of the timeout.
    #[must_use]
    pub const fn policy(&self) -> &'static str {
        self.policy
    }

    /// Returns the time limit.
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

/// The reason why a policy rejected a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
// As a byte, the reason would be followed by padding in `Rejection`, and copies of results with a
// rejection would load bytes together that were stored apart, which stalls: 3 ns per acquisition.
#[repr(u64)]
pub enum Reason {
    /// A circuit breaker is open, or is half-open and already runs its maximum number of probes.
    CircuitOpen,
    /// A concurrency limit is reached.
    ConcurrencyLimited,
    /// The deadline of the call has passed, or leaves too little time.
    DeadlineExceeded,
    /// A bounded resource other than a queue is exhausted, such as the number of keys.
    Exhausted,
    /// A [chaos policy](crate::chaos) rejected the call, to test how the caller handles it.
    Injected,
    /// A setting that is checked only when it is used, such as the quota of one key, is out of
    /// range.
    Misconfigured,
    /// The operation of another call, whose result this call waited for, panicked.
    Panicked,
    /// A rate limiter has too few tokens, or other callers are queued for them.
    RateLimited,
    /// A queue is full.
    QueueFull,
    /// The call waited too long in a queue, or for a free slot of a full queue.
    QueueTimeout,
    /// The call was dropped under overload, so that other calls are served in time.
    Shed,
    /// A pool, a queue or a ring has been shut down.
    ShutDown,
    /// A policy written by the user rejected the call. [`Rejection::policy`] returns its name.
    Custom,
}

impl Reason {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::CircuitOpen => "circuit open",
            Self::ConcurrencyLimited => "concurrency limited",
            Self::DeadlineExceeded => "deadline exceeded",
            Self::Exhausted => "exhausted",
            Self::Injected => "injected fault",
            Self::Misconfigured => "misconfigured",
            Self::Panicked => "the shared operation panicked",
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

/// The rejection of a call by a policy, before its operation started.
///
/// Small and `Copy`, because rejections must be cheap under overload.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Rejection {
    policy: &'static str,
    /// `u64::MAX` if unknown.
    retry_after_nanos: u64,
    reason: Reason,
}

impl Rejection {
    /// Creates a rejection by the policy named `policy`.
    ///
    /// ```
    /// use mainstay::error::{Reason, Rejection};
    ///
    /// let rejection = Rejection::new(Reason::QueueFull, "mailer");
    /// assert_eq!(rejection.to_string(), "rejected by mailer: queue full");
    /// ```
    #[must_use]
    pub const fn new(reason: Reason, policy: &'static str) -> Self {
        Self { policy, retry_after_nanos: u64::MAX, reason }
    }

    /// Sets the time after which a retry can succeed.
    ///
    /// ```
    /// # use mainstay::error::{Reason, Rejection};
    /// # use std::time::Duration;
    /// let rejection = Rejection::new(Reason::RateLimited, "mailer")
    ///     .with_retry_after(Duration::from_millis(1500));
    /// assert_eq!(rejection.retry_after_secs(), Some(2));
    /// ```
    #[must_use]
    pub fn with_retry_after(mut self, retry_after: Duration) -> Self {
        self.retry_after_nanos = nanos(retry_after);
        self
    }

    /// Returns why the call was rejected.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        self.reason
    }

    /// Returns the name of the policy that rejected the call.
    #[must_use]
    pub const fn policy(&self) -> &'static str {
        self.policy
    }

    /// Returns the delay after which a retry can succeed, if the policy stated one. Other callers
    /// may still be served first.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self.retry_after_nanos {
            u64::MAX => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }

    /// Returns [`retry_after`](Self::retry_after) in whole seconds, rounded up, as in the header
    /// field `Retry-After`.
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
            Some(after) => write!(f, "; retry after {after:?}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Rejection {}

/// A setting that is out of range.
///
/// ```
/// use mainstay::breaker::CircuitBreaker;
///
/// let error = CircuitBreaker::builder().failure_rate(1.5).build().unwrap_err();
/// assert_eq!(error.field(), "failure_rate");
/// let message = "failure_rate is 1.5; accepted: a share above 0 and at most 1";
/// assert_eq!(error.to_string(), message);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    field: &'static str,
    value: String,
    accepted: &'static str,
}

impl ConfigError {
    /// Creates the error for the setting `field` with the rejected value `value`. `accepted`
    /// describes the values that are accepted.
    ///
    /// The value is shortened to 128 characters, and control characters in it are escaped.
    ///
    /// ```
    /// use mainstay::error::ConfigError;
    ///
    /// let error = ConfigError::new("max_idle", 0, "at least 1");
    /// assert_eq!(error.to_string(), "max_idle is 0; accepted: at least 1");
    /// ```
    #[must_use]
    pub fn new(field: &'static str, value: impl fmt::Debug, accepted: &'static str) -> Self {
        let mut shown = ShownValue { text: String::new(), left: ShownValue::MAX_CHARS };
        // Fails at the maximum length; `shown` then holds the beginning of the value.
        if write!(shown, "{value:?}").is_err() {
            shown.text.push('…');
        }
        Self { field, value: shown.text, accepted }
    }

    /// Returns the name of the setting, which is the name of the builder's method.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        self.field
    }

    /// Returns the value, as `Debug` shows it.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Returns a description of the accepted values.
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

/// The text of a rejected value: short, and on one line.
struct ShownValue {
    text: String,
    /// The number of characters that still fit.
    left: usize,
}

impl ShownValue {
    const MAX_CHARS: usize = 128;
}

impl Write for ShownValue {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            self.left = self.left.checked_sub(1).ok_or(fmt::Error)?;
            if c.is_control() {
                self.text.extend(c.escape_default());
            } else {
                self.text.push(c);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests;
