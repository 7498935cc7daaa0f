//! Limits for overload: [`Bulkhead`] and [`AdaptiveLimiter`] bound the calls under way, and
//! [`Throttle`] reduces the calls to a dependency that refuses some of them.
//!
//! An overloaded server may complete no call in time: each waiting call delays all later ones,
//! clients time out, and the work for them is wasted. A limit on the calls under way keeps the
//! server at its best throughput and rejects excess calls early, when a rejection is cheap. A
//! bulkhead has a fixed limit, for all calls, [for each key](KeyedBulkhead), or
//! [shared by several kinds of calls](PartitionedBulkhead). An adaptive limiter
//! determines the limit from measurements, and adjusts it when the capacity of the server changes.
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
//! By Little's law, the number of calls under way is throughput times latency. While the server has
//! a free worker for every call, a higher limit increases the throughput at the same latency.
//! Beyond that point, the *knee*, a higher limit only makes the queue longer. A limiter cannot
//! observe the knee directly. It observes how long calls take, and whether they time out.
//!
//! The limiter records the latencies of calls in a histogram, one window at a time. A window lasts
//! about a second; the first call that ends after that closes it. The [`LimitController`] then sets
//! the limit:
//!
//! | controller | lowers the limit when | suitable if |
//! |---|---|---|
//! | [`BaselineController`], the default | the latency exceeds that without load, calls are dropped, or a bound on the latency is exceeded | no other controller clearly fits |
//! | [`VegasController`] | the mean latency exceeds its minimum | periods of load are short and the server does not change |
//! | [`Gradient2Controller`] | the latency exceeds its long-term average | periods of overload are short |
//! | [`AimdController`] | calls are dropped | the server itself refuses excess calls |
//! | [`BbrController`] | the server signals that it is overloaded | the server provides such a signal, or runs in this process ([`CpuLoad`]) |
//!
//! The [`simulator`] compares the controllers in eleven scenarios. A custom controller implements
//! [`LimitController`], which has two required methods.
//!
//! A call has one of three outcomes. A *success* counts with its latency. A *dropped* call timed
//! out or was refused by the server; it counts as overload, and its latency is not used. All other
//! calls are *ignored*. In a pipeline, a classifier determines the outcome; the default is
//! [`OverloadOnTimeout`].
//!
//! # Overload
//!
//! Calls beyond the limit of an adaptive limiter are rejected. With
//! [`max_wait`](AdaptiveLimiterBuilder::max_wait), or
//! [`acquire`](AdaptiveLimiter::acquire), they wait in a queue. Up to a length of twice the
//! limit, the queue accepts every call; from there to three times the limit, a growing share is
//! rejected; beyond that, every call.
//!
//! A limit of one still admits one call at a time, which can be too many for a server that is close
//! to failure. A controller with a [`min_limit`](BaselineController::min_limit) below one also
//! pauses after each call.
//!
//! # Observability
//!
//! [`AdaptiveLimiter::snapshot`] returns the limit, the reason for it, and the last window. An
//! [observer](AdaptiveLimiterBuilder::observer) receives each new limit with its reason.
//! [`AdaptiveLimiter::learned`] returns the values to store across a restart.
//!
//! # Cancel safety
//!
//! A call that is dropped, or whose operation panics, releases its permit and counts as ignored. A
//! timeout *outside* the limiter drops the call, so the limiter ignores that call. Put the timeout
//! below the limiter, so that it counts as overload.
//!
//! # Panics
//!
//! When a controller panics, the panic unwinds through the call that closed the window. The limit
//! is unchanged, and the controller is called again with the next window.
//!
//! # Performance
//!
//! See [`Bulkhead`], [`PartitionedBulkhead`], [`AdaptiveLimiter`] and [`Throttle`].
//!
//! # Defaults
//!
//! | setting | default |
//! |---|---|
//! | bulkhead: [`max_concurrent`](BulkheadBuilder::max_concurrent) | 25 |
//! | bulkhead: [`max_queue`](BulkheadBuilder::max_queue) | 0 |
//! | bulkhead: [`max_wait`](BulkheadBuilder::max_wait) | 1 s, if there is a queue |
//! | bulkhead: [`lifo_after`](BulkheadBuilder::lifo_after) | 100 ms |
//! | bulkhead: [`codel`](BulkheadBuilder::codel) | off |
//! | partition: [`min_concurrent`](BulkheadPartitionBuilder::min_concurrent) | 0 |
//! | partition: [`max_concurrent`](BulkheadPartitionBuilder::max_concurrent) | the limit of the bulkhead |
//! | partition: [`max_queue`](BulkheadPartitionBuilder::max_queue) | `min_concurrent` |
//! | partition: [`lifo_after`](BulkheadPartitionBuilder::lifo_after) | 100 ms |
//! | partition: [`codel`](BulkheadPartitionBuilder::codel) | off |
//! | [`controller`](AdaptiveLimiterBuilder::controller) | [`BaselineController`] |
//! | [`initial_limit`](BaselineController::initial_limit) | 20 |
//! | [`min_limit`](BaselineController::min_limit), [`max_limit`](BaselineController::max_limit) | 1, 200 |
//! | [`max_healthy_latency`](BaselineController::max_healthy_latency) | none |
//! | [`max_wait`](AdaptiveLimiterBuilder::max_wait) | zero |
//! | [`queue_order`](AdaptiveLimiterBuilder::queue_order) | FIFO |
//! | [`queue_factors`](AdaptiveLimiterBuilder::queue_factors) | 2, 3 |
//! | prioritizer: [`update_interval`](PrioritizerBuilder::update_interval) | 500 ms |
//! | prioritizer: [`max_users`](PrioritizerBuilder::max_users) | 10,000 |
//! | prioritizer: [`usage_half_life`](PrioritizerBuilder::usage_half_life) | 10 s |
//! | processor load: [`max_usage`](CpuLoadBuilder::max_usage) | 0.8 |
//! | processor load: [`max_pressure`](CpuLoadBuilder::max_pressure) | none |
//! | processor load: [`interval`](CpuLoadBuilder::interval) | 500 ms |
//! | throttle: [`accept_multiplier`](ThrottleBuilder::accept_multiplier) | 2 |
//! | throttle: [`max_rejection_rate`](ThrottleBuilder::max_rejection_rate) | 0.9 |
//! | throttle: [`min_calls`](ThrottleBuilder::min_calls) | 10 |
//! | throttle: [`window_duration`](ThrottleBuilder::window_duration) | 2 min |
//! | throttle: [`probe_interval`](ThrottleBuilder::probe_interval) | 1 s |

