//! What is promised about memory, counted: no allocation on the path of success, windows of the stated
//! size.
#![cfg(not(mainstay_loom))]

use mainstay::breaker::CircuitBreaker;
use mainstay::pipeline::Pipeline;
use mainstay::rate::{AllOf, Keyed, Quota, RateLimiter};
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
fn a_limiter_allocates_nothing() {
    let limiter = RateLimiter::new(Quota::per_hour(500)).unwrap();
    let keyed: Keyed<String> = Keyed::builder(Quota::per_hour(500)).build().unwrap();
    keyed.try_acquire("known").unwrap();
    let both = AllOf::new([&limiter, &limiter]);
    let calls = || {
        for _ in 0..1000 {
            // Granted at first, refused later.
            let _ = limiter.try_acquire().map_err(|refused| refused.retry_after());
            let _ = (keyed.try_acquire("known"), both.try_acquire(), limiter.reserve(1).map(drop));
            let acquire = pin!(limiter.acquire_within(1, Duration::ZERO));
            assert!(acquire.poll(&mut Context::from_waker(Waker::noop())).is_ready());
        }
    };
    assert_eq!(allocated(calls), (0, 0));
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
    for calls in [1, 100, 32_768] {
        assert_eq!(allocated(|| Window::count(calls).unwrap()), (1, 4 * u64::from(calls)));
    }
    for buckets in [1, 10, 1024] {
        let window = || Window::time(Duration::from_secs(10), buckets).unwrap();
        assert_eq!(allocated(window), (1, 16 * u64::from(buckets)));
    }
    #[cfg(target_arch = "x86_64")] // elsewhere cache lines are padded to other sizes
    assert_eq!(size_of::<Window>(), 384);
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
