//! A limiter as a policy of a pipeline.

use super::{Grant, OwnedRateLimiterAcquireFuture, RateLimiter, RateLimiterAcquireFuture, Shared};
use crate::error::{Error, Rejection};
use crate::policy::{Admission, Context, Facts, Guard, OwnedGuard, Policy, kind};
use crate::time::Instant;
use std::future::Ready;
use std::time::Duration;

/// The type of policy, in errors and events.
pub(super) const POLICY: &str = "rate_limiter";

/// A view of a [`RateLimiter`] for a pipeline: how many tokens each call takes, and how long it
/// waits for them.
///
/// Made by [`RateLimiter::cost`] and [`RateLimiter::max_wait`]. A plain limiter takes one token for
/// each call and does not wait.
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
    /// Returns a view of this limiter, for a pipeline, by which each call takes `tokens`.
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

    /// Returns a view of this limiter, for a pipeline, by which a call waits for its tokens for up
    /// to `max_wait`, and no longer than until its own deadline. It is rejected immediately if that
    /// cannot suffice.
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

    /// Sets how many tokens each call takes. Default: 1.
    #[must_use]
    pub const fn cost(mut self, tokens: u32) -> Self {
        self.cost = tokens;
        self
    }

    /// Sets how long a call waits for its tokens; see [`RateLimiter::max_wait`]. Default: not at
    /// all.
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

    /// The present instant, and the one at which a call that arrives now gives up.
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
        Facts::new(POLICY, self.emitter.name).identity(std::ptr::from_ref(self).addr())
    }
}

impl Policy for RateLimiter {
    type Kind = kind::Guard;

    fn facts(&self) -> Facts {
        self.0.facts()
    }
}

/// Each call takes one token, and is rejected if there is none.
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
        // A denial here is not final, and so not reported.
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
