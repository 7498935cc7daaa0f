//! A rate limiter that never grants more than its limit and serves waiters in order.
//!
//! A limit protects a server from its callers, or a caller from paying for more than it agreed to.
//! [`RateLimiter`] is one limit, [`KeyedRateLimiter`] one per key (tenant, address, API token) for up to
//! millions of keys, and [`RateLimiterGroup`] several limits that must all agree. In a
//! [`Pipeline`](crate::pipeline) a limiter is a guard, plain or as a [`RateLimitPolicy`] with a cost and a
//! longest wait. Cloning a limiter is cheap, and all clones are the same limiter.
//!
//! # Examples
//!
//! ```
//! use mainstay::rate::{Quota, RateLimiter};
//!
//! let limiter = RateLimiter::new(Quota::per_second(100).burst(20))?;
//! match limiter.try_acquire() {
//!     Ok(grant) => println!("granted; {} left", grant.remaining()),
//!     Err(denied) => println!("retry after {:?}", denied.retry_after()),
//! }
//! # Ok::<(), mainstay::error::ConfigError>(())
//! ```
//!
//! Waiting for a token, as a task and as a thread:
//!
//! ```
//! use mainstay::rate::{Quota, RateLimiter};
//! use std::time::Duration;
//!
//! let limiter = RateLimiter::new(Quota::per_second(100))?;
//! # futures::executor::block_on(async {
//! limiter.acquire().await?;
//! limiter.acquire_n_timeout(5, Duration::from_millis(200)).await?;
//! # Ok::<_, mainstay::rate::Denied>(())
//! # })?;
//! limiter.acquire_blocking()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How it works
//!
//! Tokens become available evenly, one every `period / count`. Up to a burst of them accumulate
//! while there are no requests. There are no fixed windows, and so no double rate at their borders.
//!
//! <div>
#![doc = include_str!("timeline.svg")]
//! </div>
//!
//! The algorithm is the generic cell rate algorithm (GCRA; ITU-T Recommendation I.371), which is a
//! token bucket stored as one number: the *theoretical arrival time*, at which the limiter is full
//! again. A request for *n* tokens moves it *n* intervals into the future. If that is at most one
//! burst ahead of now, the request is granted.
//!
//! ## The guarantee
//!
//! In any window of length *w*, at most `burst + rate × (w + 1 ns)` tokens are granted to requests
//! that do not wait. The nanosecond is the resolution of the clock; the rate is exact to one part
//! in 2^63. This holds
//!
//! - for any number of threads and any interleaving of them;
//! - when a thread decides by an old reading of the clock, or the clock goes back: the state never
//!   moves to an earlier time on account of an old reading;
//! - across [changes](RateLimiter::reconfigure) of the quota, with the larger burst, and with each
//!   rate for as long as it was in force.
//!
//! With waiters it is `burst + rate × (w + 20 ms)`; see below. Tokens that were
//! [refunded](RateLimiter::refund) do not count.
//!
//! ## Waiting
//!
//! Waiters are queued in FIFO order, threads and tasks together. Tokens are not assigned in
//! advance: the first waiter takes them when they are available. So a waiter that gives up wastes
//! nothing. Only the first waiter has a timer, and those with a time limit. While there are
//! waiters, requests that do not wait ([`try_acquire`](RateLimiter::try_acquire),
//! [`reserve`](RateLimiter::reserve)) are denied.
//!
//! Timers are late: by 1 ms with tokio, and by some 10 ms on a loaded machine. A waiter that is
//! woken late is counted from the time at which its tokens were available, not from the time at
//! which it woke up. So waiters receive the full rate at any burst: after a late wake-up several
//! waiters are granted their tokens together. At most 20 ms of delay are made up for. No waiter is
//! granted tokens before they are available, so at *t* after the start, at most `burst + rate × t`
//! have been granted in total.
//!
//! As in every fair queue, the first waiter holds up the others while its task keeps the future but
//! does not poll it.
//!
//! # Observability
//!
//! An [observer](RateLimiterBuilder::observer) receives an event for each denied request, on the
//! thread of that request. Under overload there are many. Its cost is then the cost of a denial:
//! with `telemetry::MetricsObserver` a lock that all threads share, with
//! `telemetry::TracingObserver` a log line.
//!
//! # Cancel safety
//!
//! Dropping a future of a limiter leaves the queue. Nothing had been taken.
//!
//! # Performance
//!
//! A grant costs a reading of the clock, a few loads and one compare-and-swap. A denial writes
//! nothing, so denied requests do not slow down granted ones. Neither allocates; waiting arms a
//! timer.

