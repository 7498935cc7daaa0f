//! A panic in user code leaves every type usable, so their values may cross `catch_unwind`.
#![cfg(not(mainstay_loom))]

use mainstay::backoff::{Backoff, Jitter};
use mainstay::error::{ConfigError, Error, Rejection, TimedOut};
use mainstay::event::{Event, EventValue, Subscription};
use mainstay::object_pool::{
    ObjectPool, ObjectPoolSnapshot, OwnedPooledObject, PooledObject, TakenObject,
};
use mainstay::outcome::{FailOnError, Outcome, TimedClassifier};
use mainstay::pipeline::{BoxPipeline, EmptyStack, Lint, Pipeline, PipelineBuilder, StandardStack};
use mainstay::policy::{Context, Facts};
use mainstay::retry::{Retry, RetryBuilder, RetryDecision, RetryOnFailure, RetryWhen};
use mainstay::timeout::Timeout;
use mainstay::window::{
    LatencyHistogram, LatencySummary, Sample, Window, WindowCounts, WindowGeneration,
};
use std::panic::{RefUnwindSafe, UnwindSafe};

fn is_unwind_safe<T: UnwindSafe + RefUnwindSafe>() {}

#[test]
fn values_may_cross_catch_unwind() {
    is_unwind_safe::<mainstay::batch::Batcher<u8, u8, ()>>();
    is_unwind_safe::<mainstay::batch::BatcherBuilder<u8, u8, ()>>();
    is_unwind_safe::<mainstay::breaker::CircuitBreaker>();
    is_unwind_safe::<mainstay::breaker::CircuitBreakerBuilder>();
    is_unwind_safe::<mainstay::breaker::CircuitBreakerControl>();
    is_unwind_safe::<mainstay::breaker::CircuitBreakerPermit<'static>>();
    is_unwind_safe::<mainstay::breaker::CircuitBreakerSnapshot>();
    is_unwind_safe::<mainstay::breaker::ClassifiedCircuitBreaker<FailOnError>>();
    is_unwind_safe::<mainstay::breaker::KeyedCircuitBreaker<String>>();
    is_unwind_safe::<mainstay::breaker::OwnedCircuitBreakerPermit>();
    is_unwind_safe::<mainstay::budget::Budget>();
    is_unwind_safe::<mainstay::budget::KeyedBudget<String>>();
    is_unwind_safe::<mainstay::cache::Cached<String, u8, ()>>();
    is_unwind_safe::<mainstay::cache::CachedBuilder<String, u8, ()>>();
    is_unwind_safe::<mainstay::chaos::Chaos>();
    is_unwind_safe::<mainstay::chaos::ChaosBuilder>();
    is_unwind_safe::<mainstay::chaos::ChaosSwitch>();
    is_unwind_safe::<mainstay::chaos::Fault>();
    is_unwind_safe::<mainstay::fallback::Fallback>();
    is_unwind_safe::<mainstay::hedge::Hedge>();
    is_unwind_safe::<mainstay::hedge::HedgeBuilder>();
    is_unwind_safe::<mainstay::concurrency::Bulkhead>();
    is_unwind_safe::<mainstay::concurrency::BulkheadPolicy>();
    is_unwind_safe::<mainstay::concurrency::BulkheadPermit<'static>>();
    is_unwind_safe::<mainstay::concurrency::OwnedBulkheadPermit>();
    is_unwind_safe::<mainstay::concurrency::BulkheadSnapshot>();
    is_unwind_safe::<mainstay::concurrency::BulkheadPartition>();
    is_unwind_safe::<mainstay::concurrency::OwnedBulkheadPartitionPermit>();
    is_unwind_safe::<mainstay::concurrency::PartitionedBulkhead>();
    is_unwind_safe::<mainstay::concurrency::KeyedBulkhead<String>>();
    is_unwind_safe::<mainstay::rate::RateLimiter>();
    is_unwind_safe::<mainstay::rate::RateLimiterGroup>();
    is_unwind_safe::<mainstay::rate::RateLimitPolicy>();
    is_unwind_safe::<mainstay::rate::RuleRateLimiter>();
    is_unwind_safe::<mainstay::rate::RuleRateLimiterBuilder>();
    is_unwind_safe::<mainstay::rate::DimensionedRateLimiter>();
    is_unwind_safe::<mainstay::rate::KeyedRateLimiterGroup<String>>();
    is_unwind_safe::<mainstay::rate::KeyedRateLimiter<String>>();
    is_unwind_safe::<mainstay::ring::Ring<u8>>();
    is_unwind_safe::<mainstay::ring::Sender<u8>>();
    is_unwind_safe::<mainstay::ring::Receiver<u8>>();
    is_unwind_safe::<mainstay::ring::BroadcastSender<u8>>();
    is_unwind_safe::<mainstay::ring::BroadcastSubscriber<u8>>();
    is_unwind_safe::<mainstay::event_bus::Bus<String, u8>>();
    is_unwind_safe::<mainstay::event_bus::BusSubscription<String, u8>>();
    is_unwind_safe::<mainstay::time::Clock>();
    is_unwind_safe::<mainstay::time::ManualClock>();
    is_unwind_safe::<mainstay::wait::Semaphore>();
    is_unwind_safe::<mainstay::wait::SemaphorePermit<'static>>();
    is_unwind_safe::<mainstay::wait::OwnedSemaphorePermit>();
    is_unwind_safe::<mainstay::wait::OneshotSender<u8>>();
    is_unwind_safe::<mainstay::wait::OneshotReceiver<u8>>();
    is_unwind_safe::<mainstay::worker_pool::WorkerPool>();
    is_unwind_safe::<mainstay::worker_pool::WorkerPoolSubmitter<'static>>();
    is_unwind_safe::<mainstay::worker_pool::JobHandle<u8>>();
    is_unwind_safe::<Backoff>();
    is_unwind_safe::<Jitter>();
    is_unwind_safe::<ConfigError>();
    is_unwind_safe::<Error<String>>();
    is_unwind_safe::<Rejection>();
    is_unwind_safe::<TimedOut>();
    is_unwind_safe::<Event<'static>>();
    is_unwind_safe::<EventValue>();
    is_unwind_safe::<Subscription>();
    is_unwind_safe::<ObjectPool<Vec<u8>>>();
    is_unwind_safe::<ObjectPoolSnapshot>();
    is_unwind_safe::<PooledObject<'static, Vec<u8>>>();
    is_unwind_safe::<OwnedPooledObject<Vec<u8>>>();
    is_unwind_safe::<TakenObject<Vec<u8>>>();
    is_unwind_safe::<Outcome>();
    is_unwind_safe::<Pipeline<StandardStack<RetryOnFailure, FailOnError>>>();
    is_unwind_safe::<BoxPipeline<u8, ()>>();
    is_unwind_safe::<PipelineBuilder<EmptyStack>>();
    is_unwind_safe::<Lint>();
    is_unwind_safe::<Context>();
    is_unwind_safe::<Facts>();
    is_unwind_safe::<Retry>();
    is_unwind_safe::<RetryBuilder>();
    is_unwind_safe::<RetryDecision>();
    is_unwind_safe::<RetryWhen<RetryOnFailure>>();
    is_unwind_safe::<Timeout>();
    is_unwind_safe::<FailOnError>();
    is_unwind_safe::<TimedClassifier<fn()>>();
    is_unwind_safe::<LatencyHistogram>();
    is_unwind_safe::<LatencySummary>();
    is_unwind_safe::<Sample>();
    is_unwind_safe::<Window>();
    is_unwind_safe::<WindowCounts>();
    is_unwind_safe::<WindowGeneration>();
}

#[cfg(feature = "tower")]
#[test]
fn a_pipeline_around_a_service_may_cross_catch_unwind() {
    use tower::{Layer, util::ServiceFn};
    fn layered<L: Layer<ServiceFn<fn()>>>()
    where
        L::Service: UnwindSafe + RefUnwindSafe,
    {
    }
    layered::<Pipeline<StandardStack<RetryOnFailure, FailOnError>>>();
}

#[cfg(feature = "metrics")]
#[test]
fn a_metrics_observer_may_cross_catch_unwind() {
    is_unwind_safe::<mainstay::telemetry::MetricsObserver>();
}

#[cfg(feature = "tracing")]
#[test]
fn a_tracing_observer_may_cross_catch_unwind() {
    is_unwind_safe::<mainstay::telemetry::TracingObserver>();
}
