//! Semaphore and oneshot channel. `benches/peers` compares them with other crates.

#![allow(missing_docs)] // criterion's macro generates a function without docs

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use futures::executor::block_on;
use mainstay::wait::{Semaphore, oneshot};

fn wait(c: &mut Criterion) {
    let semaphore = Semaphore::new(8);
    c.bench_function("semaphore/try_acquire + release", |b| {
        b.iter(|| semaphore.try_acquire());
    });
    c.bench_function("semaphore/acquire_blocking + release", |b| {
        b.iter(|| drop(semaphore.acquire_blocking()));
    });
    c.bench_function("semaphore/block_on(acquire) + release", |b| {
        b.iter(|| drop(block_on(semaphore.acquire())));
    });
    c.bench_function("oneshot/make, send, receive", |b| {
        b.iter(|| {
            let (sender, mut receiver) = oneshot();
            sender.send(black_box(7u64)).unwrap();
            receiver.try_recv()
        });
    });
}

criterion_group!(benches, wait);
criterion_main!(benches);
