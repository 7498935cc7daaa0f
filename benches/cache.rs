//! Cached operations: hits and misses.

#![allow(missing_docs)] // criterion's macro makes a function without any

use criterion::{Criterion, criterion_group, criterion_main};
use futures::executor::block_on;
use mainstay::cache::{Cached, SingleValueStore};
use std::future::ready;

fn cache(c: &mut Criterion) {
    let cell = Cached::<(), u64, ()>::builder(SingleValueStore::new()).build().expect("valid");
    c.bench_function("cache/hit, single value", |b| {
        b.iter(|| block_on(cell.call(&(), || ready(Ok::<_, ()>(1)))));
    });
    c.bench_function("cache/hit, single value, blocking", |b| {
        b.iter(|| cell.call_blocking(&(), || Ok::<_, ()>(1)));
    });
    c.bench_function("cache/miss, single value", |b| {
        b.iter(|| {
            cell.remove(&());
            block_on(cell.call(&(), || ready(Ok::<_, ()>(1))))
        });
    });
    #[cfg(feature = "quick_cache")]
    {
        let store = quick_cache::sync::Cache::new(1000);
        let keyed = Cached::<u64, u64, ()>::builder(store).build().expect("valid");
        c.bench_function("cache/hit, quick_cache", |b| {
            b.iter(|| block_on(keyed.call(&7, || ready(Ok::<_, ()>(1)))));
        });
    }
}

criterion_group!(benches, cache);
criterion_main!(benches);
