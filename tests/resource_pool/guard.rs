//! A guard on creations: a circuit breaker, a rate limiter, and guards that panic.

use crate::server::*;
use mainstay::backoff::Backoff;
use mainstay::breaker::{CircuitBreaker, CircuitBreakerState};
use mainstay::error::{Error, Reason, Rejection};
use mainstay::event::Event;
use mainstay::policy::{Admission, Context, Facts, OwnedGuard, Policy, kind};
use mainstay::rate::{Quota, RateLimiter};
use mainstay::resource_pool::{PooledResource, ResourcePoolError};
use mainstay::time::ManualClock;
use std::future::Ready;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::Poll;

fn breaker(time: &ManualClock) -> CircuitBreaker {
    CircuitBreaker::builder()
        .consecutive_failures(3)
        .open_duration(Backoff::constant(10 * SECOND))
        .half_open_calls(1)
        .clock(time.clock())
        .build()
        .unwrap()
}

#[test]
fn an_open_breaker_rejects_callers_until_the_server_is_back() {
    let (server, time) = (Server::new(2), ManualClock::new());
    let breaker = breaker(&time);
    let pool = builder(&server, &time)
        .max_creating(1)
        .creation_backoff(Backoff::constant(MS))
        .creation_guard(breaker.clone())
        .build()
        .unwrap();
    server.set_mode(Mode::Refuse);
    // The third failure opens the breaker, and the fourth attempt is rejected.
    let error = time.drive(pool.acquire()).unwrap_err();
    let ResourcePoolError::Rejected(rejection) = error else { panic!("{error}") };
    assert_eq!(rejection.reason(), Reason::CircuitOpen);
    assert_eq!((server.attempts(), breaker.state()), (3, CircuitBreakerState::Open));
    // Later callers are rejected without an attempt and without a wait.
    for _ in 0..10 {
        assert!(matches!(
            Task::new(pool.acquire()).run(),
            Poll::Ready(Err(ResourcePoolError::Rejected(_)))
        ));
    }
    assert_eq!(server.attempts(), 3);
    let snapshot = pool.snapshot();
    assert_eq!((snapshot.create_failures, snapshot.create_rejections), (3, 11));
    assert_eq!((snapshot.size, snapshot.timed_out), (0, 0));
    // The pool recovers with the breaker.
    server.set_mode(Mode::Serve);
    time.advance(10 * SECOND);
    drop(time.drive(pool.acquire()).unwrap());
    assert_eq!(breaker.state(), CircuitBreakerState::Closed);
    assert_settled(&server, &pool.snapshot());
}

#[test]
fn callers_wait_for_other_resources_while_the_guard_rejects() {
    let (server, time) = (Server::new(2), ManualClock::new());
    let limiter = RateLimiter::builder(Quota::per_minute(1)).clock(time.clock()).build().unwrap();
    let pool = builder(&server, &time).max_size(2).creation_guard(limiter.clone()).build().unwrap();
    let held = pool.acquire_blocking().unwrap();
    let mut waiter = Task::new(pool.acquire_timeout(SECOND));
    assert!(waiter.run().is_pending());
    assert_eq!((server.attempts(), pool.snapshot().create_rejections), (1, 1));
    drop(held);
    let Poll::Ready(Ok(held)) = waiter.run() else { panic!("not served") };
    // A caller that receives nothing reads the rejection in its error.
    let error = time.drive(pool.acquire_timeout(100 * MS)).unwrap_err();
    let ResourcePoolError::TimedOut(timed_out) = &error else { panic!("{error}") };
    let (rejection, _) = timed_out.last_creation_rejection.unwrap();
    assert_eq!(rejection.reason(), Reason::RateLimited);
    assert!(error.to_string().contains("creation rejected"), "{error}");
    assert!(timed_out.last_creation_error.is_none());
    // The guard is asked again, and admits the creation when the minute is over.
    let mut second = Task::new(pool.acquire_timeout(120 * SECOND));
    for _ in 0..130 {
        if !second.run().is_pending() {
            break;
        }
        time.advance(SECOND / 2);
    }
    assert_eq!(server.attempts(), 2);
    assert_eq!(pool.snapshot().create_failures, 0);
    drop((held, second));
    assert_settled(&server, &pool.snapshot());
}

#[test]
fn a_guard_that_lets_creations_wait_bounds_their_rate() {
    let (server, time) = (Server::new(10), ManualClock::new());
    let quota = Quota::per_second(2).burst(1);
    let limiter = RateLimiter::builder(quota).clock(time.clock()).build().unwrap();
    let pool =
        builder(&server, &time).creation_guard(limiter.max_wait(30 * SECOND)).build().unwrap();
    let mut callers: Vec<_> = (0..5).map(|_| Task::new(pool.acquire())).collect();
    let mut held = Vec::new();
    for created in 1..=5 {
        callers.retain_mut(|caller| match caller.run() {
            Poll::Ready(resource) => {
                held.push(resource.unwrap());
                false
            }
            Poll::Pending => true,
        });
        assert_eq!((held.len(), server.attempts()), (created, created));
        time.advance(SECOND / 2);
    }
    assert_eq!(pool.snapshot().create_rejections, 0);
}

