//! Counts the allocations of the worker pool.
#![allow(unsafe_code)] // An allocator is unsafe to write.

use mainstay::worker_pool::WorkerPool;
use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is forwarded to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller upholds the contract of `GlobalAlloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller upholds the contract of `GlobalAlloc`.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const JOBS: u64 = 10_000;
/// The maximum number of allocations that the lists of sleepers and waiters make once.
const ONCE: u64 = 32;

/// Returns the number of allocations of all threads for `JOBS` jobs.
fn allocations(pool: &WorkerPool, submit: impl Fn(&WorkerPool)) -> u64 {
    let rounds = || {
        (0..JOBS).for_each(|_| submit(pool));
        pool.call_blocking(|| ()).unwrap();
    };
    rounds();
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    rounds();
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

/// One test, because the counter counts for the whole process.
#[test]
fn small_jobs_do_not_allocate_and_other_jobs_allocate_once() {
    let pool = WorkerPool::builder().workers(2).build().unwrap();
    let small = allocations(&pool, |pool| {
        let captured = black_box([1u64; 6]);
        pool.submit_blocking(move || assert_eq!(captured[5], 1)).unwrap();
    });
    assert!(small <= ONCE, "{small} for jobs of 48 bytes");
    let timed = allocations(&pool, |pool| {
        pool.start_timeout(Duration::from_secs(9)).submit_blocking(|| ()).unwrap();
    });
    assert!(timed <= ONCE, "{timed} for jobs with a deadline");
    let results = allocations(&pool, |pool| {
        let captured = black_box([1u64; 20]);
        assert_eq!(pool.call_blocking(move || captured[19]).unwrap(), 1);
    });
    assert!((JOBS..=JOBS + ONCE).contains(&results), "{results} for jobs with a result, one each");
    // A queue that is full most of the time: a waiting submission must not box its job again.
    let pool = WorkerPool::builder().workers(1).queue_capacity(2).build().unwrap();
    let large = allocations(&pool, |pool| {
        let captured = black_box([1u64; 7]);
        pool.submit_blocking(move || assert_eq!(captured[6], 1)).unwrap();
    });
    assert!((JOBS..=JOBS + ONCE).contains(&large), "{large} for large jobs, one each");
}
