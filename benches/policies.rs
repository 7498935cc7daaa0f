//! The cost of each policy around a ready future.
#![allow(missing_docs)] // `criterion_group!` generates a function without docs

use criterion::{Criterion, criterion_group, criterion_main};
use mainstay::{Budget, Chaos, Fallback, Fault, Hedge, Pipeline, Retry};
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

fn policies(c: &mut Criterion) {
    let mut group = c.benchmark_group("policy around a ready future");
    group.bench_function("none", |b| b.iter(|| ready(ok())));
    let stack = Pipeline::builder().retry(Retry::builder().build().unwrap()).build();
    group.bench_function("retry", |b| b.iter(|| ready(stack.call(ok))));
    let window = Duration::from_secs(10);
    for (name, budget) in [
        ("retry, budget of calls in flight", Budget::builder()),
        ("retry, budget of recent calls", Budget::builder().of_recent_calls(window, 10)),
        ("retry, budget of all calls", Budget::builder().of_all_calls(100)),
    ] {
        let retry = Retry::builder().budget(budget.build().unwrap());
        let stack = Pipeline::builder().retry(retry.build().unwrap()).build();
        group.bench_function(name, |b| b.iter(|| ready(stack.call(ok))));
    }
    let stack = Pipeline::builder().fallback(Fallback::new().value(0)).build();
    group.bench_function("fallback", |b| b.iter(|| ready(stack.call(ok))));
    for (name, hedge) in [
        ("hedge, fixed delay", Hedge::builder().delay(window)),
        ("hedge, measured delay", Hedge::builder()),
    ] {
        let stack = Pipeline::builder().hedge(hedge.build().unwrap()).build();
        group.bench_function(name, |b| b.iter(|| ready(stack.call(ok))));
    }
    let chaos = Chaos::builder().fault(Fault::error()).build().unwrap();
    let stack = Pipeline::builder().chaos(&chaos).build();
    group.bench_function("chaos, off", |b| b.iter(|| ready(stack.call(ok))));
    let stack = Pipeline::builder().chaos_with(chaos.errors(|_| ())).build();
    group.bench_function("chaos with errors, off", |b| b.iter(|| ready(stack.call(ok))));
    group.finish();

    let budget = Budget::builder().of_calls_in_flight(1).build().unwrap();
    c.bench_function("budget/try_acquire + release", |b| b.iter(|| budget.try_acquire()));
}

criterion_group!(benches, policies);
criterion_main!(benches);
