//! The grammar of method names: each primitive has the same forms of each verb.
//!
//! | form | meaning |
//! |---|---|
//! | `try_x` | returns immediately |
//! | `x` | returns a future |
//! | `x_timeout` | returns a future with a time limit |
//! | `x_blocking` | blocks the thread |
//! | `x_blocking_timeout` | blocks the thread for a limited time |
//!
//! Suffixes follow the verb in the order `_n`, `_owned`, `_with` or `_once_with`, `_blocking`,
//! `_timeout`. A missing form does not compile.
#![cfg(not(mainstay_loom))]

use mainstay::batch::Batcher;
use mainstay::breaker::{CircuitBreaker, ClassifiedCircuitBreaker};
use mainstay::budget::{Budget, KeyedBudget};
use mainstay::cache::Cached;
use mainstay::chaos::{Chaos, ChaosError, ChaosInjection, ChaosWith};
use mainstay::coalesce::Coalesce;
use mainstay::concurrency::{
    Bulkhead, BulkheadPartition, BulkheadPolicy, CpuLoad, KeyedBulkhead, PartitionedBulkhead,
    Prioritizer,
};
use mainstay::deadline::DeadlineGuard;
use mainstay::event_bus::{Bus, BusSubscription};
use mainstay::fallback::{Fallback, FallbackTo, FallbackValue};
use mainstay::hedge::{Hedge, KeyedHedge};
use mainstay::object_pool::ObjectPool;
use mainstay::outcome::FailOnError;
use mainstay::pipeline::{BoxPipeline, GuardLayer, Pipeline};
use mainstay::policy::Context;
use mainstay::rate::{
    DimensionedRateLimiter, KeyedRateLimitPolicy, KeyedRateLimiterGroup, RateLimiter,
    RateLimiterGroup, RuleRateLimiter,
};
use mainstay::resource_pool::{BlockingResourceManager, FromBlocking, ResourcePool};
use mainstay::retry::{Retry, RetryOnFailure, RetryWhen};
use mainstay::ring::{BroadcastSender, BroadcastSubscriber, Receiver, Ring, Sender};
use mainstay::timeout::Timeout;
use mainstay::wait::Semaphore;
use mainstay::worker_pool::{WorkerPool, WorkerPoolSubmitter};
use std::future::ready;
use std::time::Duration;

/// A manager, for the type of its pool.
struct Numbers;

impl BlockingResourceManager for Numbers {
    type Resource = u8;
    type Error = &'static str;

    fn create(&self) -> Result<u8, &'static str> {
        Ok(1)
    }
}

/// Asserts that a type has the methods.
macro_rules! methods {
    ($($Type:ty: $($method:ident),+;)+) => {$($( let _ = <$Type>::$method; )+)+};
}

#[test]
fn waiting_verbs_have_all_five_forms() {
    methods! {
        Semaphore: try_acquire, acquire, acquire_timeout, acquire_blocking, acquire_blocking_timeout;
        Semaphore: try_acquire_n, acquire_n, acquire_n_timeout, acquire_n_blocking,
            acquire_n_blocking_timeout;
        Semaphore: try_acquire_owned, acquire_owned, acquire_owned_timeout, acquire_owned_blocking,
            acquire_owned_blocking_timeout;
        Semaphore: try_acquire_n_owned, acquire_n_owned, acquire_n_owned_timeout,
            acquire_n_owned_blocking, acquire_n_owned_blocking_timeout;
        Bulkhead: try_acquire, acquire, acquire_timeout, acquire_blocking, acquire_blocking_timeout;
        Bulkhead: try_acquire_owned, acquire_owned, acquire_owned_timeout, acquire_owned_blocking,
            acquire_owned_blocking_timeout;
        BulkheadPolicy: try_acquire, acquire, acquire_timeout, acquire_blocking,
            acquire_blocking_timeout;
        BulkheadPolicy: try_acquire_owned, acquire_owned, acquire_owned_timeout,
            acquire_owned_blocking, acquire_owned_blocking_timeout;
        BulkheadPartition: try_acquire, acquire, acquire_timeout, acquire_blocking,
            acquire_blocking_timeout;
        BulkheadPartition: try_acquire_owned, acquire_owned, acquire_owned_timeout,
            acquire_owned_blocking, acquire_owned_blocking_timeout;
        RateLimiter: try_acquire, acquire, acquire_timeout, acquire_blocking,
            acquire_blocking_timeout;
        RateLimiter: try_acquire_n, acquire_n, acquire_n_timeout, acquire_n_blocking,
            acquire_n_blocking_timeout;
        RuleRateLimiter: try_acquire, acquire, acquire_timeout, acquire_blocking,
            acquire_blocking_timeout;
        RuleRateLimiter: try_acquire_n, acquire_n, acquire_n_timeout, acquire_n_blocking,
            acquire_n_blocking_timeout;
        DimensionedRateLimiter: try_acquire, acquire, acquire_timeout, acquire_blocking,
            acquire_blocking_timeout;
        KeyedRateLimitPolicy<'_, u8, u8>: try_acquire, acquire, acquire_timeout, acquire_blocking,
            acquire_blocking_timeout;
        ResourcePool<FromBlocking<Numbers>>: try_acquire, acquire, acquire_timeout, acquire_blocking,
            acquire_blocking_timeout;
        Sender<u8>: try_send, send, send_timeout, send_blocking, send_blocking_timeout;
        Receiver<u8>: try_recv, recv, recv_timeout, recv_blocking, recv_blocking_timeout;
        BroadcastSender<u8>: try_send, send, send_timeout, send_blocking, send_blocking_timeout;
        BroadcastSubscriber<u8>: try_recv, recv, recv_timeout, recv_blocking,
            recv_blocking_timeout;
        BusSubscription<u8, u8>: try_recv, recv, recv_timeout, recv_blocking,
            recv_blocking_timeout;
    }
}

