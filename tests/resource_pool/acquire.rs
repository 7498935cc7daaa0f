//! Acquiring: reuse, order, limits, errors and events.

use crate::server::*;
use mainstay::event::Event;
use mainstay::resource_pool::{
    BlockingResourceManager, FromBlocking, PooledResource, ResourceCloseReason, ResourcePool,
    ResourcePoolError, ReuseOrder,
};
use mainstay::time::ManualClock;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

#[test]
fn a_resource_is_created_once_and_reused() {
    let (server, time) = (Server::new(1), ManualClock::new());
    let pool = builder(&server, &time).build().unwrap();
    for uses in 1..=5 {
        let resource = pool.acquire_blocking().unwrap();
        assert_eq!((resource.id, PooledResource::uses(&resource)), (0, uses));
        time.advance(10 * MS);
        assert_eq!(PooledResource::held_for(&resource), 10 * MS);
        assert_eq!(PooledResource::age(&resource), uses as u32 * 10 * MS);
    }
    assert_eq!((server.attempts(), server.checks()), (1, 0));
    let snapshot = pool.snapshot();
    assert_eq!((snapshot.acquired, snapshot.created), (5, 1));
    assert_settled(&server, &snapshot);
}

#[test]
fn idle_resources_are_reused_in_the_chosen_order() {
    for (order, first) in [(ReuseOrder::Lifo, 1), (ReuseOrder::Fifo, 0)] {
        let (server, time) = (Server::new(2), ManualClock::new());
        let pool = builder(&server, &time).reuse_order(order).build().unwrap();
        let (a, b) = (pool.acquire_blocking().unwrap(), pool.acquire_blocking().unwrap());
        drop(a);
        drop(b);
        assert_eq!(pool.try_acquire().unwrap().id, first, "{order:?}");
    }
}

/// bb8#122, bb8#67: a resource that was returned after a caller had found no idle one, and before
/// the caller entered the queue, was not delivered. Here, both steps are under one lock, and a loom
/// model covers the race. Go#31708: waiters were served in random order. Hikari#1909: a later
/// caller took the connection that was meant for a waiter.
#[test]
fn a_returned_resource_goes_to_the_longest_waiter() {
    let (server, time) = (Server::new(1), ManualClock::new());
    let pool = builder(&server, &time).max_size(1).build().unwrap();
    let held = pool.acquire_blocking().unwrap();
    let mut waiters: Vec<_> = (0..3).map(|_| Task::new(pool.acquire())).collect();
    assert!(waiters.iter_mut().all(|waiter| waiter.run().is_pending()));
    drop(held);
    // The resource is handed to the first waiter, so a later caller cannot take it.
    assert!(matches!(pool.try_acquire(), Err(ResourcePoolError::Exhausted)));
    assert!(waiters[1].poll().is_pending());
    for mut waiter in waiters {
        assert!(waiter.is_woken());
        let Poll::Ready(Ok(resource)) = waiter.poll() else { panic!("not served") };
        assert!(matches!(pool.try_acquire(), Err(ResourcePoolError::Exhausted)));
        drop(resource);
    }
    assert_eq!(server.attempts(), 1);
    assert_settled(&server, &pool.snapshot());
}

/// go-redis#3626: a permit was released twice when a connection was handed to a waiter, and the
/// limit was exceeded.
#[test]
fn the_size_never_exceeds_the_maximum() {
    let (server, time) = (Server::new(3), ManualClock::new());
    let pool = builder(&server, &time).max_size(3).max_creating(10).build().unwrap();
    server.faults().steps = 2;
    let mut waiters: Vec<_> = (0..10).map(|_| Task::new(pool.acquire())).collect();
    let mut held = Vec::new();
    let mut served = 0;
    while served < 10 {
        for waiter in &mut waiters {
            if waiter.is_woken()
                && let Poll::Ready(resource) = waiter.poll()
            {
                held.push(resource.unwrap());
                served += 1;
            }
            assert!(pool.snapshot().size <= 3);
        }
        if !held.is_empty() {
            held.remove(0);
        }
    }
    drop(held);
    assert_eq!((server.max_open(), server.attempts()), (3, 3));
    assert_settled(&server, &pool.snapshot());
}

