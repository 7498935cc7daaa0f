//! Limits on the number of calls under way: [`AdaptiveLimiter`]; and on what a client sends to a
//! dependency that refuses calls: [`Throttle`].
//!
//! A server that is offered more than it can do may end up serving none of it: each call that waits
//! makes all later ones slower, clients give up, and their work is wasted. A limit on the
//! calls under way keeps the server at its best throughput, and rejects the rest while rejecting is
//! still cheap. An adaptive limit finds the number by itself, and follows when the server becomes
//! slower or larger.
//!
//! # Examples
//!
//! In a pipeline, below a breaker and above the time limit of one attempt:
//!
//! ```
//! use mainstay::concurrency::AdaptiveLimiter;
//! use mainstay::pipeline::Pipeline;
//! use std::time::Duration;
//!
//! let limiter = AdaptiveLimiter::builder().name("search").build()?;
//! let pipeline = Pipeline::builder()
//!     .adaptive_limit(&limiter)
//!     .timeout(Duration::from_secs(1)) // a timeout counts as overload
//!     .build();
//! let found: Result<u32, mainstay::error::Error<()>> = pipeline.call_blocking(|| Ok(7));
//! assert_eq!(found, Ok(7));
//! # Ok::<(), mainstay::error::ConfigError>(())
//! ```
//!
//! # How it works
//!
//! By Little's law the calls under way are throughput times latency. As long as every call has a
//! worker of the server for itself, a higher limit brings a higher throughput at the same latency.
//! Beyond that point, the *knee*, it brings nothing but a queue. A limiter cannot see the knee. It
//! sees how long calls take, and whether they time out.
//!
//! The limiter gathers the latencies of the calls in a histogram. When a window of about a second
//! is over, the call that ends next closes it, and its [`LimitController`] moves the limit:
//!
//! | controller | lowers the limit when | take it if |
//! |---|---|---|
//! | [`BaselineController`], the default | the latency exceeds that without load, calls are dropped, or a bound on the latency is exceeded | you do not know better |
//! | [`VegasController`] | the mean latency exceeds its minimum | load is short and the server does not change |
//! | [`Gradient2Controller`] | the latency exceeds its long-term average | overload is short |
//! | [`AimdController`] | calls are dropped | the server itself refuses what it cannot do |
//! | [`BbrController`] | the server says that it is overloaded | you have a signal of overload |
//!
//! The [`simulator`] shows what each of them makes of ten overloads, with a table. A controller of
//! your own is a type with two methods.
//!
//! A call has one of three outcomes. A *success* counts with its latency. A *dropped* call, one
//! that timed out or was refused by the server, counts as overload and its latency is not looked
//! at. Everything else is *ignored*. In a pipeline a classifier decides; the default is
//! [`DropOnTimeout`].
//!
//! # Overload
//!
//! Calls beyond the limit are rejected. With [`max_wait`](AdaptiveLimiterBuilder::max_wait), or
//! [`acquire`](AdaptiveLimiter::acquire), they wait in a queue of up to twice the limit; from there
//! to three times the limit a growing share is rejected, and beyond that every call.
//!
//! A limit of one still admits one call at a time, which can be too much for a server that is
//! nearly down. A controller with a [`min_limit`](BaselineController::min_limit) below one also
//! pauses after each call.
//!
//! # Observability
//!
//! [`AdaptiveLimiter::snapshot`] has the limit, why it is what it is, and the last window. An
//! [observer](AdaptiveLimiterBuilder::observer) receives each new limit with its reason.
//! [`AdaptiveLimiter::learned`] is what to keep across a restart.
//!
//! # Cancel safety
//!
//! A call that is dropped, or whose operation panics, releases its permit and counts as ignored.
//! Note that a timeout *outside* the limiter drops the call, so the limiter does not learn of it:
//! put the timeout below the limiter.
//!
//! # Panics
//!
//! When a controller panics, the panic unwinds through the call that closed the window. The limit
//! stays what it was, and the controller is asked again at the next window.
//!
//! # Performance
//!
//! See [`AdaptiveLimiter`].
//!
//! # Defaults
//!
//! | setting | default |
//! |---|---|
//! | [`controller`](AdaptiveLimiterBuilder::controller) | [`BaselineController`] |
//! | [`initial_limit`](BaselineController::initial_limit) | 20 |
//! | [`min_limit`](BaselineController::min_limit), [`max_limit`](BaselineController::max_limit) | 1, 200 |
//! | [`max_healthy_latency`](BaselineController::max_healthy_latency) | none |
//! | [`max_wait`](AdaptiveLimiterBuilder::max_wait) | zero |
//! | [`queue_order`](AdaptiveLimiterBuilder::queue_order) | FIFO |
//! | [`queue_factors`](AdaptiveLimiterBuilder::queue_factors) | 2, 3 |
//! | throttle: [`accept_multiplier`](ThrottleBuilder::accept_multiplier) | 2 |
//! | throttle: [`max_rejection_rate`](ThrottleBuilder::max_rejection_rate) | 0.9 |
//! | throttle: [`min_calls`](ThrottleBuilder::min_calls) | 10 |
//! | throttle: [`window`](ThrottleBuilder::window) | 2 min |
//! | throttle: [`probe_interval`](ThrottleBuilder::probe_interval) | 1 s |

mod adaptive;
mod controller;
mod meter;
pub mod simulator;
mod throttle;

pub use adaptive::{
    AdaptiveLimiter, AdaptiveLimiterAcquireFuture, AdaptiveLimiterBuilder, AdaptiveLimiterPermit,
    AdaptiveLimiterSnapshot, ClassifiedAdaptiveLimiter, DropOnTimeout,
    OwnedAdaptiveLimiterAcquireFuture, OwnedAdaptiveLimiterPermit,
};
pub use controller::{
    AimdController, BaselineController, BbrController, Gradient2Controller, LearnedLimit,
    LimitController, LimitReason, LimitUpdate, LimitWindow, VegasController, WindowRule,
};
pub use throttle::{
    ClassifiedThrottle, OwnedThrottlePermit, Throttle, ThrottleBuilder, ThrottlePermit,
    ThrottleSnapshot,
};
