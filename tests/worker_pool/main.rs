//! The worker pool's public behavior. Threads synchronize by channels; no test sleeps.

mod capacity;
mod config;
mod counting;
mod handles;
mod inline_jobs;
mod overload;
mod panics;
mod shutdown;
mod submitting;
mod workers;

use mainstay::worker_pool::WorkerPool;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::task::Wake;
use std::thread;
use std::time::{Duration, Instant};

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(20);

fn pool(workers: usize, capacity: usize) -> WorkerPool {
    WorkerPool::builder().workers(workers).queue_capacity(capacity).build().unwrap()
}

/// A job that occupies a worker until it is released.
struct Hold {
    release: Sender<()>,
}

impl Hold {
    /// Submits the job and returns once it runs.
    fn one(pool: &WorkerPool) -> Self {
        let (release, released) = channel::<()>();
        let (begun, has_begun) = channel();
        pool.submit_blocking(move || {
            begun.send(()).unwrap();
            let _ = released.recv();
        })
        .unwrap();
        has_begun.recv().unwrap();
        Self { release }
    }

    fn release(self) {
        let _ = self.release.send(());
    }
}

/// Panics without printing a message.
fn quiet_panic(text: &'static str) -> ! {
    resume_unwind(Box::new(text))
}

/// A value that panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        quiet_panic("a destructor");
    }
}

/// A waker that counts its calls.
#[derive(Default)]
struct CountingWaker(AtomicUsize);

impl CountingWaker {
    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for CountingWaker {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Waits until `condition` holds.
fn wait_until(condition: impl Fn() -> bool) {
    let end = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < end, "the condition does not become true");
        thread::yield_now();
    }
}
