//! The implementation of the guard traits for throttles: [`ClassifiedThrottle`].

use super::{OwnedThrottlePermit, POLICY, Throttle, ThrottlePermit};
use crate::error::{Error, Rejection};
use crate::outcome::{Classify, FailOnError, Outcome};
use crate::policy::{Admission, Context, Facts, Guard, OwnedGuard, Policy, kind};
use std::future::Ready;

/// A view of a [`Throttle`] that classifies results by `C`.
///
/// Created by [`Throttle::classified_by`]. It implements [`Guard`] and [`OwnedGuard`].
#[derive(Clone, Debug)]
pub struct ClassifiedThrottle<C> {
    throttle: Throttle,
    classify: C,
}

impl<C> ClassifiedThrottle<C> {
    pub(super) const fn new(throttle: Throttle, classify: C) -> Self {
        Self { throttle, classify }
    }

    /// Returns the throttle.
    #[must_use]
    pub const fn throttle(&self) -> &Throttle {
        &self.throttle
    }

    /// Returns whether the dependency accepted the call, or `None` if the outcome is ignored.
    fn accepted<T, E>(classify: &C, result: &Result<T, Error<E>>) -> Option<bool>
    where
        C: Classify<T, E>,
    {
        Self::is_accepted(classify.classify(result, None))
    }

    fn is_accepted(outcome: Outcome) -> Option<bool> {
        match outcome {
            Outcome::Success | Outcome::Slow => Some(true),
            outcome if outcome.is_failure() => Some(false),
            _ => None,
        }
    }
}

impl From<&Throttle> for ClassifiedThrottle<FailOnError> {
    fn from(throttle: &Throttle) -> Self {
        throttle.clone().into()
    }
}

impl From<Throttle> for ClassifiedThrottle<FailOnError> {
    fn from(throttle: Throttle) -> Self {
        Self::new(throttle, FailOnError)
    }
}

impl<C: Clone> From<&ClassifiedThrottle<C>> for ClassifiedThrottle<C> {
    fn from(throttle: &ClassifiedThrottle<C>) -> Self {
        throttle.clone()
    }
}

impl<C: Send + Sync> Policy for ClassifiedThrottle<C> {
    type Kind = kind::Guard;

    fn facts(&self) -> Facts {
        let identity = std::ptr::from_ref(self.throttle.shared()).addr();
        Facts::new(POLICY, self.throttle.name()).records_outcomes().limits_load().identity(identity)
    }
}

impl<T: Send, E: Send, C: Classify<T, E>> Guard<T, E> for ClassifiedThrottle<C> {
    type Permit<'a>
        = ThrottlePermit<'a>
    where
        Self: 'a;

    async fn admit(&self, cx: Context) -> Result<ThrottlePermit<'_>, Rejection> {
        Guard::<T, E>::admit_blocking(self, cx)
    }

    #[inline]
    fn admit_blocking(&self, cx: Context) -> Result<ThrottlePermit<'_>, Rejection> {
        let shared = self.throttle.shared();
        shared.admit(|| cx.on(&shared.clock).now())?;
        Ok(ThrottlePermit::new(shared))
    }

    fn record<'a>(&'a self, permit: ThrottlePermit<'a>, result: &Result<T, Error<E>>) {
        if let Some(accepted) = Self::accepted(&self.classify, result) {
            permit.record(accepted);
        }
    }
}

impl<T, E, C: Classify<T, E> + Clone> OwnedGuard<T, E> for ClassifiedThrottle<C> {
    type OwnedPermit = (OwnedThrottlePermit, C);
    type AdmitFuture = Ready<Result<Self::OwnedPermit, Rejection>>;

    fn admit_owned(&self, cx: Context) -> Admission<Self::OwnedPermit, Self::AdmitFuture> {
        let shared = self.throttle.shared();
        match shared.admit(|| cx.on(&shared.clock).now()) {
            Ok(()) => {
                let permit = OwnedThrottlePermit::new(self.throttle.clone());
                Admission::Admitted((permit, self.classify.clone()))
            }
            Err(rejection) => Admission::Rejected(rejection),
        }
    }

    fn record_owned((permit, classify): Self::OwnedPermit, result: &Result<T, Error<E>>) {
        if let Some(accepted) = Self::accepted(&classify, result) {
            permit.record(accepted);
        }
    }

    fn record_outcome_owned((permit, _): Self::OwnedPermit, outcome: Outcome) {
        if let Some(accepted) = Self::is_accepted(outcome) {
            permit.record(accepted);
        }
    }
}
