//! The pipeline policy for one key of a keyed limiter: [`KeyedRateLimitPolicy`].

use super::KeyedRateLimiter;
use crate::error::{Error, Rejection};
use crate::policy::{Context, Facts, Guard, Policy, kind};
use crate::rate::POLICY;
use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};

/// A pipeline policy for one key of a [`KeyedRateLimiter`]; returned by [`KeyedRateLimiter::key`].
///
/// Each call takes one token of the key, or as many as [`cost`](Self::cost) sets. If too few tokens
/// are available, the call is rejected without waiting.
///
/// ```
/// use mainstay::{pipeline::Pipeline, rate::{KeyedRateLimiter, Quota}};
///
/// let tenants: KeyedRateLimiter<String> = KeyedRateLimiter::new(Quota::per_hour(5))?;
/// let export = Pipeline::builder().guard(tenants.key("tenant-7").cost(4)).build();
/// assert!(export.call_blocking(|| Ok::<_, ()>(())).is_ok());
/// assert!(export.call_blocking(|| Ok::<_, ()>(())).is_err());
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
pub struct KeyedRateLimitPolicy<'a, K, Q: ?Sized, S = RandomState> {
    limiter: &'a KeyedRateLimiter<K, S>,
    key: &'a Q,
    cost: u32,
}

impl<'a, K, Q: ?Sized, S> KeyedRateLimitPolicy<'a, K, Q, S> {
    pub(super) const fn new(limiter: &'a KeyedRateLimiter<K, S>, key: &'a Q) -> Self {
        Self { limiter, key, cost: 1 }
    }

    /// Sets the number of tokens that each call takes. Default: 1.
    ///
    /// ```
    /// # use mainstay::{KeyedRateLimiter, Quota};
    /// let limiter = KeyedRateLimiter::<String>::new(Quota::per_second(5))?;
    /// let policy = limiter.key("tenant").cost(3);
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub const fn cost(mut self, tokens: u32) -> Self {
        self.cost = tokens;
        self
    }
}

impl<K, Q, S> Policy for KeyedRateLimitPolicy<'_, K, Q, S>
where
    K: Send + Sync,
    Q: Sync + ?Sized,
    S: Send + Sync,
{
    type Kind = kind::Guard;

    fn facts(&self) -> Facts {
        Facts::new(POLICY, self.limiter.name()).limits_load()
    }
}

impl<T, E, K, Q, S> Guard<T, E> for KeyedRateLimitPolicy<'_, K, Q, S>
where
    T: Send,
    E: Send,
    K: Borrow<Q> + Hash + Eq + Send + Sync,
    Q: Hash + Eq + ToOwned<Owned = K> + Sync + ?Sized,
    S: BuildHasher + Send + Sync,
{
    type Permit<'a>
        = ()
    where
        Self: 'a;

    async fn admit(&self, cx: Context) -> Result<(), Rejection> {
        Guard::<T, E>::admit_blocking(self, cx)
    }

    fn admit_blocking(&self, _: Context) -> Result<(), Rejection> {
        self.limiter.try_acquire_n(self.key, self.cost).map(drop).map_err(Into::into)
    }

    fn record(&self, (): (), _: &Result<T, Error<E>>) {}
}

impl<K, Q: ?Sized, S> Clone for KeyedRateLimitPolicy<'_, K, Q, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, Q: ?Sized, S> Copy for KeyedRateLimitPolicy<'_, K, Q, S> {}

impl<K, Q: ?Sized, S> fmt::Debug for KeyedRateLimitPolicy<'_, K, Q, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedRateLimitPolicy")
            .field("limiter", &self.limiter)
            .field("cost", &self.cost)
            .finish_non_exhaustive()
    }
}
