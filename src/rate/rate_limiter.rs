//! The type [`RateLimiter`].

use super::engine::Gcra;
use super::shared::Shared;
use super::{
    Denied, Grant, Quota, RateLimitStatus, RateLimiterAcquireFuture, RateLimiterBuilder,
    RateLimiterSnapshot, Reservation,
};
use crate::error::ConfigError;
use crate::sync::PlainArc;
#[allow(unused_imports)] // for the documentation
use crate::time::Clock;
use std::time::Duration;

/// A rate limiter that grants at most [`burst`](Quota::burst) tokens at once, and the rate of its
/// [`Quota`] on average.
///
/// See the [module](super) for examples, the exact guarantee and how waiting works.
#[derive(Clone)]
pub struct RateLimiter(pub(super) PlainArc<Shared>);

impl RateLimiter {
    /// Creates a limiter with the system clock. All tokens of its burst are available.
    ///
    /// ```
    /// use mainstay::rate::{Quota, RateLimiter};
    ///
    /// let limiter = RateLimiter::new(Quota::per_second(50))?;
    /// assert_eq!(limiter.peek().remaining(), 50);
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error if the quota is [out of range](Quota#accepted-quotas).
    pub fn new(quota: Quota) -> Result<Self, ConfigError> {
        Self::builder(quota).build()
    }

    /// Creates a builder of a limiter with the given `quota`.
    ///
    /// ```
    /// use mainstay::rate::{Quota, RateLimiter};
    ///
    /// let limiter = RateLimiter::builder(Quota::per_second(50)).name("mail").build()?;
    /// assert_eq!(limiter.name(), "mail");
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn builder(quota: Quota) -> RateLimiterBuilder {
        RateLimiterBuilder::new(quota)
    }

    /// Takes one token if one is available and there are no waiters.
    ///
    /// # Errors
    /// Returns an error if no token is available or there are waiters.
    #[inline]
    pub fn try_acquire(&self) -> Result<Grant, Denied> {
        self.try_acquire_n(1)
    }

    /// Takes `n` tokens if all of them are available and there are no waiters, and otherwise none.
    /// A request for 0 tokens is always granted.
    ///
    /// ```
    /// use mainstay::rate::{Quota, RateLimiter};
    ///
    /// let limiter = RateLimiter::new(Quota::per_hour(10))?;
    /// assert!(limiter.try_acquire_n(7).is_ok());
    /// assert!(limiter.try_acquire_n(7).is_err());
    /// assert!(limiter.try_acquire_n(3).is_ok());
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error if fewer than `n` tokens are available or there are waiters.
    #[inline]
    pub fn try_acquire_n(&self, n: u32) -> Result<Grant, Denied> {
        self.0.try_acquire(n, self.0.timeline.now())
    }

    /// Takes as many tokens as are available, up to `n`, if there are no waiters.
    /// [`Grant::granted`] returns the number of tokens taken.
    ///
    /// ```
    /// use mainstay::rate::{Quota, RateLimiter};
    ///
    /// let limiter = RateLimiter::new(Quota::per_hour(10))?;
    /// assert_eq!(limiter.try_acquire_up_to(7)?.granted(), 7);
    /// assert_eq!(limiter.try_acquire_up_to(7)?.granted(), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error if no token is available or there are waiters.
    pub fn try_acquire_up_to(&self, n: u32) -> Result<Grant, Denied> {
        let shared = &*self.0;
        shared.engine.take_up_to(n, shared.checked_now()).map_err(|status| shared.deny(status))
    }

    /// Waits for one token.
    ///
    /// # Errors
    /// Completes with an error if the quota grants nothing.
    ///
    /// # Cancel safety
    /// Dropping the future removes it from the queue. No tokens are taken.
    #[inline]
    pub fn acquire(&self) -> RateLimiterAcquireFuture<'_> {
        self.acquire_n(1)
    }

