//! The time limits of waiters by the system clock, whose timers stay armed for later waiters.

use crate::server::*;
use mainstay::resource_pool::{PooledResource, ResourcePool, ResourcePoolError};
use std::task::Poll;
use std::time::{Duration, Instant};

fn held() -> (ResourcePool<Server>, PooledResource<Server>) {
    let pool = ResourcePool::builder(Server::new(1)).max_size(1).build().unwrap();
    let held = pool.acquire_blocking().unwrap();
    (pool, held)
}

/// Enters the queue with a time limit, and gives up after one poll.
fn give_up(pool: &ResourcePool<Server>, limit: Duration) {
    assert!(Task::new(pool.acquire_timeout(limit)).poll().is_pending());
}

fn assert_times_out(pool: &ResourcePool<Server>, limit: Duration) {
    let start = Instant::now();
    let error = pool.acquire_blocking_timeout(limit).err().unwrap();
    assert!(matches!(error, ResourcePoolError::TimedOut(_)), "{error}");
    assert!(start.elapsed() >= limit);
}

#[test]
fn a_timer_that_was_armed_for_an_earlier_limit_is_armed_again() {
    let (pool, _held) = held();
    give_up(&pool, 5 * MS);
    assert_times_out(&pool, 30 * MS);
}

#[test]
fn a_timer_that_was_armed_for_a_later_limit_is_replaced() {
    let (pool, _held) = held();
    give_up(&pool, 3600 * SECOND);
    assert_times_out(&pool, 5 * MS);
    give_up(&pool, Duration::MAX);
    assert_times_out(&pool, 5 * MS);
}

#[test]
fn a_timer_that_fired_without_a_waiter_is_armed_again() {
    let (pool, _held) = held();
    for _ in 0..3 {
        give_up(&pool, MS);
        let start = Instant::now();
        while start.elapsed() < 5 * MS {
            std::thread::yield_now();
        }
        assert_times_out(&pool, 5 * MS);
    }
}

#[test]
fn waiters_with_kept_timers_time_out_while_the_first_one_is_not_polled() {
    let (pool, _held) = held();
    (0..3).for_each(|_| give_up(&pool, 2 * MS));
    let mut stuck = Task::new(pool.acquire_timeout(MS));
    assert!(stuck.poll().is_pending());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| assert_times_out(&pool, 20 * MS));
        }
    });
    assert!(stuck.is_woken());
    assert!(matches!(stuck.poll(), Poll::Ready(Err(ResourcePoolError::TimedOut(_)))));
    assert_eq!((pool.snapshot().waiting, pool.snapshot().timed_out), (0, 4));
}

#[test]
fn a_pool_that_is_dropped_removes_its_timers() {
    let (pool, held) = held();
    (0..3).for_each(|_| give_up(&pool, 2 * MS));
    drop((pool, held));
    // The timers of the next pool are not disturbed.
    let (pool, _held) = self::held();
    assert_times_out(&pool, 5 * MS);
}
