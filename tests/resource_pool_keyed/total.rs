//! The limit over all keys: which key receives the next place.

use crate::hosts::*;
use mainstay::backoff::Backoff;
use mainstay::resource_pool::{
    KeyedResourcePool, PooledResource, ResourceCloseReason, ResourcePoolError, ResourcePoolSettings,
};
use mainstay::time::ManualClock;
use std::sync::atomic::Ordering::SeqCst;
use std::task::Poll;
use std::time::Duration;

type Pool = KeyedResourcePool<u8, Host>;

fn pool(max_total_size: usize) -> (Hosts, ManualClock, Pool) {
    let (hosts, time) = (Hosts::new(max_total_size), ManualClock::new());
    let pool = hosts.builder(&time).build().unwrap();
    (hosts, time, pool)
}

fn size(pool: &Pool, key: u8) -> usize {
    pool.pool(&key).unwrap().snapshot().size
}

#[test]
fn the_resource_that_has_been_idle_for_the_longest_time_is_closed_for_another_key() {
    let (hosts, time, pool) = pool(2);
    for key in [1, 2] {
        drop(pool.acquire_blocking(&key).unwrap());
        time.advance(MS);
    }
    drop(pool.acquire_blocking(&1).unwrap());
    let third = pool.acquire_blocking(&3).unwrap();
    assert_eq!((size(&pool, 1), size(&pool, 2), size(&pool, 3)), (1, 0, 1));
    assert_eq!(hosts.counts(2).closed.load(SeqCst), 1);
    assert_eq!(pool.snapshot().closed.of(ResourceCloseReason::Reclaimed), 1);
    drop(third);
}

#[test]
fn a_closing_that_takes_time_is_polled_by_the_key_that_takes_the_place() {
    let (hosts, _, pool) = pool(1);
    hosts.counts(1).close_steps.store(5, SeqCst);
    drop(pool.acquire_blocking(&1).unwrap());
    let mut task = Task::new(pool.acquire(&2));
    assert!(task.poll().is_pending());
    assert_eq!(pool.pool(&1).unwrap().snapshot().closing, 1);
    assert!(task.run().is_ready());
    assert_eq!(hosts.counts(1).closed.load(SeqCst), 1);
    assert_eq!(size(&pool, 1), 0);
}

#[test]
fn a_returned_resource_without_callers_makes_room_for_another_key() {
    let (_, _, pool) = pool(1);
    let held = pool.acquire_blocking(&1).unwrap();
    let mut task = Task::new(pool.acquire(&2));
    assert!(task.run().is_pending());
    assert_eq!(pool.snapshot().waiting_keys, 1);
    drop(held);
    assert!(task.run().is_ready());
    assert_eq!(pool.snapshot().waiting_keys, 0);
}

#[test]
fn the_places_are_divided_evenly_between_keys_with_callers_and_then_stay() {
    let (hosts, _, pool) = pool(4);
    let mut held: Vec<_> = (0..4).map(|_| pool.acquire_blocking(&1).unwrap()).collect();
    let mut first: Vec<_> = (0..20).map(|_| Task::new(pool.acquire(&1))).collect();
    let mut second: Vec<_> = (0..20).map(|_| Task::new(pool.acquire(&2))).collect();
    assert!(first.iter_mut().all(|task| task.run().is_pending()));
    assert!(second.iter_mut().all(|task| task.run().is_pending()));
    // Each round returns a resource of each key, and serves whichever caller receives one.
    for _ in 0..8 {
        held.remove(0);
        for tasks in [&mut first, &mut second] {
            let mut n = 0;
            while n < tasks.len() {
                match tasks[n].run() {
                    Poll::Ready(resource) => {
                        held.push(resource.unwrap());
                        drop(tasks.remove(n));
                    }
                    Poll::Pending => n += 1,
                }
            }
        }
    }
    assert_eq!((size(&pool, 1), size(&pool, 2)), (2, 2));
    assert_eq!(hosts.counts(2).attempts.load(SeqCst), 2, "places do not move back and forth");
}

#[test]
fn more_keys_than_places_take_turns() {
    let (_, time, pool) = pool(1);
    let held = pool.acquire_blocking(&0).unwrap();
    let mut tasks = Vec::new();
    for key in [0, 1, 2, 3].repeat(3).leak() {
        let mut task = Task::new(pool.acquire_timeout(&*key, 60 * SECOND));
        assert!(task.run().is_pending());
        tasks.push((*key, task));
        time.advance(MS);
    }
    drop(held);
    let mut served = Vec::new();
    while !tasks.is_empty() {
        let before = tasks.len();
        tasks.retain_mut(|(key, task)| match task.run() {
            Poll::Ready(resource) => {
                drop(resource.unwrap());
                served.push(*key);
                false
            }
            Poll::Pending => true,
        });
        assert!(tasks.len() < before, "no key is served: {:?}", pool.snapshot());
    }
    assert_eq!(served.len(), 12);
    // Key 0 has the place first. It keeps it for its first caller, which came before all others.
    assert_eq!(served[0], 0);
    for key in 1..4 {
        let position = served.iter().position(|served| *served == key).unwrap();
        assert!(position <= 9, "{served:?}");
    }
}

#[test]
fn a_busy_key_does_not_starve_a_key_without_a_place() {
    let (_, time, pool) = pool(1);
    let mut held = pool.acquire_blocking(&1).unwrap();
    let mut other = Task::new(pool.acquire(&2));
    assert!(other.run().is_pending());
    // Key 1 always has a caller that waits.
    let mut queue: Vec<_> = Vec::new();
    for round in 0..10 {
        time.advance(MS);
        let mut next = Task::new(pool.acquire(&1));
        assert!(next.run().is_pending());
        queue.push(next);
        drop(held);
        if let Poll::Ready(resource) = other.run() {
            drop(resource.unwrap());
            assert_eq!(round, 0, "the caller of key 2 came first");
            return;
        }
        let Poll::Ready(Ok(resource)) = queue.remove(0).run() else { panic!("not served") };
        held = resource;
    }
    panic!("key 2 starves");
}

