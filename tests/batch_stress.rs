//! Exact accounts of a batcher: every item is answered exactly once, whatever happens to its call,
//! its batch and the batcher.

mod batch_support;

use batch_support::{Call, Gate, is_accounted, poll, started};
use futures::executor::block_on;
use futures::future::join_all;
use mainstay::batch::{Batch, Batcher};
use mainstay::error::Error;
use mainstay::time::ManualClock;
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::thread;
use std::time::Duration;

/// What the sink has seen.
#[derive(Default)]
struct Seen {
    /// The keys of the items that were part of a successful batch.
    stored: HashMap<u64, u128>,
    stored_twice: u64,
}

/// Pends once, so that other threads run between the polls of an operation.
async fn pend() {
    let mut pended = false;
    poll_fn(|cx| match std::mem::replace(&mut pended, true) {
        true => Poll::Ready(()),
        false => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await;
}

/// A sink in which one batch in eight fails, one in sixteen panics, and items divisible by 97 fail
/// their batch.
fn unreliable(seen: &Arc<Mutex<Seen>>) -> Batcher<u64, u64, &'static str> {
    let (seen, count) = (Arc::clone(seen), AtomicU64::new(0));
    Batcher::builder(move |batch: Batch<u64>| {
        let (seen, n) = (Arc::clone(&seen), count.fetch_add(1, SeqCst));
        async move {
            if n.is_multiple_of(2) {
                pend().await;
            }
            match n % 16 {
                3 | 11 => return Err("down"),
                7 => panic!("sink"),
                _ => {}
            }
            if batch.iter().any(|item| item.is_multiple_of(97)) {
                return Err("bad item");
            }
            let mut seen = seen.lock().unwrap();
            for (item, key) in batch.iter().zip(batch.keys()) {
                let twice = seen.stored.insert(*item, key).is_some();
                seen.stored_twice += u64::from(twice);
            }
            Ok(batch.into_vec())
        }
    })
    .max_items(16)
    .max_linger(Duration::from_micros(200))
    .max_concurrent(2)
    .max_queue(64)
    .max_pause(Duration::from_micros(20))
    .split_when(|error| *error == "bad item")
    .build()
    .unwrap()
}

#[test]
fn every_item_is_answered_once_under_failures_panics_cancellation_and_shutdown() {
    const THREADS: u64 = 8;
    const ITEMS: u64 = 2_000;
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.payload().downcast_ref::<&str>() != Some(&"sink") {
            hook(info);
        }
    }));
    for has_runner in [false, true] {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let batcher = unreliable(&seen);
        let succeeded: Mutex<HashSet<u64>> = Mutex::default();
        let (answered, cancelled) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            if has_runner {
                scope.spawn(|| batcher.run_blocking());
            }
            let callers: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let (batcher, succeeded) = (&batcher, &succeeded);
                    let (answered, cancelled) = (&answered, &cancelled);
                    scope.spawn(move || {
                        let mut calls: Vec<(u64, Call<u64, &str>)> = Vec::new();
                        for item in (0..ITEMS).map(|n| thread * ITEMS + n + 1) {
                            calls.push((item, started(batcher, item)));
                            if calls.len() < 12 {
                                continue;
                            }
                            // A call that is held and not polled would delay the others.
                            calls.retain_mut(|(item, call)| {
                                let drops = item.is_multiple_of(5);
                                let pends = drops && poll(call).is_pending();
                                cancelled.fetch_add(u64::from(pends), SeqCst);
                                !drops
                            });
                            let (items, waits): (Vec<_>, Vec<_>) = calls.drain(..).unzip();
                            for (item, result) in items.into_iter().zip(block_on(join_all(waits))) {
                                answered.fetch_add(1, SeqCst);
                                if let Ok(value) = result {
                                    assert_eq!(value, item);
                                    assert!(succeeded.lock().unwrap().insert(item));
                                }
                            }
                        }
                    })
                })
                .collect();
            callers.into_iter().for_each(|caller| caller.join().unwrap());
            let report = batcher.drain_blocking_timeout(Duration::from_secs(60));
            assert!(report.is_complete(), "{report:?}");
        });
        let (shot, seen) = (batcher.snapshot(), seen.lock().unwrap());
        is_accounted(&batcher);
        assert_eq!((shot.queued, shot.in_flight, shot.running, shot.waiting), (0, 0, 0, 0));
        assert!(answered.load(SeqCst) > 0 && cancelled.load(SeqCst) > 0 && shot.splits > 0);
        assert_eq!(seen.stored_twice, 0, "an item was sent again after it was stored");
        // An operation without calls may store its items before it is dropped.
        let stored = shot.succeeded..=shot.succeeded + shot.abandoned;
        assert!(stored.contains(&(seen.stored.len() as u64)), "{shot:?}");
        let keys: HashSet<_> = seen.stored.values().collect();
        assert_eq!(keys.len(), seen.stored.len(), "keys are unique");
        for item in succeeded.lock().unwrap().iter() {
            assert!(seen.stored.contains_key(item), "{item} was answered and not stored");
        }
    }
    let _ = std::panic::take_hook();
}

