//! A rate limiter that never exceeds its limit and serves waiters in FIFO order.
//!
//! A rate limit protects a server from overload, or keeps a client within the quota of a service.
//! [`RateLimiter`] enforces one limit. [`KeyedRateLimiter`] enforces a limit per key (tenant,
//! address, API token) for up to millions of keys. [`RateLimiterGroup`] combines several limiters
//! that must all grant a request, together with a [key](RateLimiterGroup::with_keys) if needed.
//! [`DimensionedRateLimiter`] limits several quantities of a call, such as requests and tokens.
//! [`RuleRateLimiter`] follows other rules: sliding windows, calendar periods, and a rate that
//! warms up. In a [`Pipeline`](crate::pipeline) a limiter is a guard, either directly or as a
//! [`RateLimitPolicy`] with a cost and a maximum wait. Cloning a limiter is inexpensive, and all
//! clones refer to the same limiter.
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
//! Waiting for tokens, asynchronously and blocking the thread:
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
//! Tokens become available evenly, one every `period / count`. Up to one burst of tokens
//! accumulates while there are no requests. There are no fixed windows, so the rate cannot double
//! at the boundary of two windows.
//!
//! <div>
#![doc = include_str!("timeline.svg")]
//! </div>
//!
//! The algorithm is the generic cell rate algorithm (GCRA; ITU-T Recommendation I.371), which is a
//! token bucket stored as one number: the *theoretical arrival time*, at which the limiter is full
//! again. A request for *n* tokens moves it *n* intervals into the future. The request is granted
//! if the new time is at most one burst ahead of the current time.
//!
//! ## The guarantee
//!
//! In any time window of length *w*, at most `burst + rate × (w + 1 ns)` tokens are granted to
//! requests that do not wait. The nanosecond is the resolution of the clock; the rate is exact to
//! one part in 2^63. This bound holds
//!
//! - for any number of threads and any interleaving of them;
//! - when a thread uses an old reading of the clock, or the clock goes back: an old reading never
//!   moves the state to an earlier time;
//! - across [changes](RateLimiter::reconfigure) of the quota, if `burst` is the larger burst and
//!   each rate is multiplied by the time for which it was in force.
//!
//! With waiters, the bound is `burst + rate × (w + 20 ms)`, as the next section explains. Tokens
//! that were [refunded](RateLimiter::refund) are not counted.
//!
//! ## Waiting
//!
//! Waiting threads and tasks share one FIFO queue. Tokens are not assigned in advance: the first
//! waiter takes its tokens when they are available. A waiter that leaves the queue therefore wastes
//! no tokens. Only the first waiter and waiters with a timeout have a timer. While there are
//! waiters, requests that do not wait ([`try_acquire`](RateLimiter::try_acquire),
//! [`reserve`](RateLimiter::reserve)) are denied.
//!
//! Timers fire late: by about 1 ms with tokio, and by about 10 ms on a loaded machine. A waiter
//! that is woken late is counted from the time at which its tokens became available, not from the
//! time of its wake-up. Waiters therefore receive the full rate with any burst size: after a late
//! wake-up, several waiters are granted their tokens together. A delay of at most 20 ms is
//! compensated in this way. No waiter is granted tokens before they are available, so at most
//! `burst + rate × t` tokens have been granted in total at time *t* after the start.
//!
//! With a burst of 1, waiters are *paced*: as in a leaky bucket, they are granted one token per
//! interval on average, even if the interval is shorter than the resolution of timers.
//!
//! As in every fair queue, the first waiter blocks the others while its task holds the future but
//! does not poll it.
//!
//! # Observability
//!
//! An [observer](RateLimiterBuilder::observer) receives an event for each denied request, on the
//! thread of that request. Under overload there are many denials, and the observer adds its cost to
//! each: `telemetry::MetricsObserver` acquires a lock that all threads share, and
//! `telemetry::TracingObserver` writes a log line.
//!
//! # Cancel safety
//!
//! Dropping the future of a waiting method removes the waiter from the queue. No tokens are taken.
//!
//! # Performance
//!
//! A grant costs a reading of the clock, a few loads and one compare-and-swap. A denial writes no
//! shared memory, so denied requests do not slow down granted requests. Neither allocates. A wait
//! starts a timer.

mod config;
mod dimensions;
mod engine;
mod events;
mod future;
mod grant;
mod group;
mod keyed;
mod keyed_group;
#[cfg(all(test, mainstay_loom))]
mod loom;
mod policy;
mod quota;
mod rate_limiter;
mod reservation;
mod rule;
mod shared;
mod snapshot;
mod timeline;
mod turn;

pub use config::RateLimiterBuilder;
pub use dimensions::{DimensionedGrant, DimensionedRateLimiter, DimensionedRateLimiterBuilder};
pub use future::{OwnedRateLimiterAcquireFuture, RateLimiterAcquireFuture};
pub use grant::{Denied, Grant, RateLimitStatus};
pub use group::RateLimiterGroup;
pub use keyed::{
    KeyedRateLimitPolicy, KeyedRateLimiter, KeyedRateLimiterBuilder, KeyedRateLimiterSnapshot,
    OwnedKeyedRateLimitPolicy,
};
pub use keyed_group::{KeyedRateLimiterGroup, KeyedRateLimiterGroupPolicy};
pub use policy::RateLimitPolicy;
pub use quota::Quota;
pub use rate_limiter::RateLimiter;
pub use reservation::Reservation;
pub use rule::{
    CalendarPeriod, RateRule, RuleRateLimitPolicy, RuleRateLimiter, RuleRateLimiterBuilder,
    RuleRateLimiterSnapshot,
};
pub use snapshot::RateLimiterSnapshot;

#[allow(unused_imports)] // for the documentation
use crate::time::Clock;
use policy::POLICY;