#[test]
fn a_creation_without_callers_makes_room_for_another_key() {
    let (hosts, _, pool) = pool(1);
    hosts.counts(1).fault.store(2, SeqCst);
    let mut first = Task::new(pool.acquire(&1));
    assert!(first.run().is_pending());
    drop(first);
    assert_eq!(pool.snapshot().creating, 1);
    assert!(Task::new(pool.acquire(&2)).run().is_ready());
    assert_eq!((size(&pool, 1), size(&pool, 2)), (0, 1));
}

#[test]
fn a_creation_whose_last_caller_leaves_makes_room_for_a_key_that_waits() {
    let (hosts, _, pool) = pool(1);
    hosts.counts(1).fault.store(2, SeqCst);
    let mut first = Task::new(pool.acquire(&1));
    assert!(first.run().is_pending());
    let mut second = Task::new(pool.acquire(&2));
    assert!(second.run().is_pending());
    drop(first);
    assert!(second.run().is_ready());
}

#[test]
fn a_host_that_is_down_takes_no_place_while_it_waits_for_its_next_attempt() {
    let (hosts, time) = (Hosts::new(1), ManualClock::new());
    let pool = hosts.builder(&time).creation_backoff(Backoff::constant(SECOND)).build().unwrap();
    hosts.counts(1).fault.store(1, SeqCst);
    let mut down = Task::new(pool.acquire_timeout(&1, 60 * SECOND));
    assert!(down.run().is_pending());
    let snapshot = pool.snapshot();
    assert_eq!((snapshot.creating, snapshot.total_size), (1, 0));
    let held = pool.acquire_blocking(&2).unwrap();
    // The next attempt is due, but all places are in use.
    time.advance(SECOND);
    assert!(down.run().is_pending());
    assert_eq!(hosts.counts(1).attempts.load(SeqCst), 1);
    hosts.counts(1).fault.store(0, SeqCst);
    drop(held);
    assert!(down.run().is_ready());
}

#[test]
fn an_offer_that_no_key_needs_any_longer_leaves_the_resource_open() {
    let (hosts, _, pool) = pool(1);
    let held = pool.acquire_blocking(&1).unwrap();
    for _ in 0..3 {
        let mut waiting = Task::new(pool.acquire(&2));
        assert!(waiting.run().is_pending());
    }
    drop(held);
    assert_eq!(size(&pool, 1), 1);
    assert_eq!(pool.snapshot().waiting_keys, 0);
    drop(pool.acquire_blocking(&1).unwrap());
    assert_eq!(hosts.counts(1).attempts.load(SeqCst), 1);
}

#[test]
fn a_future_dropped_after_any_number_of_polls_loses_no_place() {
    for polls in 0..12 {
        let (hosts, _, pool) = pool(1);
        hosts.counts(1).close_steps.store(3, SeqCst);
        hosts.counts(2).steps.store(3, SeqCst);
        drop(pool.acquire_blocking(&1).unwrap());
        let mut task = Task::new(pool.acquire(&2));
        let is_ready = (0..polls).any(|_| task.poll().is_ready());
        assert_eq!(is_ready, polls > 6, "{polls}");
        drop(task);
        for key in [1, 3, 2] {
            assert!(Task::new(pool.acquire(&key)).run().is_ready(), "{polls} {key}");
        }
        let report = pool.drain_blocking_timeout(SECOND);
        assert!(report.is_complete(), "{polls} {report:?}");
        assert_eq!((hosts.open(), pool.snapshot().total_size), (0, 0));
    }
}

#[test]
fn a_timeout_reports_the_use_over_all_keys() {
    let (_, time, pool) = pool(1);
    let _held = pool.acquire_blocking(&1).unwrap();
    let error = time.drive(pool.acquire_timeout(&2, SECOND)).unwrap_err();
    assert!(error.to_string().contains("1 of 1 over all keys"), "{error}");
    let ResourcePoolError::TimedOut(timed_out) = error else { panic!("{error}") };
    let total = timed_out.total.unwrap();
    assert_eq!((total.size, total.max_size), (1, 1));
}

#[test]
fn detached_and_discarded_resources_give_back_their_places() {
    let (_, _, pool) = pool(1);
    for end in [PooledResource::discard, |guard| drop(PooledResource::detach(guard))] {
        let held = pool.acquire_blocking(&1).unwrap();
        let mut waiting = Task::new(pool.acquire(&2));
        assert!(waiting.run().is_pending());
        end(held);
        assert!(waiting.run().is_ready());
    }
}

#[test]
fn idle_resources_kept_by_maintenance_make_room_and_take_only_free_places() {
    let (hosts, time) = (Hosts::new(2), ManualClock::new());
    let each = ResourcePoolSettings::new().min_idle(2);
    let pool = hosts.builder(&time).settings(each).build().unwrap();
    let mut maintenance = Task::new(pool.maintenance());
    drop(pool.pool(&1).unwrap());
    assert!(maintenance.run().is_pending());
    assert_eq!(size(&pool, 1), 2);
    let held = [pool.acquire_blocking(&2).unwrap(), pool.acquire_blocking(&2).unwrap()];
    time.advance(Duration::from_secs(30));
    assert!(maintenance.run().is_pending());
    assert_eq!((size(&pool, 1), size(&pool, 2)), (0, 2));
    assert_eq!(pool.snapshot().waiting_keys, 0);
    drop(held);
}
