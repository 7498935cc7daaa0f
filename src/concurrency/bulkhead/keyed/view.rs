//! A view of one key of a keyed bulkhead, as the guard of a pipeline.

use super::KeyedBulkhead;
use crate::concurrency::bulkhead::{OwnedBulkheadAcquireFuture, OwnedBulkheadPermit, POLICY};
use crate::error::{Error, Rejection};
use crate::policy::{Admission, Context, Facts, Guard, OwnedGuard, Policy, kind};
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};

/// A view of one key of a [`KeyedBulkhead`]; returned by [`KeyedBulkhead::key`].
///
/// The view is a guard. If the table is full, calls are rejected with
/// [`Reason::Exhausted`](crate::error::Reason::Exhausted).
#[must_use = "a view does nothing until it is used"]
pub struct KeyedBulkheadView<K, S = RandomState> {
    bulkheads: KeyedBulkhead<K, S>,
    key: K,
}

impl<K, S> KeyedBulkheadView<K, S> {
    pub(super) const fn new(bulkheads: KeyedBulkhead<K, S>, key: K) -> Self {
        Self { bulkheads, key }
    }
}

impl<K: Send + Sync, S: Send + Sync> Policy for KeyedBulkheadView<K, S> {
    type Kind = kind::Guard;

    fn facts(&self) -> Facts {
        let shared = &*self.bulkheads.0;
        let identity = std::ptr::from_ref(shared).addr();
        let facts = Facts::new(POLICY, shared.emitter.name).limits_concurrency().identity(identity);
        let config = *shared.config.lock();
        if config.max_queue == 0 { facts } else { facts.max_queue_wait(config.max_wait) }
    }
}

impl<T, E, K, S> Guard<T, E> for KeyedBulkheadView<K, S>
where
    T: Send,
    E: Send,
    K: Hash + Eq + Clone + Send + Sync,
    S: BuildHasher + Send + Sync,
{
    type Permit<'a>
        = OwnedBulkheadPermit
    where
        Self: 'a;

    async fn admit(&self, cx: Context) -> Result<OwnedBulkheadPermit, Rejection> {
        let bulkhead = self.bulkheads.bulkhead(&self.key)?;
        let request = bulkhead.shared().request(1, None, cx);
        OwnedBulkheadAcquireFuture::new(bulkhead, request).await
    }

    fn admit_blocking(&self, cx: Context) -> Result<OwnedBulkheadPermit, Rejection> {
        let bulkhead = self.bulkheads.bulkhead(&self.key)?;
        bulkhead.block_owned(bulkhead.shared().request(1, None, cx))
    }

    fn record(&self, permit: OwnedBulkheadPermit, _: &Result<T, Error<E>>) {
        drop(permit);
    }
}

impl<T, E, K, S> OwnedGuard<T, E> for KeyedBulkheadView<K, S>
where
    K: Hash + Eq + Clone + Send + Sync,
    S: BuildHasher + Send + Sync,
{
    type OwnedPermit = OwnedBulkheadPermit;
    type AdmitFuture = OwnedBulkheadAcquireFuture;

    fn admit_owned(&self, cx: Context) -> Admission<Self::OwnedPermit, Self::AdmitFuture> {
        match self.bulkheads.bulkhead(&self.key) {
            Ok(bulkhead) => OwnedGuard::<T, E>::admit_owned(&bulkhead, cx),
            Err(rejection) => Admission::Rejected(rejection),
        }
    }

    fn record_owned(permit: OwnedBulkheadPermit, _: &Result<T, Error<E>>) {
        drop(permit);
    }
}

impl<K: Clone, S> Clone for KeyedBulkheadView<K, S> {
    fn clone(&self) -> Self {
        Self { bulkheads: self.bulkheads.clone(), key: self.key.clone() }
    }
}

impl<K: fmt::Debug, S> fmt::Debug for KeyedBulkheadView<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedBulkheadView")
            .field("bulkheads", &self.bulkheads)
            .field("key", &self.key)
            .finish()
    }
}
