//! The cost of observers.
//!
//! Measures a call that changes no state, and two changes of state (a breaker opens and is reset):
//! without an observer, with a closure, with `MetricsObserver` with and without a recorder, and
//! with `TracingObserver` without a subscriber. The changes of state are also measured with a
//! subscriber. A call that changes no state emits no event for it.
#![allow(missing_docs)] // `criterion_group!` generates a function without docs

use criterion::{Criterion, criterion_group, criterion_main};
use mainstay::breaker::{CircuitBreaker, CircuitBreakerBuilder};
use mainstay::event::Event;
use mainstay::telemetry::{MetricsObserver, TracingObserver};
use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    with_local_recorder,
};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// A recorder whose counters and gauges are atomics: the cheapest one that counts.
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

/// A subscriber that enables all events and discards them.
struct Discard;

impl tracing::Subscriber for Discard {
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
    let unobserved = breaker(|b| b);
    let closure = breaker(|b| {
        b.observer(|event: &Event<'_>| {
            black_box(event);
        })
    });
    let unrecorded = breaker(|b| b.observer(MetricsObserver::new()));
    open_and_reset(&unrecorded); // registers its handles without a recorder
    let recorded = breaker(|b| b.observer(MetricsObserver::new()));
    with_local_recorder(&Atomics, || open_and_reset(&recorded));
    let traced = breaker(|b| b.observer(TracingObserver));
    let breakers = [
        ("no observer", &unobserved),
        ("a closure", &closure),
        ("metrics, no recorder", &unrecorded),
        ("metrics", &recorded),
        ("tracing, no subscriber", &traced),
    ];

    let mut group = c.benchmark_group("a call that changes no state");
    for (observer, breaker) in breakers {
        group.bench_function(observer, |b| {
            b.iter(|| breaker.call_blocking(|| black_box(Ok::<u64, ()>(1))));
        });
    }
    group.finish();

    let mut group = c.benchmark_group("two changes of state");
    for (observer, breaker) in breakers {
        group.bench_function(observer, |b| b.iter(|| open_and_reset(breaker)));
    }
    tracing::subscriber::with_default(Discard, || {
        group.bench_function("tracing", |b| b.iter(|| open_and_reset(&traced)));
    });
    group.finish();
}

criterion_group!(benches, observers);
criterion_main!(benches);
