//! Every resource is created, held by one caller at a time and closed once, and every acquisition is
//! counted once, whatever happens at the same time: acquiring by every method, from a pool and from
//! a keyed pool, cancelling, panics, faults of the server, eviction and maintenance. No limit is
//! exceeded.
//!
//! A program instead of a `#[test]`, so that ThreadSanitizer can check it.
//!
//! ```text
//! TSAN_OPTIONS="suppressions=$PWD/tests/tsan.supp" \
//! RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer" \
//!     cargo +nightly test --test resource_pool_stress --target x86_64-unknown-linux-gnu
//! ```

use mainstay::backoff::Backoff;
use mainstay::resource_pool::{
    KeyedResourcePool, PooledResource, RecycleDecision, ResourceManager, ResourcePool,
    ResourcePoolError, ResourcePoolSettings,
};
use mainstay::time::Clock;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

const THREADS: usize = 8;
const OPERATIONS: usize = 1_500;
const KEYS: u8 = 4;
/// Resources for each key, and for all keys: fewer than the keys could use.
const MAX_SIZE: usize = 3;
const MAX_TOTAL_SIZE: usize = 5;

#[derive(Default)]
struct Counts {
    total: AtomicUsize,
    open: [AtomicUsize; KEYS as usize],
    created: AtomicU64,
    failed: AtomicU64,
    acquired: AtomicU64,
}

/// The manager of the connections of one key.
struct Faulty {
    key: usize,
    counts: Arc<Counts>,
}

struct Connection {
    in_use: AtomicBool,
    /// Whether the counts include the connection.
    is_counted: AtomicBool,
    key: usize,
    counts: Arc<Counts>,
}

impl Connection {
    /// Removes the connection from the counts.
    fn uncount(&self) {
        if self.is_counted.swap(false, SeqCst) {
            self.counts.open[self.key].fetch_sub(1, SeqCst);
            self.counts.total.fetch_sub(1, SeqCst);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.uncount();
    }
}

/// Is pending up to twice.
async fn yield_at_random() {
    let mut polls = fastrand::u32(..3);
    poll_fn(|cx| {
        if polls == 0 {
            return Poll::Ready(());
        }
        polls -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl ResourceManager for Faulty {
    type Resource = Connection;
    type Error = &'static str;

    async fn create(&self) -> Result<Connection, &'static str> {
        let open = self.counts.open[self.key].fetch_add(1, SeqCst) + 1;
        let total = self.counts.total.fetch_add(1, SeqCst) + 1;
        let (key, counts) = (self.key, self.counts.clone());
        let (in_use, is_counted) = (AtomicBool::new(false), AtomicBool::new(true));
        let connection = Connection { in_use, is_counted, key, counts };
        assert!(open <= MAX_SIZE && total <= MAX_TOTAL_SIZE, "{open} of a key, {total} of all");
        yield_at_random().await;
        if fastrand::u32(..5) == 0 {
            self.counts.failed.fetch_add(1, SeqCst);
            return Err("refused");
        }
        self.counts.created.fetch_add(1, SeqCst);
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
        drop(connection);
    }
}

type Acquired = Result<PooledResource<Faulty>, ResourcePoolError<&'static str>>;
type AcquireFuture<'a> = Pin<Box<dyn Future<Output = Acquired> + 'a>>;

/// The verbs of a pool, or of a keyed pool.
struct Verbs<'a> {
    try_acquire: &'a dyn Fn(u8) -> Acquired,
    acquire: &'a dyn Fn(u8) -> AcquireFuture<'a>,
    acquire_blocking: &'a dyn Fn(u8, Duration) -> Acquired,
    evict: &'a dyn Fn(),
}

/// Acquires and returns resources at random.
fn work(verbs: &Verbs<'_>, counts: &Counts) {
    for _ in 0..OPERATIONS {
        let key = fastrand::u8(..KEYS);
        let acquired = match fastrand::u32(..10) {
            0 => (verbs.try_acquire)(key),
            1 => {
                let mut future = (verbs.acquire)(key);
                match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(acquired) => acquired,
                    Poll::Pending => continue,
                }
            }
            2 => (verbs.acquire_blocking)(key, Duration::from_micros(50)),
            _ => (verbs.acquire_blocking)(key, Duration::from_secs(60)),
        };
        let resource = match acquired {
            Ok(resource) => resource,
            Err(ResourcePoolError::TimedOut(timed_out)) => {
                assert!(timed_out.waited < Duration::from_secs(60), "starved: {timed_out}");
                continue;
            }
            Err(ResourcePoolError::Exhausted) => continue,
            Err(error) => panic!("{error}"),
        };
        counts.acquired.fetch_add(1, SeqCst);
        assert!(!resource.in_use.swap(true, SeqCst), "two callers hold the resource");
        if fastrand::u32(..4) == 0 {
            thread::yield_now();
        }
        resource.in_use.store(false, SeqCst);
        match fastrand::u32(..50) {
            0 => PooledResource::discard(resource),
            1 => {
                resource.uncount(); // no longer the pool's
                drop(PooledResource::detach(resource));
            }
            2 => (verbs.evict)(),
            3 => {
                // A panic that does not run the panic hook.
                let unwound = catch_unwind(AssertUnwindSafe(|| {
                    let _held = resource;
                    resume_unwind(Box::new(()));
                }));
                assert!(unwound.is_err());
            }
            _ => drop(resource),
        }
    }
}

/// Wakes the thread that runs a future.
struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future until it is ready.
fn run(future: impl Future<Output = ()>) {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    while future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
        thread::park();
    }
}

