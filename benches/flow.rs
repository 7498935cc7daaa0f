//! Broadcasts and the event bus.
#![allow(missing_docs)] // `criterion_group!` generates a function without docs

use criterion::{Criterion, criterion_group, criterion_main};
use mainstay::ring::{BroadcastOverflow, broadcast};
use mainstay::{Bus, BusSubscription};
use std::hint::black_box;

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

criterion_group!(benches, broadcasts, event_bus);
criterion_main!(benches);
