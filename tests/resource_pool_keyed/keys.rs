//! Keys: their pools, eviction, removal, settings, closing, maintenance, and panics.

use crate::hosts::*;
use mainstay::keyed::KeyOverflowRule;
use mainstay::resource_pool::{
    KeyedResourcePool, ResourceCloseReason, ResourcePoolError, ResourcePoolSettings,
};
use mainstay::time::ManualClock;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};

#[test]
fn each_key_has_a_limit_of_its_own() {
    let (hosts, time) = (Hosts::new(10), ManualClock::new());
    let each = ResourcePoolSettings::new().max_size(1);
    let pool = hosts.builder(&time).settings(each).build().unwrap();
    let _held = pool.acquire_blocking(&1).unwrap();
    assert!(Task::new(pool.acquire(&1)).run().is_pending());
    assert!(Task::new(pool.acquire(&2)).run().is_ready());
    assert_eq!(hosts.counts(1).max_open.load(SeqCst), 1);
}

#[test]
fn a_new_key_replaces_a_key_whose_resources_are_idle_and_closes_them() {
    let (hosts, time) = (Hosts::new(10), ManualClock::new());
    let pool = hosts.builder(&time).max_keys(1).build().unwrap();
    let held = pool.acquire_blocking(&1).unwrap();
    assert!(matches!(pool.acquire_blocking(&2), Err(ResourcePoolError::TooManyKeys)));
    drop(held);
    drop(pool.acquire_blocking(&2).unwrap());
    assert_eq!(hosts.counts(1).closed.load(SeqCst), 1);
    let snapshot = pool.snapshot();
    assert_eq!((snapshot.keys, snapshot.evicted_keys, snapshot.rejected_keys), (1, 1, 1));
    assert_eq!((snapshot.created, snapshot.acquired), (2, 2), "counters outlive their keys");
    assert_eq!(snapshot.closed.of(ResourceCloseReason::PoolClosed), 1);
    assert_eq!((snapshot.total_size, hosts.open()), (1, 1));
}

#[test]
fn a_key_with_resources_is_not_replaced_if_the_rule_rejects_new_keys() {
    let (hosts, time) = (Hosts::new(10), ManualClock::new());
    let rule = KeyOverflowRule::Reject;
    let pool = hosts.builder(&time).max_keys(1).when_full(rule).build().unwrap();
    drop(pool.acquire_blocking(&1).unwrap());
    assert!(matches!(pool.acquire_blocking(&2), Err(ResourcePoolError::TooManyKeys)));
    pool.evict();
    assert_eq!(hosts.open(), 0);
    drop(pool.acquire_blocking(&2).unwrap());
}

#[test]
fn a_key_is_kept_while_a_caller_waits_or_a_handle_exists() {
    let (hosts, time) = (Hosts::new(10), ManualClock::new());
    let pool = hosts.builder(&time).max_keys(1).build().unwrap();
    hosts.counts(1).fault.store(2, SeqCst);
    let mut waiting = Task::new(pool.acquire(&1));
    assert!(waiting.run().is_pending());
    assert!(pool.pool(&2).is_err());
    drop(waiting);
    let handle = pool.pool(&1).unwrap();
    assert!(pool.pool(&2).is_err());
    drop(handle);
    assert!(pool.pool(&2).is_ok());
    assert_eq!((hosts.open(), pool.snapshot().total_size), (0, 0));
}

#[test]
fn a_removed_key_rejects_its_callers_and_counts_its_resources_until_they_return() {
    let (hosts, time) = (Hosts::new(2), ManualClock::new());
    let each = ResourcePoolSettings::new().max_size(1);
    let pool = hosts.builder(&time).settings(each).build().unwrap();
    let held = pool.acquire_blocking(&1).unwrap();
    let mut waiting = Task::new(pool.acquire(&1));
    assert!(waiting.run().is_pending());
    assert!(pool.remove(&1));
    assert!(!pool.remove(&1));
    assert!(matches!(waiting.run(), std::task::Poll::Ready(Err(ResourcePoolError::Closed))));
    let again = pool.acquire_blocking(&1).unwrap();
    assert_eq!(pool.snapshot().total_size, 2);
    assert!(Task::new(pool.acquire(&2)).run().is_pending());
    drop(held);
    assert_eq!((hosts.open(), pool.snapshot().total_size), (1, 1));
    drop(again);
    let snapshot = pool.snapshot();
    assert_eq!((snapshot.created, snapshot.in_use), (2, 0));
}

#[test]
fn keys_are_looked_up_by_their_borrowed_form_and_cloned_once() {
    let made = Arc::new(Mutex::new(Vec::new()));
    let log = made.clone();
    let hosts = Hosts::new(10);
    let pool = KeyedResourcePool::builder(move |key: &String| {
        log.lock().unwrap().push(key.clone());
        hosts.host(1)
    })
    .build()
    .unwrap();
    for _ in 0..3 {
        drop(pool.acquire_blocking("a").unwrap());
    }
    drop(pool.try_acquire("a").unwrap());
    assert_eq!(*made.lock().unwrap(), ["a"]);
}

