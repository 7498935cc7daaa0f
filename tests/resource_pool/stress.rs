//! Eight threads and random faults: every resource and every acquisition is counted once.

use mainstay::backoff::Backoff;
use mainstay::resource_pool::{
    PooledResource, RecycleDecision, ResourceManager, ResourcePool, ResourcePoolError,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Waker};
use std::time::Duration;

const MAX_SIZE: usize = 4;

#[derive(Default)]
struct Counts {
    open: AtomicUsize,
    created: AtomicU64,
    failed: AtomicU64,
    closed: AtomicU64,
}

struct Faulty(Arc<Counts>);

struct Connection {
    in_use: AtomicBool,
    counts: Arc<Counts>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.counts.open.fetch_sub(1, SeqCst);
    }
}

async fn yield_at_random() {
    crate::server::Steps(fastrand::u32(..3)).await;
}

impl ResourceManager for Faulty {
    type Resource = Connection;
    type Error = &'static str;

    async fn create(&self) -> Result<Connection, &'static str> {
        let open = self.0.open.fetch_add(1, SeqCst) + 1;
        let connection = Connection { in_use: AtomicBool::new(false), counts: self.0.clone() };
        assert!(open <= MAX_SIZE, "{open} connections");
        yield_at_random().await;
        if fastrand::u32(..5) == 0 {
            self.0.failed.fetch_add(1, SeqCst);
            return Err("refused");
        }
        self.0.created.fetch_add(1, SeqCst);
        Ok(connection)
    }

    async fn check(&self, _: &mut Connection) -> Result<(), &'static str> {
        yield_at_random().await;
        if fastrand::u32(..10) == 0 { Err("unhealthy") } else { Ok(()) }
    }

    fn recycle(&self, _: &mut Connection) -> RecycleDecision {
        match fastrand::u32(..20) {
            0 => RecycleDecision::Close,
            1..4 => RecycleDecision::Check,
            _ => RecycleDecision::Keep,
        }
    }

    async fn close(&self, connection: Connection) {
        yield_at_random().await;
        self.0.closed.fetch_add(1, SeqCst);
        drop(connection);
    }
}

fn work(pool: &ResourcePool<Faulty>, acquired: &AtomicU64) {
    for _ in 0..2_000 {
        let resource = match fastrand::u32(..10) {
            0 => pool.try_acquire(),
            1 => {
                // Dropped after one poll.
                let mut acquire = Box::pin(pool.acquire());
                let _ =
                    acquire.as_mut().poll(&mut Context::from_waker(Waker::noop())).map(|ended| {
                        if ended.is_ok() {
                            acquired.fetch_add(1, SeqCst);
                        }
                    });
                continue;
            }
            2 => pool.acquire_blocking_timeout(Duration::from_micros(50)),
            _ => pool.acquire_blocking_timeout(Duration::from_secs(60)),
        };
        let resource = match resource {
            Ok(resource) => resource,
            Err(ResourcePoolError::TimedOut(_) | ResourcePoolError::Exhausted) => continue,
            Err(error) => panic!("{error}"),
        };
        acquired.fetch_add(1, SeqCst);
        assert!(!resource.in_use.swap(true, SeqCst), "two callers hold the resource");
        if fastrand::u32(..4) == 0 {
            std::thread::yield_now();
        }
        resource.in_use.store(false, SeqCst);
        match fastrand::u32(..50) {
            0 => PooledResource::discard(resource),
            1 => pool.evict(),
            2 => {
                // A panic that does not run the panic hook.
                let unwound = catch_unwind(AssertUnwindSafe(|| {
                    let _held = resource;
                    std::panic::resume_unwind(Box::new(()));
                }));
                assert!(unwound.is_err());
            }
            _ => drop(resource),
        }
    }
}

#[test]
fn eight_threads_with_random_faults_lose_nothing() {
    let counts = Arc::new(Counts::default());
    let pool = ResourcePool::builder(Faulty(counts.clone()))
        .max_size(MAX_SIZE)
        .creation_backoff(Backoff::constant(Duration::from_micros(20)))
        .build()
        .unwrap();
    let acquired = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| work(&pool, &acquired));
        }
    });
    let report = pool.drain_blocking_timeout(Duration::from_secs(60));
    assert!(report.is_complete(), "{report:?}");
    let snapshot = pool.snapshot();
    assert_eq!(snapshot.acquired, acquired.load(SeqCst), "{snapshot:?}");
    assert_eq!(snapshot.created, counts.created.load(SeqCst));
    assert_eq!(snapshot.create_failures, counts.failed.load(SeqCst));
    assert_eq!(snapshot.created, snapshot.closed.total());
    assert_eq!(counts.closed.load(SeqCst), snapshot.created);
    assert_eq!(counts.open.load(SeqCst), 0);
}
