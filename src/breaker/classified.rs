//! A view of a breaker with its own classifier or its own class of calls.

use super::CircuitBreaker;
use super::call::CircuitBreakerCallFuture;
use super::config::CallClass;
use super::permit::{CircuitBreakerPermit, OwnedCircuitBreakerPermit};
use crate::error::{ConfigError, Error};
use crate::outcome::{Classify, FailOnError, Outcome};
use std::fmt;
use std::future::Future;

/// A view of a [`CircuitBreaker`] with its own classifier or its own [`CallClass`], returned by
/// [`classified_by`](CircuitBreaker::classified_by),
/// [`classified_with`](CircuitBreaker::classified_with) and
/// [`for_class`](CircuitBreaker::for_class).
///
/// All views of a breaker share its state and record outcomes in the same window.
#[derive(Clone)]
pub struct ClassifiedCircuitBreaker<C> {
    pub(super) breaker: CircuitBreaker,
    pub(super) classifier: Classifier<C>,
}

/// A classifier, and the class of the calls whose results it classifies.
#[derive(Clone)]
pub struct Classifier<C> {
    pub(super) classify: C,
    pub(super) class: CallClass,
}

impl Classifier<FailOnError> {
    pub(super) const DEFAULT: Self = Self { classify: FailOnError, class: CallClass::DEFAULT };
}

impl<C> Classifier<C> {
    /// Classifies a result and records its outcome. If the classifier panics, the permit is
    /// dropped.
    #[inline(always)]
    pub(super) fn record<T, E>(
        &self,
        permit: CircuitBreakerPermit<'_>,
        result: &Result<T, Error<E>>,
    ) where
        C: Classify<T, E>,
    {
        let (elapsed, now) = if C::TIMED {
            let mut reading = permit.reading();
            let elapsed = permit.elapsed(&mut reading);
            (elapsed, Some(reading.now()))
        } else {
            (None, None)
        };
        permit.record_class(self.classify.classify(result, elapsed), &self.class, now);
    }

    #[inline(always)]
    pub(super) fn record_owned<T, E>(
        &self,
        mut permit: OwnedCircuitBreakerPermit,
        result: &Result<T, Error<E>>,
    ) where
        C: Classify<T, E>,
    {
        if let Some(permit) = permit.take() {
            self.record(permit, result);
        }
    }
}

impl<C> Classifier<C> {
    pub(super) fn record_outcome_owned(
        &self,
        mut permit: OwnedCircuitBreakerPermit,
        outcome: Outcome,
    ) {
        if let Some(permit) = permit.take() {
            permit.record_class(outcome, &self.class, None);
        }
    }
}

impl<C> ClassifiedCircuitBreaker<C> {
    /// Returns the breaker behind this view.
    pub const fn breaker(&self) -> &CircuitBreaker {
        &self.breaker
    }

    /// Returns this view with the thresholds of `class`.
    ///
    /// ```
    /// use mainstay::breaker::{CallClass, CircuitBreaker};
    /// use mainstay::outcome::Outcome;
    ///
    /// # fn main() -> Result<(), mainstay::error::ConfigError> {
    /// let payments = CircuitBreaker::new()
    ///     .classified_by(|result| match result {
    ///         Ok(500..) | Err(_) => Outcome::Failure,
    ///         Ok(_) => Outcome::Success,
    ///     })
    ///     .for_class(CallClass::new().failure_rate(0.1))?;
    /// let status = payments.call_blocking(|| Ok::<u16, std::io::Error>(200));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if a threshold of `class` is out of range, or if `class` sets
    /// [`slow_after`](CallClass::slow_after) and the breaker does not time calls.
    pub fn for_class(self, class: CallClass) -> Result<Self, ConfigError> {
        class.validate(self.breaker.shared().engine.word().is_timed())?;
        Ok(Self { classifier: Classifier { class, ..self.classifier }, ..self })
    }

    /// Runs `op` if the breaker admits it, and records the outcome that the classifier returns. See
    /// [`CircuitBreaker::call`].
    ///
    /// ```
    /// # use mainstay::{CircuitBreaker, Outcome};
    /// # let breaker = CircuitBreaker::new();
    /// let breaker = breaker.classified_by(|result| match result {
    ///     Ok(500..) | Err(_) => Outcome::Failure,
    ///     Ok(_) => Outcome::Success,
    /// });
    /// # futures::executor::block_on(async {
    /// assert_eq!(breaker.call(|| async { Ok::<u16, ()>(503) }).await, Ok(503));
    /// # });
    /// assert_eq!(breaker.breaker().snapshot().counts.failed, 1);
    /// ```
    ///
    /// # Errors
    ///
    /// The future returns the error of `op`, or a rejection.
    pub fn call<Op, Fut, T, E>(&self, op: Op) -> CircuitBreakerCallFuture<'_, C, Op, Fut>
    where
        Op: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        C: Classify<T, E>,
    {
        CircuitBreakerCallFuture::new(self.breaker.shared(), &self.classifier, C::TIMED, op)
    }

    /// Runs `op` on this thread if the breaker admits it, and records the outcome that the
    /// classifier returns. See [`CircuitBreaker::call_blocking`].
    ///
    /// ```
    /// # use mainstay::{CircuitBreaker, Outcome};
    /// # let breaker = CircuitBreaker::new();
    /// let breaker = breaker.classified_by(|result| match result {
    ///     Ok(500..) | Err(_) => Outcome::Failure,
    ///     Ok(_) => Outcome::Success,
    /// });
    /// assert_eq!(breaker.call_blocking(|| Ok::<u16, ()>(503)), Ok(503));
    /// assert_eq!(breaker.breaker().snapshot().counts.failed, 1);
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the error of `op`, or a rejection.
    pub fn call_blocking<T, E>(&self, op: impl FnOnce() -> Result<T, E>) -> Result<T, Error<E>>
    where
        C: Classify<T, E>,
    {
        let breaker = self.breaker.shared();
        let permit = breaker.admit(C::TIMED, breaker.reading())?;
        let result = op().map_err(Error::Operation);
        self.classifier.record(permit, &result);
        result
    }
}

impl<C> fmt::Debug for ClassifiedCircuitBreaker<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClassifiedCircuitBreaker")
            .field("breaker", &self.breaker)
            .finish_non_exhaustive()
    }
}

impl From<CircuitBreaker> for ClassifiedCircuitBreaker<FailOnError> {
    fn from(breaker: CircuitBreaker) -> Self {
        Self { breaker, classifier: Classifier::DEFAULT }
    }
}

impl From<&CircuitBreaker> for ClassifiedCircuitBreaker<FailOnError> {
    fn from(breaker: &CircuitBreaker) -> Self {
        breaker.clone().into()
    }
}

impl<C: Clone> From<&ClassifiedCircuitBreaker<C>> for ClassifiedCircuitBreaker<C> {
    fn from(view: &Self) -> Self {
        view.clone()
    }
}
