//! Benchmarks of the ring and the channel. `benches/peers` compares them with other crates.

#![allow(missing_docs)] // criterion's macro generates a function without docs

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use mainstay::ring::{Ring, channel};

fn ring(c: &mut Criterion) {
    let mut group = c.benchmark_group("ring");
    let ring = Ring::new(1024);
    group.bench_function("push + pop", |b| {
        b.iter(|| {
            ring.try_push(black_box(7u64)).unwrap();
            ring.try_pop().unwrap()
        });
    });
    group.bench_function("pop from empty", |b| b.iter(|| ring.try_pop()));
    let full = Ring::new(1);
    full.try_push(7u64).unwrap();
    group.bench_function("push into full", |b| b.iter(|| full.try_push(black_box(7))));
    group.bench_function("force_push into full", |b| b.iter(|| full.force_push(black_box(7))));
    for size in [1, 4, 16, 64] {
        let mut source = Vec::with_capacity(size);
        let mut got = Vec::with_capacity(size);
        group.bench_function(format!("batch of {size}, pushed and popped"), |b| {
            b.iter(|| {
                source.resize(size, black_box(7u64));
                ring.try_push_batch(&mut source.drain(..)).unwrap();
                ring.try_pop_batch(&mut got, size).unwrap();
                got.clear();
            });
        });
    }
    group.finish();

    let (sender, receiver) = channel(1024);
    c.bench_function("channel/send_blocking + recv_blocking", |b| {
        b.iter(|| {
            sender.send_blocking(black_box(7u64)).unwrap();
            receiver.recv_blocking().unwrap()
        });
    });
}

criterion_group!(benches, ring);
criterion_main!(benches);
