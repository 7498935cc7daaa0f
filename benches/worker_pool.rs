//! The worker pool. `benches/peers` compares it with other crates.

#![allow(missing_docs)] // criterion's macro generates a function without docs

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use mainstay::worker_pool::{WorkerPool, WorkerPoolShutdown};
use std::hint::black_box;
use std::time::Duration;

const JOBS: u64 = 10_000;

fn pool() -> WorkerPool {
    WorkerPool::builder().workers(2).build().unwrap()
}

/// Measures many jobs, from the first submission until the pool has drained.
fn throughput(c: &mut Criterion) {
    let mut group = c.benchmark_group("worker_pool, many jobs");
    group.throughput(Throughput::Elements(JOBS)).sample_size(20);
    let mut bench = |name: &str, pool: fn() -> WorkerPool, submit: fn(&WorkerPool)| {
        group.bench_function(name, |b| {
            let drained = |pool: WorkerPool| {
                (0..JOBS).for_each(|_| submit(&pool));
                pool.shutdown(WorkerPoolShutdown::drain())
            };
            b.iter_batched(pool, drained, BatchSize::PerIteration);
        });
    };
    bench("empty", pool, |pool| pool.submit_blocking(|| ()).unwrap());
    bench("of 48 bytes", pool, |pool| {
        let captured = black_box([1u64; 6]);
        pool.submit_blocking(move || {
            black_box(captured);
        })
        .unwrap();
    });
    bench("of 64 bytes, boxed", pool, |pool| {
        let captured = black_box([1u64; 8]);
        pool.submit_blocking(move || {
            black_box(captured);
        })
        .unwrap();
    });
    bench("with a deadline", pool, |pool| {
        pool.start_timeout(Duration::from_secs(9)).submit_blocking(|| ()).unwrap();
    });
    bench(
        "with priorities",
        || WorkerPool::builder().workers(2).priorities().build().unwrap(),
        |pool| pool.submit_blocking(|| ()).unwrap(),
    );
    bench(
        "with shedding",
        || WorkerPool::builder().workers(2).shed_standing_queue().build().unwrap(),
        |pool| pool.submit_blocking(|| ()).unwrap(),
    );
    group.finish();
}

fn one(c: &mut Criterion) {
    let mut group = c.benchmark_group("worker_pool, one job");
    let pool = pool();
    group.bench_function("spawn + join", |b| b.iter(|| pool.call_blocking(|| 7).unwrap()));
    group.bench_function("scope of one", |b| {
        b.iter(|| {
            let mut answer = 0;
            pool.scope(|scope| scope.spawn(|| answer = 7));
            answer
        });
    });
    group.bench_function("map of 100", |b| {
        b.iter(|| pool.map(0..100u64, |n| n * n).map(Result::unwrap).sum::<u64>());
    });
    group.bench_function("snapshot", |b| b.iter(|| black_box(pool.snapshot())));
    group.finish();
}

criterion_group!(benches, throughput, one);
criterion_main!(benches);
