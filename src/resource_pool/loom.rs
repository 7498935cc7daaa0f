//! Loom models of the pool.

use super::{PooledResource, ResourceManager, ResourcePool, ResourcePoolError};
use crate::backoff::Backoff;
use crate::error::{Error, Reason, Rejection};
use crate::policy::{self, Admission, Facts, OwnedGuard, Policy, kind};
use crate::sync::thread::Parker;
use crate::sync::{Mutex, block_on};
use crate::time::ManualClock;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use loom::thread::spawn;
use std::future::{Future, Ready, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// No time limit: loom has no time.
const FOREVER: Duration = Duration::MAX;

fn model(preemptions: usize, body: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(body);
}

/// A server whose creations complete immediately, or wait for [`open`](Server::open).
#[derive(Clone)]
struct Server(Arc<Gate>);

struct Gate {
    /// Whether creations complete, and the waker of the creation that waits.
    state: Mutex<(bool, Option<Waker>)>,
    attempts: AtomicUsize,
    /// The number of creations that fail before the first success.
    failures: usize,
}

/// Loom reports a connection that is leaked.
type Connection = loom::alloc::Track<()>;

impl Server {
    fn new(is_open: bool, failures: usize) -> Self {
        let state = Mutex::new((is_open, None));
        Self(Arc::new(Gate { state, attempts: AtomicUsize::new(0), failures }))
    }

    fn open(&self) {
        let waker = {
            let mut state = self.0.state.lock();
            state.0 = true;
            state.1.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    /// Wakes the creation that waits, although it cannot complete yet.
    fn wake_too_early(&self) {
        let waker = self.0.state.lock().1.take();
        waker.into_iter().for_each(Waker::wake);
    }

    fn attempts(&self) -> usize {
        self.0.attempts.load(SeqCst)
    }
}

impl ResourceManager for Server {
    type Resource = Connection;
    type Error = &'static str;

    async fn create(&self) -> Result<Connection, &'static str> {
        let attempt = self.0.attempts.fetch_add(1, SeqCst);
        poll_fn(|cx| {
            let mut state = self.0.state.lock();
            if state.0 {
                return Poll::Ready(());
            }
            state.1 = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
        if attempt < self.0.failures { Err("refused") } else { Ok(Connection::new(())) }
    }
}

fn pool(server: &Server, max_size: usize) -> ResourcePool<Server> {
    ResourcePool::builder(server.clone())
        .max_size(max_size)
        .max_creating(1)
        .clock(ManualClock::new().clock())
        .creation_backoff(Backoff::constant(Duration::ZERO))
        .build()
        .unwrap()
}

fn acquire(pool: &ResourcePool<Server>) -> Acquired {
    block_on(pool.acquire_timeout(FOREVER))
}

type Acquired = Result<PooledResource<Server>, ResourcePoolError<&'static str>>;

/// Polls an acquisition once, with a waker for which no thread waits, and drops it.
fn poll_and_drop(pool: &ResourcePool<Server>) -> bool {
    let future = pin!(pool.acquire_timeout(FOREVER));
    future.poll(&mut Context::from_waker(Parker::current().waker())).is_ready()
}

fn assert_idle(pool: &ResourcePool<Server>, idle: usize) {
    let snapshot = pool.snapshot();
    assert_eq!((snapshot.size, snapshot.idle, snapshot.waiting), (idle, idle, 0), "{snapshot:?}");
}

/// bb8#122.
#[test]
fn an_acquire_that_races_with_a_return_gets_the_resource() {
    model(3, || {
        let pool = pool(&Server::new(true, 0), 1);
        let held = acquire(&pool).unwrap();
        let waiter = spawn({
            let pool = pool.clone();
            move || drop(acquire(&pool).unwrap())
        });
        drop(held);
        waiter.join().unwrap();
        assert_idle(&pool, 1);
    });
}

#[test]
fn a_hand_over_that_races_with_a_cancellation_loses_no_resource() {
    model(3, || {
        let pool = pool(&Server::new(true, 0), 1);
        let held = acquire(&pool).unwrap();
        let cancelled = spawn({
            let pool = pool.clone();
            move || poll_and_drop(&pool)
        });
        let waiter = spawn({
            let pool = pool.clone();
            move || drop(acquire(&pool).unwrap())
        });
        drop(held);
        cancelled.join().unwrap();
        waiter.join().unwrap();
        assert_idle(&pool, 1);
    });
}

#[test]
fn an_acquire_that_races_with_a_close_is_served_or_rejected() {
    model(3, || {
        let pool = pool(&Server::new(true, 0), 1);
        let held = acquire(&pool).unwrap();
        let waiter = spawn({
            let pool = pool.clone();
            move || match acquire(&pool) {
                Ok(resource) => drop(resource),
                Err(error) => assert!(matches!(error, ResourcePoolError::Closed)),
            }
        });
        let closer = spawn({
            let pool = pool.clone();
            move || assert!(pool.close())
        });
        drop(held);
        waiter.join().unwrap();
        closer.join().unwrap();
        assert_idle(&pool, 0);
    });
}

#[test]
fn a_creation_that_fails_is_attempted_again_for_all_waiters() {
    model(3, || {
        let server = Server::new(true, 1);
        let pool = pool(&server, 1);
        let other = spawn({
            let pool = pool.clone();
            move || drop(acquire(&pool).unwrap())
        });
        drop(acquire(&pool).unwrap());
        other.join().unwrap();
        assert_idle(&pool, 1);
        assert_eq!(server.attempts(), 2);
    });
}

/// The caller that polls the creation is dropped while the creation is woken.
#[test]
fn a_creation_is_continued_by_the_next_waiter() {
    model(3, || {
        let server = Server::new(false, 0);
        let pool = pool(&server, 1);
        let waiter = spawn({
            let pool = pool.clone();
            move || drop(acquire(&pool).unwrap())
        });
        let opener = spawn({
            let server = server.clone();
            move || server.open()
        });
        poll_and_drop(&pool);
        waiter.join().unwrap();
        opener.join().unwrap();
        assert_idle(&pool, 1);
        assert_eq!(server.attempts(), 1);
    });
}

#[test]
fn a_creation_that_races_with_a_return_serves_the_waiter_once() {
    model(3, || {
        let server = Server::new(true, 0);
        let pool = pool(&server, 2);
        let held = acquire(&pool).unwrap();
        server.0.state.lock().0 = false;
        let waiter = spawn({
            let pool = pool.clone();
            move || drop(acquire(&pool).unwrap())
        });
        let opener = spawn({
            let server = server.clone();
            move || server.open()
        });
        drop(held);
        waiter.join().unwrap();
        opener.join().unwrap();
        let report = block_on(pool.drain_timeout(FOREVER));
        assert!(report.is_complete());
        assert_idle(&pool, 0);
    });
}

#[test]
fn a_creation_that_is_woken_twice_is_polled_twice() {
    model(3, || {
        let server = Server::new(false, 0);
        let pool = pool(&server, 1);
        let opener = spawn({
            let server = server.clone();
            move || {
                server.wake_too_early();
                server.open();
            }
        });
        drop(acquire(&pool).unwrap());
        opener.join().unwrap();
        assert_idle(&pool, 1);
        assert_eq!(server.attempts(), 1);
    });
}

/// A guard that rejects the first creation.
#[derive(Clone)]
struct RejectsFirst(Arc<AtomicUsize>);

impl Policy for RejectsFirst {
    type Kind = kind::Guard;

    fn facts(&self) -> Facts {
        Facts::new("rejects first", "rejects first")
    }
}

impl<T, E> OwnedGuard<T, E> for RejectsFirst {
    type OwnedPermit = ();
    type AdmitFuture = Ready<Result<(), Rejection>>;

    fn admit_owned(&self, _: policy::Context) -> Admission<(), Self::AdmitFuture> {
        match self.0.fetch_add(1, SeqCst) {
            0 => Admission::Rejected(Rejection::new(Reason::Custom, "rejects first")),
            _ => Admission::Admitted(()),
        }
    }

    fn record_owned((): (), _: &Result<T, Error<E>>) {}
}

#[test]
fn a_rejection_by_the_guard_races_with_an_acquire() {
    model(3, || {
        let server = Server::new(true, 0);
        let pool = ResourcePool::builder(server.clone())
            .max_size(1)
            .max_creating(1)
            .clock(ManualClock::new().clock())
            .creation_guard(RejectsFirst(Arc::new(AtomicUsize::new(0))))
            .build()
            .unwrap();
        let run = |pool: &ResourcePool<Server>| match acquire(pool) {
            Ok(resource) => {
                drop(resource);
                1
            }
            Err(error) => {
                assert!(matches!(error, ResourcePoolError::Rejected(_)));
                0
            }
        };
        let other = spawn({
            let pool = pool.clone();
            move || run(&pool)
        });
        let served = run(&pool) + other.join().unwrap();
        // The first caller is rejected. The second one shares the rejection or is served.
        assert!(served <= 1);
        assert_idle(&pool, served);
        assert_eq!(server.attempts(), served);
    });
}
