//! One call through a breaker, by its settings; and the cost of a rejection.
//!
//! For a comparison with other crates, run `cargo run --release --bin breaker` in `benches/peers`.
#![allow(missing_docs)] // criterion's macro generates a function without docs

use criterion::{Criterion, criterion_group, criterion_main};
use mainstay::breaker::{
    CircuitBreaker, CircuitBreakerBuilder, CircuitBreakerMode, CircuitBreakerTransition,
    KeyedCircuitBreaker,
};
use mainstay::time::{Clock, ManualClock};
use mainstay::window::{Sample, Window, WindowGeneration};
use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

fn breaker(setup: impl Fn(CircuitBreakerBuilder) -> CircuitBreakerBuilder) -> CircuitBreaker {
    setup(CircuitBreaker::builder()).build().unwrap()
}

fn closed(c: &mut Criterion) {
    let mut group = c.benchmark_group("closed");
    // Reading this clock costs almost nothing: the rows "clock left out" show the cost without it.
    let still = ManualClock::new().clock();
    let slow = Duration::from_secs(1);
    let breakers = [
        ("count window", breaker(|b| b)),
        ("count window, runs", breaker(|b| b.consecutive_failures(5))),
        ("count window, slow calls", breaker(|b| b.slow_calls(slow, 0.5))),
        (
            "count window, slow calls, clock left out",
            breaker(|b| b.slow_calls(slow, 0.5).clock(still.clone())),
        ),
        ("count window, latency", breaker(CircuitBreakerBuilder::record_latency)),
        (
            "count window, latency, clock left out",
            breaker(|b| b.record_latency().clock(still.clone())),
        ),
        ("count window, in flight", breaker(|b| b.slow_calls(slow, 0.5).track_in_flight())),
        (
            "count window, in flight, clock left out",
            breaker(|b| b.slow_calls(slow, 0.5).track_in_flight().clock(still.clone())),
        ),
        ("time window", breaker(|b| b.time_window(Duration::from_secs(10), 10))),
        (
            "time window, clock left out",
            breaker(|b| b.time_window(Duration::from_secs(10), 10).clock(still.clone())),
        ),
    ];
    for (name, breaker) in &breakers {
        group.bench_function(*name, |b| {
            b.iter(|| breaker.call_blocking(|| black_box(Ok::<u64, ()>(1))));
        });
    }
    let observed = breaker(|b| b);
    let _subscriptions: Vec<_> =
        (0..3).map(|_| observed.on_transition(|_: &CircuitBreakerTransition| ())).collect();
    group.bench_function("count window, three observers", |b| {
        b.iter(|| observed.call_blocking(|| black_box(Ok::<u64, ()>(1))));
    });
    for mode in
        [CircuitBreakerMode::Shadow, CircuitBreakerMode::ForcedClosed, CircuitBreakerMode::Disabled]
    {
        let held = breaker(|b| b);
        held.set_mode(mode);
        group.bench_function(format!("count window, {mode}"), |b| {
            b.iter(|| held.call_blocking(|| black_box(Ok::<u64, ()>(1))));
        });
    }
    let mixed = breaker(|b| b.failure_rate(0.9));
    let mut n = 0_u32;
    group.bench_function("count window, every fourth fails", |b| {
        b.iter(|| {
            n = n.wrapping_add(1);
            mixed.call_blocking(|| black_box(if n.is_multiple_of(4) { Err(()) } else { Ok(()) }))
        });
    });
    group.finish();
}

fn shared(c: &mut Criterion) {
    let mut group = c.benchmark_group("shared");
    for threads in [2, 8] {
        let breaker = breaker(|b| b);
        group.bench_function(format!("{threads} threads"), |b| {
            b.iter_custom(|n| {
                let start = Instant::now();
                thread::scope(|scope| {
                    for _ in 0..threads {
                        scope.spawn(|| {
                            for _ in 0..n {
                                let _ = breaker.call_blocking(|| black_box(Ok::<u64, ()>(1)));
                            }
                        });
                    }
                });
                start.elapsed()
            });
        });
    }
    group.finish();
}

fn open(c: &mut Criterion) {
    let breaker = breaker(|b| b.min_calls(1));
    breaker.try_acquire().unwrap().failure();
    c.bench_function("open, rejection", |b| b.iter(|| breaker.try_acquire().is_err()));
}

fn keyed(c: &mut Criterion) {
    let mut group = c.benchmark_group("keyed");
    for keys in [10_u64, 100_000] {
        let keyed: KeyedCircuitBreaker<u64> =
            KeyedCircuitBreaker::builder(CircuitBreaker::builder())
                .max_keys(200_000)
                .build()
                .unwrap();
        let mut key = 0;
        let mut call = || {
            key = (key + 7919) % keys;
            keyed.call_blocking(&key, || black_box(Ok::<u64, ()>(1)))
        };
        for _ in 0..(200 * keys).min(2_000_000) {
            let _ = call();
        }
        group.bench_function(format!("{keys} keys"), |b| b.iter(&mut call));
    }
    group.finish();
}

fn window(c: &mut Criterion) {
    let mut group = c.benchmark_group("window");
    let now = Clock::system().now();
    let windows = [
        ("count", Window::count_window(100).unwrap()),
        ("time", Window::time_window(Duration::from_secs(10), 10).unwrap()),
    ];
    for (name, window) in &windows {
        for (kind, sample) in [("success", Sample::SUCCESS), ("failure", Sample::FAILED)] {
            group.bench_function(format!("{name}, {kind}"), |b| {
                b.iter(|| window.record(WindowGeneration::FIRST, now, black_box(sample)));
            });
        }
        group.bench_function(format!("{name}, counts"), |b| b.iter(|| window.counts(now)));
    }
    group.finish();
}

criterion_group!(benches, closed, shared, open, keyed, window);
criterion_main!(benches);
