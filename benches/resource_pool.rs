//! The resource pool by itself; `benches/peers` compares it with others.

#![allow(missing_docs)] // `criterion_group` makes a public function.

use criterion::{Criterion, criterion_group, criterion_main};
use futures::executor::block_on;
use mainstay::resource_pool::{
    PooledResource, ResourceManager, ResourcePool, ResourcePoolBuilder, ReuseOrder,
};
use mainstay::time::{Clock, ManualClock};
use std::convert::Infallible;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Waker};

struct Numbers;

impl ResourceManager for Numbers {
    type Resource = u64;
    type Error = Infallible;

    async fn create(&self) -> Result<u64, Infallible> {
        Ok(7)
    }
}

fn builder() -> ResourcePoolBuilder<Numbers> {
    ResourcePool::builder(Numbers).max_size(16)
}

fn resource_pool(c: &mut Criterion) {
    let mut group = c.benchmark_group("resource_pool");
    for (name, clock) in
        [("system clock", Clock::system()), ("manual clock", ManualClock::new().clock())]
    {
        let pool = builder().clock(clock).build().unwrap();
        group.bench_function(format!("try_acquire + return, {name}"), |b| {
            b.iter(|| drop(black_box(pool.try_acquire())));
        });
        group.bench_function(format!("acquire + return, {name}"), |b| {
            b.iter(|| block_on(async { drop(black_box(pool.acquire().await)) }));
        });
        group.bench_function(format!("acquire_blocking + return, {name}"), |b| {
            b.iter(|| drop(black_box(pool.acquire_blocking())));
        });
    }

    let fifo = builder().reuse_order(ReuseOrder::Fifo).build().unwrap();
    group.bench_function("acquire_blocking + return, FIFO", |b| {
        b.iter(|| drop(black_box(fifo.acquire_blocking())));
    });

    // All 16 resources are in use. A returned resource passes to the waiter without becoming idle.
    let pool = builder().build().unwrap();
    let mut held: Vec<_> = (0..16).map(|_| pool.acquire_blocking().unwrap()).collect();
    group.bench_function("wait, hand over", |b| {
        b.iter(|| {
            let mut cx = Context::from_waker(Waker::noop());
            let mut waiter = pin!(pool.acquire());
            assert!(waiter.as_mut().poll(&mut cx).is_pending());
            drop(held.pop());
            match waiter.poll(&mut cx) {
                std::task::Poll::Ready(Ok(resource)) => held.push(resource),
                _ => panic!("not served"),
            }
        });
    });
    group.bench_function("wait, give up", |b| {
        b.iter(|| {
            let mut cx = Context::from_waker(Waker::noop());
            assert!(pin!(pool.acquire()).poll(&mut cx).is_pending());
        });
    });
    held.clear();

    group.bench_function("create + discard", |b| {
        let pool = builder().build().unwrap();
        b.iter(|| PooledResource::discard(pool.acquire_blocking().unwrap()));
    });
    group.bench_function("snapshot", |b| b.iter(|| black_box(pool.snapshot())));
    group.finish();
}

criterion_group!(benches, resource_pool);
criterion_main!(benches);
