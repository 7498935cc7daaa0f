//! The keyed bulkhead: one limit per key, a maximum number of keys, and no removal of a key in use.
#![cfg(not(mainstay_loom))]

use mainstay::concurrency::{Bulkhead, BulkheadBuilder, KeyedBulkhead};
use mainstay::error::{Error, Reason};
use mainstay::event::Event;
use mainstay::pipeline::Pipeline;
use mainstay::policy::{Admission, Context as CallContext, OwnedGuard};
use mainstay::time::ManualClock;
use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

fn each() -> BulkheadBuilder {
    Bulkhead::builder().name("tenants").max_concurrent(2)
}

fn keyed(each: BulkheadBuilder, max_keys: usize) -> KeyedBulkhead<u32> {
    KeyedBulkhead::builder(each).max_keys(max_keys).build().unwrap()
}

#[test]
fn each_key_has_its_own_limit() {
    let tenants = keyed(each(), 100);
    let permits = [1, 1, 2].map(|key| tenants.try_acquire(&key).unwrap());
    let rejection = tenants.try_acquire(&1).unwrap_err();
    assert_eq!((rejection.reason(), rejection.policy()), (Reason::ConcurrencyLimited, "tenants"));
    assert!(tenants.try_acquire(&2).is_ok());
    let snapshot = tenants.snapshot();
    assert_eq!((snapshot.keys, snapshot.in_flight, snapshot.queued), (2, 3, 0));
    drop(permits);
    assert_eq!(tenants.snapshot().in_flight, 0);
}

#[test]
fn all_forms_of_a_call_take_a_permit_of_the_key() {
    let tenants = keyed(each().max_queue(1), 100);
    let running = || Ok::<_, ()>(tenants.snapshot().in_flight);
    let block_on = futures::executor::block_on::<std::pin::Pin<&mut dyn Future<Output = u64>>>;
    let forms = [
        block_on(pin!(async { tenants.acquire(&1).await.map(|_p| running().unwrap()).unwrap() })),
        block_on(pin!(async {
            tenants.acquire_timeout(&1, MS).await.map(|_p| running().unwrap()).unwrap()
        })),
        tenants.acquire_blocking(&1).map(|_p| running().unwrap()).unwrap(),
        tenants.acquire_blocking_timeout(&1, MS).map(|_p| running().unwrap()).unwrap(),
        tenants.call_blocking(&1, running).unwrap(),
        block_on(pin!(async { tenants.call(&1, async || running()).await.unwrap() })),
        Pipeline::builder().guard(tenants.key(&1)).build().call_blocking(running).unwrap(),
        block_on(pin!(async {
            let pipeline = Pipeline::builder().guard(tenants.key(&1)).build();
            pipeline.call(async || running()).await.unwrap()
        })),
    ];
    assert_eq!(forms, [1; 8]);
    let admitted = OwnedGuard::<(), ()>::admit_owned(&tenants.key(&1), CallContext::new());
    assert!(matches!(admitted, Admission::Admitted(_)));
    drop(admitted);
    assert_eq!(tenants.snapshot().in_flight, 0);
}

#[test]
fn a_key_in_use_is_never_removed() {
    let tenants = keyed(each(), 2);
    let in_use = tenants.try_acquire(&0).unwrap();
    // Keys that are not in use are removed when a new key needs space.
    for key in 1..100 {
        tenants.try_acquire(&key).map(drop).unwrap();
    }
    let other = tenants.bulkhead(&100).unwrap();
    let rejection = tenants.try_acquire(&101).unwrap_err();
    assert_eq!(rejection.reason(), Reason::Exhausted);
    assert!(tenants.call_blocking(&101, || Ok::<_, ()>(())).unwrap_err().is_rejected());
    let second = tenants.try_acquire(&0).unwrap();
    assert_eq!(tenants.try_acquire(&0).unwrap_err().reason(), Reason::ConcurrencyLimited);
    let snapshot = tenants.snapshot();
    assert_eq!((snapshot.keys, snapshot.max_keys, snapshot.rejected), (2, 2, 2));
    drop((in_use, second, other));
    assert!(tenants.try_acquire(&101).is_ok());
}

