//! The use of a limiter as a pipeline policy: [`RateLimitPolicy`].

use super::shared::Shared;
use super::{Grant, OwnedRateLimiterAcquireFuture, RateLimiter, RateLimiterAcquireFuture};
use crate::error::{Error, Rejection};
use crate::policy::{Admission, Context, Facts, Guard, OwnedGuard, Policy, kind};
use crate::time::Instant;
use std::future::Ready;
use std::time::Duration;

/// The policy type in errors and events.
pub(super) const POLICY: &str = "rate_limiter";

/// A pipeline policy of a [`RateLimiter`], with the number of tokens that each call takes and the
/// maximum time that it waits for them.
///
/// Returned by [`RateLimiter::cost`] and [`RateLimiter::max_wait`]. Without a policy, a limiter in
/// a pipeline takes one token per call and does not wait.
///
/// ```
/// use mainstay::{pipeline::Pipeline, rate::{Quota, RateLimiter}};
/// use std::time::Duration;
///
/// let limiter = RateLimiter::new(Quota::per_second(100))?;
/// let export = Pipeline::builder()
///     .guard(limiter.cost(20).max_wait(Duration::from_millis(500)))
///     .build();
/// assert_eq!(export.call_blocking(|| Ok::<_, ()>(2)), Ok(2));
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct RateLimitPolicy {
    limiter: RateLimiter,
    cost: u32,
    max_wait: Duration,
}

impl RateLimiter {
    /// Returns a pipeline policy of this limiter. Each call takes `tokens` tokens.
    ///
    /// ```
    /// use mainstay::{pipeline::Pipeline, rate::{Quota, RateLimiter}};
    ///
    /// let limiter = RateLimiter::new(Quota::per_hour(10))?;
    /// let export = Pipeline::builder().rate_limit(limiter.cost(8)).build();
    /// assert!(export.call_blocking(|| Ok::<_, ()>(())).is_ok());
    /// assert!(export.call_blocking(|| Ok::<_, ()>(())).is_err());
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn cost(&self, tokens: u32) -> RateLimitPolicy {
        RateLimitPolicy::new(self.clone()).cost(tokens)
    }

    /// Returns a pipeline policy of this limiter. Each call waits for its tokens for at most
    /// `max_wait`, and never beyond its deadline. The call is rejected immediately if the tokens
    /// will not be available in time.
    ///
    /// ```
    /// use mainstay::{pipeline::Pipeline, rate::{Quota, RateLimiter}};
    /// use std::time::Duration;
    ///
    /// let limiter = RateLimiter::new(Quota::per_second(1000).burst(1))?;
    /// let paced = Pipeline::builder().rate_limit(limiter.max_wait(Duration::from_secs(1))).build();
    /// for _ in 0..3 {
    ///     assert!(paced.call_blocking(|| Ok::<_, ()>(())).is_ok());
    /// }
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn max_wait(&self, max_wait: Duration) -> RateLimitPolicy {
        RateLimitPolicy::new(self.clone()).max_wait(max_wait)
    }
}

impl RateLimitPolicy {
    pub(super) const fn new(limiter: RateLimiter) -> Self {
        Self { limiter, cost: 1, max_wait: Duration::ZERO }
    }

    /// Sets the number of tokens that each call takes. Default: 1.
    ///
    /// ```
    /// # use mainstay::{Quota, RateLimiter};
    /// # use std::time::Duration;
    /// let limiter = RateLimiter::new(Quota::per_second(5))?;
    /// let policy = limiter.max_wait(Duration::from_secs(1)).cost(3);
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub const fn cost(mut self, tokens: u32) -> Self {
        self.cost = tokens;
        self
    }

    /// Sets the maximum time that a call waits for its tokens; see [`RateLimiter::max_wait`].
    /// Default: zero, which rejects the call without waiting.
    ///
    /// ```
    /// # use mainstay::{Quota, RateLimiter};
    /// # use std::time::Duration;
    /// let limiter = RateLimiter::new(Quota::per_second(5))?;
    /// let policy = limiter.cost(3).max_wait(Duration::from_secs(1));
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub const fn max_wait(mut self, max_wait: Duration) -> Self {
        self.max_wait = max_wait;
        self
    }

    /// Returns the limiter.
    #[must_use]
    pub const fn limiter(&self) -> &RateLimiter {
        &self.limiter
    }

