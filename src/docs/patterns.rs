//! Counterparts of the patterns of Go, Java and .NET.
//!
//! # Go
//!
//! | in Go | here |
//! |---|---|
//! | `sync.Pool` | [`ObjectPool`]: also with a cache per thread, but bounded; the pool resets returned objects |
//! | the connection pool of `database/sql` | [`ResourcePool`]: for any client, with a time limit for each wait and a limit on concurrent connects |
//! | `make(chan T, n)` | [`channel`](crate::ring::channel()): for threads and tasks, with batches |
//! | `make(chan struct{}, n)` as a semaphore | [`Semaphore`]: in FIFO order, with weights, resizable |
//! | a buffered channel with worker goroutines | [`WorkerPool`] |
//! | `errgroup.Group`, `sync.WaitGroup` | [`WorkerPool::scope`], [`WorkerPool::map`] |
//! | `golang.org/x/time/rate` | [`RateLimiter`]: `Allow` is `try_acquire`, `Wait` is `acquire`, `Reserve` is `reserve` |
//! | `context.WithTimeout` | [`Timeout`]; the operation receives its deadline in [`Context`] |
//! | `cenkalti/backoff`, `avast/retry-go` | [`Retry`] with a [`Backoff`] |
//! | `sony/gobreaker`, `hystrix-go` | [`CircuitBreaker`] |
//! | `alibaba/sentinel-golang` | a [`Pipeline`] of breaker and limiters; [`KeyedRateLimiter`] for hot parameters |
//! | `uber-go/ratelimit` (leaky bucket) | [`RateLimiter`] with a burst of 1 |
//! | `Shopify/toxiproxy` | [`Chaos`](crate::chaos::Chaos): in the pipeline of the client, without a proxy |
//! | `time.After` in a `select` | the `_timeout` form of each waiting method |
//! | `golang.org/x/sync/singleflight` | [`Coalesce`](crate::coalesce::Coalesce) |
//!
//! The semaphore pattern:
//!
//! ```
//! use mainstay::Semaphore;
//!
//! // sem := make(chan struct{}, 10); sem <- struct{}{}; defer func() { <-sem }()
//! let semaphore = Semaphore::new(10);
//! let permit = semaphore.acquire_blocking()?;
//! drop(permit); // or at the end of the scope, also after a panic
//! # Ok::<(), mainstay::SemaphoreClosed>(())
//! ```
//!
//! Worker goroutines:
//!
//! ```
//! use mainstay::WorkerPool;
//!
//! // jobs := make(chan Job, 64); for i := 0; i < 4; i++ { go worker(jobs) }
//! let pool = WorkerPool::builder().workers(4).queue_capacity(64).build()?;
//! let squares: Result<Vec<u64>, _> = pool.map(0..100_u64, |n| n * n).collect();
//! assert_eq!(squares?[9], 81);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `rate.NewLimiter(100, 10)`:
//!
//! ```
//! use mainstay::{Quota, RateLimiter};
//!
//! let limiter = RateLimiter::new(Quota::per_second(100).burst(10))?;
//! if limiter.try_acquire().is_ok() { /* lim.Allow() */ }
//! # Ok::<(), mainstay::ConfigError>(())
//! ```
//!
//! # Java: resilience4j
//!
//! | resilience4j | here |
//! |---|---|
//! | `CircuitBreaker.decorateSupplier` | [`CircuitBreaker::call_blocking`], or a [`Pipeline`] |
//! | `slidingWindowType(COUNT_BASED)`, `slidingWindowSize` | [`count_window`](CircuitBreakerBuilder::count_window) |
//! | `slidingWindowType(TIME_BASED)` | [`time_window`](CircuitBreakerBuilder::time_window) |
//! | `minimumNumberOfCalls` | [`min_calls`](CircuitBreakerBuilder::min_calls) |
//! | `failureRateThreshold(50)` | [`failure_rate(0.5)`](CircuitBreakerBuilder::failure_rate) |
//! | `slowCallDurationThreshold`, `slowCallRateThreshold` | [`slow_calls`](CircuitBreakerBuilder::slow_calls) |
//! | `waitDurationInOpenState`, `waitIntervalFunctionInOpenState` | [`open_duration`](CircuitBreakerBuilder::open_duration) |
//! | `permittedNumberOfCallsInHalfOpenState` | [`half_open_calls`](CircuitBreakerBuilder::half_open_calls) |
//! | `maxWaitDurationInHalfOpenState` | [`probe_timeout`](CircuitBreakerBuilder::probe_timeout) |
//! | `recordException`, `ignoreException` | [`classified_by`](CircuitBreaker::classified_by) |
//! | `METRICS_ONLY`, `FORCED_OPEN`, `DISABLED` | [`CircuitBreakerMode`](crate::breaker::CircuitBreakerMode) |
//! | `RateLimiter` (`limitForPeriod`, `limitRefreshPeriod`, `timeoutDuration`) | [`RateLimiter`], which has no refresh boundary; [`max_wait`](RateLimiter::max_wait) |
//! | `SemaphoreBulkhead`, `ThreadPoolBulkhead` | [`Bulkhead`](crate::concurrency::Bulkhead), [`WorkerPool`] |
//! | `Retry`, `IntervalFunction` | [`Retry`], [`Backoff`] |
//! | `TimeLimiter` | [`Timeout`] |
//! | `Decorators.ofSupplier(…)` | [`Pipeline::builder`]: outermost policy first; with `Decorators`, innermost first |
//! | `EventPublisher` | [`Observer`](crate::event::Observer), `on_transition` |
//!
//! # .NET: Polly
//!
//! | Polly | here |
//! |---|---|
//! | `ResiliencePipelineBuilder` | [`Pipeline::builder`]: both begin with the outermost policy |
//! | `AddRetry`, `DelayBackoffType`, `UseJitter` | [`Retry`], [`Backoff`], [`Jitter`](crate::backoff::Jitter) |
//! | `AddCircuitBreaker` (`FailureRatio`, `SamplingDuration`, `MinimumThroughput`, `BreakDuration`) | [`CircuitBreaker`] (`failure_rate`, `time_window`, `min_calls`, `open_duration`) |
//! | `CircuitBreakerManualControl` | [`CircuitBreakerControl`](crate::breaker::CircuitBreakerControl) |
//! | `AddTimeout` | [`Timeout`] |
//! | `AddConcurrencyLimiter`, `AddRateLimiter` | [`Bulkhead`](crate::concurrency::Bulkhead), [`RateLimiter`] |
//! | `SlidingWindowRateLimiter`, `FixedWindowRateLimiter` | [`RuleRateLimiter`](crate::rate::RuleRateLimiter) |
//! | `AddChaosLatency`, `AddChaosFault`, `AddChaosOutcome`, `InjectionRate` | [`Chaos`](crate::chaos::Chaos): on for a limited time, repeatable from a seed |
//! | `ShouldHandle` | [`Retry::when`], [`CircuitBreaker::classified_by`] |
//! | `TimeProvider`, `FakeTimeProvider` | [`Clock`](crate::time::Clock), [`ManualClock`](crate::time::ManualClock) |
//!
//! # Rust
//!
//! | crate | here |
//! |---|---|
//! | `governor` | [`RateLimiter`], [`KeyedRateLimiter`]: with a FIFO queue, and a bound on keys |
//! | `backon`, `tokio-retry` | [`Retry`], [`Backoff`] |
//! | `failsafe`, `recloser` | [`CircuitBreaker`] |
//! | `crossbeam::queue::ArrayQueue` | [`Ring`](crate::ring::Ring), whose operations never wait for a stalled peer |
//! | `tokio::sync::Semaphore`, `async-lock` | [`Semaphore`] |
//! | `rayon`'s `ThreadPool`, `threadpool` | [`WorkerPool`], bounded |
//! | `tower::{timeout, retry, limit}` | a [`Pipeline`] as a layer |

#[cfg(doc)]
use crate::{
    backoff::Backoff,
    breaker::{CircuitBreaker, CircuitBreakerBuilder},
    object_pool::ObjectPool,
    pipeline::Pipeline,
    policy::Context,
    rate::{KeyedRateLimiter, RateLimiter},
    resource_pool::ResourcePool,
    retry::Retry,
    timeout::Timeout,
    wait::Semaphore,
    worker_pool::WorkerPool,
};
