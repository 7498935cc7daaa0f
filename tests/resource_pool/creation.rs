//! Creations: concurrency, failures, backoff, and creations that outlive their callers.

use crate::server::*;
use mainstay::backoff::Backoff;
use mainstay::resource_pool::{CreationError, ResourcePoolError};
use mainstay::time::ManualClock;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

/// sqlx#3513, sqlx#4369: an acquire that was cancelled or timed out aborted its connection attempt,
/// so that no connection to a server slower than the callers' time limit was ever opened.
#[test]
fn a_creation_outlives_the_callers_that_poll_it() {
    let (server, time) = (Server::new(1), ManualClock::new());
    let pool = builder(&server, &time).max_size(1).build().unwrap();
    server.faults().steps = 5;
    let mut polls = 0;
    let resource = loop {
        // Each caller is dropped after one poll.
        polls += 1;
        if let Poll::Ready(resource) = Task::new(pool.acquire()).poll() {
            break resource.unwrap();
        }
    };
    assert_eq!((polls, server.attempts(), resource.id), (6, 1, 0));
}

#[test]
fn a_creation_survives_the_timeouts_of_its_callers() {
    let (server, time) = (Server::new(1), ManualClock::new());
    let pool = builder(&server, &time).create_timeout(SECOND).build().unwrap();
    server.hang();
    for _ in 0..5 {
        time.drive(pool.acquire_timeout(100 * MS)).unwrap_err();
    }
    server.resume();
    assert_eq!(time.drive(pool.acquire_timeout(100 * MS)).unwrap().id, 0);
    assert_eq!(server.attempts(), 1);
}

#[test]
fn the_next_waiter_is_woken_for_a_creation_if_the_woken_waiter_leaves() {
    let (server, time) = (Server::new(1), ManualClock::new());
    let pool = builder(&server, &time).max_size(1).build().unwrap();
    server.hang();
    let mut first = Task::new(pool.acquire());
    let mut second = Task::new(pool.acquire());
    assert!(first.run().is_pending());
    assert!(second.run().is_pending());
    server.resume();
    assert!(first.is_woken() && !second.is_woken());
    drop(first);
    assert!(second.is_woken());
    assert!(second.run().is_ready());
    assert_eq!(server.attempts(), 1);
}

/// sqlx#3582: a caller that had begun to connect did not receive a connection that was returned.
#[test]
fn a_waiter_receives_a_resource_returned_before_its_creation_ends() {
    let (server, time) = (Server::new(2), ManualClock::new());
    let pool = builder(&server, &time).max_size(2).build().unwrap();
    let held = pool.acquire_blocking().unwrap();
    server.hang();
    let mut waiter = Task::new(pool.acquire());
    assert!(waiter.run().is_pending());
    drop(held);
    let Poll::Ready(Ok(resource)) = waiter.run() else { panic!("not served") };
    assert_eq!(resource.id, 0);
    server.resume();
    // The next caller continues the creation and receives its resource.
    assert_eq!(
        Task::new(pool.acquire()).run().map(|resource| resource.unwrap().id),
        Poll::Ready(1)
    );
    drop(resource);
    assert_eq!(server.attempts(), 2);
    assert_settled(&server, &pool.snapshot());
}

/// Go#57248, Hikari#379: a restart of the server caused a storm of connections.
#[test]
fn at_most_two_resources_are_created_at_a_time_by_default() {
    let (server, time) = (Server::new(50), ManualClock::new());
    let pool = builder(&server, &time).max_size(50).build().unwrap();
    server.hang();
    let mut waiters: Vec<_> = (0..50).map(|_| Task::new(pool.acquire())).collect();
    assert!(waiters.iter_mut().all(|waiter| waiter.run().is_pending()));
    assert_eq!((server.open(), pool.snapshot().creating), (2, 2));
}

#[test]
fn the_wait_after_a_failure_is_shared_by_all_callers() {
    let (server, time) = (Server::new(50), ManualClock::new());
    let pool = builder(&server, &time)
        .max_size(50)
        .max_creating(1)
        .creation_backoff(Backoff::constant(SECOND))
        .build()
        .unwrap();
    server.set_mode(Mode::Refuse);
    let mut waiters: Vec<_> =
        (0..20).map(|_| Task::new(pool.acquire_timeout(10 * SECOND))).collect();
    for expected in 1..=4 {
        assert!(waiters.iter_mut().all(|waiter| waiter.run().is_pending()));
        assert_eq!(server.attempts(), expected);
        time.advance(SECOND);
    }
    server.set_mode(Mode::Serve);
    let first = waiters[0].run();
    assert!(matches!(first, Poll::Ready(Ok(_))));
    assert_eq!(server.open(), 1);
}