#[test]
fn a_timeout_reports_the_counts_of_the_pool() {
    let (server, time) = (Server::new(2), ManualClock::new());
    let pool = builder(&server, &time).max_size(2).build().unwrap();
    let held = pool.acquire_blocking().unwrap();
    server.hang();
    let mut other = Task::new(pool.acquire_timeout(100 * SECOND));
    assert!(other.run().is_pending());
    let mut waiter = Task::new(pool.acquire_timeout(2 * SECOND));
    assert!(waiter.run().is_pending());
    time.advance(2 * SECOND);
    assert!(waiter.is_woken());
    let Poll::Ready(Err(ResourcePoolError::TimedOut(timed_out))) = waiter.poll() else {
        panic!("no timeout")
    };
    assert_eq!((timed_out.in_use, timed_out.waiting, timed_out.creating), (1, 1, 1));
    assert_eq!((timed_out.waited, timed_out.max_size), (2 * SECOND, 2));
    assert!(timed_out.last_creation_error.is_none());
    assert_eq!(
        timed_out.to_string(),
        "no resource within 2s: 1 of 2 in use, 1 being created, 1 other callers waiting"
    );
    assert_eq!(pool.snapshot().timed_out, 1);
    drop(held);
}

#[test]
fn the_default_acquire_timeout_is_five_seconds() {
    let (server, time) = (Server::new(1), ManualClock::new());
    let pool = builder(&server, &time).max_size(1).build().unwrap();
    let held = pool.acquire_blocking().unwrap();
    let error = time.drive(pool.acquire()).unwrap_err();
    let ResourcePoolError::TimedOut(timed_out) = error else { panic!("{error}") };
    assert_eq!(timed_out.waited, 5 * SECOND);
    drop(held);
}

#[test]
fn a_closed_pool_rejects_present_and_later_callers() {
    let (server, time) = (Server::new(1), ManualClock::new());
    let pool = builder(&server, &time).max_size(1).build().unwrap();
    let held = pool.acquire_blocking().unwrap();
    let mut waiter = Task::new(pool.acquire());
    assert!(waiter.run().is_pending());
    assert!(pool.close());
    assert!(!pool.close());
    assert!(waiter.is_woken());
    assert!(matches!(waiter.poll(), Poll::Ready(Err(ResourcePoolError::Closed))));
    assert!(matches!(pool.try_acquire(), Err(ResourcePoolError::Closed)));
    assert!(matches!(pool.acquire_blocking(), Err(ResourcePoolError::Closed)));
    assert_eq!(server.open(), 1);
    drop(held);
    assert_eq!((server.open(), server.closed()), (0, 1));
    assert_eq!(pool.snapshot().closed.of(ResourceCloseReason::PoolClosed), 1);
}

#[test]
fn the_last_guard_keeps_the_pool_alive() {
    let (server, time) = (Server::new(1), ManualClock::new());
    let pool = builder(&server, &time).build().unwrap();
    let held = pool.acquire_blocking().unwrap();
    drop(pool);
    assert_eq!(server.open(), 1);
    drop(held);
    assert_eq!(server.open(), 0);
}

#[test]
fn a_detached_resource_is_replaced_for_a_waiter() {
    let (server, time) = (Server::new(2), ManualClock::new());
    let pool = builder(&server, &time).max_size(1).build().unwrap();
    let held = pool.acquire_blocking().unwrap();
    let mut waiter = Task::new(pool.acquire());
    assert!(waiter.run().is_pending());
    let detached = PooledResource::detach(held);
    let Poll::Ready(Ok(resource)) = waiter.run() else { panic!("not served") };
    assert_eq!((detached.id, resource.id), (0, 1));
    assert_eq!(pool.snapshot().closed.of(ResourceCloseReason::Detached), 1);
}

#[test]
fn a_waker_that_panics_does_not_keep_others_waiting() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("waker");
        }
    }
    let (server, time) = (Server::new(2), ManualClock::new());
    let pool = builder(&server, &time).max_size(2).build().unwrap();
    let held = [pool.acquire_blocking().unwrap(), pool.acquire_blocking().unwrap()];
    let waker = Waker::from(Arc::new(Panics));
    let mut first = Box::pin(pool.acquire());
    assert!(first.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let mut second = Task::new(pool.acquire());
    assert!(second.run().is_pending());
    pool.pause();
    drop(held);
    assert!(catch_unwind(AssertUnwindSafe(|| pool.resume())).is_err());
    assert!(second.is_woken());
    assert!(second.poll().is_ready());
    drop(first);
    assert_settled(&server, &pool.snapshot());
}

