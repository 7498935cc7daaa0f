//! Changes while the pool is in use: size, settings, eviction, pauses, draining and maintenance.

use crate::server::*;
use mainstay::resource_pool::{
    PooledResource, ResourceCloseReason, ResourcePoolError, ResourcePoolSettings,
};
use mainstay::time::ManualClock;
use std::task::Poll;

#[test]
fn a_larger_size_serves_waiters() {
    let (server, time) = (Server::new(3), ManualClock::new());
    let pool = builder(&server, &time).max_size(1).build().unwrap();
    let held = pool.acquire_blocking().unwrap();
    let mut waiters = [Task::new(pool.acquire()), Task::new(pool.acquire())];
    assert!(waiters.iter_mut().all(|waiter| waiter.run().is_pending()));
    pool.resize(3).unwrap();
    assert!(waiters[0].is_woken());
    let first = waiters[0].run();
    let second = waiters[1].run();
    assert!(first.is_ready() && second.is_ready());
    drop(held);
}

/// deadpool 0.12.2: a pool that was shrunk and grown at once panicked. deadpool#380: after a resize
/// while resources were in use, the size underflowed.
#[test]
fn a_smaller_size_closes_resources_as_they_become_idle() {
    let (server, time) = (Server::new(4), ManualClock::new());
    let pool = builder(&server, &time).max_size(4).build().unwrap();
    let mut held: Vec<_> = (0..4).map(|_| pool.acquire_blocking().unwrap()).collect();
    drop(held.pop());
    pool.resize(2).unwrap();
    assert_eq!((server.open(), pool.snapshot().idle), (3, 0));
    let mut waiter = Task::new(pool.acquire());
    assert!(waiter.run().is_pending());
    drop(held.pop());
    assert!(waiter.run().is_pending(), "a resource in excess is closed");
    drop(held.pop());
    assert!(waiter.run().is_ready());
    for size in [1, 5, 2, 1] {
        pool.resize(size).unwrap();
    }
    drop(held);
    let snapshot = pool.snapshot();
    assert_eq!((snapshot.size, snapshot.closed.of(ResourceCloseReason::Resized)), (1, 3));
    assert_settled(&server, &snapshot);
    assert_eq!(pool.resize(0).unwrap_err().field(), "max_size");
}

/// Go#45993: a shorter idle timeout took effect only after the old lifetime.
#[test]
fn a_new_idle_timeout_applies_immediately() {
    let (server, time) = (Server::new(2), ManualClock::new());
    let pool = builder(&server, &time).build().unwrap();
    drop(pool.acquire_blocking().unwrap());
    time.advance(10 * SECOND);
    pool.reconfigure(ResourcePoolSettings::new().idle_timeout(5 * SECOND)).unwrap();
    assert_eq!(pool.snapshot().closed.of(ResourceCloseReason::Idle), 1);
    let error = pool.reconfigure(ResourcePoolSettings::new().max_creating(0)).unwrap_err();
    assert_eq!(error.field(), "max_creating");
}

/// Hikari#1441: a connection that was evicted while in use went back to the pool.
#[test]
fn an_eviction_closes_all_resources_created_before_it() {
    let (server, time) = (Server::new(4), ManualClock::new());
    let pool = builder(&server, &time).build().unwrap();
    let [a, b, c] = [(); 3].map(|()| pool.acquire_blocking().unwrap());
    server.hang();
    let mut unfinished = Task::new(pool.acquire());
    assert!(unfinished.run().is_pending());
    pool.pause(); // so that the waiter does not receive the returned resources
    drop((a, b));
    assert_eq!(pool.snapshot().idle, 2);
    pool.evict();
    assert_eq!(pool.snapshot().idle, 0);
    pool.resume();
    drop(c);
    server.resume();
    let Poll::Ready(Ok(resource)) = unfinished.run() else { panic!("not served") };
    assert_eq!(resource.id, 4, "the unfinished one was of the old generation");
    drop(resource);
    let snapshot = pool.snapshot();
    assert_eq!((snapshot.size, snapshot.closed.of(ResourceCloseReason::Evicted)), (1, 4));
    assert_settled(&server, &snapshot);
}

#[test]
fn a_paused_pool_serves_its_waiters_when_it_resumes() {
    let (server, time) = (Server::new(2), ManualClock::new());
    let pool = builder(&server, &time).build().unwrap();
    let held = pool.acquire_blocking().unwrap();
    pool.pause();
    drop(held);
    assert!(matches!(pool.try_acquire(), Err(ResourcePoolError::Exhausted)));
    let mut waiters = [Task::new(pool.acquire()), Task::new(pool.acquire())];
    assert!(waiters.iter_mut().all(|waiter| waiter.run().is_pending()));
    assert_eq!(server.attempts(), 1);
    pool.resume();
    let served: Vec<_> = waiters.iter_mut().map(Task::run).collect();
    assert!(served.iter().all(Poll::is_ready));
}