    /// Returns the current instant, and the instant until which a call that arrives now waits.
    fn deadline(&self, cx: Context) -> (Instant, Instant) {
        let cx = cx.on(self.limiter.0.timeline.clock());
        let own = cx.now() + self.max_wait;
        (cx.now(), cx.deadline().instant().map_or(own, |deadline| deadline.min(own)))
    }
}

impl From<&RateLimiter> for RateLimitPolicy {
    fn from(limiter: &RateLimiter) -> Self {
        Self::new(limiter.clone())
    }
}

impl From<RateLimiter> for RateLimitPolicy {
    fn from(limiter: RateLimiter) -> Self {
        Self::new(limiter)
    }
}

impl From<&RateLimitPolicy> for RateLimitPolicy {
    fn from(policy: &RateLimitPolicy) -> Self {
        policy.clone()
    }
}

impl Shared {
    #[inline]
    fn admit_now(&self, cost: u32, cx: Context) -> Result<(), Rejection> {
        let now = cx.reading(self.timeline.clock()).now();
        self.try_acquire(cost, self.timeline.nanos(now)).map(drop).map_err(Into::into)
    }

    fn facts(&self) -> Facts {
        let identity = std::ptr::from_ref(self).addr();
        Facts::new(POLICY, self.emitter.name).limits_load().identity(identity)
    }
}

impl Policy for RateLimiter {
    type Kind = kind::Guard;

    fn facts(&self) -> Facts {
        self.0.facts()
    }
}

/// Each call takes one token, and is rejected if no token is available.
impl<T: Send, E: Send> Guard<T, E> for RateLimiter {
    type Permit<'a> = ();

    async fn admit(&self, cx: Context) -> Result<(), Rejection> {
        self.0.admit_now(1, cx)
    }

    #[inline]
    fn admit_blocking(&self, cx: Context) -> Result<(), Rejection> {
        self.0.admit_now(1, cx)
    }

    fn record(&self, (): (), _: &Result<T, Error<E>>) {}
}

impl<T, E> OwnedGuard<T, E> for RateLimiter {
    type OwnedPermit = ();
    type AdmitFuture = Ready<Result<(), Rejection>>;

    fn admit_owned(&self, cx: Context) -> Admission<(), Self::AdmitFuture> {
        self.0.admit_now(1, cx).map_or_else(Admission::Rejected, Admission::Admitted)
    }

    fn record_owned((): (), _: &Result<T, Error<E>>) {}
}

impl Policy for RateLimitPolicy {
    type Kind = kind::Guard;

    fn facts(&self) -> Facts {
        self.limiter.0.facts()
    }
}

impl<T: Send, E: Send> Guard<T, E> for RateLimitPolicy {
    type Permit<'a> = ();

    async fn admit(&self, cx: Context) -> Result<(), Rejection> {
        let shared = &*self.limiter.0;
        if self.max_wait.is_zero() {
            return shared.admit_now(self.cost, cx);
        }
        let (_, deadline) = self.deadline(cx);
        let granted = RateLimiterAcquireFuture::new(shared, self.cost, Some(deadline)).await;
        granted.map(drop).map_err(Into::into)
    }

    #[inline]
    fn admit_blocking(&self, cx: Context) -> Result<(), Rejection> {
        let shared = &*self.limiter.0;
        if self.max_wait.is_zero() {
            return shared.admit_now(self.cost, cx);
        }
        let (now, deadline) = self.deadline(cx);
        let granted = shared.acquire_blocking(self.cost, Some(deadline), now);
        granted.map(drop).map_err(Into::into)
    }

    fn record(&self, (): (), _: &Result<T, Error<E>>) {}
}

impl<T, E> OwnedGuard<T, E> for RateLimitPolicy {
    type OwnedPermit = ();
    type AdmitFuture = OwnedRateLimiterAcquireFuture;

    fn admit_owned(&self, cx: Context) -> Admission<(), Self::AdmitFuture> {
        let shared = &*self.limiter.0;
        if self.max_wait.is_zero() {
            return shared
                .admit_now(self.cost, cx)
                .map_or_else(Admission::Rejected, Admission::Admitted);
        }
        let (now, deadline) = self.deadline(cx);
        // A denial by the fast path is not final, so it is not reported to the observer.
        match shared.engine.take_fast(self.cost, shared.timeline.nanos(now)) {
            Some(Ok(Grant { .. })) => Admission::Admitted(()),
            _ => Admission::Waiting(OwnedRateLimiterAcquireFuture::new(
                self.limiter.clone(),
                self.cost,
                deadline,
            )),
        }
    }

    fn record_owned((): (), _: &Result<T, Error<E>>) {}
}
