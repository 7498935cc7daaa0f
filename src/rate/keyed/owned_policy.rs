//! A pipeline policy for one key that owns the key and a handle of the limiter:
//! [`OwnedKeyedRateLimitPolicy`].

use super::KeyedRateLimiter;
use crate::error::{Error, Rejection};
use crate::policy::{Admission, Context, Facts, Guard, OwnedGuard, Policy, kind};
use crate::rate::POLICY;
use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, Hash, RandomState};
use std::pin::Pin;
use std::time::Duration;

/// A pipeline policy for one key of a [`KeyedRateLimiter`] that owns the key and keeps the limiter
/// alive; returned by [`KeyedRateLimiter::key_owned`].
///
/// Use it where a policy must not borrow, such as in a Tower service with `tower::guard_by`
/// (feature `tower`). A call that may wait allocates its admission future.
pub struct OwnedKeyedRateLimitPolicy<K, S = RandomState> {
    limiter: KeyedRateLimiter<K, S>,
    key: K,
    cost: u32,
    max_wait: Duration,
}

impl<K: Hash + Eq, S: BuildHasher> KeyedRateLimiter<K, S> {
    /// Returns a pipeline policy for `key` that keeps the limiter alive. Each call takes one token
    /// of the key.
    ///
    /// ```
    /// use mainstay::{pipeline::Pipeline, rate::{KeyedRateLimiter, Quota}};
    ///
    /// let tenants: KeyedRateLimiter<u64> = KeyedRateLimiter::new(Quota::per_hour(1))?;
    /// let pipeline = Pipeline::builder().guard(tenants.key_owned(7)).build();
    /// assert!(pipeline.call_blocking(|| Ok::<_, ()>(())).is_ok());
    /// assert!(pipeline.call_blocking(|| Ok::<_, ()>(())).is_err());
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn key_owned(&self, key: K) -> OwnedKeyedRateLimitPolicy<K, S> {
        let limiter = self.clone();
        OwnedKeyedRateLimitPolicy { limiter, key, cost: 1, max_wait: Duration::ZERO }
    }
}

impl<K, S> OwnedKeyedRateLimitPolicy<K, S> {
    /// Sets the number of tokens that each call takes. Default: 1.
    ///
    /// ```
    /// # use mainstay::{KeyedRateLimiter, Quota};
    /// let limiter = KeyedRateLimiter::<u64>::new(Quota::per_second(5))?;
    /// let policy = limiter.key_owned(7).cost(3);
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub fn cost(mut self, tokens: u32) -> Self {
        self.cost = tokens;
        self
    }

    /// Sets the maximum time that a call waits for its tokens. A call never waits beyond its
    /// deadline. Default: zero, which rejects the call without waiting.
    ///
    /// ```
    /// # use mainstay::{KeyedRateLimiter, Quota};
    /// # use std::time::Duration;
    /// let limiter = KeyedRateLimiter::<u64>::new(Quota::per_second(5))?;
    /// let policy = limiter.key_owned(7).max_wait(Duration::from_secs(1));
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub fn max_wait(mut self, max_wait: Duration) -> Self {
        self.max_wait = max_wait;
        self
    }
}

impl<K, S> Policy for OwnedKeyedRateLimitPolicy<K, S>
where
    K: Send + Sync,
    S: Send + Sync,
{
    type Kind = kind::Guard;

    fn facts(&self) -> Facts {
        Facts::new(POLICY, self.limiter.name()).limits_load()
    }
}

impl<T, E, K, S> Guard<T, E> for OwnedKeyedRateLimitPolicy<K, S>
where
    T: Send,
    E: Send,
    K: Hash + Eq + Clone + Send + Sync,
    S: BuildHasher + Send + Sync,
{
    type Permit<'a>
        = ()
    where
        Self: 'a;

    async fn admit(&self, cx: Context) -> Result<(), Rejection> {
        let view = self.limiter.key(&self.key).cost(self.cost).max_wait(self.max_wait);
        Guard::<T, E>::admit(&view, cx).await
    }

    fn admit_blocking(&self, cx: Context) -> Result<(), Rejection> {
        let view = self.limiter.key(&self.key).cost(self.cost).max_wait(self.max_wait);
        Guard::<T, E>::admit_blocking(&view, cx)
    }

    fn record(&self, (): (), _: &Result<T, Error<E>>) {}
}

impl<T, E, K, S> OwnedGuard<T, E> for OwnedKeyedRateLimitPolicy<K, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    type OwnedPermit = ();
    type AdmitFuture = Pin<Box<dyn Future<Output = Result<(), Rejection>> + Send>>;

    fn admit_owned(&self, cx: Context) -> Admission<(), Self::AdmitFuture> {
        if self.max_wait.is_zero() {
            let granted = self.limiter.try_acquire_n(&self.key, self.cost);
            return granted.map_or_else(
                |denied| Admission::Rejected(denied.into()),
                |_| Admission::Admitted(()),
            );
        }
        let policy = self.clone();
        Admission::Waiting(Box::pin(async move { Guard::<(), ()>::admit(&policy, cx).await }))
    }

    fn record_owned((): (), _: &Result<T, Error<E>>) {}
}

impl<K: Clone, S> Clone for OwnedKeyedRateLimitPolicy<K, S> {
    fn clone(&self) -> Self {
        Self { limiter: self.limiter.clone(), key: self.key.clone(), ..*self }
    }
}

impl<K: fmt::Debug, S> fmt::Debug for OwnedKeyedRateLimitPolicy<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedKeyedRateLimitPolicy")
            .field("limiter", &self.limiter)
            .field("key", &self.key)
            .field("cost", &self.cost)
            .field("max_wait", &self.max_wait)
            .finish()
    }
}