    /// Waits for `n` tokens, which are taken all at once.
    ///
    /// ```
    /// # use mainstay::{rate::{Quota, RateLimiter}, time::ManualClock};
    /// # let clock = ManualClock::new();
    /// let limiter = RateLimiter::builder(Quota::per_second(10)).clock(clock.clock()).build()?;
    /// # clock.drive(async {
    /// limiter.acquire_n(10).await?;
    /// limiter.acquire_n(5).await?; // half a second later
    /// # Ok::<_, mainstay::rate::Denied>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Completes with an error if `n` exceeds the limit, including a limit that is lowered during
    /// the wait.
    ///
    /// # Cancel safety
    /// Dropping the future removes it from the queue. No tokens are taken.
    #[inline]
    pub fn acquire_n(&self, n: u32) -> RateLimiterAcquireFuture<'_> {
        RateLimiterAcquireFuture::new(&self.0, n, None)
    }

    /// Waits for one token for at most `timeout`, measured from this call.
    ///
    /// ```
    /// # use mainstay::{rate::{Quota, RateLimiter}, time::ManualClock};
    /// # use std::time::Duration;
    /// # let clock = ManualClock::new();
    /// let limiter = RateLimiter::builder(Quota::per_second(10)).clock(clock.clock()).build()?;
    /// let token = limiter.acquire_timeout(Duration::from_millis(200));
    /// # clock.drive(async {
    /// token.await?;
    /// # Ok::<_, mainstay::rate::Denied>(()) })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Completes with an error when the timeout has elapsed, or immediately if the token will not
    /// be available in time.
    ///
    /// # Cancel safety
    /// Dropping the future removes it from the queue. No tokens are taken.
    #[inline]
    pub fn acquire_timeout(&self, timeout: Duration) -> RateLimiterAcquireFuture<'_> {
        self.acquire_n_timeout(1, timeout)
    }

    /// Waits for `n` tokens for at most `timeout`, measured from this call. Otherwise the same as
    /// [`acquire_timeout`](Self::acquire_timeout).
    ///
    /// ```
    /// # use mainstay::{Quota, RateLimiter};
    /// # use std::time::Duration;
    /// let limiter = RateLimiter::new(Quota::per_second(50))?;
    /// # futures::executor::block_on(async {
    /// let granted = limiter.acquire_n_timeout(5, Duration::from_secs(1)).await;
    /// assert!(granted.is_ok());
    /// # });
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// Completes with an error if `n` exceeds the limit, when the timeout has elapsed, or
    /// immediately if the tokens will not be available in time.
    ///
    /// # Cancel safety
    /// Dropping the future removes it from the queue. No tokens are taken.
    #[inline]
    pub fn acquire_n_timeout(&self, n: u32, timeout: Duration) -> RateLimiterAcquireFuture<'_> {
        let deadline = self.0.timeline.clock().now() + timeout;
        RateLimiterAcquireFuture::new(&self.0, n, Some(deadline))
    }

    /// Waits for one token, blocking the thread.
    ///
    /// # Errors
    /// Returns an error if the quota grants nothing.
    pub fn acquire_blocking(&self) -> Result<Grant, Denied> {
        self.acquire_n_blocking(1)
    }

    /// Waits for `n` tokens, which are taken all at once, blocking the thread.
    ///
    /// ```
    /// use mainstay::rate::{Quota, RateLimiter};
    ///
    /// let limiter = RateLimiter::new(Quota::per_second(1000).burst(5))?;
    /// for _ in 0..3 {
    ///     limiter.acquire_n_blocking(5)?;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error if `n` exceeds the limit.
    pub fn acquire_n_blocking(&self, n: u32) -> Result<Grant, Denied> {
        self.0.acquire_blocking(n, None, self.0.timeline.clock().now())
    }

    /// Waits for one token for at most `timeout`, blocking the thread.
    ///
    /// ```
    /// use mainstay::rate::{Quota, RateLimiter};
    /// use std::time::Duration;
    ///
    /// let limiter = RateLimiter::new(Quota::per_hour(1))?;
    /// let timeout = Duration::from_secs(5);
    /// assert!(limiter.acquire_blocking_timeout(timeout).is_ok());
    /// assert!(limiter.acquire_blocking_timeout(timeout).is_err()); // returns immediately
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error when the timeout has elapsed, or immediately if the token will not be
    /// available in time.
    pub fn acquire_blocking_timeout(&self, timeout: Duration) -> Result<Grant, Denied> {
        self.acquire_n_blocking_timeout(1, timeout)
    }

    /// Waits for `n` tokens for at most `timeout`, blocking the thread. Otherwise the same as
    /// [`acquire_blocking_timeout`](Self::acquire_blocking_timeout).
    ///
    /// ```
    /// # use mainstay::{Quota, RateLimiter};
    /// # use std::time::Duration;
    /// let limiter = RateLimiter::new(Quota::per_second(50))?;
    /// assert!(limiter.acquire_n_blocking_timeout(5, Duration::from_secs(1)).is_ok());
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error if `n` exceeds the limit, when the timeout has elapsed, or immediately if
    /// the tokens will not be available in time.
    pub fn acquire_n_blocking_timeout(&self, n: u32, timeout: Duration) -> Result<Grant, Denied> {
        let now = self.0.timeline.clock().now();
        self.0.acquire_blocking(n, Some(now + timeout), now)
    }

    /// Reserves one token for use at the time at which it will be available.
    ///
    /// The [`Reservation`] contains that time. Later requests receive only tokens that become
    /// available after it.
    /// Dropping the reservation before its time returns the token if nothing else was taken since.
    ///
    /// # Errors
    /// Returns an error if there are waiters, if the quota grants nothing, or if the token will not
    /// be available within four years.
    pub fn reserve(&self) -> Result<Reservation, Denied> {
        self.reserve_n(1)
    }

    /// Reserves `n` tokens for use at the time at which they will be available; see
    /// [`reserve`](Self::reserve).
    ///
    /// ```
    /// # use mainstay::{rate::{Quota, RateLimiter}, time::ManualClock};
    /// # use std::time::Duration;
    /// # let clock = ManualClock::new();
    /// let limiter = RateLimiter::builder(Quota::per_second(10)).clock(clock.clock()).build()?;
    /// assert_eq!(limiter.reserve_n(10)?.commit().remaining(), 0);
    /// assert_eq!(limiter.reserve_n(5)?.delay(), Duration::from_millis(500));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error if `n` exceeds the limit, if there are waiters, or if the tokens will not
    /// be available within four years.
    pub fn reserve_n(&self, n: u32) -> Result<Reservation, Denied> {
        let shared = &*self.0;
        match shared.engine.reserve(n, shared.checked_now()) {
            Ok(grant) => Ok(Reservation::new(self.clone(), grant)),
            Err(status) => Err(shared.deny(status)),
        }
    }

    /// Takes `n` tokens, whether they are available or not. Use this for an operation that turned
    /// out to cost more tokens than were taken for it.
    ///
    /// No tokens are available, to requests or to waiters, until the missing tokens have become
    /// available again. This delay is limited to four years.
    ///
    /// ```
    /// # use mainstay::{rate::{Quota, RateLimiter}, time::ManualClock};
    /// # use std::time::Duration;
    /// # let clock = ManualClock::new();
    /// let limiter = RateLimiter::builder(Quota::per_second(10)).clock(clock.clock()).build()?;
    /// limiter.debit(25);
    /// assert_eq!(limiter.peek().retry_after(), Some(Duration::from_millis(1_600)));
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    pub fn debit(&self, n: u32) -> Grant {
        self.0.engine.debit(n, self.0.checked_now())
    }

    /// Returns `n` of the tokens of `grant` to the limiter. Use this for an operation that turned
    /// out to cost fewer tokens than were taken for it, or that was not run.
    ///
    /// Tokens that have become available again since the grant are not returned a second time, so
    /// the limiter never has more tokens than if they had not been taken. After a call of
    /// [`reconfigure`](Self::reconfigure), refunds of earlier grants have no effect.
    ///
    /// The caller must return each token at most once, and to the limiter that granted it. A
    /// `Grant` is `Copy`, and neither condition is checked. If one is violated, the limiter may
    /// exceed its limit.
    ///
    /// ```
    /// # use mainstay::{rate::{Quota, RateLimiter}, time::ManualClock};
    /// # let clock = ManualClock::new().clock();
    /// let limiter = RateLimiter::builder(Quota::per_minute(1000)).clock(clock).build()?;
    /// let estimate = limiter.try_acquire_n(300)?;
    /// let used = 120; // known when the work is done
    /// limiter.refund(&estimate, 300 - used);
    /// assert_eq!(limiter.peek().remaining(), 880);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn refund(&self, grant: &Grant, n: u32) {
        self.0.engine.refund(grant, n, || self.0.timeline.now());
    }

    /// Returns the current status, as a denied request for one token would. Takes no token.
    #[must_use]
    pub fn peek(&self) -> RateLimitStatus {
        self.0.engine.peek(1, self.0.checked_now())
    }

    /// Replaces the quota while the limiter is in use.
    ///
    /// Used tokens stay used. For example, if 4 of 10 tokens remain, 6 are used. If the limit
    /// becomes 100, 94 tokens remain. If it becomes 5, one used token exceeds the limit, and the
    /// next request is granted only after two tokens have become available again. The number of
    /// used tokens is rounded up to the time unit of the new quota. After this method returns, all
    /// decisions use the new quota, and waiters wait for its tokens. While a quota of zero is in
    /// force, used tokens do not become available again. An unlimited quota resets the number of
    /// used tokens to zero.
    ///
    /// ```
    /// use mainstay::rate::{Quota, RateLimiter};
    ///
    /// let limiter = RateLimiter::new(Quota::per_hour(10))?;
    /// limiter.try_acquire_n(6).unwrap();
    /// limiter.reconfigure(Quota::per_hour(100))?;
    /// assert_eq!(limiter.peek().remaining(), 94);
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error if the quota is [out of range](Quota#accepted-quotas). The old quota stays
    /// in force.
    pub fn reconfigure(&self, quota: Quota) -> Result<(), ConfigError> {
        let shared = &*self.0;
        let gcra = Gcra::new(&quota)?;
        let first_waiter = loop {
            _ = shared.checked_now();
            let word = shared.engine.word();
            // The clock is read after the word and outside of any lock, as in `Engine::refund`.
            let now = shared.timeline.now();
            // The lock serializes changes, so that the stored quota is always that of the engine.
            let mut current = shared.quota.lock();
            if let Some(first_waiter) = shared.engine.reconfigure(word, gcra, now) {
                *current = quota;
                break first_waiter;
            }
        };
        first_waiter.wake();
        shared.emitter.reconfigured(gcra.limit(), shared.timeline.clock().now());
        Ok(())
    }

    /// Returns the quota in force.
    #[must_use]
    pub fn quota(&self) -> Quota {
        *self.0.quota.lock()
    }

    /// Returns the name that was set in the builder.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.emitter.name
    }

    /// Returns the current state of the limiter.
    #[must_use]
    pub fn snapshot(&self) -> RateLimiterSnapshot {
        let status = self.peek();
        let (waiters, queued_tokens) = self.0.engine.queued();
        RateLimiterSnapshot {
            quota: self.quota(),
            limit: status.limit(),
            remaining: status.remaining(),
            reset_after: status.reset_after(),
            waiters,
            queued_tokens,
        }
    }
}
