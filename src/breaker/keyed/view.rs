//! A view of one key of a keyed breaker, as the guard of a pipeline.

use super::KeyedCircuitBreaker;
use crate::breaker::OwnedCircuitBreakerPermit;
use crate::breaker::classified::Classifier;
use crate::error::{Error, Rejection};
use crate::outcome::Outcome;
use crate::policy::{Admission, Context, Facts, Guard, OwnedGuard, Policy, kind};
use std::fmt;
use std::future::Ready;
use std::hash::{BuildHasher, Hash, RandomState};

/// A view of one key of a [`KeyedCircuitBreaker`]; returned by [`KeyedCircuitBreaker::key`].
///
/// The view is a guard. The breaker that the key has at the time of a call admits or rejects the
/// call. If there is no room for the key, the call is rejected with
/// [`Reason::Exhausted`](crate::error::Reason::Exhausted).
pub struct KeyedCircuitBreakerView<K, S = RandomState> {
    breakers: KeyedCircuitBreaker<K, S>,
    key: K,
}

impl<K, S> KeyedCircuitBreakerView<K, S> {
    pub(super) const fn new(breakers: KeyedCircuitBreaker<K, S>, key: K) -> Self {
        Self { breakers, key }
    }
}

impl<K, S> KeyedCircuitBreakerView<K, S>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    fn acquire(&self, cx: Context) -> Result<OwnedCircuitBreakerPermit, Rejection> {
        self.breakers.breaker(&self.key)?.admit_owned_in(cx, false)
    }
}

impl<K, S> Policy for KeyedCircuitBreakerView<K, S>
where
    K: Send + Sync,
    S: Send + Sync,
{
    type Kind = kind::Guard;

    fn facts(&self) -> Facts {
        self.breakers.0.group.facts()
    }
}

impl<T, E, K, S> Guard<T, E> for KeyedCircuitBreakerView<K, S>
where
    T: Send,
    E: Send,
    K: Eq + Hash + Clone + Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    type Permit<'a> = OwnedCircuitBreakerPermit;

    async fn admit(&self, cx: Context) -> Result<OwnedCircuitBreakerPermit, Rejection> {
        self.acquire(cx)
    }

    fn admit_blocking(&self, cx: Context) -> Result<OwnedCircuitBreakerPermit, Rejection> {
        self.acquire(cx)
    }

    fn record(&self, permit: OwnedCircuitBreakerPermit, result: &Result<T, Error<E>>) {
        Classifier::DEFAULT.record_owned(permit, result);
    }
}

impl<T, E, K, S> OwnedGuard<T, E> for KeyedCircuitBreakerView<K, S>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    type OwnedPermit = OwnedCircuitBreakerPermit;
    type AdmitFuture = Ready<Result<OwnedCircuitBreakerPermit, Rejection>>;

    fn admit_owned(&self, cx: Context) -> Admission<Self::OwnedPermit, Self::AdmitFuture> {
        match self.acquire(cx) {
            Ok(permit) => Admission::Admitted(permit),
            Err(rejection) => Admission::Rejected(rejection),
        }
    }

    fn record_owned(permit: OwnedCircuitBreakerPermit, result: &Result<T, Error<E>>) {
        Classifier::DEFAULT.record_owned(permit, result);
    }

    fn record_outcome_owned(permit: OwnedCircuitBreakerPermit, outcome: Outcome) {
        permit.record_outcome(outcome);
    }
}

impl<K: Clone, S> Clone for KeyedCircuitBreakerView<K, S> {
    fn clone(&self) -> Self {
        Self { breakers: self.breakers.clone(), key: self.key.clone() }
    }
}

impl<K: fmt::Debug, S> fmt::Debug for KeyedCircuitBreakerView<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedCircuitBreakerView")
            .field("breakers", &self.breakers)
            .field("key", &self.key)
            .finish()
    }
}
