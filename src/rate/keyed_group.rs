//! A group of limiters combined with a limit per key: [`KeyedRateLimiterGroup`].

use super::{Denied, KeyedRateLimiter, POLICY, RateLimiterGroup};
use crate::error::{Error, Rejection};
use crate::policy::{Admission, Context, Facts, Guard, OwnedGuard, Policy, kind};
use std::borrow::Borrow;
use std::fmt;
use std::future::Ready;
use std::hash::{BuildHasher, Hash, RandomState};

/// A [`RateLimiterGroup`] combined with a [`KeyedRateLimiter`]: tokens are taken from each limiter
/// of the group and from one key, or from none of them.
///
/// Returned by [`RateLimiterGroup::with_keys`]. Use it for a limit per tenant below a limit for all
/// tenants: denied requests of a tenant that exceeds its own limit take no tokens from the common
/// limit.
///
/// ```
/// use mainstay::rate::{KeyedRateLimiter, Quota, RateLimiter, RateLimiterGroup};
///
/// let all = RateLimiter::builder(Quota::per_hour(3)).name("all tenants").build()?;
/// let tenants: KeyedRateLimiter<String> =
///     KeyedRateLimiter::builder(Quota::per_hour(2)).name("tenant").build()?;
/// let limits = RateLimiterGroup::new([&all]).with_keys(&tenants);
///
/// assert!(limits.try_acquire("a").is_ok());
/// assert!(limits.try_acquire("a").is_ok());
/// assert_eq!(limits.try_acquire("a").unwrap_err().policy(), "tenant");
/// assert!(limits.try_acquire("b").is_ok()); // the denied request took nothing
/// assert_eq!(limits.try_acquire("b").unwrap_err().policy(), "all tenants");
/// assert_eq!(tenants.peek("b").remaining(), 1);
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
pub struct KeyedRateLimiterGroup<K, S = RandomState> {
    group: RateLimiterGroup,
    keys: KeyedRateLimiter<K, S>,
}

/// A pipeline policy for one key of a [`KeyedRateLimiterGroup`]; returned by
/// [`KeyedRateLimiterGroup::key`].
///
/// Each call takes one token from each limiter and from the key, and is rejected if any of them has
/// no token.
pub struct KeyedRateLimiterGroupPolicy<K, S = RandomState> {
    limits: KeyedRateLimiterGroup<K, S>,
    key: K,
}

impl RateLimiterGroup {
    /// Returns a group that also takes tokens from one key of `keys`.
    ///
    /// ```
    /// # use mainstay::{KeyedRateLimiter, Quota, RateLimiter, RateLimiterGroup};
    /// let all = RateLimiter::new(Quota::per_second(5_000))?;
    /// let tenants = KeyedRateLimiter::<u64>::new(Quota::per_second(10))?;
    /// let limits = RateLimiterGroup::new([&all]).with_keys(&tenants);
    /// assert!(limits.try_acquire(&7).is_ok());
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub fn with_keys<K, S>(&self, keys: &KeyedRateLimiter<K, S>) -> KeyedRateLimiterGroup<K, S> {
        KeyedRateLimiterGroup { group: self.clone(), keys: keys.clone() }
    }
}

impl<K: Hash + Eq, S: BuildHasher> KeyedRateLimiterGroup<K, S> {
    /// Takes one token from each limiter and from `key`, or from none of them.
    ///
    /// # Errors
    /// Returns an error if a limiter or the key has no token or has waiters, and the errors of
    /// [`KeyedRateLimiter::try_acquire`].
    pub fn try_acquire<Q>(&self, key: &Q) -> Result<(), Denied>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.try_acquire_n(key, 1)
    }

    /// Takes `n` tokens from each limiter and from `key`, or from none of them.
    ///
    /// ```
    /// # use mainstay::{KeyedRateLimiter, Quota, RateLimiter, RateLimiterGroup};
    /// let all = RateLimiter::new(Quota::per_hour(50))?;
    /// let tenants = KeyedRateLimiter::<u64>::new(Quota::per_hour(5))?;
    /// let limits = RateLimiterGroup::new([&all]).with_keys(&tenants);
    /// assert!(limits.try_acquire_n(&7, 6).is_err());
    /// assert_eq!(all.peek().remaining(), 50);
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error if a limiter or the key has fewer than `n` tokens or has waiters, and the
    /// errors of [`KeyedRateLimiter::try_acquire`].
    pub fn try_acquire_n<Q>(&self, key: &Q, n: u32) -> Result<(), Denied>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.admit(key, n, Context::new())
    }

    fn admit<Q>(&self, key: &Q, n: u32, cx: Context) -> Result<(), Denied>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        // A key without tokens denies the request before tokens of the limiters are taken. The key
        // comes last, because a refund to a limiter is exact under concurrency, and one to a key is
        // not.
        self.keys.check(key, n)?;
        self.group.admit_with(n, cx, || self.keys.try_acquire_n(key, n).map(drop))
    }
}

