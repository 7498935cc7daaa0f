//! Coalesced calls and deadlines.

#![allow(missing_docs)] // criterion's macro makes a function without any

use criterion::{Criterion, criterion_group, criterion_main};
use futures::executor::block_on;
use mainstay::deadline::{DeadlineGuard, from_grpc_timeout, to_grpc_timeout};
use mainstay::pipeline::Pipeline;
use mainstay::time::{Clock, Deadline};
use mainstay::{Coalesce, Error};
use std::future::{Future, pending, ready};
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

fn coalesce(c: &mut Criterion) {
    let group = Coalesce::<u64, u64, ()>::builder().build().expect("valid");
    c.bench_function("coalesce/leader, ready", |b| {
        b.iter(|| block_on(group.call(&1, || ready(Ok(1)))));
    });
    c.bench_function("coalesce/leader, blocking", |b| b.iter(|| group.call_blocking(&1, || Ok(1))));
    let mut cx = Context::from_waker(Waker::noop());
    c.bench_function("coalesce/follower, joins and is dropped", |b| {
        let mut leader = pin!(group.call(&2, pending::<Result<u64, ()>>));
        let _ = leader.as_mut().poll(&mut cx);
        b.iter(|| pin!(group.call(&2, pending::<Result<u64, ()>>)).poll(&mut cx).is_pending());
    });
    let builder = Coalesce::<u64, u64, ()>::builder().reuse_duration(Duration::from_secs(3600));
    let reusing = builder.build().expect("valid");
    c.bench_function("coalesce/reuse", |b| {
        b.iter(|| block_on(reusing.call(&1, || ready(Ok(1)))));
    });
}

fn deadline(c: &mut Criterion) {
    let clock = Clock::system();
    let guard = DeadlineGuard::builder().build().expect("valid");
    let pipeline = Pipeline::builder().guard(&guard).build();
    let deadline = Deadline::after(clock.now(), Duration::from_secs(86_400));
    c.bench_function("deadline/guard and call with a deadline", |b| {
        b.iter(|| -> Result<u8, Error<()>> {
            block_on(pipeline.with_deadline(deadline, &clock).call(|| ready(Ok(1))))
        });
    });
    c.bench_function("deadline/to and from grpc-timeout", |b| {
        b.iter(|| from_grpc_timeout(&to_grpc_timeout(black_box(Duration::from_millis(250)))));
    });
}

criterion_group!(benches, coalesce, deadline);
criterion_main!(benches);
