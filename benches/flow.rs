//! Batched calls.
#![allow(missing_docs)] // `criterion_group!` generates a function without docs

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures::executor::block_on;
use futures::future::join_all;
use mainstay::{Batch, Batcher};
use std::future::ready;
use std::time::Duration;

fn batcher(c: &mut Criterion) {
    let echo = |batch: Batch<u64>| ready(Ok::<_, ()>(batch.into_vec()));
    let idle = Batcher::builder(echo).max_linger(Duration::ZERO).build().unwrap();
    c.bench_function("batcher/a batch of one item", |b| b.iter(|| block_on(idle.call(1))));

    // After its first batch, this batcher sends only full batches.
    let full = Batcher::builder(echo).max_linger(Duration::from_secs(86_400)).build().unwrap();
    block_on(full.call(0)).unwrap();
    let mut group = c.benchmark_group("batcher");
    group.throughput(Throughput::Elements(512));
    // Up to 30 futures, `join_all` makes one allocation, not one per future.
    let eight = |n: u64| join_all((8 * n..8 * n + 8).map(|item| full.call(item)));
    let sixty_four = |n: u64| join_all((8 * n..8 * n + 8).map(eight));
    group.bench_function("a batch of 512 items", |b| {
        b.iter(|| block_on(join_all((0..8).map(sixty_four))));
    });
    group.finish();
}

criterion_group!(benches, batcher);
criterion_main!(benches);
