//! Concurrency limits. `benches/peers` compares them with other crates.

#![allow(missing_docs)] // criterion's macro generates a function without docs

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use futures::executor::block_on;
use mainstay::concurrency::simulator::{ControlledLimit, Trace, simulate};
use mainstay::concurrency::{
    AdaptiveLimiter, BaselineController, Bulkhead, KeyedBulkhead, PartitionedBulkhead,
};
use mainstay::time::Clock;
use mainstay::wait::Semaphore;

fn concurrency(c: &mut Criterion) {
    let clock = Clock::system();
    c.bench_function("clock, twice", |b| b.iter(|| black_box((clock.now(), clock.now()))));
    let semaphore = Semaphore::new(8);
    c.bench_function("semaphore/try_acquire + release", |b| b.iter(|| semaphore.try_acquire()));

    let bulkhead = Bulkhead::new(8).expect("valid");
    c.bench_function("bulkhead/try_acquire + release", |b| b.iter(|| bulkhead.try_acquire()));
    c.bench_function("bulkhead/block_on(acquire) + release", |b| {
        b.iter(|| block_on(bulkhead.acquire()));
    });
    c.bench_function("bulkhead/rejection", |b| {
        let all: Vec<_> = std::iter::from_fn(|| bulkhead.try_acquire().ok()).collect();
        b.iter(|| bulkhead.try_acquire().is_err());
        drop(all);
    });
    let keyed = KeyedBulkhead::<u64>::builder(Bulkhead::builder()).build().expect("valid");
    let _known = keyed.bulkhead(&7).expect("there is room");
    c.bench_function("keyed bulkhead/try_acquire + release", |b| b.iter(|| keyed.try_acquire(&7)));

    let partitioned = PartitionedBulkhead::builder()
        .partition("users", |users| users.min_concurrent(5))
        .partition("batch", |batch| batch)
        .build()
        .expect("valid");
    let users = partitioned.partition("users").expect("was added");
    c.bench_function("partitioned bulkhead/try_acquire + release", |b| {
        b.iter(|| users.try_acquire().is_ok());
    });

    let limiter = AdaptiveLimiter::builder().build().expect("valid");
    c.bench_function("adaptive/try_acquire + success", |b| {
        b.iter(|| limiter.try_acquire().expect("no other call is in flight").success());
    });
    c.bench_function("adaptive/try_acquire + drop", |b| b.iter(|| limiter.try_acquire().is_ok()));
    c.bench_function("adaptive/block_on(acquire) + success", |b| {
        b.iter(|| block_on(limiter.acquire()).expect("no other call is in flight").success());
    });
    c.bench_function("adaptive/rejection", |b| {
        let all: Vec<_> = std::iter::from_fn(|| limiter.try_acquire().ok()).collect();
        b.iter(|| limiter.try_acquire().is_err());
        drop(all);
    });

    let mut group = c.benchmark_group("simulator");
    group.sample_size(10);
    group.bench_function("step_in_load, 120,000 calls", |b| {
        let trace = Trace::step_in_load();
        b.iter(|| simulate(&trace, "ours", || ControlledLimit::new(BaselineController::new())));
    });
}

criterion_group!(benches, concurrency);
criterion_main!(benches);
