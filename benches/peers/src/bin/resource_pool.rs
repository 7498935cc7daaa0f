//! Compares the resource pool with those of other crates: resources that cost nothing to create and
//! to check, so that the time is that of the pool.

use std::convert::Infallible;
use std::hint::black_box;
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

const SIZE: u32 = 16;

/// Runs `n` operations on each of `tasks` tasks of a runtime, and returns the time divided by the
/// number of tasks.
fn on_tasks<F, Fut>(runtime: &tokio::runtime::Runtime, tasks: u32, n: u64, op: F) -> Duration
where
    F: Fn() -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    runtime.block_on(async {
        let start = Instant::now();
        let running: Vec<_> = (0..tasks)
            .map(|_| {
                let op = op.clone();
                tokio::spawn(async move {
                    for _ in 0..n {
                        op().await;
                    }
                })
            })
            .collect();
        for task in running {
            task.await.expect("no operation panics");
        }
        start.elapsed() / tasks
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
            .run();
    }
}