mod config;
mod engine;
mod events;
mod future;
mod grant;
mod group;
mod keyed;
#[cfg(all(test, mainstay_loom))]
mod loom;
mod policy;
mod quota;
mod reservation;
mod shared;
mod snapshot;
mod timeline;

pub use config::RateLimiterBuilder;
pub use future::{OwnedRateLimiterAcquireFuture, RateLimiterAcquireFuture};
pub use grant::{Denied, Grant, RateLimitStatus};
pub use group::RateLimiterGroup;
pub use keyed::{
    KeyedRateLimitPolicy, KeyedRateLimiter, KeyedRateLimiterBuilder, KeyedRateLimiterSnapshot,
};
pub use policy::RateLimitPolicy;
pub use quota::Quota;
pub use reservation::Reservation;
pub use snapshot::RateLimiterSnapshot;

use crate::error::ConfigError;
use crate::sync::PlainArc;
#[allow(unused_imports)] // for the documentation
use crate::time::Clock;
use engine::Gcra;
use policy::POLICY;
use shared::Shared;
use std::time::Duration;

/// A rate limiter: at most [`burst`](Quota::burst) requests at once, and `rate` per second on
/// average.
///
/// See the [module](self) for examples, the exact guarantee and how waiting works.
#[derive(Clone)]
pub struct RateLimiter(PlainArc<Shared>);

impl RateLimiter {
    /// Creates a limiter on the system clock, full.
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
    /// The quota is [out of range](Quota#accepted-quotas).
    pub fn new(quota: Quota) -> Result<Self, ConfigError> {
        Self::builder(quota).build()
    }

    /// Returns a builder, with the [defaults](self#defaults).
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
    /// No token is available, or there are waiters.
    #[inline]
    pub fn try_acquire(&self) -> Result<Grant, Denied> {
        self.try_acquire_n(1)
    }

    /// Takes `n` tokens, all or none, if they are available and there are no waiters. A request for
    /// 0 tokens is always granted.
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
    /// Fewer than `n` tokens are available, or there are waiters.
    #[inline]
    pub fn try_acquire_n(&self, n: u32) -> Result<Grant, Denied> {
        self.0.try_acquire(n, self.0.timeline.now())
    }

    /// Takes up to `n` tokens, as many as are available, if there are no waiters.
    /// [`Grant::granted`] returns how many.
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
    /// No token is available, or there are waiters.
    pub fn try_acquire_up_to(&self, n: u32) -> Result<Grant, Denied> {
        let shared = &*self.0;
        shared.engine.take_up_to(n, shared.checked_now()).map_err(|status| shared.deny(status))
    }

