//! Compares concurrency limits with tokio's semaphore, which most services use as their limit, with
//! the adaptive limiter `congestion-limiter`, and with Tower layers.
//!
//! An adaptive limiter reads the clock twice per call, which the others do not. The row
//! `clock, twice` shows the cost of the two readings.

use std::convert::Infallible;
use std::hint::black_box;
use std::task::{Context, Poll, Waker};

use congestion_limiter::limiter::{DefaultLimiter, Limiter, Outcome};
use congestion_limiter::limits;
use futures::executor::block_on;
use mainstay::concurrency::{AdaptiveLimiter, Bulkhead, PartitionedBulkhead};
use mainstay::pipeline::Pipeline;
use mainstay::time::Clock;
use mainstay::wait::Semaphore;
use peers::{Race, ready};
use tower::{Layer, Service, service_fn};
use tower_resilience_adaptive::{AdaptiveLimiterLayer, Aimd};
use tower_resilience_bulkhead::BulkheadLayer;

fn main() {
    let clock = Clock::system();
    let limiter = AdaptiveLimiter::builder().build().expect("valid");
    let bulkhead = Bulkhead::builder().max_concurrent(20).build().expect("valid");
    let ours = Semaphore::new(20);
    let tokio = tokio::sync::Semaphore::new(20);
    let partitioned = PartitionedBulkhead::builder()
        .max_concurrent(20)
        .partition("users", |users| users.min_concurrent(10))
        .partition("batch", |batch| batch)
        .build()
        .expect("valid");
    let partition = partitioned.partition("users").expect("was added");
    let congestion = DefaultLimiter::new(limits::Aimd::new_with_initial_limit(20));
    // Its futures are boxed, and ready when a permit is free.
    let congestion = async || {
        let token = congestion.try_acquire().await.expect("no other call is in flight");
        black_box(congestion.release(token, Some(Outcome::Success)).await);
    };
    Race::new("concurrency: admit + release, one thread")
        .each("adaptive", || limiter.try_acquire().unwrap().success())
        .each("clock, twice", || {
            black_box((clock.now(), clock.now()));
        })
        .each("congestion-limiter", || block_on(congestion()))
        .each("bulkhead", || drop(black_box(bulkhead.try_acquire().unwrap())))
        .each("partition", || drop(black_box(partition.try_acquire().unwrap())))
        .each("semaphore", || drop(black_box(ours.try_acquire().unwrap())))
        .each("tokio", || drop(black_box(tokio.try_acquire().unwrap())))
        .run();

    Race::new("concurrency: admit + release, one task")
        .each("bulkhead", || drop(black_box(block_on(bulkhead.acquire()).unwrap())))
        .each("semaphore", || drop(black_box(block_on(ours.acquire()).unwrap())))
        .each("tokio", || drop(black_box(block_on(tokio.acquire()).unwrap())))
        .run();

    tower_layers();

    for threads in [2, 8] {
        Race::new(format!("concurrency: admit + release on {threads} threads"))
            .threads("adaptive", threads, || {
                if let Ok(permit) = limiter.try_acquire() {
                    permit.success();
                }
            })
            .threads("bulkhead", threads, || drop(black_box(bulkhead.try_acquire())))
            .threads("semaphore", threads, || drop(black_box(ours.try_acquire())))
            .threads("tokio", threads, || drop(black_box(tokio.try_acquire())))
            .run();
    }
}

/// Compares Tower layers: one successful call through a limit.
fn tower_layers() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _guard = runtime.enter();
    let plain = service_fn(|request: u64| async move { Ok::<_, Infallible>(black_box(request)) });

    let bulkhead = Bulkhead::builder().max_concurrent(20).build().expect("valid");
    let mut ours = Pipeline::builder().bulkhead(&bulkhead).build().layer(plain);
    let mut tower = tower::limit::ConcurrencyLimitLayer::new(20).layer(plain);
    let rejecting = || BulkheadLayer::builder().max_concurrent_calls(20).reject_when_full();
    let mut resilience = rejecting().build().expect("valid").layer(plain);
    Race::new("concurrency: a bulkhead as a Tower layer")
        .each("mainstay", || call(&mut ours))
        .each("tower ConcurrencyLimit", || call(&mut tower))
        .each("tower-resilience", || call(&mut resilience))
        .run();

    let limiter = AdaptiveLimiter::builder().build().expect("valid");
    let mut ours = Pipeline::builder().adaptive_limit(&limiter).build().layer(plain);
    let aimd = Aimd::builder().initial_limit(20).build().expect("valid");
    let mut resilience = AdaptiveLimiterLayer::new(aimd).layer(plain);
    Race::new("concurrency: an adaptive limit as a Tower layer")
        .each("mainstay", || call(&mut ours))
        .each("tower-resilience", || call(&mut resilience))
        .run();
}

/// Calls a service as Tower's contract requires: first `poll_ready`, then `call`.
fn call<S: Service<u64>>(service: &mut S) {
    let mut task = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(())) = service.poll_ready(&mut task) else { panic!("not ready") };
    drop(black_box(ready(service.call(7))));
}
