//! Acquire futures that are dropped after every number of polls, during a creation, a check and a
//! closing.

use crate::server::*;
use mainstay::resource_pool::{PooledResource, ResourcePool};
use mainstay::time::ManualClock;
use std::task::Poll;

/// Polls an acquire future up to `polls` times and drops it. Returns whether it was ready.
fn poll_and_drop(pool: &ResourcePool<Server>, polls: u32) -> bool {
    let mut task = Task::new(pool.acquire());
    (0..polls).any(|_| task.poll().is_ready())
}

/// Asserts that the pool serves `max_size` callers at a time, and no more.
fn assert_works(server: &Server, pool: &ResourcePool<Server>, max_size: usize) {
    server.resume();
    let mut tasks: Vec<_> = (0..max_size).map(|_| Task::new(pool.acquire())).collect();
    let mut held = Vec::new();
    while held.len() < max_size {
        let before = held.len();
        for task in &mut tasks {
            if let Poll::Ready(resource) = task.run() {
                held.push(resource.unwrap());
            }
        }
        assert!(held.len() > before, "a slot was lost: {:?}", pool.snapshot());
    }
    assert!(pool.try_acquire().is_err());
    drop(held);
    assert_settled(server, &pool.snapshot());
}

#[test]
fn a_drop_at_any_poll_of_a_creation_loses_no_creation() {
    let mut polls_to_end = None;
    for polls in 0..10 {
        let (server, time) = (Server::new(2), ManualClock::new());
        let pool = builder(&server, &time).max_size(2).build().unwrap();
        server.faults().steps = 4;
        if poll_and_drop(&pool, polls) {
            polls_to_end.get_or_insert(polls);
        }
        assert_eq!(pool.snapshot().waiting, 0);
        assert_works(&server, &pool, 2);
        assert_eq!(server.attempts(), 2, "the first creation is continued");
    }
    assert_eq!(polls_to_end, Some(5), "every await point was visited");
}

#[test]
fn a_drop_at_any_poll_of_a_check_loses_no_check() {
    let mut polls_to_end = None;
    for polls in 0..10 {
        let (server, time) = (Server::new(1), ManualClock::new());
        let pool = builder(&server, &time).max_size(1).build().unwrap();
        drop(pool.acquire_blocking().unwrap());
        time.advance(SECOND);
        server.faults().check_steps = 4;
        if poll_and_drop(&pool, polls) {
            polls_to_end.get_or_insert(polls);
        }
        assert_works(&server, &pool, 1);
        assert_eq!((server.attempts(), server.checks()), (1, 1));
    }
    assert_eq!(polls_to_end, Some(5), "every await point was visited");
}

#[test]
fn a_drop_at_any_poll_of_a_failed_check_a_closing_and_a_creation_loses_no_slot() {
    let mut polls_to_end = None;
    for polls in 0..20 {
        let (server, time) = (Server::new(1), ManualClock::new());
        let pool = builder(&server, &time).max_size(1).build().unwrap();
        drop(pool.acquire_blocking().unwrap());
        time.advance(SECOND);
        {
            let mut faults = server.faults();
            (faults.unhealthy, faults.check_steps) = (true, 2);
            (faults.close_steps, faults.steps) = (3, 2);
        }
        if poll_and_drop(&pool, polls) {
            polls_to_end.get_or_insert(polls);
        }
        server.faults().unhealthy = false;
        assert_works(&server, &pool, 1);
        assert_eq!(server.max_open(), 1);
    }
    assert!(polls_to_end.is_some(), "every await point was visited");
}

#[test]
fn a_drop_at_any_poll_of_the_wait_after_a_failure_loses_no_slot() {
    for polls in 0..6 {
        let (server, time) = (Server::new(1), ManualClock::new());
        let pool = builder(&server, &time).max_size(1).build().unwrap();
        server.set_mode(Mode::Refuse);
        server.faults().steps = 1;
        assert!(!poll_and_drop(&pool, polls));
        server.set_mode(Mode::Serve);
        let resource = time.drive(pool.acquire()).unwrap();
        drop(resource);
        assert_settled(&server, &pool.snapshot());
    }
}

/// sqlx#1211: a waiter that was woken and then dropped did not wake the next one.
#[test]
fn a_drop_after_the_hand_over_gives_the_resource_to_the_next_waiter() {
    let (server, time) = (Server::new(1), ManualClock::new());
    let pool = builder(&server, &time).max_size(1).build().unwrap();
    let held = pool.acquire_blocking().unwrap();
    let mut first = Task::new(pool.acquire());
    let mut second = Task::new(pool.acquire());
    assert!(first.run().is_pending());
    assert!(second.run().is_pending());
    drop(held);
    assert!(first.is_woken() && !second.is_woken());
    drop(first);
    assert!(second.is_woken());
    assert!(second.run().is_ready());
    assert_settled(&server, &pool.snapshot());
}

#[test]
fn a_storm_of_cancelled_callers_wastes_no_resource() {
    let (server, time) = (Server::new(2), ManualClock::new());
    let pool = builder(&server, &time).max_size(2).build().unwrap();
    let mut held = vec![pool.acquire_blocking().unwrap(), pool.acquire_blocking().unwrap()];
    for round in 0..100 {
        let mut tasks: Vec<_> = (0..20).map(|_| Task::new(pool.acquire())).collect();
        assert!(tasks.iter_mut().all(|task| task.run().is_pending()));
        drop(held.pop());
        // All waiters but one are dropped, often including the one that was handed the resource.
        let mut survivor = tasks.swap_remove(round % 20);
        drop(tasks);
        let Poll::Ready(Ok(resource)) = survivor.run() else { panic!("not served") };
        held.push(resource);
    }
    assert_eq!(server.attempts(), 2);
    held.into_iter().for_each(PooledResource::discard);
    assert_settled(&server, &pool.snapshot());
}