#[test]
fn a_timeout_reports_the_last_creation_error() {
    let (server, time) = (Server::new(1), ManualClock::new());
    let pool = builder(&server, &time)
        .max_creating(1)
        .creation_backoff(Backoff::constant(10 * SECOND))
        .build()
        .unwrap();
    server.set_mode(Mode::Refuse);
    let error = time.drive(pool.acquire_timeout(3 * SECOND)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no resource within 3s: 0 of 10 in use, 1 being created, 0 other callers waiting; last \
         creation failed 3s ago: refused"
    );
    assert_eq!(pool.snapshot().create_failures, 1);
}

/// Hikari#2186, Hikari#2274: a connection attempt that hung blocked all later ones.
#[test]
fn a_creation_that_hangs_times_out() {
    let (server, time) = (Server::new(1), ManualClock::new());
    let pool = builder(&server, &time).max_size(1).create_timeout(2 * SECOND).build().unwrap();
    server.hang();
    let error = time.drive(pool.acquire_timeout(3 * SECOND)).unwrap_err();
    let ResourcePoolError::TimedOut(timed_out) = error else { panic!("{error}") };
    let (cause, _) = timed_out.last_creation_error.unwrap();
    assert!(matches!(*cause, CreationError::TimedOut(limit) if limit == 2 * SECOND));
}

#[test]
fn a_permanent_error_is_returned_to_all_callers_if_no_resource_is_open() {
    let (server, time) = (Server::new(2), ManualClock::new());
    let pool = builder(&server, &time).max_size(2).max_creating(1).build().unwrap();
    server.hang();
    let mut waiters: Vec<_> = (0..3).map(|_| Task::new(pool.acquire())).collect();
    assert!(waiters.iter_mut().all(|waiter| waiter.run().is_pending()));
    server.set_mode(Mode::Forbid);
    server.resume();
    for mut waiter in waiters {
        let Poll::Ready(Err(ResourcePoolError::CreationFailed(error))) = waiter.run() else {
            panic!("no error")
        };
        assert_eq!(error.to_string(), "wrong password");
    }
    assert_eq!(server.attempts(), 1);
    assert_eq!(pool.snapshot().size, 0);
}

#[test]
fn a_permanent_error_is_returned_to_one_caller_while_a_resource_is_open() {
    let (server, time) = (Server::new(2), ManualClock::new());
    let pool = builder(&server, &time).max_size(2).max_creating(1).build().unwrap();
    let held = pool.acquire_blocking().unwrap();
    server.set_mode(Mode::Forbid);
    let mut first = Task::new(pool.acquire());
    assert!(matches!(first.run(), Poll::Ready(Err(ResourcePoolError::CreationFailed(_)))));
    let mut second = Task::new(pool.acquire());
    assert!(second.run().is_pending(), "waits for a returned resource or the next attempt");
    drop(held);
    assert!(matches!(second.run(), Poll::Ready(Ok(_))));
}

#[test]
fn a_panic_in_a_creation_unwinds_and_loses_no_slot() {
    let (server, time) = (Server::new(1), ManualClock::new());
    let pool = builder(&server, &time).max_size(1).build().unwrap();
    server.hang();
    let mut first = Task::new(pool.acquire());
    let mut second = Task::new(pool.acquire());
    assert!(first.run().is_pending());
    assert!(second.run().is_pending());
    server.set_mode(Mode::Panic);
    server.resume();
    assert!(catch_unwind(AssertUnwindSafe(|| first.poll())).is_err());
    server.set_mode(Mode::Serve);
    drop(first);
    assert!(second.is_woken());
    assert!(second.run().is_ready());
    assert_eq!(server.attempts(), 2);
    assert_settled(&server, &pool.snapshot());
}

#[test]
fn a_backoff_that_panics_loses_no_slot() {
    let (server, time) = (Server::new(1), ManualClock::new());
    let backoff = Backoff::custom(|_| panic!("backoff"));
    let pool = builder(&server, &time).max_size(1).creation_backoff(backoff).build().unwrap();
    server.set_mode(Mode::Refuse);
    let mut caller = Task::new(pool.acquire());
    assert!(catch_unwind(AssertUnwindSafe(|| caller.run())).is_err());
    drop(caller);
    server.set_mode(Mode::Serve);
    assert!(Task::new(pool.acquire()).run().is_ready());
    assert_settled(&server, &pool.snapshot());
}