/// An expired resource is closed when the caller enters the queue, and the observer panics.
#[test]
fn an_observer_that_panics_leaves_no_waiter_behind() {
    let (server, time) = (Server::new(1), ManualClock::new());
    let pool = builder(&server, &time)
        .max_size(1)
        .observer(|event: &Event<'_>| assert!(event.kind != "closed", "observer"))
        .build()
        .unwrap();
    drop(pool.acquire_blocking().unwrap());
    time.advance(3600 * SECOND);
    let mut caller = Task::new(pool.acquire());
    assert!(catch_unwind(AssertUnwindSafe(|| caller.run())).is_err());
    assert_eq!((pool.snapshot().waiting, server.closed()), (0, 1));
    drop(caller);
    assert!(Task::new(pool.acquire()).run().is_ready());
    assert_settled(&server, &pool.snapshot());
}

#[test]
fn events_report_creations_closings_and_timeouts() {
    let (server, time) = (Server::new(1), ManualClock::new());
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&events);
    let pool = builder(&server, &time)
        .name("orders")
        .max_size(1)
        .observer(move |event: &Event<'_>| seen.lock().unwrap().push(event.to_string()))
        .build()
        .unwrap();
    server.set_mode(Mode::Refuse);
    time.drive(pool.acquire_timeout(10 * MS)).unwrap_err();
    server.set_mode(Mode::Serve);
    let resource = time.drive(pool.acquire()).unwrap();
    time.advance(SECOND);
    PooledResource::discard(resource);
    assert_eq!(
        *events.lock().unwrap(),
        [
            "orders creation_failed #1 took=0ns",
            "orders timed_out #1 waited=10ms in_use=0 waiting=0",
            "orders created #1 took=0ns",
            "orders closed #1 reason=discarded age=1s",
        ]
    );
}

#[test]
fn invalid_settings_name_their_field() {
    let server = Server::new(1);
    let new = || ResourcePool::builder(server.clone());
    let zero = std::time::Duration::ZERO;
    for (builder, field) in [
        (new().name(""), "name"),
        (new().max_size(0), "max_size"),
        (new().max_size((1 << 20) + 1), "max_size"),
        (new().max_size(3).min_idle(4), "min_idle"),
        (new().max_creating(0), "max_creating"),
        (new().acquire_timeout(86_401 * SECOND), "acquire_timeout"),
        (new().create_timeout(86_401 * SECOND), "create_timeout"),
        (new().create_timeout(zero), "create_timeout"),
        (new().check_timeout(zero), "check_timeout"),
        (new().close_timeout(zero), "close_timeout"),
        (new().idle_timeout(zero), "idle_timeout"),
        (new().max_lifetime(zero), "max_lifetime"),
        (new().maintenance_interval(zero), "maintenance_interval"),
    ] {
        assert_eq!(builder.build().unwrap_err().field(), field);
    }
    let (shortest, day) = (SECOND / 1000, 86_400 * SECOND);
    let limits = new().max_size(1 << 20).min_idle(1 << 20).max_creating(1).acquire_timeout(day);
    let limits = limits.create_timeout(day).check_timeout(shortest).close_timeout(shortest);
    let limits = limits.idle_timeout(shortest).max_lifetime(shortest).maintenance_interval(day);
    assert!(limits.build().is_ok());
    let backoff = mainstay::backoff::Backoff::exponential(zero);
    let error = new().creation_backoff(backoff).build().unwrap_err();
    assert_eq!(error.field(), "creation_backoff");
}

#[test]
fn a_blocking_manager_works_for_threads_and_tasks() {
    struct Numbers(Mutex<u32>);
    impl BlockingResourceManager for Numbers {
        type Resource = u32;
        type Error = Refused;
        fn create(&self) -> Result<u32, Refused> {
            let mut next = self.0.lock().unwrap();
            *next += 1;
            if *next == 1 { Err(Refused("first")) } else { Ok(*next) }
        }
        fn is_permanent(&self, _: &Refused) -> bool {
            true
        }
    }
    let time = ManualClock::new();
    let manager = FromBlocking(Numbers(Mutex::new(0)));
    let pool = ResourcePool::builder(manager).clock(time.clock()).build().unwrap();
    let error = pool.acquire_blocking().unwrap_err();
    assert_eq!(error.to_string(), "no resource could be created: first");
    let number = time.drive(pool.acquire()).unwrap();
    assert_eq!(*number, 2);
}
