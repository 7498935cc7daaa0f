//! Counts allocations: none on the success path, and structures of the documented size.
#![cfg(not(mainstay_loom))]

use mainstay::backoff::Backoff;
use mainstay::breaker::{CircuitBreaker, KeyedCircuitBreaker};
use mainstay::pipeline::Pipeline;
use mainstay::rate::{self, Quota, RateLimiter, RateLimiterGroup};
use mainstay::resource_pool::{BlockingResourceManager, FromBlocking, ResourcePool};
use mainstay::retry::Retry;
use mainstay::ring::{Ring, channel};
use mainstay::time::Clock;
use mainstay::wait::{Semaphore, oneshot};
use mainstay::window::{Sample, Window, WindowGeneration};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

struct Counting;

thread_local! {
    /// The allocations and bytes of this thread. Those of libtest's threads must not be counted.
    static ALLOCATED: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
    static FREED: Cell<u64> = const { Cell::new(0) };
}

#[allow(unsafe_code)]
// SAFETY: forwards every call unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.set((ALLOCATED.get().0 + 1, ALLOCATED.get().1 + layout.size() as u64));
        // SAFETY: the caller upholds the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        FREED.set(FREED.get() + 1);
        // SAFETY: the caller upholds the contract.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Returns the number of allocations and of bytes in one run of `f`.
fn allocated<R>(f: impl FnOnce() -> R) -> (u64, u64) {
    let before = ALLOCATED.get();
    black_box(f());
    let after = ALLOCATED.get();
    (after.0 - before.0, after.1 - before.1)
}

#[test]
fn the_allocator_counts_allocations_and_bytes() {
    assert_eq!(allocated(|| Box::new([0_u8; 100])), (1, 100));
}

#[test]
fn a_limiter_allocates_nothing() {
    let limiter = RateLimiter::new(Quota::per_hour(500)).unwrap();
    let keyed: rate::KeyedRateLimiter<String> =
        rate::KeyedRateLimiter::builder(Quota::per_hour(500)).build().unwrap();
    keyed.try_acquire("known").unwrap();
    let both = RateLimiterGroup::new([&limiter, &limiter]);
    let calls = || {
        for _ in 0..1000 {
            // Granted at first, rejected later.
            let _ = limiter.try_acquire().map_err(|refused| refused.retry_after());
            let _ = (keyed.try_acquire("known"), both.try_acquire(), limiter.reserve().map(drop));
            let acquire = pin!(limiter.acquire_timeout(Duration::ZERO));
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
        CircuitBreaker::builder().slow_calls(Duration::from_secs(1), 0.5).consecutive_failures(5),
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
                // One call in four fails: it is recorded, and does not open the breaker.
                let result = if n % 4 == 3 { Err(()) } else { Ok(()) };
                let _ = breaker.call_blocking(|| result);
                let call = pin!(pipeline.call(|| async { Ok::<(), ()>(()) }));
                let Poll::Ready(Ok(())) = call.poll(&mut Context::from_waker(Waker::noop())) else {
                    panic!("the call did not complete at its first poll");
                };
            }
        };
        assert_eq!(allocated(calls), (0, 0), "{breaker:?}");
    }
}

#[cfg(feature = "tower")]
#[test]
fn tower_layers_allocate_nothing() {
    use tower::{Layer, Service, service_fn};
    let second = Duration::from_secs(1);
    let breaker = CircuitBreaker::builder().build().unwrap();
    let stack = Pipeline::standard(2 * second, Retry::builder().build().unwrap(), &breaker, second);
    let mut service = stack.layer(service_fn(|n: u64| async move { Ok::<u64, ()>(n) }));
    let mut task = Context::from_waker(Waker::noop());
    let mut call = || {
        assert!(service.poll_ready(&mut task).is_ready());
        pin!(service.call(7)).poll(&mut task)
    };
    assert_eq!(allocated(|| assert_eq!(call(), Poll::Ready(Ok(7)))), (0, 0));
    breaker.reset();
    for _ in 0..20 {
        breaker.try_acquire().unwrap().failure();
    }
    assert_eq!(allocated(|| assert!(matches!(call(), Poll::Ready(Err(_))))), (0, 0), "refused");
}