#[test]
fn new_settings_apply_to_known_and_to_new_keys() {
    let (hosts, time) = (Hosts::new(10), ManualClock::new());
    let pool = hosts.builder(&time).build().unwrap();
    drop(pool.pool(&1).unwrap());
    assert!(pool.reconfigure(ResourcePoolSettings::new().max_size(0)).is_err());
    pool.reconfigure(ResourcePoolSettings::new().max_size(3)).unwrap();
    for key in [1, 2] {
        assert_eq!(pool.pool(&key).unwrap().snapshot().max_size, 3);
    }
}

#[test]
fn settings_out_of_range_are_rejected_by_name() {
    let (hosts, time) = (Hosts::new(10), ManualClock::new());
    let builder = || hosts.builder(&time);
    let each = ResourcePoolSettings::new().max_size(0);
    for (builder, field) in [
        (builder().max_total_size(0), "max_total_size"),
        (builder().max_total_size((1 << 20) + 1), "max_total_size"),
        (builder().max_keys(0), "max_keys"),
        (builder().shards(3), "shards"),
        (builder().settings(each), "max_size"),
    ] {
        assert_eq!(builder.build().unwrap_err().field(), field);
    }
}

#[test]
fn a_closed_keyed_pool_rejects_known_and_new_keys_and_closes_what_returns() {
    let (hosts, time) = (Hosts::new(10), ManualClock::new());
    let pool = hosts.builder(&time).build().unwrap();
    let held = pool.acquire_blocking(&1).unwrap();
    drop(pool.acquire_blocking(&2).unwrap());
    assert!(pool.close());
    assert!(!pool.close());
    assert!(pool.is_closed());
    for key in [1, 2, 3] {
        assert!(matches!(pool.acquire_blocking(&key), Err(ResourcePoolError::Closed)));
    }
    let report = time.drive(pool.drain_timeout(SECOND));
    assert_eq!((report.in_use, report.is_complete()), (1, false));
    drop(held);
    let report = time.drive(pool.drain_timeout(SECOND));
    assert!(report.is_complete());
    assert_eq!(hosts.open(), 0);
}

#[test]
fn a_drain_waits_for_closings_of_all_keys() {
    let (hosts, time) = (Hosts::new(10), ManualClock::new());
    let pool = hosts.builder(&time).build().unwrap();
    for key in 0..5 {
        hosts.counts(key).close_steps.store(3, SeqCst);
        drop(pool.acquire_blocking(&key).unwrap());
    }
    let report = pool.drain_blocking_timeout(SECOND);
    assert_eq!((report.closed, report.is_complete(), hosts.open()), (5, true, 0));
}

#[test]
fn maintenance_covers_keys_that_come_later_and_ends_with_the_pool() {
    let (hosts, time) = (Hosts::new(10), ManualClock::new());
    let pool = hosts.builder(&time).build().unwrap();
    let mut maintenance = Task::new(pool.maintenance());
    assert!(maintenance.run().is_pending());
    for key in [1, 2] {
        drop(pool.acquire_blocking(&key).unwrap());
        assert!(maintenance.is_woken());
        assert!(maintenance.run().is_pending());
    }
    time.advance(601 * SECOND);
    assert!(maintenance.is_woken());
    assert!(maintenance.run().is_pending());
    assert_eq!((hosts.open(), pool.snapshot().closed.of(ResourceCloseReason::Idle)), (0, 2));
    drop(pool);
    assert!(maintenance.is_woken());
    assert!(maintenance.run().is_ready());
}

#[test]
fn dropping_the_last_handle_closes_all_pools() {
    let (hosts, time) = (Hosts::new(10), ManualClock::new());
    let pool = hosts.builder(&time).build().unwrap();
    let held = pool.acquire_blocking(&1).unwrap();
    drop(pool.acquire_blocking(&2).unwrap());
    drop(pool);
    assert_eq!((hosts.open(), hosts.counts(2).closed.load(SeqCst)), (1, 1));
    drop(held);
    assert_eq!((hosts.open(), hosts.counts(1).closed.load(SeqCst)), (0, 1));
}

#[test]
fn a_factory_that_panics_leaves_no_key() {
    let time = ManualClock::new();
    let hosts = Hosts::new(10);
    let made = hosts.clone();
    let pool = KeyedResourcePool::builder(move |key: &u8| {
        assert!(*key != 1, "factory");
        made.host(*key)
    })
    .max_keys(1)
    .clock(time.clock())
    .build()
    .unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| pool.pool(&1))).is_err());
    assert_eq!(pool.snapshot().keys, 0);
    drop(pool.acquire_blocking(&2).unwrap());
}