impl<K, S> KeyedRateLimiterGroup<K, S> {
    /// Returns a pipeline policy for `key`, which keeps the limiters alive.
    ///
    /// ```
    /// # use mainstay::{KeyedRateLimiter, Pipeline, Quota, RateLimiter, RateLimiterGroup};
    /// let all = RateLimiter::new(Quota::per_hour(50))?;
    /// let tenants = KeyedRateLimiter::<u64>::new(Quota::per_hour(1))?;
    /// let limits = RateLimiterGroup::new([&all]).with_keys(&tenants);
    /// let pipeline = Pipeline::builder().guard(limits.key(7)).build();
    /// assert!(pipeline.call_blocking(|| Ok::<_, ()>(())).is_ok());
    /// assert!(pipeline.call_blocking(|| Ok::<_, ()>(())).is_err());
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub fn key(&self, key: K) -> KeyedRateLimiterGroupPolicy<K, S> {
        KeyedRateLimiterGroupPolicy { limits: self.clone(), key }
    }
}

impl<K: Send + Sync, S: Send + Sync> Policy for KeyedRateLimiterGroupPolicy<K, S> {
    type Kind = kind::Guard;

    fn facts(&self) -> Facts {
        Facts::new(POLICY, "rate_limiter_group").limits_load()
    }
}

impl<T, E, K, S> Guard<T, E> for KeyedRateLimiterGroupPolicy<K, S>
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
        Guard::<T, E>::admit_blocking(self, cx)
    }

    fn admit_blocking(&self, cx: Context) -> Result<(), Rejection> {
        self.limits.admit(&self.key, 1, cx).map_err(Into::into)
    }

    fn record(&self, (): (), _: &Result<T, Error<E>>) {}
}

impl<T, E, K, S> OwnedGuard<T, E> for KeyedRateLimiterGroupPolicy<K, S>
where
    K: Hash + Eq + Clone + Send + Sync,
    S: BuildHasher + Send + Sync,
{
    type OwnedPermit = ();
    type AdmitFuture = Ready<Result<(), Rejection>>;

    fn admit_owned(&self, cx: Context) -> Admission<(), Self::AdmitFuture> {
        self.limits
            .admit(&self.key, 1, cx)
            .map_or_else(|denied| Admission::Rejected(denied.into()), Admission::Admitted)
    }

    fn record_owned((): (), _: &Result<T, Error<E>>) {}
}

impl<K, S> Clone for KeyedRateLimiterGroup<K, S> {
    fn clone(&self) -> Self {
        Self { group: self.group.clone(), keys: self.keys.clone() }
    }
}

impl<K: Clone, S> Clone for KeyedRateLimiterGroupPolicy<K, S> {
    fn clone(&self) -> Self {
        Self { limits: self.limits.clone(), key: self.key.clone() }
    }
}

impl<K, S> fmt::Debug for KeyedRateLimiterGroup<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedRateLimiterGroup")
            .field("group", &self.group)
            .field("keys", &self.keys)
            .finish()
    }
}

impl<K: fmt::Debug, S> fmt::Debug for KeyedRateLimiterGroupPolicy<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedRateLimiterGroupPolicy")
            .field("limits", &self.limits)
            .field("key", &self.key)
            .finish()
    }
}
