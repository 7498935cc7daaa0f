//! What counts as a failure: [`Outcome`], [`Classify`].
//!
//! The policies that learn from results (breakers, adaptive limits) ask a classifier. The default,
//! [`AnyError`], takes every `Err` and every timeout for a failure and ignores rejections. Yours can
//! look at the `Ok` value too, for an HTTP 503 is an `Ok`:
//!
//! ```
//! use mainstay::{breaker::CircuitBreaker, error::Error, outcome::Outcome};
//!
//! let breaker = CircuitBreaker::builder().build()?;
//! let breaker = breaker.classified_by(|result: &Result<u16, Error<std::io::Error>>| match result {
//!     Ok(status) if *status >= 500 => Outcome::Failure,
//!     Ok(_) => Outcome::Success,
//!     Err(error) if error.is_rejected() => Outcome::Ignore,
//!     Err(_) => Outcome::Failure,
//! });
//! # let _ = breaker;
//! # Ok::<(), mainstay::error::ConfigError>(())
//! ```

use crate::error::Error;
use std::time::Duration;

/// The verdict on one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The dependency did its work.
    Success,
    /// The dependency did its work, and took too long over it by a measure of the classifier's own.
    Slow,
    /// The dependency failed.
    Failure,
    /// The dependency failed in a way that tells more than one failure does: counts as so many. Zero is as
    /// good as [`Ignore`](Self::Ignore).
    Grave(u8),
    /// The dependency refused, and said for how long: an HTTP 429 or 503 with `Retry-After`, say. A failure,
    /// upon which a breaker opens for exactly that long, up to its
    /// [longest pause](crate::breaker::CircuitBreakerBuilder::max_retry_after), and a retry waits that long. A server can say
    /// anything: cap it before you believe it.
    Unavailable(Duration),
    /// Says nothing about the dependency, and is counted nowhere.
    Ignore,
}

/// Decides what a result says about the dependency.
///
/// Closures from a result to an [`Outcome`] are classifiers; [`Timed`] makes one of a closure that
/// looks at the elapsed time too.
///
/// # Panics
///
/// A classifier that panics unwinds through the call that it judges; the call then counts as
/// [`Outcome::Ignore`].
pub trait Classify<T, E>: Send + Sync {
    /// Whether the elapsed time is looked at. Where it is not, no clock is read for it.
    const TIMED: bool = false;

    /// The verdict on `result`. `elapsed` is known if [`TIMED`](Self::TIMED) asks for it.
    fn classify(&self, result: &Result<T, Error<E>>, elapsed: Option<Duration>) -> Outcome;
}

/// The default: every `Err` and every timeout is a failure, a rejection by another policy is ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnyError;

impl<T, E> Classify<T, E> for AnyError {
    #[inline]
    fn classify(&self, result: &Result<T, Error<E>>, _: Option<Duration>) -> Outcome {
        match result {
            Ok(_) => Outcome::Success,
            Err(Error::Rejected(_)) => Outcome::Ignore,
            Err(Error::Operation(_) | Error::Timeout(_)) => Outcome::Failure,
        }
    }
}

impl Outcome {
    /// Whether the dependency failed.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::Failure | Self::Grave(1..) | Self::Unavailable(_))
    }
}

impl<T, E, F> Classify<T, E> for F
where
    F: Fn(&Result<T, Error<E>>) -> Outcome + Send + Sync,
{
    #[inline]
    fn classify(&self, result: &Result<T, Error<E>>, _: Option<Duration>) -> Outcome {
        self(result)
    }
}

/// A classifier from a closure that looks at the result and at how long it took.
///
/// ```
/// use mainstay::{error::Error, outcome::{Classify, Outcome, Timed}};
/// use std::time::Duration;
///
/// let slow_is_failed = Timed(|result: &Result<(), Error<()>>, elapsed| {
///     if result.is_err() || elapsed > Duration::from_secs(1) { Outcome::Failure } else { Outcome::Success }
/// });
/// assert_eq!(slow_is_failed.classify(&Ok(()), Some(Duration::from_secs(2))), Outcome::Failure);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Timed<F>(pub F);

impl<T, E, F> Classify<T, E> for Timed<F>
where
    F: Fn(&Result<T, Error<E>>, Duration) -> Outcome + Send + Sync,
{
    const TIMED: bool = true;

    fn classify(&self, result: &Result<T, Error<E>>, elapsed: Option<Duration>) -> Outcome {
        (self.0)(result, elapsed.unwrap_or_default())
    }
}
