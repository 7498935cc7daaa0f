//! What is promised about memory, counted: no allocation on the path of success, windows of the stated
//! size.
#![cfg(not(mainstay_loom))]

use mainstay::breaker::{CircuitBreaker, Keyed};
use mainstay::pipeline::Pipeline;
use mainstay::retry::Retry;
use mainstay::time::Clock;
use mainstay::window::{Generation, Sample, Window};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

struct Counting;

thread_local! {
    /// Allocations and bytes of this thread: libtest's own threads must not be counted.
    static ALLOCATED: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

#[allow(unsafe_code)]
// SAFETY: hands every call on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.set((ALLOCATED.get().0 + 1, ALLOCATED.get().1 + layout.size() as u64));
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Allocations and bytes of one run of `f`.
fn allocated<R>(f: impl FnOnce() -> R) -> (u64, u64) {
    let before = ALLOCATED.get();
    black_box(f());
    let after = ALLOCATED.get();
    (after.0 - before.0, after.1 - before.1)
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocated(|| Box::new([0_u8; 100])), (1, 100));
}

#[test]
fn calls_allocate_nothing() {
    let breakers = [
        CircuitBreaker::builder(),
        CircuitBreaker::builder().time_window(Duration::from_secs(10), 10),
        CircuitBreaker::builder().slow_calls((Duration::from_secs(1), 0.5)).consecutive_failures(5),
    ]
    .map(|builder| builder.build().unwrap());
    for breaker in &breakers {
        let pipeline = Pipeline::builder()
            .timeout(Duration::from_secs(2))
            .retry(Retry::builder().build().unwrap())
            .breaker(breaker)
            .timeout(Duration::from_secs(1))
            .build();
        let calls = || {
            for n in 0..1000 {
                // One failure in four: recorded, and not tripping.
                let result = if n % 4 == 3 { Err(()) } else { Ok(()) };
                let _ = breaker.call_blocking(|| result);
                let call = pin!(pipeline.call(|| async { Ok::<(), ()>(()) }));
                let Poll::Ready(Ok(())) = call.poll(&mut Context::from_waker(Waker::noop())) else {
                    panic!("a ready future is ready");
                };
            }
        };
        assert_eq!(allocated(calls), (0, 0), "{breaker:?}");
    }
}

#[test]
fn rejections_allocate_nothing() {
    let breaker = CircuitBreaker::builder().minimum_calls(1).build().unwrap();
    breaker.try_acquire().unwrap().failure();
    assert_eq!(allocated(|| (0..1000).all(|_| breaker.try_acquire().is_err())), (0, 0));
}

#[test]
fn windows_take_the_memory_they_say() {
    // On x86-64; elsewhere cache lines are padded to other sizes.
    #[cfg(target_arch = "x86_64")]
    for calls in [1, 100, 32_768] {
        assert_eq!(allocated(|| Window::count(calls).unwrap()), (2, 384 + 4 * u64::from(calls)));
    }
    #[cfg(target_arch = "x86_64")]
    for buckets in [1, 10, 1024] {
        let window = || Window::time(Duration::from_secs(10), buckets).unwrap();
        assert_eq!(allocated(window), (2, 256 + 16 * u64::from(buckets)));
    }
}

#[test]
fn a_keyed_breaker_takes_the_memory_it_says() {
    let keyed: Keyed<u64> = Keyed::builder(CircuitBreaker::builder()).build().unwrap();
    let call = |key: u64| {
        for _ in 0..200 {
            keyed.call_blocking(&key, || Ok::<(), ()>(())).unwrap();
        }
    };
    // The table grows now and then: the least that a key takes is what it takes by itself.
    let least = (0..2000).map(|key| allocated(|| call(key)).1).min().unwrap();
    #[cfg(target_arch = "x86_64")]
    assert_eq!(least, 344); // and the key, its place in the table, and four bytes
    // One that fails makes its window.
    let sick = keyed.breaker(&1).unwrap();
    let (_, bytes) = allocated(|| sick.call_blocking(|| Err::<(), ()>(())));
    #[cfg(target_arch = "x86_64")]
    assert_eq!(bytes, 384 + 4 * 100);
}

#[test]
fn recording_and_resetting_allocate_nothing() {
    let clock = Clock::system();
    for window in [Window::count(100).unwrap(), Window::time(Duration::from_secs(1), 10).unwrap()] {
        let mut generation = Generation::FIRST;
        let records = || {
            for n in 0..1000 {
                let sample = if n % 2 == 0 { Sample::OK } else { Sample::SLOW_AND_FAILED };
                window.record(generation, clock.now(), sample);
                if n % 100 == 0 {
                    generation = generation.next();
                    window.reset(generation, clock.now());
                }
            }
        };
        assert_eq!(allocated(records), (0, 0));
    }
}
