//! Compares the resource pool with those of other crates: resources that cost nothing to create and
//! to check, so that the time is that of the pool; and what a server sees that was down.
//!
//! The pool of sqlx is not here: it requires an implementation of its trait `Database`, with its
//! connection, rows, values, arguments, statements and transactions.

use std::convert::Infallible;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use futures::executor::block_on;
use mainstay::resource_pool::{ResourceManager, ResourcePool};
use mainstay::time::Clock;
use peers::Race;

#[derive(Clone, Copy, Debug)]
struct Numbers;

impl ResourceManager for Numbers {
    type Resource = u64;
    type Error = Infallible;

    async fn create(&self) -> Result<u64, Infallible> {
        Ok(7)
    }
}

impl deadpool::managed::Manager for Numbers {
    type Type = u64;
    type Error = Infallible;

    async fn create(&self) -> Result<u64, Infallible> {
        Ok(7)
    }

    async fn recycle(
        &self,
        _: &mut u64,
        _: &deadpool::managed::Metrics,
    ) -> deadpool::managed::RecycleResult<Infallible> {
        Ok(())
    }
}

impl bb8::ManageConnection for Numbers {
    type Connection = u64;
    type Error = Infallible;

    async fn connect(&self) -> Result<u64, Infallible> {
        Ok(7)
    }

    async fn is_valid(&self, _: &mut u64) -> Result<(), Infallible> {
        Ok(())
    }

    fn has_broken(&self, _: &mut u64) -> bool {
        false
    }
}

#[mobc::async_trait]
impl mobc::Manager for Numbers {
    type Connection = u64;
    type Error = Infallible;

    async fn connect(&self) -> Result<u64, Infallible> {
        Ok(7)
    }

    async fn check(&self, number: u64) -> Result<u64, Infallible> {
        Ok(number)
    }
}

const SIZE: u32 = 16;

