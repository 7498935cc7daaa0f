//! Which primitive solves which problem.
//!
//! # Protect a call
//!
//! | problem | policy | cost | in a pipeline |
//! |---|---|---|---|
//! | a response may never arrive | [`Timeout`] | one clock reading | `.timeout(…)` |
//! | a call fails for a short time and succeeds when it is repeated | [`Retry`], if the operation may run twice | additional load on the dependency; put a breaker below it | `.retry(…)` |
//! | retries of many callers would overload a dependency that fails | [`Budget`](crate::budget::Budget), shared by its retries | two atomic operations; some retries are suppressed | a setting of the retry |
//! | a few calls take much longer than most, and the operation only reads | [`Hedge`](crate::hedge::Hedge) | up to 5 % more calls | `.hedge(…)` |
//! | the same, for many dependencies of different speeds | [`KeyedHedge`](crate::hedge::KeyedHedge) | a delay per dependency, about 16 kB each | `.hedge(hedges.hedge(&host)?)` |
//! | an older or simpler result is better than an error | [`Fallback`](crate::fallback::Fallback) | callers receive degraded results; put it outermost | `.fallback(…)` |
//! | the dependency is down or slow for seconds or minutes | [`CircuitBreaker`] | some calls that might have succeeded are rejected | `.breaker(…)` |
//! | the dependency refuses a part of the calls, for minutes | [`Throttle`](crate::concurrency::Throttle) | some calls that might have succeeded are rejected | `.throttle(…)` |
//! | one of many hosts is down | [`KeyedCircuitBreaker`] | a breaker per host | `.guard(hosts.key(&host))` |
//! | the dependency accepts, or you have paid for, a limited rate | [`RateLimiter`] | calls wait or are rejected | `.rate_limit(…)` |
//! | a slow dependency would use up the threads, connections or memory of the whole service | [`Bulkhead`](crate::concurrency::Bulkhead) | excess calls are rejected or wait | `.bulkhead(…)` |
//! | one tenant would use up the capacity of all | [`KeyedBulkhead`](crate::concurrency::KeyedBulkhead) | a bulkhead per tenant in use | `.guard(tenants.key(&tenant))` |
//! | several kinds of calls share one limit, and each needs a guaranteed part of it | [`PartitionedBulkhead`](crate::concurrency::PartitionedBulkhead) | a guaranteed call may wait for one borrowed permit | `.guard(bulkhead.partition("users")?)` |
//! | the capacity of the dependency, or of your own server, is limited and unknown | [`AdaptiveLimiter`](crate::concurrency::AdaptiveLimiter) | two clock readings; excess calls are rejected or wait | `.adaptive_limit(…)` |
//! | under overload, important calls must be served before others | [`Prioritizer`](crate::concurrency::Prioritizer), above a limiter | every call needs a priority, and a user for fairness among users | `.prioritizer(…)` |
//! | many callers ask for the same thing at the same time | [`Coalesce`](crate::coalesce::Coalesce) | callers share one result; it must be `Clone` | around a pipeline, not in it |
//! | one operation for many items costs little more than for one | [`Batcher`](crate::batch::Batcher) | an item waits up to one linger; the error of a batch is shared | around a pipeline, not in it |
//! | the same result is needed again, and may be some seconds or minutes old | [`Cached`](crate::cache::Cached) | results are as old as you allow; they must be `Clone` | around a pipeline, not in it |
//! | requests arrive whose callers have given up, or soon will | [`DeadlineGuard`](crate::deadline::DeadlineGuard) | one clock reading | `.guard(&deadlines)` |
//! | several rate limits apply to the same call | [`RateLimiterGroup`] | no waiting: a call is granted by all limiters or by none | `.guard(…)` |
//! | the response is a stream, and its permit must be held to the end of it | [`StreamGuard`](crate::policy::StreamGuard) around the policy | an allocation per call | `.guard(…)` |
//! | it is unknown whether all of this works | [`Chaos`](crate::chaos::Chaos), below the others, for the time of a drill | one load while it is off | `.chaos(…)` |
//! | calls are admitted by a condition of your own | a [`Guard`] that you implement | | `.guard(…)` |
//!
//! Start with two timeouts: one for a single attempt and one for the whole call. Without a timeout,
//! no other policy observes that a call hangs. Add a breaker as soon as callers wait for a
//! dependency. Add a retry last, and only where failures are transient and the operation may run
//! twice. The guide [`composing`](super::composing) explains the order.
//!
//! # Limit
//!
//! | problem | primitive |
//! |---|---|
//! | at most *n* operations per second | [`RateLimiter`] |
//! | at most *n* operations per second for each user, host or key | [`KeyedRateLimiter`] |
//! | the same, below a limit for all of them | [`RateLimiterGroup::with_keys`] |
//! | operations evenly spaced | [`RateLimiter`] with a burst of 1 |
//! | several quantities of a call, such as requests and tokens; a cost that is known later | [`DimensionedRateLimiter`](crate::rate::DimensionedRateLimiter) |
//! | at most *n* in any minute, exactly; 1,000 a day from midnight; a rate that rises after a pause | [`RuleRateLimiter`](crate::rate::RuleRateLimiter) |
//! | at most *n* operations at a time, served in order of arrival | [`Semaphore`] |
//!
//! # Run and reuse
//!
//! | problem | primitive |
//! |---|---|
//! | run blocking or CPU-bound work on a fixed number of threads | [`WorkerPool`] |
//! | reuse objects that are expensive to create: buffers, parsers, compression contexts | [`ObjectPool`] |
//! | share a limited number of connections, or of other resources that can break | [`ResourcePool`] |
//!
//! # Hand over
//!
//! | problem | primitive |
//! |---|---|
//! | a bounded queue between threads or tasks; senders and receivers wait | [`channel`](crate::ring::channel()) |
//! | a bounded queue whose operations return immediately | [`Ring`] |
//! | every item for each of many subscribers | [`broadcast`](crate::ring::broadcast()) |
//! | events for the subscribers of a tenant and topic | [`Bus`](crate::event_bus::Bus) |
//! | one value for one waiting thread or task | [`oneshot`](crate::wait::oneshot()) |
//!
//! # Time and tests
//!
//! | problem | primitive |
//! |---|---|
//! | delays between attempts that grow, with jitter | [`Backoff`] |
//! | failure rate and latency quantiles over a sliding window | [`Window`] |
//! | tests of timing rules, exact and without sleeping | [`ManualClock`] |
//!
//! # Integrate
//!
//! | you use | module |
//! |---|---|
//! | axum, hyper, tonic or other Tower services | `tower` (feature `tower`): a pipeline is a layer |
//! | a metrics recorder or a `tracing` subscriber | `telemetry` (features `metrics`, `tracing`) |

#[cfg(doc)]
use crate::{
    backoff::Backoff,
    breaker::{CircuitBreaker, KeyedCircuitBreaker},
    object_pool::ObjectPool,
    policy::Guard,
    rate::{KeyedRateLimiter, RateLimiter, RateLimiterGroup},
    resource_pool::ResourcePool,
    retry::Retry,
    ring::Ring,
    time::ManualClock,
    timeout::Timeout,
    wait::Semaphore,
    window::Window,
    worker_pool::WorkerPool,
};
