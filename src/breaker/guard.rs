//! The breaker as a policy: with the default classifier, or with yours.

use super::future::CircuitBreakerCallFuture;
use super::{CallClass, CircuitBreaker, CircuitBreakerPermit, POLICY};
use crate::error::{ConfigError, Error, Rejection};
use crate::outcome::{AnyError, Classify};
use crate::policy::{Context, Facts, Guard, Policy, kind};
use std::fmt;
use std::future::Future;

/// A view of a breaker that judges calls in a way of its own; made by
/// [`CircuitBreaker::classified_by`].
///
/// All views of a breaker count into the same window and see the same state.
#[derive(Clone)]
pub struct ClassifiedCircuitBreaker<C> {
    pub(super) breaker: CircuitBreaker,
    pub(super) judge: Judge<C>,
}

/// Whoever judges calls, and by which thresholds.
#[derive(Clone)]
pub struct Judge<C> {
    pub(super) classify: C,
    pub(super) class: CallClass,
}

impl Judge<AnyError> {
    pub(super) const ORDINARY: Self = Self { classify: AnyError, class: CallClass::ORDINARY };
}

impl<C> ClassifiedCircuitBreaker<C> {
    /// The breaker itself.
    pub const fn breaker(&self) -> &CircuitBreaker {
        &self.breaker
    }

    /// The same for calls that have thresholds of their own.
    ///
    /// # Errors
    /// A threshold of `class` is out of range, or it says what is slow and the breaker times no calls.
    pub fn for_class(self, class: CallClass) -> Result<Self, ConfigError> {
        class.validate(self.breaker.shared().core.word().is_timed())?;
        Ok(Self { judge: Judge { class, ..self.judge }, ..self })
    }

    /// As [`CircuitBreaker::call`].
    pub fn call<Op, Fut, T, E>(&self, op: Op) -> CircuitBreakerCallFuture<'_, C, Op, Fut>
    where
        Op: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        C: Classify<T, E>,
    {
        CircuitBreakerCallFuture::new(self.breaker.shared(), &self.judge, op)
    }

    /// As [`CircuitBreaker::call_blocking`].
    ///
    /// # Errors
    /// That of `op`, or a rejection.
    pub fn call_blocking<T, E>(&self, op: impl FnOnce() -> Result<T, E>) -> Result<T, Error<E>>
    where
        C: Classify<T, E>,
    {
        let breaker = self.breaker.shared();
        let permit = breaker.admit(C::TIMED, breaker.reading())?;
        let result = op().map_err(Error::Operation);
        settle(permit, &self.judge, &result);
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

/// Judges a result and settles its permit. If the classifier panics, the permit is dropped.
#[inline(always)]
pub(super) fn settle<T, E, C: Classify<T, E>>(
    permit: CircuitBreakerPermit<'_>,
    judge: &Judge<C>,
    result: &Result<T, Error<E>>,
) {
    let (elapsed, now) = if C::TIMED {
        let mut reading = permit.reading();
        let elapsed = permit.elapsed(&mut reading);
        (elapsed, Some(reading.now()))
    } else {
        (None, None)
    };
    permit.settle(judge.classify.classify(result, elapsed), &judge.class, now);
}

impl From<CircuitBreaker> for ClassifiedCircuitBreaker<AnyError> {
    fn from(breaker: CircuitBreaker) -> Self {
        Self { breaker, judge: Judge::ORDINARY }
    }
}

impl From<&CircuitBreaker> for ClassifiedCircuitBreaker<AnyError> {
    fn from(breaker: &CircuitBreaker) -> Self {
        breaker.clone().into()
    }
}

impl<C: Clone> From<&ClassifiedCircuitBreaker<C>> for ClassifiedCircuitBreaker<C> {
    fn from(view: &Self) -> Self {
        view.clone()
    }
}

impl<T: Send, E: Send, C: Classify<T, E>> Guard<T, E> for ClassifiedCircuitBreaker<C> {
    type Permit<'a>
        = CircuitBreakerPermit<'a>
    where
        Self: 'a;

    async fn admit(&self, cx: Context) -> Result<CircuitBreakerPermit<'_>, Rejection> {
        Guard::<T, E>::admit_blocking(self, cx)
    }

    #[inline]
    fn admit_blocking(&self, cx: Context) -> Result<CircuitBreakerPermit<'_>, Rejection> {
        let breaker = self.breaker.shared();
        breaker.admit(C::TIMED, cx.reading(&breaker.family.clock))
    }

    // Always: called out of line, the permit would be handed over by way of memory.
    #[inline(always)]
    fn record<'a>(&'a self, permit: CircuitBreakerPermit<'a>, result: &Result<T, Error<E>>) {
        settle(permit, &self.judge, result);
    }
}

impl<C: Send + Sync> Policy for ClassifiedCircuitBreaker<C> {
    type Kind = kind::Guard;

    fn facts(&self) -> Facts {
        let breaker = self.breaker.shared();
        let trips_after = breaker.family.config.lock().trips_after();
        Facts {
            window: breaker.core.window.span(),
            trips_after,
            records_outcomes: true,
            detects_hangs: breaker.core.in_flight.is_some(),
            identity: std::ptr::from_ref(breaker).addr(),
            ..Facts::new(POLICY, breaker.family.name)
        }
    }
}
