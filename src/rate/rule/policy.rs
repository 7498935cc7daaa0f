//! A rate limiter with a rule as a pipeline policy: [`RuleRateLimitPolicy`].

use super::RuleRateLimiter;
use crate::error::{Error, Rejection};
use crate::policy::{Admission, Context, Facts, Guard, OwnedGuard, Policy, kind};
use crate::rate::POLICY;
use crate::time::Instant;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// A pipeline policy of a [`RuleRateLimiter`], with the number of tokens that each call takes and
/// the maximum time that it waits for them.
///
/// Returned by [`RuleRateLimiter::cost`] and [`RuleRateLimiter::max_wait`]. A limiter that is added
/// to a pipeline directly takes one token per call and does not wait.
#[derive(Clone, Debug)]
pub struct RuleRateLimitPolicy {
    limiter: RuleRateLimiter,
    cost: u32,
    max_wait: Duration,
}

impl RuleRateLimitPolicy {
    pub(super) const fn new(limiter: RuleRateLimiter) -> Self {
        Self { limiter, cost: 1, max_wait: Duration::ZERO }
    }

    /// Sets the number of tokens that each call takes. Default: 1.
    ///
    /// ```
    /// # use mainstay::{RateRule, RuleRateLimiter};
    /// # use std::time::Duration;
    /// let limiter = RuleRateLimiter::new(RateRule::sliding_log(10, Duration::from_secs(60)))?;
    /// let policy = limiter.max_wait(Duration::from_secs(1)).cost(3);
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub const fn cost(mut self, tokens: u32) -> Self {
        self.cost = tokens;
        self
    }

    /// Sets the maximum time that a call waits for its tokens; see [`RuleRateLimiter::max_wait`].
    /// Default: zero, which rejects the call without waiting.
    ///
    /// ```
    /// # use mainstay::{RateRule, RuleRateLimiter};
    /// # use std::time::Duration;
    /// let limiter = RuleRateLimiter::new(RateRule::sliding_log(10, Duration::from_secs(60)))?;
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
    pub const fn limiter(&self) -> &RuleRateLimiter {
        &self.limiter
    }

    /// Returns the instant until which a call that arrives now may wait: `max_wait` from now, or
    /// the deadline of the call if that is earlier.
    fn deadline(&self, cx: Context) -> Instant {
        let cx = cx.on(&self.limiter.0.clock);
        let own = cx.now() + self.max_wait;
        cx.deadline().instant().map_or(own, |deadline| deadline.min(own))
    }

    fn admit_now(&self, cx: Context) -> Result<(), Rejection> {
        let shared = &self.limiter.0;
        shared.try_acquire(self.cost, || cx.on(&shared.clock).now())
    }
}

impl From<&RuleRateLimiter> for RuleRateLimitPolicy {
    fn from(limiter: &RuleRateLimiter) -> Self {
        Self::new(limiter.clone())
    }
}

impl Policy for RuleRateLimitPolicy {
    type Kind = kind::Guard;

    fn facts(&self) -> Facts {
        self.limiter.facts()
    }
}

impl<T: Send, E: Send> Guard<T, E> for RuleRateLimitPolicy {
    type Permit<'a> = ();

    async fn admit(&self, cx: Context) -> Result<(), Rejection> {
        match self.max_wait.is_zero() {
            true => self.admit_now(cx),
            false => self.limiter.0.acquire(self.cost, Some(self.deadline(cx))).await,
        }
    }

    fn admit_blocking(&self, cx: Context) -> Result<(), Rejection> {
        match self.max_wait.is_zero() {
            true => self.admit_now(cx),
            false => self.limiter.0.acquire_blocking(self.cost, Some(self.deadline(cx))),
        }
    }

    fn record(&self, (): (), _: &Result<T, Error<E>>) {}
}

/// A call that may wait allocates its admission future.
impl<T, E> OwnedGuard<T, E> for RuleRateLimitPolicy {
    type OwnedPermit = ();
    type AdmitFuture = Pin<Box<dyn Future<Output = Result<(), Rejection>> + Send>>;

    fn admit_owned(&self, cx: Context) -> Admission<(), Self::AdmitFuture> {
        if self.max_wait.is_zero() {
            return self.admit_now(cx).map_or_else(Admission::Rejected, Admission::Admitted);
        }
        let (limiter, cost, deadline) = (self.limiter.clone(), self.cost, self.deadline(cx));
        Admission::Waiting(Box::pin(async move { limiter.0.acquire(cost, Some(deadline)).await }))
    }

    fn record_owned((): (), _: &Result<T, Error<E>>) {}
}

impl Policy for RuleRateLimiter {
    type Kind = kind::Guard;

    fn facts(&self) -> Facts {
        let identity = std::ptr::from_ref(&*self.0).addr();
        Facts::new(POLICY, self.name()).limits_load().identity(identity)
    }
}

/// Each call takes one token, and is rejected if no token is available.
impl<T: Send, E: Send> Guard<T, E> for RuleRateLimiter {
    type Permit<'a> = ();

    async fn admit(&self, cx: Context) -> Result<(), Rejection> {
        Guard::<T, E>::admit_blocking(self, cx)
    }

    fn admit_blocking(&self, cx: Context) -> Result<(), Rejection> {
        self.0.try_acquire(1, || cx.on(&self.0.clock).now())
    }

    fn record(&self, (): (), _: &Result<T, Error<E>>) {}
}

impl<T, E> OwnedGuard<T, E> for RuleRateLimiter {
    type OwnedPermit = ();
    type AdmitFuture = std::future::Ready<Result<(), Rejection>>;

    fn admit_owned(&self, cx: Context) -> Admission<(), Self::AdmitFuture> {
        self.0
            .try_acquire(1, || cx.on(&self.0.clock).now())
            .map_or_else(Admission::Rejected, Admission::Admitted)
    }

    fn record_owned((): (), _: &Result<T, Error<E>>) {}
}
