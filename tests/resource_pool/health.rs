//! Health: checks, lifetimes, broken resources.

use crate::server::*;
use mainstay::resource_pool::{PooledResource, RecycleDecision, ResourceCloseReason, ResourcePool};
use mainstay::time::ManualClock;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

#[test]
fn a_resource_is_checked_only_after_500_ms_idle() {
    let (server, time) = (Server::new(1), ManualClock::new());
    let pool = builder(&server, &time).build().unwrap();
    drop(pool.acquire_blocking().unwrap());
    for (idle, checks) in [(499 * MS, 0), (500 * MS, 1), (499 * MS, 1), (SECOND, 2)] {
        time.advance(idle);
        drop(pool.acquire_blocking().unwrap());
        assert_eq!(server.checks(), checks);
    }
    // Time in use is not idle time.
    let held = pool.acquire_blocking().unwrap();
    time.advance(SECOND);
    drop(held);
    drop(pool.acquire_blocking().unwrap());
    assert_eq!((server.checks(), server.attempts()), (2, 1));
}

#[test]
fn a_check_after_of_zero_checks_a_resource_before_every_use() {
    let (server, time) = (Server::new(1), ManualClock::new());
    let pool = builder(&server, &time).check_after(std::time::Duration::ZERO).build().unwrap();
    drop(pool.acquire_blocking().unwrap());
    time.advance(MS);
    drop(pool.acquire_blocking().unwrap());
    assert_eq!(server.checks(), 1);
}

#[test]
fn a_resource_that_fails_its_check_is_replaced() {
    let (server, time) = (Server::new(1), ManualClock::new());
    let pool = builder(&server, &time).max_size(1).build().unwrap();
    drop(pool.acquire_blocking().unwrap());
    time.advance(SECOND);
    server.faults().unhealthy = true;
    let resource = pool.acquire_blocking().unwrap();
    assert_eq!((resource.id, server.closed()), (1, 1));
    assert_eq!(pool.snapshot().closed.of(ResourceCloseReason::CheckFailed), 1);
}

#[test]
fn a_check_that_hangs_times_out() {
    let (server, time) = (Server::new(1), ManualClock::new());
    let pool = builder(&server, &time).max_size(1).check_timeout(SECOND).build().unwrap();
    drop(pool.acquire_blocking().unwrap());
    time.advance(SECOND);
    server.hang();
    let mut caller = Task::new(pool.acquire());
    assert!(caller.run().is_pending());
    time.advance(SECOND);
    assert!(caller.run().is_pending(), "the creation hangs too");
    assert_eq!(pool.snapshot().closed.of(ResourceCloseReason::CheckFailed), 1);
    server.resume();
    assert!(caller.run().is_ready());
}

#[test]
fn a_check_outlives_its_caller() {
    let (server, time) = (Server::new(1), ManualClock::new());
    let pool = builder(&server, &time).max_size(1).build().unwrap();
    drop(pool.acquire_blocking().unwrap());
    time.advance(SECOND);
    server.faults().check_steps = 3;
    assert!(pool.try_acquire().is_err());
    assert!(Task::new(pool.acquire()).poll().is_pending());
    assert!(Task::new(pool.acquire()).run().is_ready());
    assert_eq!((server.checks(), server.attempts()), (1, 1));
}

#[test]
fn try_acquire_polls_a_check_once() {
    let (server, time) = (Server::new(1), ManualClock::new());
    let pool = builder(&server, &time).build().unwrap();
    drop(pool.acquire_blocking().unwrap());
    time.advance(SECOND);
    assert!(pool.try_acquire().is_ok());
    assert_eq!(server.checks(), 1);
}

/// bb8#167: when every returned connection was broken, all later callers timed out.
#[test]
fn broken_resources_are_replaced_for_waiters() {
    let (server, time) = (Server::new(2), ManualClock::new());
    let pool = builder(&server, &time).max_size(2).build().unwrap();
    server.faults().recycle = RecycleDecision::Close;
    let mut waiters: Vec<_> = (0..10).map(|_| Task::new(pool.acquire())).collect();
    for waiter in &mut waiters {
        let Poll::Ready(Ok(resource)) = waiter.run() else { panic!("not served") };
        drop(resource);
    }
    assert_eq!((server.attempts(), pool.snapshot().size), (10, 0));
}

#[test]
fn the_manager_can_request_a_check_or_a_closing() {
    let (server, time) = (Server::new(1), ManualClock::new());
    let pool = builder(&server, &time).max_size(1).build().unwrap();
    server.faults().recycle = RecycleDecision::Check;
    drop(pool.acquire_blocking().unwrap());
    time.advance(MS);
    drop(pool.acquire_blocking().unwrap());
    assert_eq!(server.checks(), 1);
    server.faults().recycle = RecycleDecision::Close;
    drop(pool.acquire_blocking().unwrap());
    assert_eq!((server.open(), pool.snapshot().size), (0, 0));
    assert_eq!(pool.snapshot().closed.of(ResourceCloseReason::Broken), 1);
}

