//! Leak detection: resources that callers hold for too long.

use crate::server::*;
use mainstay::event::{Event, EventValue};
use mainstay::resource_pool::{PooledResource, ResourcePoolSettings};
use mainstay::time::ManualClock;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::task::Poll;

/// The fields of the events `leaked`: how long, and in which line of this file.
type Reports = Arc<Mutex<Vec<(EventValue, u64)>>>;

fn record(reports: &Reports) -> impl Fn(&Event<'_>) + Send + Sync + 'static {
    let reports = Arc::clone(reports);
    move |event| {
        if event.kind == "leaked" {
            let [held, file, line] = event.fields else { panic!("{event}") };
            assert_eq!(*file, ("file", EventValue::Label(file!())));
            let ("line", EventValue::Count(line)) = *line else { panic!("{event}") };
            assert_eq!(held.0, "held_for");
            reports.lock().unwrap().push((held.1, line));
        }
    }
}

#[test]
fn a_resource_held_for_too_long_is_reported_once_with_the_call_that_acquired_it() {
    let (server, time, reports) = (Server::new(3), ManualClock::new(), Reports::default());
    let pool = builder(&server, &time)
        .leak_threshold(60 * SECOND)
        .observer(record(&reports))
        .build()
        .unwrap();
    let mut maintenance = Task::new(pool.maintenance());
    let leaked = pool.acquire_blocking().unwrap();
    let line = line!() - 1;
    time.advance(30 * SECOND);
    assert!(maintenance.run().is_pending());
    let returned = pool.try_acquire();
    assert!(returned.is_err());
    assert!(pool.snapshot().leaks.is_empty());
    for _ in 0..5 {
        time.advance(30 * SECOND);
        assert!(maintenance.run().is_pending());
    }
    let [(held_for, reported)] = reports.lock().unwrap()[..] else { panic!("{reports:?}") };
    assert_eq!(reported, u64::from(line));
    assert_eq!(held_for, EventValue::Duration(60 * SECOND));
    let [leak] = pool.snapshot().leaks[..] else { panic!("one leak") };
    assert_eq!((leak.held_for, leak.acquired_at.line()), (180 * SECOND, line));
    assert_eq!(leak.acquired_at.file(), file!());
    drop(leaked);
    assert!(pool.snapshot().leaks.is_empty());
    assert_settled(&server, &pool.snapshot());
}

#[test]
fn every_way_to_acquire_records_its_caller() {
    let (server, time) = (Server::new(5), ManualClock::new());
    let pool = builder(&server, &time).max_size(5).leak_threshold(MS).build().unwrap();
    let a = pool.acquire_blocking().unwrap();
    let b = pool.acquire_blocking_timeout(SECOND).unwrap();
    let Poll::Ready(Ok(c)) = Task::new(pool.acquire()).run() else { panic!("not served") };
    let Poll::Ready(Ok(d)) = Task::new(pool.acquire_timeout(SECOND)).run() else {
        panic!("not served")
    };
    drop(pool.acquire_blocking().unwrap());
    let e = pool.try_acquire().unwrap();
    let last = line!() - 1;
    time.advance(MS);
    let mut lines: Vec<_> =
        pool.snapshot().leaks.iter().map(|leak| last - leak.acquired_at.line()).collect();
    lines.sort_unstable();
    assert_eq!(lines, [0, 4, 5, 6, 7]);
    drop((a, b, c, d, e));
}

/// A caller that waits is recorded like one that does not, from the hand-over on.
#[test]
fn a_resource_that_was_handed_over_is_held_by_its_new_caller() {
    let (server, time) = (Server::new(1), ManualClock::new());
    let pool = builder(&server, &time).max_size(1).leak_threshold(SECOND).build().unwrap();
    let held = pool.acquire_blocking().unwrap();
    let mut waiter = Task::new(pool.acquire());
    let line = line!() - 1;
    assert!(waiter.run().is_pending());
    time.advance(3 * SECOND);
    drop(held);
    let Poll::Ready(Ok(held)) = waiter.run() else { panic!("not served") };
    assert!(pool.snapshot().leaks.is_empty());
    time.advance(2 * SECOND);
    let [leak] = pool.snapshot().leaks[..] else { panic!("one leak") };
    assert_eq!((leak.held_for, leak.acquired_at.line()), (2 * SECOND, line));
    drop(held);
}

#[test]
fn a_caller_that_times_out_causes_a_report_without_maintenance() {
    let (server, time, reports) = (Server::new(1), ManualClock::new(), Reports::default());
    let pool = builder(&server, &time)
        .max_size(1)
        .leak_threshold(SECOND)
        .observer(record(&reports))
        .build()
        .unwrap();
    let held = pool.acquire_blocking().unwrap();
    for _ in 0..2 {
        time.drive(pool.acquire()).unwrap_err();
    }
    assert_eq!(reports.lock().unwrap().len(), 1);
    drop(held);
}

#[test]
fn every_end_of_a_lease_is_recorded() {
    let (server, time) = (Server::new(5), ManualClock::new());
    let pool = builder(&server, &time).max_size(5).leak_threshold(SECOND).build().unwrap();
    let mut held: Vec<_> = (0..5).map(|_| pool.acquire_blocking().unwrap()).collect();
    time.advance(SECOND);
    assert_eq!(pool.snapshot().leaks.len(), 5);
    drop(held.pop());
    PooledResource::discard(held.pop().unwrap());
    drop(PooledResource::detach(held.pop().unwrap()));
    let broken = held.pop();
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let _broken = broken;
        panic!("while held");
    }));
    assert!(unwound.is_err());
    server.faults().recycle = mainstay::resource_pool::RecycleDecision::Close;
    drop(held.pop());
    assert!(pool.snapshot().leaks.is_empty());
}

#[test]
fn a_pool_that_does_not_look_for_leaks_reports_none() {
    let (server, time, reports) = (Server::new(1), ManualClock::new(), Reports::default());
    let pool = builder(&server, &time).max_size(1).observer(record(&reports)).build().unwrap();
    let held = pool.acquire_blocking().unwrap();
    time.advance(3600 * SECOND);
    time.drive(pool.acquire()).unwrap_err();
    assert!(pool.snapshot().leaks.is_empty());
    // Leases that began before the threshold was set are not known.
    let settings = ResourcePoolSettings::new().max_size(1).leak_threshold(SECOND);
    pool.reconfigure(settings).unwrap();
    assert!(pool.snapshot().leaks.is_empty());
    drop(held);
    let held = pool.acquire_blocking().unwrap();
    time.advance(SECOND);
    assert_eq!(pool.snapshot().leaks.len(), 1);
    drop(held);
    assert!(reports.lock().unwrap().is_empty());
}
