//! A view of one key of a keyed limiter, with waiting methods: [`KeyedRateLimitPolicy`].

use super::KeyedRateLimiter;
use crate::error::{Error, Rejection};
use crate::policy::{Context, Facts, Guard, Policy, kind};
use crate::rate::POLICY;
use crate::rate::grant::{Denied, Grant};
use crate::time::Instant;
use std::borrow::Borrow;
use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, Hash, RandomState};
use std::time::Duration;

/// A view of one key of a [`KeyedRateLimiter`]; returned by [`KeyedRateLimiter::key`].
///
/// Its methods take tokens of the key, and can wait for them. Callers that wait for one key share a
/// FIFO queue; while they wait, requests for the key that do not wait are denied. Dropping the
/// future of a waiting method removes the caller from the queue and takes no tokens.
///
/// Timers may be late, and a delay of at most 20 ms is compensated. If callers wait, at most
/// `burst + rate × (w + 20 ms)` tokens of a key are granted in any time window of length *w*.
///
/// ```
/// use mainstay::rate::{KeyedRateLimiter, Quota};
///
/// let tenants: KeyedRateLimiter<String> = KeyedRateLimiter::new(Quota::per_second(100))?;
/// # futures::executor::block_on(async {
/// tenants.key("tenant-7").acquire().await?;
/// tenants.key("tenant-7").cost(20).acquire().await?;
/// # Ok::<_, mainstay::rate::Denied>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The view is also a pipeline policy. Each call takes one token of the key, or as many as
/// [`cost`](Self::cost) sets. If too few tokens are available within
/// [`max_wait`](Self::max_wait), the call is rejected.
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
    max_wait: Duration,
}

impl<'a, K, Q: ?Sized, S> KeyedRateLimitPolicy<'a, K, Q, S> {
    pub(super) const fn new(limiter: &'a KeyedRateLimiter<K, S>, key: &'a Q) -> Self {
        Self { limiter, key, cost: 1, max_wait: Duration::ZERO }
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

    /// Sets the maximum time that a call of a pipeline waits for its tokens. A call never waits
    /// beyond its deadline. Default: zero, which rejects the call without waiting.
    ///
    /// ```
    /// # use mainstay::{KeyedRateLimiter, Quota};
    /// # use std::time::Duration;
    /// let limiter = KeyedRateLimiter::<String>::new(Quota::per_second(5))?;
    /// let policy = limiter.key("tenant").max_wait(Duration::from_millis(500));
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub const fn max_wait(mut self, max_wait: Duration) -> Self {
        self.max_wait = max_wait;
        self
    }
}

impl<'a, K, Q, S> KeyedRateLimitPolicy<'a, K, Q, S>
where
    K: Borrow<Q> + Hash + Eq,
    Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    S: BuildHasher,
{
    /// Takes the tokens if all of them are available and no caller waits for the key.
    ///
    /// # Errors
    /// Returns the errors of [`KeyedRateLimiter::try_acquire`].
    pub fn try_acquire(&self) -> Result<Grant, Denied> {
        self.limiter.try_acquire_n(self.key, self.cost)
    }

    /// Waits for the tokens.
    ///
    /// # Errors
    /// Completes with an error if the cost exceeds the limit, or if the key cannot be stored.
    ///
    /// # Cancel safety
    /// Dropping the future removes the caller from the queue of the key. No tokens are taken.
    pub fn acquire(&self) -> impl Future<Output = Result<Grant, Denied>> + use<'a, K, Q, S> {
        let Self { limiter, key, cost, .. } = *self;
        async move { limiter.0.acquire(key, cost, None).await }
    }

    /// Waits for the tokens for at most `timeout`, measured from this call.
    ///
    /// ```
    /// # use mainstay::{KeyedRateLimiter, Quota};
    /// # use std::time::Duration;
    /// let limiter = KeyedRateLimiter::<String>::new(Quota::per_hour(1))?;
    /// # futures::executor::block_on(async {
    /// let timeout = Duration::from_secs(5);
    /// assert!(limiter.key("tenant").acquire_timeout(timeout).await.is_ok());
    /// assert!(limiter.key("tenant").acquire_timeout(timeout).await.is_err()); // immediately
    /// # });
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// Completes with an error when the timeout has elapsed, or as soon as it is known that the
    /// tokens will not be available in time; for the other errors see [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    /// Dropping the future removes the caller from the queue of the key. No tokens are taken.
    pub fn acquire_timeout(
        &self,
        timeout: Duration,
    ) -> impl Future<Output = Result<Grant, Denied>> + use<'a, K, Q, S> {
        let Self { limiter, key, cost, .. } = *self;
        let deadline = limiter.0.timeline.clock().now() + timeout;
        async move { limiter.0.acquire(key, cost, Some(deadline)).await }
    }

    /// Waits for the tokens, blocking the thread.
    ///
    /// # Errors
    /// Returns the errors of [`acquire`](Self::acquire).
    pub fn acquire_blocking(&self) -> Result<Grant, Denied> {
        self.limiter.0.acquire_blocking(self.key, self.cost, None)
    }

    /// Waits for the tokens for at most `timeout`, blocking the thread.
    ///
    /// ```
    /// # use mainstay::{KeyedRateLimiter, Quota};
    /// # use std::time::Duration;
    /// let limiter = KeyedRateLimiter::<String>::new(Quota::per_second(50))?;
    /// let tenant = limiter.key("tenant").cost(3);
    /// assert!(tenant.acquire_blocking_timeout(Duration::from_secs(1)).is_ok());
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// Returns the errors of [`acquire_timeout`](Self::acquire_timeout).
    pub fn acquire_blocking_timeout(&self, timeout: Duration) -> Result<Grant, Denied> {
        let deadline = self.limiter.0.timeline.clock().now() + timeout;
        self.limiter.0.acquire_blocking(self.key, self.cost, Some(deadline))
    }

    /// Returns the instant until which a call that arrives now may wait: `max_wait` from now, or
    /// the deadline of the call if that is earlier.
    fn deadline(&self, cx: Context) -> Instant {
        let cx = cx.on(self.limiter.0.timeline.clock());
        let own = cx.now() + self.max_wait;
        cx.deadline().instant().map_or(own, |deadline| deadline.min(own))
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
        let granted = match self.max_wait.is_zero() {
            true => self.try_acquire(),
            false => self.limiter.0.acquire(self.key, self.cost, Some(self.deadline(cx))).await,
        };
        granted.map(drop).map_err(Into::into)
    }

    fn admit_blocking(&self, cx: Context) -> Result<(), Rejection> {
        let granted = match self.max_wait.is_zero() {
            true => self.try_acquire(),
            false => self.limiter.0.acquire_blocking(self.key, self.cost, Some(self.deadline(cx))),
        };
        granted.map(drop).map_err(Into::into)
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