/// Runs about `n` operations, shared by `tasks` tasks of a runtime, and returns the time for `n`.
fn on_tasks<F, Fut>(runtime: &tokio::runtime::Runtime, tasks: u32, n: u64, op: F) -> Duration
where
    F: Fn() -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    let share = n.div_ceil(tasks.into());
    runtime.block_on(async {
        let start = Instant::now();
        let running: Vec<_> = (0..tasks)
            .map(|_| {
                let op = op.clone();
                tokio::spawn(async move {
                    for _ in 0..share {
                        op().await;
                    }
                })
            })
            .collect();
        for task in running {
            task.await.expect("no operation panics");
        }
        start.elapsed().mul_f64(n as f64 / (share * u64::from(tasks)) as f64)
    })
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime can be built");
    let _entered = runtime.enter();
    let ours = ResourcePool::builder(Numbers).max_size(SIZE as usize).build().expect("valid");
    let on_tokio = ResourcePool::builder(Numbers)
        .max_size(SIZE as usize)
        .clock(Clock::tokio())
        .build()
        .expect("valid");
    let deadpool = deadpool::managed::Pool::<Numbers>::builder(Numbers)
        .max_size(SIZE as usize)
        .build()
        .expect("valid");
    let bb8 = runtime
        .block_on(bb8::Pool::builder().max_size(SIZE).test_on_check_out(false).build(Numbers))
        .expect("valid");
    let mobc = mobc::Pool::builder()
        .max_open(u64::from(SIZE))
        .max_idle(u64::from(SIZE))
        .test_on_check_out(false)
        .build(Numbers);

    Race::new("get + put of an idle resource, one task")
        .lap("mainstay", |n| {
            block_on(async {
                let start = Instant::now();
                for _ in 0..n {
                    drop(black_box(ours.acquire().await));
                }
                start.elapsed()
            })
        })
        .lap("deadpool", |n| {
            block_on(async {
                let start = Instant::now();
                for _ in 0..n {
                    drop(black_box(deadpool.get().await.expect("idle")));
                }
                start.elapsed()
            })
        })
        .lap("bb8", |n| {
            runtime.block_on(async {
                let start = Instant::now();
                for _ in 0..n {
                    drop(black_box(bb8.get().await.expect("idle")));
                }
                start.elapsed()
            })
        })
        .lap("mobc", |n| {
            runtime.block_on(async {
                let start = Instant::now();
                for _ in 0..n {
                    drop(black_box(mobc.get().await.expect("idle")));
                }
                start.elapsed()
            })
        })
        .run();

    Race::new("get + put of an idle resource, blocking")
        .each("mainstay", || drop(black_box(ours.acquire_blocking())))
        .each("deadpool", || drop(black_box(block_on(deadpool.get()).expect("idle"))))
        .run();

    for tasks in [2 * SIZE, 16 * SIZE] {
        Race::new(format!("{tasks} tasks on {SIZE} resources, each held over one yield"))
            .lap("mainstay", |n| {
                let pool = ours.clone();
                on_tasks(&runtime, tasks, n, move || {
                    let pool = pool.clone();
                    async move {
                        let _held = pool.acquire().await.expect("served in time");
                        tokio::task::yield_now().await;
                    }
                })
            })
            .lap("mainstay, tokio's clock", |n| {
                let pool = on_tokio.clone();
                on_tasks(&runtime, tasks, n, move || {
                    let pool = pool.clone();
                    async move {
                        let _held = pool.acquire().await.expect("served in time");
                        tokio::task::yield_now().await;
                    }
                })
            })
            .lap("deadpool", |n| {
                let pool = deadpool.clone();
                on_tasks(&runtime, tasks, n, move || {
                    let pool = pool.clone();
                    async move {
                        let _held = pool.get().await.expect("served");
                        tokio::task::yield_now().await;
                    }
                })
            })
            .lap("bb8", |n| {
                let pool = bb8.clone();
                on_tasks(&runtime, tasks, n, move || {
                    let pool = pool.clone();
                    async move {
                        let _held = pool.get().await.expect("served in time");
                        tokio::task::yield_now().await;
                    }
                })
            })
            .lap("mobc", |n| {
                let pool = mobc.clone();
                on_tasks(&runtime, tasks, n, move || {
                    let pool = pool.clone();
                    async move {
                        let _held = pool.get().await.expect("served in time");
                        tokio::task::yield_now().await;
                    }
                })
            })
            .run();
    }

    // Each round returns one resource to 100 callers, 99 of which give up.
    Race::new("an acquire that is cancelled, 99 of 100 that wait for one resource")
        .lap("mainstay", |n| storm(&runtime, n, || async { ours.acquire().await.ok() }))
        .lap("mainstay, tokio's clock", |n| {
            storm(&runtime, n, || async { on_tokio.acquire().await.ok() })
        })
        .lap("deadpool", |n| storm(&runtime, n, || async { deadpool.get().await.ok() }))
        .lap("bb8", |n| storm(&runtime, n, || async { bb8.get().await.ok() }))
        .lap("mobc", |n| storm(&runtime, n, || async { mobc.get().await.ok() }))
        .run();

    stampedes(&runtime);
}

/// Takes all resources, and returns one at a time to 100 callers, of which only the last stays.
/// Returns the time for each caller.
fn storm<T, Fut>(runtime: &tokio::runtime::Runtime, n: u64, get: impl Fn() -> Fut) -> Duration
where
    Fut: Future<Output = Option<T>>,
{
    runtime.block_on(async {
        let mut held = Vec::new();
        for _ in 0..SIZE {
            held.push(get().await.expect("idle"));
        }
        let mut cx = Context::from_waker(Waker::noop());
        let start = Instant::now();
        for _ in 0..n.div_ceil(100) {
            let mut callers: Vec<_> = (0..100).map(|_| Box::pin(get())).collect();
            for caller in &mut callers {
                assert!(caller.as_mut().poll(&mut cx).is_pending());
            }
            drop(held.pop());
            let last = callers.pop().expect("there are 100");
            drop(callers);
            held.push(last.await.expect("served in time"));
        }
        start.elapsed()
    })
}

/// A server that is down at first.
#[derive(Clone, Default)]
struct Server(Arc<Counts>);

#[derive(Default)]
struct Counts {
    is_up: AtomicBool,
    attempts: AtomicU64,
    connecting: AtomicU64,
    max_connecting: AtomicU64,
}

