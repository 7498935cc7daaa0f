//! Broadcasts, the event bus and batched calls.
#![allow(missing_docs)] // `criterion_group!` generates a function without docs

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures::executor::block_on;
use futures::future::join_all;
use mainstay::ring::{BroadcastOverflow, broadcast};
use mainstay::{Batch, Batcher, Bus, BusSubscription};
use std::future::ready;
use std::hint::black_box;
use std::time::Duration;

fn broadcasts(c: &mut Criterion) {
    let mut group = c.benchmark_group("broadcast");
    for overflow in [BroadcastOverflow::OverwriteOldest, BroadcastOverflow::WaitForSlowest] {
        let sender = broadcast(64, overflow);
        group.bench_function(format!("send without subscribers, {overflow:?}"), |b| {
            b.iter(|| sender.try_send(black_box(7_u64)).unwrap());
        });
        for subscribers in [1, 10, 1000] {
            let mut all: Vec<_> = (0..subscribers).map(|_| sender.subscribe()).collect();
            let name = format!("send, and receive as {subscribers} subscribers, {overflow:?}");
            group.bench_function(name, |b| {
                b.iter(|| {
                    sender.try_send(black_box(7_u64)).unwrap();
                    all.iter_mut().map(|each| each.try_recv().unwrap()).sum::<u64>()
                });
            });
        }
    }
    group.finish();
}

fn event_bus(c: &mut Criterion) {
    let bus = Bus::<u64, u64>::builder().build().unwrap();
    let topics = |tenant| {
        let subscribe = |topic| bus.subscribe(&tenant, &topic).unwrap();
        (0..1000).map(subscribe).collect::<Vec<BusSubscription<_, _>>>()
    };
    let _subscriptions = topics(0);
    let mut topic = 0;
    let mut next = move || {
        topic = (topic + 1) % 1000;
        topic
    };
    c.bench_function("event_bus/publish, 1,000 topics with a subscriber each", |b| {
        b.iter(|| bus.publish(&0, &next(), black_box(7)));
    });
    c.bench_function("event_bus/publish to a topic without subscribers", |b| {
        b.iter(|| bus.publish(&1, &next(), black_box(7)));
    });
    let _all = bus.subscribe_all(&0).unwrap();
    c.bench_function("event_bus/publish, 1,000 topics, and a subscriber of all", |b| {
        b.iter(|| bus.publish(&0, &next(), black_box(7)));
    });
}

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

criterion_group!(benches, broadcasts, event_bus, batcher);
criterion_main!(benches);