#[test]
fn a_pipeline_of_five_allocates_nothing() {
    let stack = Pipeline::builder()
        .timeout(Duration::from_secs(1))
        .retry(Retry::builder().build().unwrap())
        .breaker(CircuitBreaker::builder().build().unwrap())
        .bulkhead(mainstay::Bulkhead::new(20).unwrap())
        .rate_limit(RateLimiter::new(Quota::per_second(1000)).unwrap())
        .build();
    let call = || {
        pin!(stack.call(|| async { Ok::<u64, ()>(7) }))
            .poll(&mut Context::from_waker(Waker::noop()))
    };
    assert_eq!(call(), Poll::Ready(Ok(7)));
    assert_eq!(allocated(|| assert_eq!(call(), Poll::Ready(Ok(7)))), (0, 0));
}

#[test]
fn budgets_and_fallbacks_allocate_nothing_and_a_retry_twice() {
    let budget = mainstay::Budget::builder().build().unwrap();
    let retry = Retry::builder().max_attempts(2).backoff(Backoff::constant(Duration::ZERO));
    let stack = Pipeline::builder()
        .fallback(mainstay::Fallback::new().value(1))
        .retry(retry.budget(&budget).build().unwrap())
        .build();
    let call = |result: Result<u64, ()>| stack.call_blocking(|| result);
    assert_eq!(allocated(|| assert_eq!(call(Ok(7)), Ok(7))), (0, 0));
    // The retry stores its backoff and permit, and the error of the first attempt.
    assert_eq!(allocated(|| assert_eq!(call(Err(())), Ok(1))).0, 2);
}

#[test]
fn a_hit_of_a_cache_and_a_fallback_to_an_operation_allocate_nothing() {
    use mainstay::{Cached, Error, Fallback, SingleValueStore};
    let cache = Cached::<(), u64, ()>::builder(SingleValueStore::new()).build().unwrap();
    let call = || ready(cache.call(&(), || std::future::ready(Ok::<u64, ()>(1))));
    assert!(allocated(|| assert_eq!(call(), Ok(1))).0 > 0);
    assert_eq!(allocated(|| assert_eq!(call(), Ok(1))), (0, 0));
    let fallback =
        Fallback::new().operation(|_: Error<()>, _| std::future::ready(Ok::<u64, ()>(1)));
    let stack = Pipeline::builder().fallback_to(&fallback).build();
    let call = || ready(stack.call(|| std::future::ready(Err(()))));
    assert_eq!(allocated(|| assert_eq!(call(), Ok(1))), (0, 0));
}

#[test]
fn two_attempts_of_a_hedge_allocate_nothing() {
    let hedge = mainstay::Hedge::builder().hedge_failures().without_budget().build().unwrap();
    let call = || {
        // The first attempt fails, so that no timer is needed.
        let call = hedge.call_with(|cx| async move {
            if cx.attempt() == 1 { Err(()) } else { Ok(cx.attempt()) }
        });
        pin!(call).poll(&mut Context::from_waker(Waker::noop()))
    };
    assert_eq!(call(), Poll::Ready(Ok(2)));
    assert_eq!(allocated(|| assert_eq!(call(), Poll::Ready(Ok(2)))), (0, 0));
}

#[test]
fn the_future_of_a_call_is_small() {
    let second = Duration::from_secs(1);
    let breaker = CircuitBreaker::builder().build().unwrap();
    let stack = Pipeline::builder()
        .timeout(second)
        .retry(Retry::builder().build().unwrap())
        .breaker(&breaker)
        .build();
    let call = stack.call(|| async { Ok::<(), ()>(()) });
    #[cfg(target_pointer_width = "64")]
    assert!(size_of_val(&call) <= 248, "{} bytes", size_of_val(&call));
}

#[test]
fn rejections_allocate_nothing() {
    let breaker = CircuitBreaker::builder().min_calls(1).build().unwrap();
    breaker.try_acquire().unwrap().failure();
    assert_eq!(allocated(|| (0..1000).all(|_| breaker.try_acquire().is_err())), (0, 0));
}

#[test]
fn windows_allocate_the_documented_size() {
    // On x86-64; elsewhere cache lines are padded to other sizes.
    #[cfg(target_arch = "x86_64")]
    for calls in [1, 100, 32_768] {
        assert_eq!(
            allocated(|| Window::count_window(calls).unwrap()),
            (2, 384 + 4 * u64::from(calls))
        );
    }
    #[cfg(target_arch = "x86_64")]
    for buckets in [1, 10, 1024] {
        let window = || Window::time_window(Duration::from_secs(10), buckets).unwrap();
        assert_eq!(allocated(window), (2, 256 + 16 * u64::from(buckets)));
    }
}