impl Server {
    /// Connects, which takes a millisecond.
    async fn connect(&self) -> Result<u64, Refused> {
        let counts = &*self.0;
        counts.attempts.fetch_add(1, Relaxed);
        let connecting = counts.connecting.fetch_add(1, Relaxed) + 1;
        counts.max_connecting.fetch_max(connecting, Relaxed);
        tokio::time::sleep(Duration::from_millis(1)).await;
        counts.connecting.fetch_sub(1, Relaxed);
        if counts.is_up.load(Relaxed) { Ok(7) } else { Err(Refused) }
    }
}

#[derive(Debug)]
struct Refused;

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("refused")
    }
}

impl std::error::Error for Refused {}

impl ResourceManager for Server {
    type Resource = u64;
    type Error = Refused;

    async fn create(&self) -> Result<u64, Refused> {
        self.connect().await
    }
}

impl deadpool::managed::Manager for Server {
    type Type = u64;
    type Error = Refused;

    async fn create(&self) -> Result<u64, Refused> {
        self.connect().await
    }

    async fn recycle(
        &self,
        _: &mut u64,
        _: &deadpool::managed::Metrics,
    ) -> deadpool::managed::RecycleResult<Refused> {
        Ok(())
    }
}

impl bb8::ManageConnection for Server {
    type Connection = u64;
    type Error = Refused;

    async fn connect(&self) -> Result<u64, Refused> {
        Server::connect(self).await
    }

    async fn is_valid(&self, _: &mut u64) -> Result<(), Refused> {
        Ok(())
    }

    fn has_broken(&self, _: &mut u64) -> bool {
        false
    }
}

#[mobc::async_trait]
impl mobc::Manager for Server {
    type Connection = u64;
    type Error = Refused;

    async fn connect(&self) -> Result<u64, Refused> {
        Server::connect(self).await
    }

    async fn check(&self, number: u64) -> Result<u64, Refused> {
        Ok(number)
    }
}

/// What a server sees that is down for a second while 64 tasks call it, and how long they wait
/// after its restart.
fn stampedes(runtime: &tokio::runtime::Runtime) {
    const TITLE: &str = "restart of a server: 64 tasks, 16 connections, 1 s down";
    if !peers::is_selected(TITLE) {
        return;
    }
    println!("\n{TITLE}");
    println!("  {:<34} {:>12} {:>12} {:>14}", "", "attempts", "at a time", "last served");
    let server = Server::default();
    let pool = ResourcePool::builder(server.clone())
        .max_size(SIZE as usize)
        .clock(Clock::tokio())
        .build()
        .expect("valid");
    stampede(runtime, "mainstay", &server, || async { pool.acquire().await.ok() });
    let server = Server::default();
    let pool = deadpool::managed::Pool::<Server>::builder(server.clone())
        .max_size(SIZE as usize)
        .build()
        .expect("valid");
    stampede(runtime, "deadpool", &server, || async { pool.get().await.ok() });
    let server = Server::default();
    let pool = bb8::Pool::builder().max_size(SIZE).build_unchecked(server.clone());
    stampede(runtime, "bb8", &server, || async { pool.get().await.ok() });
    let server = Server::default();
    let pool = mobc::Pool::builder().max_open(u64::from(SIZE)).build(server.clone());
    stampede(runtime, "mobc", &server, || async { pool.get().await.ok() });
}

/// Runs 64 tasks that call again a millisecond after an error, until each has been served.
fn stampede<T, Fut>(
    runtime: &tokio::runtime::Runtime,
    name: &str,
    server: &Server,
    get: impl Fn() -> Fut,
) where
    Fut: Future<Output = Option<T>>,
{
    runtime.block_on(async {
        let task = || async {
            while get().await.is_none() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Instant::now()
        };
        let tasks = futures::future::join_all((0..64).map(|_| task()));
        let restart = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let attempts = server.0.attempts.load(Relaxed);
            server.0.is_up.store(true, Relaxed);
            (Instant::now(), attempts)
        };
        let (served, (restarted_at, attempts)) = futures::future::join(tasks, restart).await;
        let last = served.into_iter().max().expect("there are 64") - restarted_at;
        let most = server.0.max_connecting.load(Relaxed);
        println!("  {name:<34} {attempts:>10}/s {most:>12} {:>11} ms", last.as_millis());
    });
}