    /// Waits for one token.
    ///
    /// # Errors
    /// The quota grants nothing.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the queue; nothing had been taken.
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
    /// `n` exceeds the limit, also if a new quota lowers the limit while it waits.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the queue; nothing had been taken.
    #[inline]
    pub fn acquire_n(&self, n: u32) -> RateLimiterAcquireFuture<'_> {
        RateLimiterAcquireFuture::new(&self.0, n, None)
    }

    /// Waits for one token, for no longer than `timeout`, counted from this call.
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
    /// The time limit has passed. Returned immediately if the token will not be available within
    /// it.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the queue; nothing had been taken.
    #[inline]
    pub fn acquire_timeout(&self, timeout: Duration) -> RateLimiterAcquireFuture<'_> {
        self.acquire_n_timeout(1, timeout)
    }

    /// Waits for `n` tokens, for no longer than `timeout`, counted from this call. As
    /// [`acquire_timeout`](Self::acquire_timeout) otherwise.
    ///
    /// # Errors
    /// `n` exceeds the limit; or the time limit has passed, or cannot suffice.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the queue; nothing had been taken.
    #[inline]
    pub fn acquire_n_timeout(&self, n: u32, timeout: Duration) -> RateLimiterAcquireFuture<'_> {
        let deadline = self.0.timeline.clock().now() + timeout;
        RateLimiterAcquireFuture::new(&self.0, n, Some(deadline))
    }

    /// Waits for one token, blocking the thread.
    ///
    /// # Errors
    /// The quota grants nothing.
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
    /// `n` exceeds the limit.
    pub fn acquire_n_blocking(&self, n: u32) -> Result<Grant, Denied> {
        self.0.acquire_blocking(n, None, self.0.timeline.clock().now())
    }

    /// Waits for one token, for no longer than `timeout`, blocking the thread.
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
    /// The time limit has passed. Returned immediately if the token will not be available within
    /// it.
    pub fn acquire_blocking_timeout(&self, timeout: Duration) -> Result<Grant, Denied> {
        self.acquire_n_blocking_timeout(1, timeout)
    }

    /// Waits for `n` tokens, for no longer than `timeout`, blocking the thread. As
    /// [`acquire_blocking_timeout`](Self::acquire_blocking_timeout) otherwise.
    ///
    /// # Errors
    /// `n` exceeds the limit; or the time limit has passed, or cannot suffice.
    pub fn acquire_n_blocking_timeout(&self, n: u32, timeout: Duration) -> Result<Grant, Denied> {
        let now = self.0.timeline.clock().now();
        self.0.acquire_blocking(n, Some(now + timeout), now)
    }

    /// Takes one token now for use at the time at which it will be available.
    ///
    /// The [`Reservation`] returns that time. Later requests come after it. Dropping the
    /// reservation before its time returns the token.
    ///
    /// # Errors
    /// There are waiters, or the quota grants nothing.
    pub fn reserve(&self) -> Result<Reservation, Denied> {
        self.reserve_n(1)
    }

    /// Takes `n` tokens now for use at the time at which they will be available; see
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
    /// `n` exceeds the limit, there are waiters, or the time is more than four years away.
    pub fn reserve_n(&self, n: u32) -> Result<Reservation, Denied> {
        let shared = &*self.0;
        match shared.engine.reserve(n, shared.checked_now()) {
            Ok(grant) => Ok(Reservation::new(self.clone(), grant)),
            Err(status) => Err(shared.deny(status)),
        }
    }

    /// Takes `n` tokens whether they are available or not: for an operation that turned out to cost
    /// more than was taken for it.
    ///
    /// Later requests and the present waiters wait until the debt is repaid. A debt is limited to
    /// four years.
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

    /// Returns `n` of the tokens of `grant`: for an operation that turned out to cost less than was
    /// taken for it, or that was not done at all.
    ///
    /// Tokens that have become available again since the grant are not returned once more, so the
    /// limiter never becomes fuller than if they had not been taken. After
    /// [`reconfigure`](Self::reconfigure) the grants from before it return nothing.
    ///
    /// Return each token once, and to the limiter that granted it. A grant is `Copy` and does not
    /// check either; a limiter that receives other tokens grants too many.
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

    /// Returns the status as if one token had been requested, without taking any.
    #[must_use]
    pub fn peek(&self) -> RateLimitStatus {
        self.0.engine.peek(1, self.0.checked_now())
    }

    /// Replaces the quota while the limiter is in use.
    ///
    /// Used tokens stay used: of a limit of 10 with 4 left, 6 are in use. If the limit becomes 100,
    /// 94 are left; if it becomes 5, one has to be waited for. (They are rounded up to the new
    /// quota's unit of time.) After this returns, no decision follows the old quota, and waiters
    /// wait for the new one. A quota of zero stops time as well; an unlimited quota forgets which
    /// tokens were in use.
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
    /// The quota is [out of range](Quota#accepted-quotas). The old quota stays in force.
    pub fn reconfigure(&self, quota: Quota) -> Result<(), ConfigError> {
        let shared = &*self.0;
        let gcra = Gcra::new(&quota)?;
        let first_waiter = loop {
            _ = shared.checked_now();
            let word = shared.engine.word();
            // After the word was read, and not under a lock, as in `Engine::refund`.
            let now = shared.timeline.now();
            // Serializes changes, so that this quota and the engine's agree.
            let mut present = shared.quota.lock();
            if let Some(first_waiter) = shared.engine.reconfigure(word, gcra, now) {
                *present = quota;
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

    /// Returns the name given to the builder.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.emitter.name
    }

    /// Returns the present figures.
    #[must_use]
    pub fn snapshot(&self) -> RateLimiterSnapshot {
        let status = self.peek();
        let (waiting, queued) = self.0.engine.queued();
        RateLimiterSnapshot {
            quota: self.quota(),
            limit: status.limit(),
            remaining: status.remaining(),
            reset_after: status.reset_after(),
            waiting,
            queued,
        }
    }
}