#[test]
fn a_drain_waits_for_the_resources_in_use_and_reports() {
    let (server, time) = (Server::new(3), ManualClock::new());
    let pool = builder(&server, &time).build().unwrap();
    let [a, b, c] = [(); 3].map(|()| pool.acquire_blocking().unwrap());
    drop(a);
    let mut drain = Task::new(pool.drain_timeout(10 * SECOND));
    assert!(drain.run().is_pending());
    assert_eq!(server.open(), 2);
    drop(b);
    assert!(drain.run().is_pending());
    drop(c);
    assert!(drain.is_woken());
    let Poll::Ready(report) = drain.run() else { panic!("all are closed") };
    assert_eq!((report.closed, report.is_complete(), server.open()), (3, true, 0));
}

#[test]
fn a_drain_ends_at_its_timeout() {
    let (server, time) = (Server::new(1), ManualClock::new());
    let pool = builder(&server, &time).build().unwrap();
    let held = pool.acquire_blocking().unwrap();
    let report = time.drive(pool.drain_timeout(10 * SECOND));
    assert_eq!((report.closed, report.in_use, report.is_complete()), (0, 1, false));
    drop(held);
    assert_eq!(server.open(), 0);
}

#[test]
fn a_drain_finishes_and_closes_unfinished_creations() {
    let (server, time) = (Server::new(1), ManualClock::new());
    let pool = builder(&server, &time).build().unwrap();
    server.faults().steps = 5;
    drop(Task::new(pool.acquire()).poll());
    assert_eq!(server.open(), 1);
    let report = time.drive(pool.drain_timeout(SECOND));
    assert!(report.is_complete());
    assert_eq!((server.open(), report.closed), (0, 1));
}

#[test]
fn maintenance_keeps_min_idle_resources() {
    let (server, time) = (Server::new(10), ManualClock::new());
    let pool = builder(&server, &time).min_idle(3).idle_timeout(60 * SECOND).build().unwrap();
    let mut maintenance = Task::new(pool.maintenance());
    assert!(maintenance.run().is_pending());
    assert_eq!(pool.snapshot().idle, 3);
    // Hikari#379: resources up to the minimum are not closed and created again.
    for _ in 0..20 {
        time.advance(30 * SECOND);
        assert!(maintenance.run().is_pending());
    }
    assert_eq!((pool.snapshot().idle, server.attempts()), (3, 3));
    PooledResource::discard(pool.acquire_blocking().unwrap());
    assert!(maintenance.run().is_pending());
    assert_eq!(pool.snapshot().idle, 3);
}

#[test]
fn maintenance_closes_and_checks_idle_resources() {
    let (server, time) = (Server::new(5), ManualClock::new());
    let pool = builder(&server, &time).idle_timeout(100 * SECOND).build().unwrap();
    drop([(); 5].map(|()| pool.acquire_blocking().unwrap()));
    let mut maintenance = Task::new(pool.maintenance());
    assert!(maintenance.run().is_pending());
    time.advance(30 * SECOND);
    assert!(maintenance.run().is_pending());
    assert_eq!((server.checks(), pool.snapshot().idle), (5, 5));
    for _ in 0..3 {
        time.advance(30 * SECOND);
        assert!(maintenance.run().is_pending());
    }
    assert_eq!(pool.snapshot().closed.of(ResourceCloseReason::Idle), 5);
    assert_settled(&server, &pool.snapshot());
}

#[test]
fn maintenance_continues_creations_without_callers() {
    let (server, time) = (Server::new(1), ManualClock::new());
    let pool = builder(&server, &time).build().unwrap();
    let mut maintenance = Task::new(pool.maintenance());
    assert!(maintenance.run().is_pending());
    server.faults().steps = 5;
    drop(Task::new(pool.acquire()).poll());
    assert!(maintenance.run().is_pending());
    assert_eq!(pool.snapshot().idle, 1);
}

#[test]
fn maintenance_ends_with_the_pool() {
    let (server, time) = (Server::new(1), ManualClock::new());
    let pool = builder(&server, &time).build().unwrap();
    let mut maintenance = Task::new(pool.maintenance());
    assert!(maintenance.run().is_pending());
    drop(pool);
    assert!(maintenance.is_woken());
    assert!(maintenance.run().is_ready());

    let pool = builder(&server, &time).build().unwrap();
    let held = pool.acquire_blocking().unwrap();
    let mut maintenance = Task::new(pool.maintenance());
    assert!(maintenance.run().is_pending());
    pool.close();
    assert!(maintenance.run().is_pending());
    drop(held);
    assert!(maintenance.run().is_ready());
}