#[test]
fn verbs_that_never_wait_begin_with_try() {
    methods! {
        Budget: try_acquire, try_acquire_n;
        CircuitBreaker: try_acquire, try_acquire_owned;
        RateLimiterGroup: try_acquire, try_acquire_n;
        Ring<u8>: try_push, try_pop;
    }
}

#[test]
fn state_is_read_and_changed_by_the_same_names() {
    methods! {
        CircuitBreaker: name, snapshot, reconfigure, reset;
        Budget: name, snapshot, reconfigure;
        KeyedBudget<u8>: name, snapshot, remove;
        Chaos: name, snapshot;
        Hedge: name, snapshot, reconfigure;
        KeyedHedge<u8>: name, snapshot, remove;
        Fallback: name, snapshot;
        Retry: name, snapshot;
        RateLimiter: name, snapshot, reconfigure, refund;
        RuleRateLimiter: name, snapshot;
        Bulkhead: name, snapshot, reconfigure, close, is_closed, available;
        KeyedBulkhead<u8>: name, snapshot, reconfigure;
        CpuLoad: snapshot;
        PartitionedBulkhead: name, snapshot, reconfigure, close, is_closed;
        BulkheadPartition: name, snapshot;
        Prioritizer: name, snapshot, reconfigure;
        Coalesce<u8, u8, ()>: name, snapshot;
        Cached<u8, u8, ()>: name, snapshot, remove;
        Batcher<u8, u8, ()>: name, snapshot, close, is_closed;
        DeadlineGuard: name, snapshot, try_acquire;
        ObjectPool<u8>: snapshot;
        ResourcePool<FromBlocking<Numbers>>: name, snapshot, reconfigure, close, is_closed;
        Semaphore: close, is_closed, available;
        Ring<u8>: len, capacity, is_empty;
        BroadcastSender<u8>: close, is_closed, closed, capacity;
        BroadcastSubscriber<u8>: is_closed, closed, len, capacity;
        Bus<u8, u8>: name, snapshot, close, is_closed;
        Sender<u8>: close, is_closed, len, capacity;
        Receiver<u8>: close, is_closed, len, capacity;
        WorkerPool: snapshot;
    }
}

/// Takes one form of a verb. The calls are compiled, but never run: a generic method cannot be
/// named without its types.
fn form<T>(_: T) {}

fn compiles<F>(_: F) {}

#[test]
fn a_keyed_bulkhead_has_all_five_forms() {
    compiles(|bulkheads: &KeyedBulkhead<u8>| {
        let time = Duration::ZERO;
        form(bulkheads.try_acquire(&1));
        form(bulkheads.acquire(&1));
        form(bulkheads.acquire_timeout(&1, time));
        form(bulkheads.acquire_blocking(&1));
        form(bulkheads.acquire_blocking_timeout(&1, time));
        form(bulkheads.call(&1, || ready(Ok::<u8, ()>(1))));
        form(bulkheads.call_blocking(&1, || Ok::<u8, ()>(1)));
    });
}

#[test]
fn a_group_of_limiters_with_keys_never_waits() {
    compiles(|group: &KeyedRateLimiterGroup<u8>| {
        form(group.try_acquire(&1));
        form(group.try_acquire_n(&1, 2));
    });
}