#[test]
fn a_waiting_caller_keeps_its_key() {
    let time = ManualClock::new();
    let tenants = keyed(each().max_concurrent(1).max_queue(1).clock(time.clock()), 1);
    let permit = tenants.try_acquire(&0).unwrap();
    let mut waiting = pin!(tenants.acquire(&0));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(waiting.as_mut().poll(&mut cx).is_pending());
    drop(permit);
    assert_eq!(tenants.try_acquire(&1).unwrap_err().reason(), Reason::Exhausted);
    assert!(matches!(waiting.as_mut().poll(&mut cx), Poll::Ready(Ok(_))));
    assert!(tenants.try_acquire(&1).is_ok());
}

#[test]
fn settings_change_for_keys_in_use_and_for_new_keys() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&events);
    let observer = move |event: &Event<'_>| {
        seen.lock().unwrap().push((event.keyed, event.to_string()));
    };
    let tenants = keyed(each().observer(observer), 100);
    let _permits = [1, 1].map(|key| tenants.try_acquire(&key).unwrap());
    assert!(tenants.try_acquire(&1).is_err());
    tenants.reconfigure(&each().max_concurrent(3)).unwrap();
    let _third = tenants.try_acquire(&1).unwrap();
    let new: Vec<_> = std::iter::from_fn(|| tenants.try_acquire(&2).ok()).collect();
    assert_eq!(new.len(), 3);
    let error = tenants.reconfigure(&each().max_concurrent(0)).unwrap_err();
    assert_eq!(error.field(), "max_concurrent");
    let events = events.lock().unwrap();
    assert!(events.iter().all(|(keyed, _)| *keyed));
    assert_eq!(events[1].1, "tenants reconfigured #1 limit=3 max_queue=0");
}

#[test]
fn invalid_settings_name_their_field() {
    let field = |builder| KeyedBulkhead::<u32>::builder(builder).build().unwrap_err().field();
    assert_eq!(field(each().max_concurrent(0)), "max_concurrent");
    assert_eq!(field(each().name("")), "name");
    let keys = |max_keys| KeyedBulkhead::<u32>::builder(each()).max_keys(max_keys).build();
    assert_eq!(keys(0).unwrap_err().field(), "max_keys");
    let shards = KeyedBulkhead::<u32>::builder(each()).shards(3).build();
    assert_eq!(shards.unwrap_err().field(), "shards");
}

#[test]
fn eight_threads_never_exceed_the_limit_of_a_key_while_keys_are_added_and_removed() {
    const KEYS: u32 = 8;
    let tenants = keyed(each(), 4);
    let running: HashMap<u32, AtomicI32> = (0..KEYS).map(|key| (key, AtomicI32::new(0))).collect();
    let (ran, rejected) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..8_u32 {
            let (tenants, running) = (&tenants, &running);
            let (ran, rejected) = (&ran, &rejected);
            scope.spawn(move || {
                for call in 0..20_000 {
                    let key = (thread + call * 7) % KEYS;
                    let result = tenants.call_blocking(&key, || {
                        assert!(running[&key].fetch_add(1, SeqCst) < 2, "over the limit");
                        std::hint::spin_loop();
                        running[&key].fetch_sub(1, SeqCst);
                        Ok::<_, ()>(())
                    });
                    match result {
                        Ok(()) => ran.fetch_add(1, SeqCst),
                        Err(Error::Rejected(_)) => rejected.fetch_add(1, SeqCst),
                        Err(error) => panic!("{error:?}"),
                    };
                }
            });
        }
    });
    assert_eq!(ran.load(SeqCst) + rejected.load(SeqCst), 160_000);
    let snapshot = tenants.snapshot();
    assert!(snapshot.in_flight == 0 && snapshot.keys <= 4, "{snapshot:?}");
}
