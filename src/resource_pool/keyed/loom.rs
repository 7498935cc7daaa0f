//! Loom models of the limit over the pools of several keys.

use crate::resource_pool::engine::total::{Membership, TotalLimit};
use crate::resource_pool::{PooledResource, ResourceManager, ResourcePool, ResourcePoolError};
use crate::sync::thread::Parker;
use crate::sync::{PlainArc, block_on};
use crate::time::ManualClock;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use loom::thread::spawn;
use std::future::Future;
use std::pin::pin;
use std::task::Context;
use std::time::Duration;

/// No time limit: loom has no time.
const FOREVER: Duration = Duration::MAX;

fn model(body: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(body);
}

/// Creates connections, and asserts that at most `max_open` of them exist at a time.
#[derive(Clone)]
struct Server {
    open: Arc<AtomicUsize>,
    max_open: usize,
}

struct Connection(Server);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, SeqCst);
    }
}

impl ResourceManager for Server {
    type Resource = Connection;
    type Error = &'static str;

    async fn create(&self) -> Result<Connection, &'static str> {
        let open = self.open.fetch_add(1, SeqCst) + 1;
        assert!(open <= self.max_open, "{open} connections");
        Ok(Connection(self.clone()))
    }
}

type Limit = PlainArc<TotalLimit<Server>>;

/// The pools of two keys, and their limit.
fn pools(max_total_size: usize) -> (Server, Limit, [ResourcePool<Server>; 2]) {
    let open = Arc::new(AtomicUsize::new(0));
    let server = Server { open, max_open: max_total_size };
    let limit = PlainArc::new(TotalLimit::new(max_total_size));
    let pools = [(); 2].map(|()| {
        let pool = ResourcePool::builder(server.clone())
            .max_size(2)
            .clock(ManualClock::new().clock())
            .build()
            .unwrap();
        Membership::join(&limit, &pool.0);
        pool
    });
    (server, limit, pools)
}

type Acquired = Result<PooledResource<Server>, ResourcePoolError<&'static str>>;

fn acquire(pool: &ResourcePool<Server>) -> Acquired {
    block_on(pool.acquire_timeout(FOREVER))
}

/// Polls an acquisition once and drops it. No thread waits for its waker.
fn poll_and_drop(pool: &ResourcePool<Server>) {
    let future = pin!(pool.acquire_timeout(FOREVER));
    let _ = future.poll(&mut Context::from_waker(Parker::current().waker()));
}

fn assert_exact(limit: &Limit, server: &Server, pools: &[ResourcePool<Server>]) {
    let sizes = pools.iter().map(|pool| pool.snapshot().size).sum::<usize>();
    let idle = pools.iter().map(|pool| pool.snapshot().idle).sum::<usize>();
    let counts = limit.counts();
    assert_eq!((counts.size, sizes, idle), (sizes, idle, server.open.load(SeqCst)));
    assert_eq!(counts.requests, 0);
}

#[test]
fn two_keys_share_one_place() {
    model(|| {
        let (server, limit, pools) = pools(1);
        let other = spawn({
            let pool = pools[1].clone();
            move || drop(acquire(&pool).unwrap())
        });
        drop(acquire(&pools[0]).unwrap());
        other.join().unwrap();
        assert_exact(&limit, &server, &pools);
    });
}

#[test]
fn a_return_that_races_with_a_request_of_another_key_serves_it() {
    model(|| {
        let (server, limit, pools) = pools(1);
        let held = acquire(&pools[0]).unwrap();
        let other = spawn({
            let pool = pools[1].clone();
            move || drop(acquire(&pool).unwrap())
        });
        drop(held);
        other.join().unwrap();
        assert_exact(&limit, &server, &pools);
        assert_eq!(pools[1].snapshot().idle, 1);
    });
}

#[test]
fn a_caller_that_leaves_during_a_transfer_loses_no_place() {
    model(|| {
        let (server, limit, pools) = pools(1);
        let held = acquire(&pools[0]).unwrap();
        let cancelled = spawn({
            let pool = pools[1].clone();
            move || poll_and_drop(&pool)
        });
        drop(held);
        cancelled.join().unwrap();
        // Either key can be served.
        drop(acquire(&pools[1]).unwrap());
        drop(acquire(&pools[0]).unwrap());
        assert_exact(&limit, &server, &pools);
    });
}