mod adaptive;
mod bulkhead;
mod controller;
mod cpu;
mod meter;
mod partitions;
mod prioritizer;
mod queue;
pub mod simulator;
mod throttle;

pub use adaptive::{
    AdaptiveLimiter, AdaptiveLimiterAcquireFuture, AdaptiveLimiterBuilder, AdaptiveLimiterPermit,
    AdaptiveLimiterSnapshot, ClassifiedAdaptiveLimiter, OverloadOnTimeout,
    OwnedAdaptiveLimiterAcquireFuture, OwnedAdaptiveLimiterPermit,
};
pub use bulkhead::{
    Bulkhead, BulkheadAcquireFuture, BulkheadBuilder, BulkheadPermit, BulkheadPolicy,
    BulkheadSnapshot, KeyedBulkhead, KeyedBulkheadBuilder, KeyedBulkheadSnapshot,
    KeyedBulkheadView, OwnedBulkheadAcquireFuture, OwnedBulkheadPermit,
};
pub use controller::{
    AimdController, BaselineController, BbrController, Gradient2Controller, LearnedLimit,
    LimitController, LimitReason, LimitUpdate, LimitWindow, VegasController, WindowRule,
};
pub use cpu::{CpuLoad, CpuLoadBuilder, CpuLoadSnapshot};
pub use partitions::{
    BulkheadPartition, BulkheadPartitionAcquireFuture, BulkheadPartitionBuilder,
    BulkheadPartitionPermit, BulkheadPartitionSnapshot, OwnedBulkheadPartitionAcquireFuture,
    OwnedBulkheadPartitionPermit, PartitionedBulkhead, PartitionedBulkheadBuilder,
    PartitionedBulkheadSnapshot,
};
pub use prioritizer::{
    LimitSource, OwnedPrioritizerPermit, Prioritizer, PrioritizerBuilder, PrioritizerPermit,
    PrioritizerSnapshot,
};
pub use throttle::{
    ClassifiedThrottle, OwnedThrottlePermit, Throttle, ThrottleBuilder, ThrottlePermit,
    ThrottleSnapshot,
};
