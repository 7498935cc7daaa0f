//! What observers cost: a call that changes no state, and two changes of state (a breaker opens, and is
//! reset), with nobody listening, with each observer, and with somebody behind it or nobody.
#![allow(missing_docs)] // criterion's macro makes a function without any

use criterion::{Criterion, criterion_group, criterion_main};
use mainstay::breaker::{CircuitBreaker, CircuitBreakerBuilder};
use mainstay::event::Event;
use mainstay::telemetry::{Metrics, Tracing};
use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    with_local_recorder,
};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// A recorder whose handles are atomics: the least that one can do.
struct Atomics;

impl Recorder for Atomics {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::new(AtomicU64::new(0)))
    }
    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(Arc::new(AtomicU64::new(0)))
    }
    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// A subscriber that takes everything and keeps nothing.
struct Swallow;

impl tracing::Subscriber for Swallow {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn event(&self, event: &tracing::Event<'_>) {
        black_box(event);
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

fn breaker(setup: impl Fn(CircuitBreakerBuilder) -> CircuitBreakerBuilder) -> CircuitBreaker {
    setup(CircuitBreaker::builder().name("search").min_calls(1)).build().unwrap()
}

fn open_and_reset(breaker: &CircuitBreaker) {
    breaker.try_acquire().unwrap().failure();
    breaker.reset();
}

fn observers(c: &mut Criterion) {
    let silent = breaker(|b| b);
    let closure = breaker(|b| {
        b.observer(|event: &Event<'_>| {
            black_box(event);
        })
    });
    let unrecorded = breaker(|b| b.observer(Metrics::new()));
    open_and_reset(&unrecorded); // its handles lead nowhere
    let recorded = breaker(|b| b.observer(Metrics::new()));
    with_local_recorder(&Atomics, || open_and_reset(&recorded));
    let traced = breaker(|b| b.observer(Tracing));
    let breakers = [
        ("nobody", &silent),
        ("a closure", &closure),
        ("metrics, no recorder", &unrecorded),
        ("metrics", &recorded),
        ("tracing, no subscriber", &traced),
    ];

    let mut group = c.benchmark_group("a call that changes no state");
    for (listens, breaker) in breakers {
        group.bench_function(listens, |b| {
            b.iter(|| breaker.call_blocking(|| black_box(Ok::<u64, ()>(1))));
        });
    }
    group.finish();

    let mut group = c.benchmark_group("two changes of state");
    for (listens, breaker) in breakers {
        group.bench_function(listens, |b| b.iter(|| open_and_reset(breaker)));
    }
    tracing::subscriber::with_default(Swallow, || {
        group.bench_function("tracing", |b| b.iter(|| open_and_reset(&traced)));
    });
    group.finish();
}

criterion_group!(benches, observers);
criterion_main!(benches);
