//! The object pool. `benches/peers` compares it with other crates.

#![allow(missing_docs)] // criterion's macro generates a function without docs

use criterion::{Criterion, criterion_group, criterion_main};
use mainstay::object_pool::ObjectPool;
use std::hint::black_box;
use std::sync::Arc;

fn pool(thread_cache: usize) -> Arc<ObjectPool<Vec<u8>>> {
    let builder = ObjectPool::builder(|| Vec::with_capacity(4096)).max_capacity(4096);
    Arc::new(builder.thread_cache(thread_cache).build().unwrap())
}

fn object_pool(c: &mut Criterion) {
    let mut group = c.benchmark_group("object_pool");
    let with_cache = pool(16);
    group.bench_function("get + put", |b| b.iter(|| black_box(&mut *with_cache.get()).push(1)));
    group.bench_function("get_owned + put", |b| {
        b.iter(|| black_box(&mut *with_cache.get_owned()).push(1));
    });
    group.bench_function("take + put", |b| b.iter(|| with_cache.put(black_box(with_cache.take()))));
    // A pool without a recycle rule: a returned object is neither checked nor cleared.
    let unchanged = ObjectPool::builder(|| Vec::<u8>::with_capacity(4096));
    let unchanged = unchanged.keep_contents().build().unwrap();
    group.bench_function("get + put without a rule", |b| {
        b.iter(|| drop(black_box(unchanged.get())));
    });
    let shards_only = pool(0);
    group.bench_function("get + put without a thread cache", |b| {
        b.iter(|| black_box(&mut *shards_only.get()).push(1));
    });
    let mut out = Vec::with_capacity(100);
    group.bench_function("100 nested get + put", |b| {
        b.iter(|| {
            out.extend((0..100).map(|_| with_cache.get_owned()));
            black_box(&mut out).clear();
        });
    });
    group.bench_function("snapshot", |b| b.iter(|| black_box(with_cache.snapshot())));
    group.bench_function("plain allocation of 4 KiB", |b| {
        b.iter(|| black_box(Vec::<u8>::with_capacity(4096)).push(1));
    });
    group.finish();
}

criterion_group!(benches, object_pool);
criterion_main!(benches);
