//! Which results count as failures: [`Outcome`], [`Classify`].
//!
//! Policies that react to results (breakers, adaptive limits) use a classifier. The default,
//! [`FailOnError`], counts every `Err` and every timeout as a failure and ignores rejections. A
//! classifier of your own can also use the `Ok` value, because an HTTP 503 is an `Ok`.
//!
//! # Examples
//!
//! ```
//! use mainstay::{breaker::CircuitBreaker, error::Error, outcome::Outcome};
//!
//! let breaker = CircuitBreaker::builder().build()?;
//! let classify = |result: &Result<u16, Error<std::io::Error>>| match result {
//!     Ok(status) if *status >= 500 => Outcome::Failure,
//!     Ok(_) => Outcome::Success,
//!     Err(error) if error.is_rejected() => Outcome::Ignore,
//!     Err(_) => Outcome::Failure,
//! };
//! let breaker = breaker.classified_by(classify);
//! # let _ = breaker;
//! # Ok::<(), mainstay::error::ConfigError>(())
//! ```

use crate::error::Error;
use std::time::Duration;

/// What a call says about the health of its dependency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The dependency succeeded.
    Success,
    /// The dependency succeeded, but took too long by the measure of the classifier.
    Slow,
    /// The dependency failed.
    Failure,
    /// The dependency failed in a way that counts as this many failures. 0 is treated as
    /// [`Ignore`](Self::Ignore).
    WeightedFailure(u8),
    /// The dependency refused the call and asked for this much time, such as an HTTP 429 or 503
    /// with `Retry-After`.
    ///
    /// It is a failure upon which a breaker opens for exactly this long, up to its
    /// [maximum](crate::breaker::CircuitBreakerBuilder::max_retry_after), and a retry waits this
    /// long. A server can ask for any time, so a classifier should limit it.
    Unavailable(Duration),
    /// The call says nothing about the dependency, and is not counted.
    Ignore,
}

impl Outcome {
    /// Returns whether the dependency failed.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::Failure | Self::WeightedFailure(1..) | Self::Unavailable(_))
    }
}

/// Determines the outcome of a call from its result.
///
/// Closures from a result to an [`Outcome`] are classifiers. [`TimedClassifier`] makes one of a
/// closure that also uses the elapsed time.
///
/// # Panics
///
/// The panic of a classifier unwinds through the call that it classifies, which then counts as
/// [`Outcome::Ignore`].
pub trait Classify<T, E>: Send + Sync {
    /// Whether the classifier uses the elapsed time. If not, the clock is not read for it.
    const TIMED: bool = false;

    /// Returns the outcome of `result`. `elapsed` is present if [`TIMED`](Self::TIMED) is true.
    fn classify(&self, result: &Result<T, Error<E>>, elapsed: Option<Duration>) -> Outcome;
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

/// The default classifier: every `Err` and every timeout is a failure; a rejection by another
/// policy is ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FailOnError;

impl<T, E> Classify<T, E> for FailOnError {
    #[inline]
    fn classify(&self, result: &Result<T, Error<E>>, _: Option<Duration>) -> Outcome {
        match result {
            Ok(_) => Outcome::Success,
            Err(Error::Rejected(_)) => Outcome::Ignore,
            Err(Error::Operation(_) | Error::Timeout(_)) => Outcome::Failure,
        }
    }
}

/// A classifier made of a closure that uses the result and the elapsed time.
///
/// ```
/// use mainstay::error::Error;
/// use mainstay::outcome::{Classify, Outcome, TimedClassifier};
/// use std::time::Duration;
///
/// let classifier = TimedClassifier(|result: &Result<(), Error<()>>, elapsed| {
///     if result.is_err() || elapsed > Duration::from_secs(1) {
///         Outcome::Failure
///     } else {
///         Outcome::Success
///     }
/// });
/// let outcome = classifier.classify(&Ok(()), Some(Duration::from_secs(2)));
/// assert_eq!(outcome, Outcome::Failure);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct TimedClassifier<F>(pub F);

impl<T, E, F> Classify<T, E> for TimedClassifier<F>
where
    F: Fn(&Result<T, Error<E>>, Duration) -> Outcome + Send + Sync,
{
    const TIMED: bool = true;

    fn classify(&self, result: &Result<T, Error<E>>, elapsed: Option<Duration>) -> Outcome {
        (self.0)(result, elapsed.unwrap_or_default())
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;
    use crate::error::{Reason, Rejection, TimedOut};

    #[test]
    fn failures_are_distinguished_from_other_outcomes() {
        for (outcome, is_failure) in [
            (Outcome::Success, false),
            (Outcome::Slow, false),
            (Outcome::Failure, true),
            (Outcome::WeightedFailure(0), false),
            (Outcome::WeightedFailure(1), true),
            (Outcome::WeightedFailure(u8::MAX), true),
            (Outcome::Unavailable(Duration::ZERO), true),
            (Outcome::Ignore, false),
        ] {
            assert_eq!(outcome.is_failure(), is_failure, "{outcome:?}");
        }
    }

    #[test]
    fn the_default_counts_errors_and_timeouts_and_ignores_rejections() {
        let classify = |result: Result<(), Error<()>>| FailOnError.classify(&result, None);
        assert_eq!(classify(Ok(())), Outcome::Success);
        assert_eq!(classify(Err(Error::Operation(()))), Outcome::Failure);
        let timed_out = TimedOut::new("timeout", Duration::ZERO);
        assert_eq!(classify(Err(timed_out.into())), Outcome::Failure);
        let rejection = Rejection::new(Reason::QueueFull, "queue");
        assert_eq!(classify(Err(rejection.into())), Outcome::Ignore);
    }

    #[test]
    fn only_a_timed_classifier_asks_for_the_elapsed_time() {
        fn is_timed<C: Classify<(), ()>>(_: &C) -> bool {
            C::TIMED
        }
        let plain = |_: &Result<(), Error<()>>| Outcome::Success;
        let timed =
            TimedClassifier(
                |_: &Result<(), Error<()>>, elapsed: Duration| {
                    if elapsed.is_zero() { Outcome::Success } else { Outcome::Slow }
                },
            );
        assert_eq!(
            (is_timed(&FailOnError), is_timed(&plain), is_timed(&timed)),
            (false, false, true)
        );
        assert_eq!(timed.classify(&Ok(()), Some(Duration::from_nanos(1))), Outcome::Slow);
        assert_eq!(timed.classify(&Ok(()), None), Outcome::Success);
    }
}
