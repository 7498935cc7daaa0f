//! Faults of other pools that no other file covers.

use crate::server::*;
use mainstay::resource_pool::{
    PooledResource, RecycleDecision, ResourceManager, ResourcePool, ResourcePoolError,
};
use mainstay::time::ManualClock;
use std::convert::Infallible;
use std::future::pending;
use std::task::Poll;

/// sqlx#3132: an acquisition that timed out dropped the connection that it had just received, so
/// that a busy pool closed and opened connections all the time.
#[test]
fn a_resource_that_arrives_together_with_the_timeout_is_not_wasted() {
    for is_polled in [true, false] {
        let (server, time) = (Server::new(1), ManualClock::new());
        let pool = builder(&server, &time).max_size(1).build().unwrap();
        let held = pool.acquire_blocking().unwrap();
        let mut first = Task::new(pool.acquire_timeout(SECOND));
        let mut second = Task::new(pool.acquire_timeout(3 * SECOND));
        assert!(first.run().is_pending() && second.run().is_pending());
        time.advance(SECOND);
        drop(held);
        if is_polled {
            assert!(matches!(first.poll(), Poll::Ready(Ok(_))), "it is in time");
        } else {
            drop(first);
        }
        assert!(matches!(second.run(), Poll::Ready(Ok(_))));
        assert_eq!((server.attempts(), server.closed()), (1, 0));
        assert_settled(&server, &pool.snapshot());
    }
}

/// deadpool 0.9.5: after a failed recycling, and after a failed hook, the pool exceeded its maximum
/// or its size underflowed. deadpool#18: a failed creation was counted as an open connection.
#[test]
fn failures_at_every_stage_keep_the_size_within_its_limits() {
    let (server, time) = (Server::new(2), ManualClock::new());
    let pool = builder(&server, &time).max_size(2).build().unwrap();
    for round in 0..40 {
        {
            let mut faults = server.faults();
            faults.mode = if round % 5 == 4 { Mode::Refuse } else { Mode::Serve };
            faults.unhealthy = round % 3 == 2;
            faults.recycle = match round % 4 {
                0 => RecycleDecision::Close,
                1 => RecycleDecision::Check,
                _ => RecycleDecision::Keep,
            };
            (faults.steps, faults.check_steps, faults.close_steps) = (1, 1, 1);
        }
        let mut callers: Vec<_> =
            (0..4).map(|_| Task::new(pool.acquire_timeout(50 * MS))).collect();
        for _ in 0..3 {
            for caller in callers.iter_mut().filter(|caller| caller.is_woken()) {
                // A resource is returned at once, and a caller that is served is not polled again.
                if let Poll::Ready(result) = caller.poll() {
                    drop(result);
                    *caller = Task::new(pool.acquire_timeout(50 * MS));
                }
                let snapshot = pool.snapshot();
                assert!(snapshot.size <= 2 && server.open() <= 2, "{snapshot:?}");
            }
            time.advance(300 * MS);
        }
    }
    server.set_mode(Mode::Serve);
    server.faults().recycle = RecycleDecision::Keep;
    server.faults().unhealthy = false;
    let (a, b) = (time.drive(pool.acquire()).unwrap(), time.drive(pool.acquire()).unwrap());
    assert!(matches!(pool.try_acquire(), Err(ResourcePoolError::Exhausted)));
    drop((a, b));
    assert_settled(&server, &pool.snapshot());
}

/// sqlx#4349: a connection to a peer that had vanished without a word hung in its closing, and its
/// permit was lost for good. go-redis#3764: the turn of a closed connection was not released.
#[test]
fn a_closing_that_hangs_releases_its_slot_after_the_close_timeout() {
    struct Vanished;
    impl ResourceManager for Vanished {
        type Resource = u32;
        type Error = Infallible;
        async fn create(&self) -> Result<u32, Infallible> {
            Ok(7)
        }
        async fn close(&self, _: u32) {
            pending::<()>().await;
        }
    }
    let time = ManualClock::new();
    let pool = ResourcePool::builder(Vanished).max_size(1).clock(time.clock()).build().unwrap();
    for lost in 1..=3 {
        PooledResource::discard(time.drive(pool.acquire()).unwrap());
        assert_eq!((pool.snapshot().closing, pool.snapshot().size), (1, 1));
        let mut waiter = Task::new(pool.acquire());
        assert!(waiter.run().is_pending());
        time.advance(SECOND);
        let Poll::Ready(Ok(number)) = waiter.run() else { panic!("not served after {lost}") };
        assert_eq!((*number, pool.snapshot().size), (7, 1));
    }
}
