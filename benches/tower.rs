//! One call through Tower layers around a service that is always ready.
//!
//! For a comparison with other crates, run `cargo run --release --bin tower` in `benches/peers`.
#![allow(missing_docs)] // criterion's macro generates a function without docs

use criterion::{Criterion, criterion_group, criterion_main};
use mainstay::breaker::CircuitBreaker;
use mainstay::pipeline::Pipeline;
use mainstay::retry::Retry;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tower::{Layer, Service, service_fn};

fn call<S: Service<u64>>(service: &mut S) -> Result<S::Response, S::Error> {
    let mut task = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(())) = service.poll_ready(&mut task) else { panic!("not ready") };
    match pin!(service.call(7)).poll(&mut task) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("not ready"),
    }
}

fn layers(c: &mut Criterion) {
    let mut group = c.benchmark_group("tower, ready service");
    let second = Duration::from_secs(1);
    let breaker = CircuitBreaker::builder().build().unwrap();
    let retry = Retry::builder().build().unwrap();
    let service = service_fn(|n: u64| async move { black_box(Ok::<u64, ()>(n)) });

    let mut alone = service;
    group.bench_function("alone", |b| b.iter(|| call(&mut alone)));
    let mut guarded = Pipeline::builder().breaker(&breaker).build().layer(service);
    group.bench_function("breaker", |b| b.iter(|| call(&mut guarded)));
    group.bench_function("breaker, a clone each call", |b| b.iter(|| call(&mut guarded.clone())));
    let mut repeated = Pipeline::builder().retry(&retry).build().layer(service);
    group.bench_function("retry", |b| b.iter(|| call(&mut repeated)));
    let mut limited = Pipeline::builder().timeout(second).build().layer(service);
    group.bench_function("timeout", |b| b.iter(|| call(&mut limited)));
    let stack = Pipeline::builder().timeout(second).retry(&retry).breaker(&breaker).build();
    let mut stack = stack.layer(service);
    group.bench_function("timeout, retry, breaker", |b| b.iter(|| call(&mut stack)));

    let open = CircuitBreaker::builder().min_calls(1).build().unwrap();
    open.try_acquire().unwrap().failure();
    let mut rejected = Pipeline::builder().breaker(&open).build().layer(service);
    group.bench_function("open breaker, a refusal", |b| b.iter(|| call(&mut rejected)));
    group.finish();
}

criterion_group!(benches, layers);
criterion_main!(benches);
