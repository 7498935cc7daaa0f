//! Concurrent calls: shared operations, dropped calls, removed keys and panicking stores.

use crate::support::*;
use mainstay::cache::{CacheStore, Cached};
#[cfg(feature = "quick_cache")]
use mainstay::error::{Error, Reason};
use mainstay::time::ManualClock;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::task::Poll;
use std::thread;
use std::time::Duration;

#[test]
fn calls_that_find_no_value_share_one_operation() {
    let (cache, remote) = (builder(&ManualClock::new()).build().unwrap(), Remote::new());
    let mut calls = [(); 3].map(|()| Box::pin(cache.call(&(), || remote.start())));
    assert!(calls.iter_mut().all(|call| poll(call).is_pending()));
    remote.complete(Ok(7));
    assert!(calls.into_iter().all(|call| ready(call) == Ok(7)));
    assert_eq!(remote.started.load(SeqCst), 1);
    assert_eq!(cache.snapshot().misses, 3);
}

#[cfg(feature = "quick_cache")]
#[test]
fn a_new_key_is_rejected_while_max_operations_are_running() {
    let store = quick_cache::sync::Cache::new(10);
    let cache = Cached::<u8, u32, ()>::builder(store).max_operations(1).build().unwrap();
    let mut running = Box::pin(cache.call(&1, std::future::pending::<Result<u32, ()>>));
    assert!(poll(&mut running).is_pending());
    let rejected = cache.call_blocking(&2, || Ok::<_, ()>(2)).unwrap_err();
    assert!(matches!(rejected, Error::Rejected(error) if error.reason() == Reason::Exhausted));
    drop(running);
    assert_eq!(cache.call_blocking(&2, || Ok::<_, ()>(2)), Ok(2));
    assert_eq!(cache.call_blocking(&3, || Ok::<_, ()>(3)), Ok(3), "the store holds more keys");
}