#[test]
fn calls_that_race_with_a_drain_are_answered_or_rejected() {
    for round in 0..50 {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let batcher = {
            let seen = Arc::clone(&seen);
            Batcher::builder(move |batch: Batch<u64>| {
                let seen = Arc::clone(&seen);
                async move {
                    pend().await;
                    seen.lock().unwrap().stored.extend(batch.iter().copied().zip(batch.keys()));
                    Ok::<_, ()>(batch.into_vec())
                }
            })
            .max_items(4)
            .max_queue(8)
            .max_linger(Duration::from_micros(50))
            .build()
            .unwrap()
        };
        let stop = AtomicBool::new(false);
        let ended = thread::scope(|scope| {
            let callers: Vec<_> = (0..4_u64)
                .map(|thread| {
                    let (batcher, stop) = (&batcher, &stop);
                    scope.spawn(move || {
                        let mut ended = 0_u64;
                        for n in 0.. {
                            match batcher.call_blocking(thread * 1_000_000 + n) {
                                Ok(_) => ended += 1,
                                Err(Error::Rejected(_)) => break,
                                Err(error) => panic!("{error:?}"),
                            }
                            stop.store(n > 5 + round, SeqCst);
                        }
                        ended
                    })
                })
                .collect();
            while !stop.load(SeqCst) {
                thread::yield_now();
            }
            assert!(batcher.drain_blocking_timeout(Duration::from_secs(60)).is_complete());
            callers.into_iter().map(|caller| caller.join().unwrap()).sum::<u64>()
        });
        assert_eq!(ended, batcher.snapshot().succeeded);
        assert_eq!(ended, seen.lock().unwrap().stored.len() as u64);
        is_accounted(&batcher);
    }
}

#[derive(Clone, Debug)]
enum Action {
    Call,
    /// Polls the n-th call.
    Poll(usize),
    /// Drops the n-th call.
    Drop(usize),
    /// Lets the oldest batch through.
    Open,
    Advance(u64),
    Flush,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => Just(Action::Call),
        4 => (0usize..8).prop_map(Action::Poll),
        2 => (0usize..8).prop_map(Action::Drop),
        2 => Just(Action::Open),
        2 => (0u64..15).prop_map(Action::Advance),
        1 => Just(Action::Flush),
    ]
}

proptest! {
    /// The model: items are sent in the order of the calls, in batches within the limits, each at
    /// most once; a call that was dropped before its item was sent is never sent.
    #[test]
    fn items_are_sent_once_and_in_order_whatever_happens_to_their_calls(
        actions in proptest::collection::vec(action(), 0..120),
        max_items in 1usize..5,
        max_concurrent in 1usize..3,
        max_queue in 1usize..6,
    ) {
        let (time, gate) = (ManualClock::new(), Gate::default());
        let batcher = gate
            .builder()
            .clock(time.clock())
            .max_items(max_items)
            .max_concurrent(max_concurrent)
            .max_queue(max_queue)
            .build()
            .unwrap();
        let mut calls: Vec<(u32, Call<u32, &'static str>)> = Vec::new();
        let (mut next, mut dropped_unsent) = (0, HashSet::new());
        for action in actions {
            match action {
                Action::Call => {
                    calls.push((next, started(&batcher, next)));
                    next += 1;
                }
                Action::Poll(n) if n < calls.len() => {
                    if let Poll::Ready(result) = poll(&mut calls[n].1) {
                        prop_assert_eq!(result, Ok(calls.remove(n).0));
                    }
                }
                Action::Drop(n) if n < calls.len() => {
                    let (item, call) = calls.remove(n);
                    if !gate.items().contains(&item) {
                        dropped_unsent.insert(item);
                    }
                    drop(call);
                }
                Action::Open => gate.open_next(),
                Action::Advance(ms) => time.advance(Duration::from_millis(ms)),
                Action::Flush => drop(poll(&mut Box::pin(batcher.flush()))),
                Action::Poll(_) | Action::Drop(_) => {}
            }
            let shot = batcher.snapshot();
            prop_assert!(shot.running <= max_concurrent && gate.max_running() <= max_concurrent);
            prop_assert!(shot.queued <= max_queue);
            prop_assert!(shot.in_flight <= max_items * max_concurrent);
            is_accounted(&batcher);
        }
        // The rest completes without further calls.
        let mut left: HashSet<u32> = calls.iter().map(|(item, _)| *item).collect();
        for _ in 0..10 * (calls.len() + 1) {
            gate.open_next();
            time.advance(Duration::from_millis(10));
            calls.retain_mut(|(item, call)| match poll(call) {
                Poll::Ready(result) => {
                    assert_eq!(result, Ok(*item));
                    left.remove(item);
                    false
                }
                Poll::Pending => true,
            });
        }
        prop_assert!(left.is_empty(), "{left:?} not answered: {:?}", batcher.snapshot());
        let sent = gate.items();
        prop_assert!(sent.is_sorted_by(|a, b| a < b), "{sent:?}");
        prop_assert!(sent.iter().all(|item| !dropped_unsent.contains(item)), "{sent:?}");
        is_accounted(&batcher);
        let shot = batcher.snapshot();
        prop_assert_eq!((shot.queued, shot.in_flight, shot.waiting), (0, 0, 0));
    }
}
