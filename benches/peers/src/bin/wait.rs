//! Compares the semaphore and the oneshot channel with those of other crates.

use std::hint::black_box;

use futures::executor::block_on;
use mainstay::wait::{Semaphore, oneshot};
use peers::Race;

fn main() {
    let ours = Semaphore::new(8);
    let tokio = tokio::sync::Semaphore::new(8);
    let lock = async_lock::Semaphore::new(8);
    Race::new("semaphore: try_acquire + release, one thread")
        .each("mainstay", || drop(black_box(ours.try_acquire().unwrap())))
        .each("tokio", || drop(black_box(tokio.try_acquire().unwrap())))
        .each("async-lock", || drop(black_box(lock.try_acquire().unwrap())))
        .run();

    Race::new("semaphore: acquire().await + release, one task")
        .lap("mainstay", |n| {
            block_on(async {
                let start = std::time::Instant::now();
                for _ in 0..n {
                    drop(black_box(ours.acquire().await));
                }
                start.elapsed()
            })
        })
        .lap("tokio", |n| {
            block_on(async {
                let start = std::time::Instant::now();
                for _ in 0..n {
                    drop(black_box(tokio.acquire().await.unwrap()));
                }
                start.elapsed()
            })
        })
        .lap("async-lock", |n| {
            block_on(async {
                let start = std::time::Instant::now();
                for _ in 0..n {
                    drop(black_box(lock.acquire().await));
                }
                start.elapsed()
            })
        })
        .run();

    for threads in [2, 8] {
        Race::new(format!("semaphore of 8: try_acquire + release on {threads} threads"))
            .threads("mainstay", threads, || drop(black_box(ours.try_acquire())))
            .threads("tokio", threads, || drop(black_box(tokio.try_acquire())))
            .threads("async-lock", threads, || drop(black_box(lock.try_acquire())))
            .run();
    }

    let ours = Semaphore::new(1);
    let tokio = tokio::sync::Semaphore::new(1);
    let lock = async_lock::Semaphore::new(1);
    for threads in [2, 8] {
        Race::new(format!("semaphore of 1: acquire, waiting in turn, on {threads} threads"))
            .threads("mainstay", threads, || drop(black_box(ours.acquire_blocking())))
            .threads("tokio", threads, || drop(black_box(block_on(tokio.acquire()))))
            .threads("async-lock", threads, || drop(black_box(block_on(lock.acquire()))))
            .run();
    }

    Race::new("oneshot: make, send, receive, on one thread")
        .each("mainstay", || {
            let (sender, mut receiver) = oneshot();
            sender.send(black_box(7u64)).unwrap();
            black_box(receiver.try_recv().unwrap());
        })
        .each("tokio", || {
            let (sender, mut receiver) = tokio::sync::oneshot::channel();
            sender.send(black_box(7u64)).unwrap();
            black_box(receiver.try_recv().unwrap());
        })
        .each("oneshot", || {
            let (sender, receiver) = ::oneshot::channel();
            sender.send(black_box(7u64)).unwrap();
            black_box(receiver.try_recv().unwrap());
        })
        .run();
}
