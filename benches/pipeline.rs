//! The cost of composition: a ready future through a stack of policies.
//!
//! For a comparison with other crates, run `cargo run --release --bin pipeline` in `benches/peers`.
#![allow(missing_docs)] // `criterion_group!` generates a function without docs

use criterion::{Criterion, criterion_group, criterion_main};
use mainstay::breaker::CircuitBreaker;
use mainstay::concurrency::Bulkhead;
use mainstay::pipeline::Pipeline;
use mainstay::rate::{Quota, RateLimiter};
use mainstay::retry::Retry;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

async fn ok() -> Result<u64, ()> {
    black_box(Ok(1))
}

fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("not ready"),
    }
}

fn stacks(c: &mut Criterion) {
    let mut group = c.benchmark_group("ready future");
    let second = Duration::from_secs(1);
    let breaker = CircuitBreaker::builder().build().unwrap();
    let retry = Retry::builder().build().unwrap();
    group.bench_function("alone", |b| b.iter(|| ready(ok())));
    let stack = Pipeline::builder().build();
    group.bench_function("empty pipeline", |b| b.iter(|| ready(stack.call(ok))));
    let stack = Pipeline::builder().breaker(&breaker).build();
    group.bench_function("breaker", |b| b.iter(|| ready(stack.call(ok))));
    group.bench_function("breaker, once", |b| b.iter(|| ready(stack.call_once_with(|_| ok()))));
    let stack = Pipeline::builder().retry(&retry).build();
    group.bench_function("retry", |b| b.iter(|| ready(stack.call(ok))));
    let stack = Pipeline::builder().timeout(second).build();
    group.bench_function("timeout", |b| b.iter(|| ready(stack.call(ok))));
    let stack = Pipeline::builder().timeout(second).retry(&retry).breaker(&breaker).build();
    group.bench_function("timeout, retry, breaker", |b| b.iter(|| ready(stack.call(ok))));
    group.bench_function("timeout, retry, breaker, blocking", |b| {
        b.iter(|| stack.call_blocking(|| black_box(Ok::<u64, ()>(1))));
    });
    let bulkhead = Bulkhead::new(20).unwrap();
    let limiter = RateLimiter::new(Quota::per_second(100_000_000).burst(100_000_000)).unwrap();
    let five = Pipeline::builder().timeout(second).retry(&retry).breaker(&breaker);
    let five = five.bulkhead(&bulkhead).rate_limit(&limiter).build();
    group.bench_function("timeout, retry, breaker, bulkhead, limiter", |b| {
        b.iter(|| ready(five.call(ok)));
    });
    let stack = stack.boxed::<u64, ()>();
    group.bench_function("timeout, retry, breaker, boxed", |b| b.iter(|| ready(stack.call(ok))));
    group.finish();
}

criterion_group!(benches, stacks);
criterion_main!(benches);
