//! Resilience primitives for services: what a service puts between itself and a dependency that
//! can be slow, failing or overloaded.
//!
//! Each module works alone; a [`Pipeline`] composes policies around a call. No runtime is required:
//! futures run on any executor, and every operation has a blocking form.
//!
//! # Examples
//!
//! ```
//! use mainstay::{Budget, CircuitBreaker, Error, Pipeline, Retry};
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), mainstay::ConfigError> {
//! let breaker = CircuitBreaker::builder().name("search").build()?;
//! let retry =
//!     Retry::builder().assume_idempotent().budget(Budget::default()).build()?;
//! let pipeline = Pipeline::builder() // outermost first
//!     .timeout(Duration::from_secs(2)) // the whole call
//!     .retry(retry) // repeats everything below it
//!     .breaker(&breaker) // shared: clones are the same breaker
//!     .timeout(Duration::from_millis(300)) // one attempt
//!     .build();
//!
//! # async fn search() -> Result<&'static str, std::io::Error> { Ok("found") }
//! # futures::executor::block_on(async {
//! match pipeline.call(|| async { search().await }).await {
//!     Ok(found) => println!("{found}"),
//!     Err(Error::Operation(error)) => println!("failed: {error}"),
//!     Err(Error::Timeout(timed_out)) => println!("{timed_out}"),
//!     Err(Error::Rejected(rejection)) => println!("{rejection}"),
//!     Err(error) => println!("{error}"),
//! }
//! # });
//! # Ok(())
//! # }
//! ```
//!
//! # Modules
//!
//! Protect a call:
//! - [`breaker`] rejects calls while the dependency fails, and probes it.
//! - [`retry`] repeats an operation after a failure.
//! - [`hedge`] runs a slow operation a second time and returns the first success.
//! - [`budget`] bounds the load that retries and hedges add.
//! - [`timeout`] bounds the time of an operation.
//! - [`deadline`] passes deadlines between services, and rejects calls that are too late.
//! - [`fallback`] returns a result in place of an error.
//! - [`pipeline`] composes policies around a call and checks their order.
//! - [`batch`] collects items of many callers and sends them in batches.
//! - [`coalesce`] lets concurrent calls with the same key share one execution.
//! - [`cache`] stores results, refreshes them, and uses old ones in place of errors.
//! - [`chaos`] injects faults, to test all of these.
//! - [`policy`] defines the three kinds of policy, for policies of your own.
//!
//! Limit:
//! - [`rate`] limits operations per second, for one key or many.
//! - [`wait`] limits operations at a time ([`Semaphore`]).
//! - [`concurrency`] limits calls at a time to a fixed number ([`Bulkhead`], one for each key), or
//!   learns how many the dependency handles well.
//!
//! Run and reuse:
//! - [`worker_pool`] runs work on a bounded set of threads.
//! - [`object_pool`] reuses objects that are expensive to create.
//! - [`resource_pool`] reuses connections and other resources that can break.
//!
//! Hand over:
//! - [`ring`] passes items between threads and tasks: a lock-free queue, a channel and a broadcast.
//! - [`event_bus`] delivers events to the subscribers of a tenant and topic.
//! - [`wait`] hands one value to a waiter ([`oneshot()`]).
//!
//! Time, figures and tests:
//! - [`time`] reads the time and sleeps, on real and manual clocks.
//! - [`backoff`] computes delays that grow, with jitter; [`random`] seeds it.
//! - [`window`] counts outcomes and latencies over a sliding window.
//! - [`keyed`] explains bounded state for each of many keys.
//!
//! Integrate:
//! - [`error`], [`outcome`] and [`event`] report results in one vocabulary.
//! - `tower` turns pipelines into Tower layers (feature `tower`).
//! - `telemetry` exports events (features `metrics`, `tracing`).
//!
//! The [guides](docs) explain [choosing](docs::choosing), [composing](docs::composing),
//! [cancellation](docs::cancellation) and [performance](docs::performance), list the counterparts of
//! [patterns](docs::patterns) of Go, Java and .NET, and describe the [internals](docs::internals).
//!
//! # Features
//!
//! No feature is enabled by default, and none changes the behavior of code that does not ask for
//! it.
//!
//! | feature | adds |
//! |---|---|
//! | `tokio` | `Clock::tokio()`: tokio's clock and timer, including its paused clock |
//! | `quanta` | `Clock::quanta()`: time from the processor's cycle counter |
//! | `quick_cache` | `quick_cache::sync::Cache` as the store of a [`Cached`] operation |
//! | `tower` | pipelines as Tower layers |
//! | `metrics` | `MetricsObserver`: events as metrics of the `metrics` crate |
//! | `tracing` | `TracingObserver`: events of the `tracing` crate |
//! | `full` | all of them |
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod backoff;
pub mod batch;
pub mod breaker;
pub mod budget;
pub mod cache;
pub mod chaos;
pub mod coalesce;
mod codel;
pub mod concurrency;
pub mod deadline;
pub mod docs;
pub mod error;
pub mod event;
pub mod event_bus;
pub mod fallback;
pub mod hedge;
pub mod keyed;
pub mod object_pool;
pub mod outcome;
pub mod pipeline;
pub mod policy;
pub mod random;
pub mod rate;
pub mod resource_pool;
pub mod retry;
pub mod ring;
mod share;
mod singleflight;
mod sync;
#[cfg(any(feature = "metrics", feature = "tracing"))]
#[cfg_attr(docsrs, doc(cfg(any(feature = "metrics", feature = "tracing"))))]
pub mod telemetry;
pub mod time;
pub mod timeout;
#[cfg(feature = "tower")]
#[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
pub mod tower;
pub mod wait;
pub mod window;
pub mod worker_pool;

// Explicit names, so that a collision between two primitives does not compile.
pub use backoff::{Backoff, Jitter};
pub use batch::{
    Batch, BatchOverflowRule, BatchResults, Batcher, BatcherBuilder, BatcherDrainReport,
    BatcherSnapshot,
};
pub use breaker::{
    CallClass, CircuitBreaker, CircuitBreakerBuilder, CircuitBreakerCallFuture,
    CircuitBreakerControl, CircuitBreakerMode, CircuitBreakerPermit, CircuitBreakerSnapshot,
    CircuitBreakerState, CircuitBreakerTransition, ClassifiedCircuitBreaker, KeyedCircuitBreaker,
    KeyedCircuitBreakerBuilder, KeyedCircuitBreakerSnapshot, KeyedCircuitBreakerTotals,
    KeyedCircuitBreakerView, OwnedCircuitBreakerPermit, TransitionCause, TripStats,
};
pub use budget::{
    Budget, BudgetBuilder, BudgetCall, BudgetExhausted, BudgetPermit, BudgetSnapshot, KeyedBudget,
    KeyedBudgetBuilder, KeyedBudgetSnapshot,
};
pub use cache::{CacheEntry, CacheStore, Cached, CachedBuilder, CachedSnapshot, SingleValueStore};
pub use chaos::{
    Chaos, ChaosAdmitFuture, ChaosBuilder, ChaosError, ChaosFuture, ChaosInjection, ChaosResult,
    ChaosSnapshot, ChaosSwitch, ChaosWith, Fault,
};
pub use coalesce::{Coalesce, CoalesceBuilder, CoalesceSnapshot};
pub use concurrency::{
    AdaptiveLimiter, AdaptiveLimiterAcquireFuture, AdaptiveLimiterBuilder, AdaptiveLimiterPermit,
    AdaptiveLimiterSnapshot, BaselineController, Bulkhead, BulkheadAcquireFuture, BulkheadBuilder,
    BulkheadPartition, BulkheadPartitionAcquireFuture, BulkheadPartitionBuilder,
    BulkheadPartitionPermit, BulkheadPartitionSnapshot, BulkheadPermit, BulkheadPolicy,
    BulkheadSnapshot, ClassifiedAdaptiveLimiter, ClassifiedThrottle, CpuLoad, CpuLoadBuilder,
    CpuLoadSnapshot, KeyedBulkhead, KeyedBulkheadBuilder, KeyedBulkheadSnapshot, KeyedBulkheadView,
    LimitController, LimitSource, OverloadOnTimeout, OwnedAdaptiveLimiterAcquireFuture,
    OwnedAdaptiveLimiterPermit, OwnedBulkheadAcquireFuture, OwnedBulkheadPartitionAcquireFuture,
    OwnedBulkheadPartitionPermit, OwnedBulkheadPermit, OwnedPrioritizerPermit, OwnedThrottlePermit,
    PartitionedBulkhead, PartitionedBulkheadBuilder, PartitionedBulkheadSnapshot, Prioritizer,
    PrioritizerBuilder, PrioritizerPermit, PrioritizerSnapshot, Throttle, ThrottleBuilder,
    ThrottlePermit, ThrottleSnapshot,
};
pub use deadline::{DeadlineGuard, DeadlineGuardBuilder, DeadlineGuardSnapshot};
pub use error::{ConfigError, Error, OperationResult, Reason, Rejection, TimedOut};
pub use event::{Event, EventValue, Observer, Subscription};
pub use event_bus::{Bus, BusBuilder, BusEvent, BusHandlerReport, BusSnapshot, BusSubscription};
pub use fallback::{
    Fallback, FallbackBuilder, FallbackFuture, FallbackHandler, FallbackOperation,
    FallbackOperationFuture, FallbackSnapshot, FallbackTo, FallbackToOperation, FallbackValue,
    FallbackWhen,
};
pub use hedge::{
    ClassifiedHedge, Hedge, HedgeBuilder, HedgeFuture, HedgeSnapshot, KeyedHedge,
    KeyedHedgeBuilder, KeyedHedgeSnapshot,
};
pub use keyed::KeyOverflowRule;
pub use object_pool::{
    ObjectPool, ObjectPoolBuilder, ObjectPoolSnapshot, OwnedPooledObject, PooledObject, Recycle,
    TakenObject,
};
pub use outcome::{Classify, FailOnError, Outcome, TimedClassifier};
pub use pipeline::{BoxPipeline, Lint, LintRule, Pipeline, PipelineBuilder};
pub use policy::{Caller, Facts, Policy, Priority, PriorityClass};
pub use random::Random;
pub use rate::{
    CalendarPeriod, Denied, DimensionedGrant, DimensionedRateLimiter,
    DimensionedRateLimiterBuilder, Grant, KeyedRateLimitPolicy, KeyedRateLimiter,
    KeyedRateLimiterBuilder, KeyedRateLimiterGroup, KeyedRateLimiterGroupPolicy,
    KeyedRateLimiterSnapshot, OwnedKeyedRateLimitPolicy, OwnedRateLimiterAcquireFuture, Quota,
    RateLimitPolicy, RateLimitStatus, RateLimiter, RateLimiterAcquireFuture, RateLimiterBuilder,
    RateLimiterGroup, RateLimiterSnapshot, RateRule, Reservation, RuleRateLimitPolicy,
    RuleRateLimiter, RuleRateLimiterBuilder, RuleRateLimiterSnapshot,
};
pub use resource_pool::{
    AcquireTimedOut, BlockingResourceManager, CreationError, FromBlocking, PooledResource,
    RecycleDecision, ResourceCloseCounts, ResourceCloseReason, ResourceManager, ResourcePool,
    ResourcePoolAcquireFuture, ResourcePoolBuilder, ResourcePoolDrainReport, ResourcePoolError,
    ResourcePoolMaintenanceFuture, ResourcePoolSettings, ResourcePoolSnapshot, ReuseOrder,
};
pub use retry::{
    Retry, RetryAttempt, RetryAttemptRule, RetryBuilder, RetryClassified, RetryDecision,
    RetryFuture, RetryOnFailure, RetryRule, RetrySnapshot, RetryWhen,
};
pub use ring::{
    BatchSource, BroadcastClosedFuture, BroadcastMissed, BroadcastOverflow,
    BroadcastRecvBatchFuture, BroadcastRecvError, BroadcastRecvFuture, BroadcastRecvTimeoutError,
    BroadcastRecvTimeoutFuture, BroadcastSendFuture, BroadcastSendTimeoutFuture, BroadcastSender,
    BroadcastStart, BroadcastStream, BroadcastSubscriber, BroadcastTryRecvError, ForcePushError,
    PopError, PushError, Receiver, ReceiverIntoIter, ReceiverIter, ReceiverStream, RecvBatchFuture,
    RecvError, RecvFuture, RecvTimeoutError, RecvTimeoutFuture, Ring, RingDrain, SendBatchFuture,
    SendError, SendFuture, SendTimeoutError, SendTimeoutFuture, Sender, SenderSink, broadcast,
    channel, try_broadcast, try_channel,
};
#[cfg(feature = "metrics")]
#[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
pub use telemetry::MetricsObserver;
#[cfg(feature = "tracing")]
#[cfg_attr(docsrs, doc(cfg(feature = "tracing")))]
pub use telemetry::TracingObserver;
pub use time::{Clock, Deadline, ManualClock, Sleep, TimeSource};
pub use timeout::Timeout;
pub use wait::{
    OneshotClosed, OneshotReceiver, OneshotSender, OwnedSemaphoreAcquireFuture,
    OwnedSemaphorePermit, QueueOrder, Semaphore, SemaphoreAcquireFuture, SemaphoreClosed,
    SemaphoreError, SemaphorePermit, oneshot,
};
pub use window::{
    LatencyHistogram, LatencyQuantiles, LatencySummary, Sample, Window, WindowCounts,
    WindowGeneration,
};
pub use worker_pool::{
    CallFuture, JobError, JobHandle, JobPanic, JobPriority, OverflowRule, QueuedJob, SpawnFuture,
    SubmitError, SubmitFuture, WorkerCount, WorkerPool, WorkerPoolBuilder, WorkerPoolMap,
    WorkerPoolScope, WorkerPoolShutdown, WorkerPoolShutdownReport, WorkerPoolSnapshot,
    WorkerPoolSubmitter,
};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
