//! The policy traits of a breaker, by which it guards a pipeline or a Tower service.

use super::classified::{ClassifiedCircuitBreaker, Classifier};
use super::permit::{CircuitBreakerPermit, OwnedCircuitBreakerPermit};
use super::shared::Group;
use super::{CircuitBreaker, POLICY};
use crate::error::{Error, Rejection};
use crate::outcome::{Classify, Outcome};
use crate::policy::{Admission, Context, Facts, Guard, OwnedGuard, Policy, kind};
use std::future::Ready;

impl Group {
    pub(super) fn facts(&self) -> Facts {
        let config = self.config.lock();
        Facts {
            window: config.window_span(),
            trips_after: config.min_failures_to_open(),
            records_outcomes: true,
            detects_hangs: config.tracks_in_flight(),
            ..Facts::new(POLICY, self.name)
        }
    }
}

impl CircuitBreaker {
    #[inline]
    pub(super) fn admit_in(
        &self,
        cx: Context,
        timed: bool,
    ) -> Result<CircuitBreakerPermit<'_>, Rejection> {
        let breaker = self.shared();
        breaker.admit(timed, cx.reading(&breaker.group.clock))
    }

    #[inline]
    pub(super) fn admit_owned_in(
        &self,
        cx: Context,
        timed: bool,
    ) -> Result<OwnedCircuitBreakerPermit, Rejection> {
        self.admit_in(cx, timed).map(|permit| OwnedCircuitBreakerPermit::new(self, permit))
    }
}

impl Policy for CircuitBreaker {
    type Kind = kind::Guard;

    fn facts(&self) -> Facts {
        let identity = std::ptr::from_ref(self.shared()).addr();
        Facts { identity, ..self.shared().group.facts() }
    }
}

impl<T: Send, E: Send> Guard<T, E> for CircuitBreaker {
    type Permit<'a> = CircuitBreakerPermit<'a>;

    async fn admit(&self, cx: Context) -> Result<CircuitBreakerPermit<'_>, Rejection> {
        self.admit_in(cx, false)
    }

    #[inline]
    fn admit_blocking(&self, cx: Context) -> Result<CircuitBreakerPermit<'_>, Rejection> {
        self.admit_in(cx, false)
    }

    #[inline(always)]
    fn record<'a>(&'a self, permit: CircuitBreakerPermit<'a>, result: &Result<T, Error<E>>) {
        Classifier::DEFAULT.record(permit, result);
    }
}

impl<T, E> OwnedGuard<T, E> for CircuitBreaker {
    type OwnedPermit = OwnedCircuitBreakerPermit;
    type AdmitFuture = Ready<Result<OwnedCircuitBreakerPermit, Rejection>>;

    #[inline]
    fn admit_owned(&self, cx: Context) -> Admission<Self::OwnedPermit, Self::AdmitFuture> {
        match self.admit_owned_in(cx, false) {
            Ok(permit) => Admission::Admitted(permit),
            Err(rejection) => Admission::Rejected(rejection),
        }
    }

    #[inline]
    fn record_owned(permit: OwnedCircuitBreakerPermit, result: &Result<T, Error<E>>) {
        Classifier::DEFAULT.record_owned(permit, result);
    }

    fn record_outcome_owned(permit: OwnedCircuitBreakerPermit, outcome: Outcome) {
        permit.record_outcome(outcome);
    }
}

impl<C: Send + Sync> Policy for ClassifiedCircuitBreaker<C> {
    type Kind = kind::Guard;

    fn facts(&self) -> Facts {
        self.breaker.facts()
    }
}

impl<T: Send, E: Send, C: Classify<T, E>> Guard<T, E> for ClassifiedCircuitBreaker<C> {
    type Permit<'a>
        = CircuitBreakerPermit<'a>
    where
        Self: 'a;

    async fn admit(&self, cx: Context) -> Result<CircuitBreakerPermit<'_>, Rejection> {
        self.breaker.admit_in(cx, C::TIMED)
    }

    #[inline]
    fn admit_blocking(&self, cx: Context) -> Result<CircuitBreakerPermit<'_>, Rejection> {
        self.breaker.admit_in(cx, C::TIMED)
    }

    // `always`, because a call out of line would pass the permit through memory.
    #[inline(always)]
    fn record<'a>(&'a self, permit: CircuitBreakerPermit<'a>, result: &Result<T, Error<E>>) {
        self.classifier.record(permit, result);
    }
}

impl<T, E, C: Classify<T, E> + Clone> OwnedGuard<T, E> for ClassifiedCircuitBreaker<C> {
    type OwnedPermit = (OwnedCircuitBreakerPermit, Classifier<C>);
    type AdmitFuture = Ready<Result<Self::OwnedPermit, Rejection>>;

    #[inline]
    fn admit_owned(&self, cx: Context) -> Admission<Self::OwnedPermit, Self::AdmitFuture> {
        match self.breaker.admit_owned_in(cx, C::TIMED) {
            Ok(permit) => Admission::Admitted((permit, self.classifier.clone())),
            Err(rejection) => Admission::Rejected(rejection),
        }
    }

    #[inline]
    fn record_owned((permit, classifier): Self::OwnedPermit, result: &Result<T, Error<E>>) {
        classifier.record_owned(permit, result);
    }

    fn record_outcome_owned((permit, classifier): Self::OwnedPermit, outcome: Outcome) {
        classifier.record_outcome_owned(permit, outcome);
    }
}