/// go-redis#2375: a panic of the caller lost the slot of its connection, or returned the
/// connection. A panic may leave a connection in the middle of a protocol, so the next caller must
/// not get it.
#[test]
fn a_panic_while_held_closes_the_resource() {
    let (server, time) = (Server::new(1), ManualClock::new());
    let pool = builder(&server, &time).max_size(1).build().unwrap();
    let result = catch_unwind(AssertUnwindSafe(|| {
        let _held = pool.acquire_blocking().unwrap();
        panic!("while held");
    }));
    assert!(result.is_err());
    assert_eq!(pool.snapshot().closed.of(ResourceCloseReason::Broken), 1);
    assert_eq!(pool.acquire_blocking().unwrap().id, 1);
}

#[test]
fn panics_of_recycle_and_close_leave_the_counts_correct() {
    let (server, time) = (Server::new(1), ManualClock::new());
    let pool = builder(&server, &time).max_size(1).build().unwrap();
    let held = pool.acquire_blocking().unwrap();
    server.faults().recycle_panics = true;
    assert!(catch_unwind(AssertUnwindSafe(|| drop(held))).is_err());
    server.faults().recycle_panics = false;
    assert_eq!((pool.snapshot().size, server.open()), (0, 0));

    server.faults().close_panics = true;
    PooledResource::discard(pool.acquire_blocking().unwrap());
    assert_eq!((pool.snapshot().size, server.open()), (0, 0));
    drop(pool.acquire_blocking().unwrap());
    assert_settled(&server, &pool.snapshot());
}

#[test]
fn a_panic_of_a_check_closes_the_resource() {
    let (server, time) = (Server::new(1), ManualClock::new());
    let pool = builder(&server, &time).max_size(1).build().unwrap();
    drop(pool.acquire_blocking().unwrap());
    time.advance(SECOND);
    server.set_mode(Mode::Panic);
    assert!(catch_unwind(AssertUnwindSafe(|| Task::new(pool.acquire()).run())).is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| pool.try_acquire())).is_ok());
    server.set_mode(Mode::Serve);
    assert!(Task::new(pool.acquire()).run().is_ready());
    assert_settled(&server, &pool.snapshot());
}

/// Go#39471: connections were used in turn, so that none was ever idle for long enough.
#[test]
fn a_resource_idle_for_too_long_is_closed() {
    let (server, time) = (Server::new(3), ManualClock::new());
    let pool = builder(&server, &time).build().unwrap();
    let held: Vec<_> = (0..3).map(|_| pool.acquire_blocking().unwrap()).collect();
    drop(held);
    // The resource on top of the stack is reused; the others reach their idle timeout.
    for _ in 0..10 {
        time.advance(60 * SECOND);
        drop(pool.acquire_blocking().unwrap());
    }
    let snapshot = pool.snapshot();
    assert_eq!((snapshot.idle, snapshot.closed.of(ResourceCloseReason::Idle)), (1, 2));
    assert_settled(&server, &snapshot);
}

#[test]
fn lifetimes_end_between_97_and_100_percent() {
    let (server, time) = (Server::new(100), ManualClock::new());
    let pool = builder(&server, &time).max_size(100).max_creating(100).build().unwrap();
    let held: Vec<_> = (0..100).map(|_| pool.acquire_blocking().unwrap()).collect();
    time.advance(1754 * SECOND); // 97.45 % of 30 minutes
    drop(held);
    assert_eq!(pool.snapshot().idle, 100);
    let mut left = Vec::new();
    for _ in 0..46 {
        time.advance(SECOND);
        pool.resize(100).unwrap(); // examines all idle resources
        left.push(pool.snapshot().idle);
    }
    assert_eq!(*left.last().unwrap(), 0);
    assert!(left.iter().filter(|left| (20..80).contains(*left)).count() > 10, "spread: {left:?}");
    assert_eq!(pool.snapshot().closed.of(ResourceCloseReason::Lifetime), 100);
}

#[test]
fn an_expired_resource_is_closed_when_it_returns() {
    let (server, time) = (Server::new(1), ManualClock::new());
    let pool = builder(&server, &time).max_size(1).build().unwrap();
    let held = pool.acquire_blocking().unwrap();
    let mut waiter = Task::new(pool.acquire_timeout(7200 * SECOND));
    assert!(waiter.run().is_pending());
    time.advance(1800 * SECOND);
    drop(held);
    let Poll::Ready(Ok(resource)) = waiter.run() else { panic!("not served") };
    assert_eq!(resource.id, 1);
}

#[test]
fn a_resource_counts_towards_the_maximum_until_it_is_closed() {
    let (server, time) = (Server::new(1), ManualClock::new());
    let pool = builder(&server, &time).max_size(1).build().unwrap();
    server.faults().close_steps = 3;
    PooledResource::discard(pool.acquire_blocking().unwrap());
    assert_eq!((pool.snapshot().closing, server.open()), (1, 1));
    // The next caller finishes the closing, then creates a resource.
    assert_eq!(
        Task::new(pool.acquire()).run().map(|resource| resource.unwrap().id),
        Poll::Ready(1)
    );
    assert_eq!((server.max_open(), server.closed()), (1, 1));
}

/// A manual clock does not show this: it stands still between a check and the use.
#[test]
fn a_check_before_every_use_is_made_once_for_each_use_with_the_system_clock() {
    let server = Server::new(1);
    let pool = ResourcePool::builder(server.clone())
        .max_size(1)
        .check_after(std::time::Duration::ZERO)
        .build();
    let pool = pool.unwrap();
    for uses in 0..3 {
        drop(pool.acquire_blocking().unwrap());
        assert_eq!(server.checks(), uses);
    }
}