fn work_on_all_threads(verbs: impl Fn() + Sync) {
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(&verbs);
        }
    });
}

const BACKOFF: Duration = Duration::from_micros(20);

fn settings() -> ResourcePoolSettings {
    ResourcePoolSettings::new()
        .max_size(MAX_SIZE)
        .check_after(Duration::from_micros(100))
        .maintenance_interval(Duration::from_millis(1))
}

fn stress_pool(with_maintenance: bool) {
    let counts = Arc::new(Counts::default());
    let pool = ResourcePool::builder(Faulty { key: 0, counts: counts.clone() })
        .creation_backoff(Backoff::constant(BACKOFF))
        .build()
        .unwrap();
    pool.reconfigure(settings()).unwrap();
    let maintenance = pool.maintenance();
    let maintainer = with_maintenance.then(|| thread::spawn(|| run(maintenance)));
    work_on_all_threads(|| {
        let verbs = Verbs {
            try_acquire: &|_| pool.try_acquire(),
            acquire: &|_| Box::pin(pool.acquire()),
            acquire_blocking: &|_, timeout| pool.acquire_blocking_timeout(timeout),
            evict: &|| pool.evict(),
        };
        work(&verbs, &counts);
    });
    let report = pool.drain_blocking_timeout(Duration::from_secs(60));
    assert!(report.is_complete(), "{report:?}");
    let snapshot = pool.snapshot();
    assert_eq!(snapshot.acquired, counts.acquired.load(SeqCst), "{snapshot:?}");
    assert_eq!(snapshot.created, counts.created.load(SeqCst), "{snapshot:?}");
    assert_eq!(snapshot.create_failures, counts.failed.load(SeqCst), "{snapshot:?}");
    assert_eq!(snapshot.created, snapshot.closed.total(), "{snapshot:?}");
    assert_eq!((snapshot.size, counts.total.load(SeqCst)), (0, 0), "{snapshot:?}");
    maintainer.into_iter().for_each(|maintainer| maintainer.join().unwrap());
}

fn stress_keyed(with_maintenance: bool) {
    let counts = Arc::new(Counts::default());
    let of_key = counts.clone();
    let pool = KeyedResourcePool::builder(move |key: &u8| Faulty {
        key: usize::from(*key),
        counts: of_key.clone(),
    })
    .settings(settings())
    .max_total_size(MAX_TOTAL_SIZE)
    .creation_backoff(Backoff::constant(BACKOFF))
    .build()
    .unwrap();
    let maintenance = pool.maintenance();
    let maintainer = with_maintenance.then(|| thread::spawn(|| run(maintenance)));
    work_on_all_threads(|| {
        let verbs = Verbs {
            try_acquire: &|key| pool.try_acquire(&key),
            acquire: &|key| {
                let pool = pool.clone();
                Box::pin(async move { pool.acquire(&key).await })
            },
            acquire_blocking: &|key, timeout| pool.acquire_blocking_timeout(&key, timeout),
            evict: &|| pool.evict(),
        };
        work(&verbs, &counts);
    });
    let report = pool.drain_blocking_timeout(Duration::from_secs(60));
    assert!(report.is_complete(), "{report:?}");
    let snapshot = pool.snapshot();
    assert_eq!(snapshot.acquired, counts.acquired.load(SeqCst), "{snapshot:?}");
    // A creation that is abandoned after it succeeded is not counted by the pool.
    assert!(snapshot.created <= counts.created.load(SeqCst), "{snapshot:?}");
    assert!(snapshot.create_failures <= counts.failed.load(SeqCst), "{snapshot:?}");
    assert_eq!(snapshot.created, snapshot.closed.total(), "{snapshot:?}");
    assert_eq!((snapshot.total_size, snapshot.waiting_keys), (0, 0), "{snapshot:?}");
    assert_eq!(counts.total.load(SeqCst), 0);
    maintainer.into_iter().for_each(|maintainer| maintainer.join().unwrap());
}

fn main() {
    // Creates the global timer queue. ThreadSanitizer does not follow the initialization of a
    // `OnceLock` in several threads, because std is not instrumented.
    let mut sleep = pin!(Clock::system().sleep(Duration::from_secs(60)));
    assert!(sleep.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());

    for with_maintenance in [false, true] {
        stress_pool(with_maintenance);
        stress_keyed(with_maintenance);
    }
}
