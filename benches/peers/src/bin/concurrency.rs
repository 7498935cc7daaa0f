//! Compares concurrency limits with tokio's semaphore, which most services use as their limit.
//!
//! An adaptive limiter reads the clock twice per call, which the others do not. The row
//! `clock, twice` shows the cost of the two readings.

use std::hint::black_box;

use futures::executor::block_on;
use mainstay::concurrency::{AdaptiveLimiter, Bulkhead};
use mainstay::time::Clock;
use mainstay::wait::Semaphore;
use peers::Race;

fn main() {
    let clock = Clock::system();
    let limiter = AdaptiveLimiter::builder().build().expect("valid");
    let bulkhead = Bulkhead::builder().max_concurrent(20).build().expect("valid");
    let ours = Semaphore::new(20);
    let tokio = tokio::sync::Semaphore::new(20);
    Race::new("concurrency: admit + release, one thread")
        .each("adaptive", || limiter.try_acquire().unwrap().success())
        .each("clock, twice", || drop(black_box((clock.now(), clock.now()))))
        .each("bulkhead", || drop(black_box(bulkhead.try_acquire().unwrap())))
        .each("semaphore", || drop(black_box(ours.try_acquire().unwrap())))
        .each("tokio", || drop(black_box(tokio.try_acquire().unwrap())))
        .run();

    Race::new("concurrency: admit + release, one task")
        .each("bulkhead", || drop(black_box(block_on(bulkhead.acquire()).unwrap())))
        .each("semaphore", || drop(black_box(block_on(ours.acquire()).unwrap())))
        .each("tokio", || drop(black_box(block_on(tokio.acquire()).unwrap())))
        .run();

    for threads in [2, 8] {
        Race::new(format!("concurrency: admit + release on {threads} threads"))
            .threads("adaptive", threads, || {
                if let Ok(permit) = limiter.try_acquire() {
                    permit.success();
                }
            })
            .threads("bulkhead", threads, || drop(black_box(bulkhead.try_acquire())))
            .threads("semaphore", threads, || drop(black_box(ours.try_acquire())))
            .threads("tokio", threads, || drop(black_box(tokio.try_acquire())))
            .run();
    }
}