/// moka#240: a call that was polled once and then no longer polled blocked every other call with
/// its key.
#[test]
fn a_call_that_is_no_longer_polled_does_not_block_other_calls() {
    let cache = builder(&ManualClock::new()).build().unwrap();
    let yields = || {
        let mut yielded = false;
        poll_fn(move |cx| {
            if std::mem::replace(&mut yielded, true) {
                return Poll::Ready(Ok::<_, &str>(1));
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
    };
    let mut held = Box::pin(cache.call(&(), yields));
    assert!(poll(&mut held).is_pending());
    assert_eq!(ready(cache.call(&(), yields)), Ok(1));
    assert_eq!(ready(held), Ok(1));
    assert_eq!(cache.snapshot().misses, 2);
}

/// moka#59: after the task that ran the operation was aborted, the next call with the key panicked.
#[test]
fn the_operation_of_a_dropped_call_is_continued_by_a_follower_or_dropped() {
    let time = ManualClock::new();
    for stale in [false, true] {
        for polls in 0..5 {
            for has_follower in [false, true] {
                let cache = builder(&time).stale_while_revalidate(5 * S).build().unwrap();
                if stale {
                    call(&cache, Ok(1)).0.unwrap();
                    time.advance(10 * S);
                }
                let started = AtomicU32::new(0);
                let operation = || {
                    started.fetch_add(1, SeqCst);
                    let mut left = 3;
                    poll_fn(move |cx| {
                        cx.waker().wake_by_ref();
                        left -= 1;
                        if left == 0 { Poll::Ready(Ok::<_, &str>(7)) } else { Poll::Pending }
                    })
                };
                let mut dropped = Box::pin(cache.call(&(), operation));
                let ended = (0..polls).any(|_| poll(&mut dropped).is_ready());
                let mut other = Box::pin(cache.call(&(), operation));
                let waits = has_follower && polls > 0 && !ended && !stale;
                // The operation wakes itself at each poll, so the follower may poll and complete
                // it.
                let first = if waits { poll(&mut other) } else { Poll::Pending };
                drop(dropped);
                let returned = match first {
                    Poll::Ready(returned) => returned,
                    Poll::Pending => futures::executor::block_on(other),
                };
                assert_eq!(returned, Ok(7), "{stale} {polls} {has_follower}");
                let expected = if waits || ended || polls == 0 { 1 } else { 2 };
                assert_eq!(started.load(SeqCst), expected, "{stale} {polls} {has_follower}");
                assert_eq!(call(&cache, Ok(9)), (Ok(7), false));
            }
        }
    }
}

#[test]
fn a_result_whose_key_was_removed_during_the_operation_is_not_used_later() {
    let (cache, remote) = (builder(&ManualClock::new()).build().unwrap(), Remote::new());
    let mut before = Box::pin(cache.call(&(), || remote.start()));
    assert!(poll(&mut before).is_pending());
    cache.remove(&());
    let after = Remote::new();
    let mut second = Box::pin(cache.call(&(), || after.start()));
    assert!(poll(&mut second).is_pending(), "a call after the removal starts its own operation");
    remote.complete(Ok(1));
    assert_eq!(ready(before), Ok(1));
    assert_eq!(after.started.load(SeqCst), 1);
    after.complete(Ok(2));
    assert_eq!(ready(second), Ok(2));
    assert_eq!(call(&cache, Ok(3)), (Ok(2), false));
}

#[test]
fn a_result_whose_key_was_removed_during_the_operation_is_not_stored() {
    let (cache, remote) = (builder(&ManualClock::new()).build().unwrap(), Remote::new());
    let mut before = Box::pin(cache.call(&(), || remote.start()));
    assert!(poll(&mut before).is_pending());
    cache.remove(&());
    remote.complete(Ok(1));
    assert_eq!(ready(before), Ok(1));
    assert_eq!(call(&cache, Ok(2)), (Ok(2), true));
}

#[test]
fn a_removed_value_does_not_replace_an_error() {
    let time = ManualClock::new();
    let cache = builder(&time).stale_on_error(20 * S).build().unwrap();
    call(&cache, Ok(1)).0.unwrap();
    time.advance(10 * S);
    cache.remove(&());
    assert_eq!(call(&cache, Err(rejected())), (Err(rejected()), true));
}

/// A store whose `insert` panics for the key 9, and whose other methods panic while `panics` is
/// set.
struct PanickingStore<V> {
    value: Mutex<Option<V>>,
    panics: &'static AtomicBool,
}

impl<V: Clone + Send> CacheStore<u8, V> for PanickingStore<V> {
    fn get(&self, _: &u8) -> Option<V> {
        assert!(!self.panics.load(SeqCst), "get");
        self.value.lock().unwrap().clone()
    }

    fn insert(&self, key: u8, value: V) {
        assert!(key != 9, "insert");
        *self.value.lock().unwrap() = Some(value);
    }

    fn remove(&self, _: &u8) {
        assert!(!self.panics.load(SeqCst), "remove");
        *self.value.lock().unwrap() = None;
    }
}

#[test]
fn a_store_that_panics_leaves_the_cache_usable() {
    static PANICS: AtomicBool = AtomicBool::new(false);
    let store = PanickingStore { value: Mutex::new(None), panics: &PANICS };
    let cache = Cached::<u8, u32, ()>::builder(store).build().unwrap();
    let call = |key: u8| {
        let call = || ready(cache.call(&key, || async { Ok::<_, ()>(1) }));
        catch_unwind(AssertUnwindSafe(call))
    };
    assert!(call(9).is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| cache.call_blocking(&9, || Ok::<_, ()>(1)))).is_err());
    PANICS.store(true, SeqCst);
    assert!(call(1).is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| cache.remove(&1))).is_err());
    PANICS.store(false, SeqCst);
    assert_eq!(call(1).unwrap(), Ok(1));
    assert_eq!(call(1).unwrap(), Ok(1));
}

#[test]
fn each_call_of_eight_threads_is_counted_once_and_one_operation_runs_at_a_time() {
    const THREADS: u64 = 8;
    const CALLS: u64 = 4000;
    let time = ManualClock::new();
    let cache = builder(&time)
        .stale_while_revalidate(Duration::from_secs(3))
        .stale_on_error(Duration::from_secs(5))
        .negative_ttl(S)
        .build()
        .unwrap();
    let [running, operations, failed] = [const { AtomicUsize::new(0) }; 3];
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (cache, time) = (&cache, &time);
            let (running, operations, failed) = (&running, &operations, &failed);
            scope.spawn(move || {
                for call in 0..CALLS {
                    if thread == 0 && call % 16 == 0 {
                        time.advance(S);
                    }
                    let result = cache.call_blocking(&(), || {
                        assert_eq!(running.fetch_add(1, SeqCst), 0, "two operations at a time");
                        let nth = operations.fetch_add(1, SeqCst);
                        thread::yield_now();
                        running.fetch_sub(1, SeqCst);
                        if nth % 3 == 0 { Err("down") } else { Ok(nth as u32) }
                    });
                    if result.is_err() {
                        failed.fetch_add(1, SeqCst);
                    }
                }
            });
        }
    });
    let snapshot = cache.snapshot();
    let served = snapshot.hits + snapshot.stale + snapshot.misses + snapshot.refreshes;
    assert_eq!(served, THREADS * CALLS);
    let operations = operations.into_inner() as u64;
    assert!(snapshot.refreshes <= operations, "{snapshot:?} {operations}");
    assert!(operations <= snapshot.refreshes + snapshot.misses, "{snapshot:?} {operations}");
    assert!(failed.into_inner() as u64 <= snapshot.misses + snapshot.hits);
}