#[test]
fn a_coalesced_call_has_all_four_forms() {
    compiles(|group: &Coalesce<u8, u8, ()>| {
        let time = Duration::ZERO;
        form(group.call(&1, || ready(Ok(1))));
        form(group.call_timeout(&1, || ready(Ok(1)), time));
        form(group.call_blocking(&1, || Ok(1)));
        form(group.call_blocking_timeout(&1, || Ok(1), time));
        form(group.remove(&1));
    });
}

#[test]
fn a_batched_call_has_all_four_forms() {
    compiles(|batcher: &Batcher<u8, u8, ()>| {
        let time = Duration::ZERO;
        form(batcher.call(1));
        form(batcher.call_timeout(1, time));
        form(batcher.call_blocking(1));
        form(batcher.call_blocking_timeout(1, time));
        form(batcher.flush());
        batcher.flush_blocking();
        form(batcher.run());
        batcher.run_blocking();
        form(batcher.drain_timeout(time));
        form(batcher.drain_blocking_timeout(time));
    });
}

#[test]
fn a_cached_call_has_all_four_forms() {
    compiles(|cache: &Cached<u8, u8, ()>| {
        let time = Duration::ZERO;
        form(cache.call(&1, || ready(Ok::<u8, ()>(1))));
        form(cache.call_timeout(&1, || ready(Ok::<u8, ()>(1)), time));
        form(cache.call_blocking(&1, || Ok::<u8, ()>(1)));
        form(cache.call_blocking_timeout(&1, || Ok::<u8, ()>(1), time));
    });
}

#[test]
fn work_is_submitted_in_all_five_forms() {
    compiles(|pool: &WorkerPoolSubmitter| {
        let time = Duration::ZERO;
        form(pool.try_submit(|| ()));
        form(pool.submit(|| ()));
        form(pool.submit_timeout(|| (), time));
        form(pool.submit_blocking(|| ()));
        form(pool.submit_blocking_timeout(|| (), time));

        form(pool.try_spawn(|| 1));
        form(pool.spawn(|| 1));
        form(pool.spawn_timeout(|| 1, time));
        form(pool.spawn_blocking(|| 1));
        form(pool.spawn_blocking_timeout(|| 1, time));
    });
}

/// Asserts that a policy around an operation has the forms of `call`.
macro_rules! calls {
    (plain: $policy:expr) => {{
        form($policy.call(|| ready(Ok::<u8, ()>(1))));
    }};
    (blocking: $policy:expr) => {{
        calls!(plain: $policy);
        form($policy.call_blocking(|| Ok::<u8, ()>(1)));
    }};
    (with: $policy:expr) => {{
        calls!(blocking: $policy);
        form($policy.call_with(|_: Context| ready(Ok::<u8, ()>(1))));
        form($policy.call_with_blocking(|_: Context| Ok::<u8, ()>(1)));
    }};
    (once: $policy:expr) => {{
        calls!(with: $policy);
        let owned = || vec![1_u8];
        let (a, b, c, d) = (owned(), owned(), owned(), owned());
        form($policy.call_once(move || async move { Ok::<_, ()>(a) }));
        form($policy.call_once_with(move |_: Context| async move { Ok::<_, ()>(b) }));
        form($policy.call_once_blocking(move || Ok::<_, ()>(c)));
        form($policy.call_once_with_blocking(move |_: Context| Ok::<_, ()>(d)));
    }};
}

#[test]
fn each_policy_has_the_forms_of_call_that_apply_to_it() {
    compiles(|timeout: &Timeout| calls!(plain: timeout)); // a closure cannot be interrupted
    compiles(|breaker: &CircuitBreaker| calls!(blocking: breaker));
    compiles(|breaker: &ClassifiedCircuitBreaker<FailOnError>| calls!(blocking: breaker));
    compiles(|bulkhead: &Bulkhead| calls!(blocking: bulkhead));
    compiles(|partition: &BulkheadPartition| calls!(blocking: partition));
    compiles(|chaos: &Chaos| calls!(blocking: chaos));
    compiles(|chaos: &ChaosWith<ChaosError<fn(ChaosInjection)>>| calls!(blocking: chaos));
    compiles(|fallback: &FallbackTo<FallbackValue<u8>>| calls!(blocking: fallback));
    compiles(|hedge: &Hedge| calls!(plain: hedge)); // two closures cannot run at the same time
    compiles(|retry: &Retry| calls!(with: retry));
    compiles(|retry: &RetryWhen<RetryOnFailure>| calls!(with: retry));
    compiles(|pipeline: &BoxPipeline<u8, ()>| calls!(with: pipeline));
    compiles(|pipeline: &Pipeline<GuardLayer<CircuitBreaker>>| calls!(once: pipeline));
}
