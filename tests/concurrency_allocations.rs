//! Concurrency limits allocate nothing per call.
#![cfg(not(mainstay_loom))]
#![allow(unsafe_code)] // An allocator is unsafe to write.

use mainstay::concurrency::{
    AdaptiveLimiter, Bulkhead, KeyedBulkhead, PartitionedBulkhead, Throttle,
};
use mainstay::pipeline::Pipeline;
use mainstay::time::ManualClock;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

struct Counting;

thread_local!(static ALLOCATIONS: Cell<u64> = const { Cell::new(0) });

// SAFETY: forwards to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller upholds the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller upholds the contract.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Returns the number of allocations of this thread in `work`.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

#[test]
fn neither_calls_nor_windows_allocate() {
    let time = ManualClock::new();
    let limiter = AdaptiveLimiter::builder().clock(time.clock()).build().unwrap();
    let pipeline = Pipeline::builder().adaptive_limit(&limiter).build();
    let throttle = Throttle::builder().clock(time.clock()).build().unwrap();
    let work = |rounds| {
        for _ in 0..rounds {
            let permit = limiter.try_acquire().unwrap();
            time.advance(Duration::from_millis(10));
            permit.success();
            match throttle.try_acquire() {
                Ok(permit) => permit.failure(),
                Err(rejection) => assert!(rejection.retry_after().is_none()),
            }
            let owned = limiter.try_acquire_owned().unwrap();
            owned.overload();
            let result = pipeline.call_blocking(|| Ok::<_, ()>(1));
            assert!(result.is_ok());
            let result = futures::executor::block_on(pipeline.call(async || Ok::<_, ()>(1)));
            assert!(result.is_ok());
        }
    };
    work(1); // the executor allocates once per thread
    let counted = allocations(|| work(1000));
    assert!(limiter.snapshot().windows > 5);
    assert_eq!(counted, 0);
}

#[test]
fn calls_through_a_partition_do_not_allocate() {
    let bulkhead = PartitionedBulkhead::builder()
        .max_concurrent(1)
        .partition("users", |users| users.min_concurrent(1).max_wait(Duration::MAX))
        .partition("batch", |batch| batch)
        .build()
        .unwrap();
    let (users, batch) =
        (bulkhead.partition("users").unwrap(), bulkhead.partition("batch").unwrap());
    let work = |rounds| {
        for _ in 0..rounds {
            let borrowed = batch.try_acquire().unwrap();
            assert!(users.try_acquire_owned().is_err());
            let mut wait = std::pin::pin!(users.acquire());
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(wait.as_mut().poll(&mut cx).is_pending());
            drop(borrowed);
            assert!(matches!(wait.as_mut().poll(&mut cx), std::task::Poll::Ready(Ok(_))));
            assert!(batch.call_blocking(|| Ok::<_, ()>(1)).is_ok());
        }
    };
    work(1); // the queue allocates once
    assert_eq!(allocations(|| work(1000)), 0);
}

#[test]
fn calls_through_a_bulkhead_do_not_allocate() {
    let each = Bulkhead::builder().max_concurrent(1).max_queue(2);
    let bulkhead = each.clone().build().unwrap();
    let tenants = KeyedBulkhead::<u32>::builder(each).build().unwrap();
    let _known = tenants.bulkhead(&7).unwrap();
    let pipeline = Pipeline::builder().bulkhead(&bulkhead).build();
    let work = |rounds| {
        for _ in 0..rounds {
            let permit = bulkhead.try_acquire().unwrap();
            assert!(bulkhead.try_acquire_owned().is_err());
            // Enters the queue and leaves it; its timer is not armed.
            let mut wait = std::pin::pin!(bulkhead.max_wait(Duration::MAX).acquire_owned());
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(wait.as_mut().poll(&mut cx).is_pending());
            drop(permit);
            assert!(matches!(wait.as_mut().poll(&mut cx), std::task::Poll::Ready(Ok(_))));
            drop(bulkhead.acquire_blocking().unwrap());
            drop(tenants.try_acquire(&7).unwrap());
            assert!(pipeline.call_blocking(|| Ok::<_, ()>(1)).is_ok());
            assert!(futures::executor::block_on(pipeline.call(async || Ok::<_, ()>(1))).is_ok());
        }
    };
    work(1); // the queue allocates once
    assert_eq!(allocations(|| work(1000)), 0);
}