#[test]
fn a_key_of_a_breaker_allocates_the_documented_size() {
    let keyed: KeyedCircuitBreaker<u64> =
        KeyedCircuitBreaker::builder(CircuitBreaker::builder()).build().unwrap();
    let call = |key: u64| {
        for _ in 0..200 {
            keyed.call_blocking(&key, || Ok::<(), ()>(())).unwrap();
        }
    };
    // Some keys also grow the table; the smallest size is that of a key alone.
    let least = (0..2000).map(|key| allocated(|| call(key)).1).min().unwrap();
    #[cfg(target_arch = "x86_64")]
    assert_eq!(least, 344); // without the key and its entry in the table
    // The first failure of a key allocates its window.
    let failing = keyed.breaker(&1).unwrap();
    let (_, bytes) = allocated(|| failing.call_blocking(|| Err::<(), ()>(())));
    #[cfg(target_arch = "x86_64")]
    assert_eq!(bytes, 384 + 4 * 100);
}

#[test]
fn recording_and_resetting_allocate_nothing() {
    let clock = Clock::system();
    for window in [
        Window::count_window(100).unwrap(),
        Window::time_window(Duration::from_secs(1), 10).unwrap(),
    ] {
        let mut generation = WindowGeneration::FIRST;
        let records = || {
            for n in 0..1000 {
                let sample = if n % 2 == 0 { Sample::SUCCESS } else { Sample::SLOW_AND_FAILED };
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

#[test]
fn a_ring_allocates_its_slots_and_nothing_else() {
    // A stamp beside each item: 16 bytes for a word, a cache line for 56 bytes.
    assert_eq!(allocated(|| Ring::<u64>::new(1000)), (1, 16 * 1000));
    assert_eq!(allocated(|| Ring::<[u8; 56]>::new(1000)), (1, 64 * 1000));

    let ring = Ring::new(10);
    let mut source: Vec<u64> = Vec::with_capacity(10);
    let mut got: Vec<u64> = Vec::with_capacity(10);
    let work = || {
        for item in 0..1000 {
            ring.try_push(item).unwrap();
            ring.try_pop().unwrap();
            source.extend(0..7);
            ring.try_push_batch(&mut source.drain(..)).unwrap();
            ring.try_pop_batch(&mut got, 3).unwrap();
            while ring.force_push(item).unwrap().is_none() {}
            assert!(ring.try_push(item).is_err());
            ring.drain().for_each(drop);
            assert!(ring.try_pop().is_err());
            got.clear();
        }
    };
    assert_eq!(allocated(work), (0, 0));
}

fn pending(future: impl Future) {
    assert!(pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_pending());
}

fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the future did not complete at its first poll"),
    }
}

#[test]
fn a_channel_allocates_for_its_first_waiters_only() {
    let (count, _) = allocated(|| channel::<u64>(10));
    assert_eq!(count, 2, "one for the slots, one for the state shared by both ends");
    let (sender, receiver) = channel(10);
    let work = || {
        for item in 0..1000_u64 {
            sender.send_blocking(item).unwrap();
            receiver.recv_blocking().unwrap();
            ready(sender.send(item)).unwrap();
            ready(receiver.recv()).unwrap();
        }
    };
    assert_eq!(allocated(work), (0, 0));
    let wait = || pending(receiver.recv());
    assert_eq!(allocated(wait).0, 1, "one for the waiter in the queue");
    assert_eq!(allocated(|| (0..1000).for_each(|_| wait())), (0, 0), "the waiter is reused");
}

#[test]
fn a_semaphore_allocates_for_its_first_waiters_only() {
    assert_eq!(allocated(|| Semaphore::new(1)), (0, 0));
    let semaphore = Semaphore::new(1);
    let work = || {
        for _ in 0..1000 {
            drop(semaphore.try_acquire().unwrap());
            drop(semaphore.acquire_blocking().unwrap());
            let permit = ready(semaphore.acquire()).unwrap();
            assert!(semaphore.try_acquire().is_err());
            drop(permit);
        }
    };
    assert_eq!(allocated(work), (0, 0));
    let wait = || {
        let permit = semaphore.try_acquire().unwrap();
        pending(semaphore.acquire());
        drop(permit);
    };
    assert_eq!(allocated(wait).0, 1, "one for the waiter in the queue");
    assert_eq!(allocated(|| (0..1000).for_each(|_| wait())), (0, 0), "the waiter is reused");
}

#[test]
fn a_oneshot_is_one_allocation() {
    let send_and_receive = || {
        let (sender, mut receiver) = oneshot();
        pending(&mut receiver);
        sender.send(7_u64).unwrap();
        ready(receiver).unwrap()
    };
    assert_eq!(allocated(send_and_receive).0, 1);
}

/// Every allocation is freed, whichever handle is dropped last.
#[test]
fn a_oneshot_frees_its_allocation() {
    let freed = |f: fn()| {
        let before = FREED.get();
        assert_eq!(allocated(f).0, 1);
        FREED.get() - before
    };
    let ways: [fn(); 6] = [
        || drop(oneshot::<u64>()),
        || {
            let (sender, receiver) = oneshot::<u64>();
            drop(receiver);
            sender.send(1).unwrap_err();
        },
        || {
            let (sender, receiver) = oneshot::<u64>();
            sender.send(1).unwrap();
            drop(receiver);
        },
        || {
            let (sender, mut receiver) = oneshot::<u64>();
            pending(&mut receiver);
            drop(sender);
            ready(receiver).unwrap_err();
        },
        || {
            let (sender, mut receiver) = oneshot::<u64>();
            pending(&mut receiver);
            drop(receiver);
            drop(sender);
        },
        || {
            let (sender, mut receiver) = oneshot::<u64>();
            sender.send(1).unwrap();
            receiver.try_recv().unwrap();
            receiver.try_recv().unwrap_err();
        },
    ];
    assert_eq!(ways.map(freed), [1; 6]);
}

struct Numbers;

impl BlockingResourceManager for Numbers {
    type Resource = u64;
    type Error = &'static str;

    fn create(&self) -> Result<u64, &'static str> {
        Ok(7)
    }
}

#[test]
fn an_idle_resource_is_acquired_and_returned_without_allocation() {
    let pool = ResourcePool::new(FromBlocking(Numbers));
    drop(pool.acquire_blocking().unwrap());
    let allocations = allocated(|| {
        drop(pool.try_acquire().unwrap());
        drop(pool.acquire_blocking().unwrap());
    });
    assert_eq!(allocations, (0, 0));
}

/// The waiters' slots are reused, so neither many waits nor many cancelled ones grow the pool.
#[test]
fn waiting_for_a_resource_and_giving_up_allocate_nothing_after_the_first_wait() {
    let numbers = FromBlocking(Numbers);
    let pool = ResourcePool::builder(numbers).max_size(1).build().unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    let mut held = Some(pool.acquire_blocking().unwrap());
    let mut wait = || {
        let mut waiter = pin!(pool.acquire());
        assert!(waiter.as_mut().poll(&mut cx).is_pending());
        drop(held.take());
        match waiter.poll(&mut cx) {
            Poll::Ready(Ok(resource)) => held = Some(resource),
            _ => panic!("not served"),
        }
        assert!(pin!(pool.acquire()).poll(&mut cx).is_pending());
    };
    wait();
    let allocations = allocated(|| (0..100_000).for_each(|_| wait()));
    assert_eq!(allocations, (0, 0));
}

#[test]
fn a_broadcast_allocates_nothing_for_an_item() {
    use mainstay::ring::{BroadcastOverflow, broadcast};

    for overflow in [BroadcastOverflow::OverwriteOldest, BroadcastOverflow::WaitForSlowest] {
        let sender = broadcast(4, overflow);
        let mut subscribers: Vec<_> = (0..10).map(|_| sender.subscribe()).collect();
        let mut round = |item: u64| {
            for subscriber in &mut subscribers {
                assert!(subscriber.try_recv().is_err());
            }
            // Each subscriber waits, is woken by the send, and receives.
            let mut waits = subscribers.iter_mut().map(|each| each.recv());
            let mut waits: [_; 10] = std::array::from_fn(|_| waits.next().unwrap());
            let mut cx = Context::from_waker(Waker::noop());
            for wait in &mut waits {
                assert!(pin!(wait).poll(&mut cx).is_pending());
            }
            sender.try_send(item).unwrap();
            for wait in &mut waits {
                assert_eq!(pin!(wait).poll(&mut cx), Poll::Ready(Ok(item)));
            }
        };
        // The two lists of waiters grow once each.
        (0..2).for_each(&mut round);
        assert_eq!(allocated(|| (2..20).for_each(&mut round)), (0, 0), "{overflow:?}");
    }
}