#[test]
fn a_creation_that_is_dropped_releases_its_permit() {
    let (server, time) = (Server::new(1), ManualClock::new());
    let breaker = breaker(&time);
    let new = || builder(&server, &time).creation_guard(breaker.clone()).build().unwrap();
    server.set_mode(Mode::Refuse);
    for _ in 0..2 {
        let _ = time.drive(new().acquire_timeout(150 * MS));
    }
    assert_eq!(breaker.state(), CircuitBreakerState::Open);
    server.set_mode(Mode::Serve);
    time.advance(10 * SECOND);
    // The probe of the breaker hangs, and the pool is dropped with it.
    server.hang();
    let pool = new();
    let mut caller = Task::new(pool.acquire());
    assert!(caller.run().is_pending());
    assert_eq!((server.open(), breaker.state()), (1, CircuitBreakerState::HalfOpen));
    drop(caller);
    drop(pool);
    assert_eq!(server.open(), 0);
    server.resume();
    // The next creation is admitted as a probe.
    drop(time.drive(new().acquire()).unwrap());
    assert_eq!(breaker.state(), CircuitBreakerState::Closed);
}

#[test]
fn a_creation_that_times_out_is_recorded_as_a_timeout() {
    let (server, time) = (Server::new(1), ManualClock::new());
    let breaker = breaker(&time);
    let pool = builder(&server, &time)
        .max_size(1)
        .create_timeout(SECOND)
        .creation_backoff(Backoff::constant(MS))
        .creation_guard(breaker.clone())
        .build()
        .unwrap();
    server.hang();
    let error = time.drive(pool.acquire()).unwrap_err();
    assert!(matches!(error, ResourcePoolError::Rejected(_)), "{error}");
    assert_eq!((server.attempts(), breaker.state()), (3, CircuitBreakerState::Open));
}

#[test]
fn maintenance_does_not_ask_a_guard_that_rejects_in_a_loop() {
    let (server, time) = (Server::new(2), ManualClock::new());
    let limiter = RateLimiter::builder(Quota::per_minute(1)).clock(time.clock()).build().unwrap();
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&events);
    let pool = builder(&server, &time)
        .min_idle(2)
        .creation_guard(limiter)
        .observer(move |event: &Event<'_>| seen.lock().unwrap().push(event.kind))
        .build()
        .unwrap();
    let mut maintenance = Task::new(pool.maintenance());
    assert!(maintenance.run().is_pending());
    assert_eq!((pool.snapshot().idle, pool.snapshot().create_rejections), (1, 1));
    for _ in 0..3 {
        time.advance(30 * SECOND);
        assert!(maintenance.run().is_pending());
    }
    assert_eq!(pool.snapshot().idle, 2);
    let rejections =
        events.lock().unwrap().iter().filter(|kind| **kind == "creation_rejected").count();
    assert_eq!(rejections as u64, pool.snapshot().create_rejections);
    assert!(rejections <= 3, "{rejections}");
}

/// What a guard of a test does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Panics {
    Admit,
    Record,
    Never,
}

/// A guard that panics, and counts the permits that exist.
#[derive(Clone)]
struct Faulty(Arc<(Mutex<Panics>, AtomicUsize)>);

struct Permit(Faulty);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.0.1.fetch_sub(1, SeqCst);
    }
}

impl Policy for Faulty {
    type Kind = kind::Guard;

    fn facts(&self) -> Facts {
        Facts::new("faulty", "faulty")
    }
}

impl<T, E> OwnedGuard<T, E> for Faulty {
    type OwnedPermit = Permit;
    type AdmitFuture = Ready<Result<Permit, Rejection>>;

    fn admit_owned(&self, _: Context) -> Admission<Permit, Self::AdmitFuture> {
        let panics = *self.0.0.lock().unwrap();
        assert!(panics != Panics::Admit, "admit");
        self.0.1.fetch_add(1, SeqCst);
        Admission::Admitted(Permit(self.clone()))
    }

    fn record_owned(permit: Permit, _: &Result<T, Error<E>>) {
        let panics = *permit.0.0.0.lock().unwrap();
        assert!(panics != Panics::Record, "record");
    }
}

#[test]
fn a_guard_that_panics_loses_no_slot_and_no_permit() {
    for panics in [Panics::Admit, Panics::Record] {
        let (server, time) = (Server::new(1), ManualClock::new());
        let guard = Faulty(Arc::new((Mutex::new(panics), AtomicUsize::new(0))));
        let pool =
            builder(&server, &time).max_size(1).creation_guard(guard.clone()).build().unwrap();
        let mut caller = Task::new(pool.acquire());
        assert!(catch_unwind(AssertUnwindSafe(|| caller.run())).is_err());
        drop(caller);
        *guard.0.0.lock().unwrap() = Panics::Never;
        assert_eq!((guard.0.1.load(SeqCst), server.open()), (0, 0), "{panics:?}");
        let Poll::Ready(Ok(resource)) = Task::new(pool.acquire()).run() else {
            panic!("not served after {panics:?}")
        };
        PooledResource::discard(resource);
        assert_settled(&server, &pool.snapshot());
    }
}
