//! Twice as many jobs as the workers can do, for a few seconds: what a bounded queue makes of that by itself,
//! with deadlines, and with deadlines and shedding.
//!
//! A job is worth something only if it is done within 50 ms of its submission; whoever asked has given up by
//! then. The workers' job is to wait for 2 ms, as for a database.

use mainstay::worker_pool::WorkerPool;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const WORKERS: usize = 4;
const WORK: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_millis(50);
const QUEUE: usize = 1000;

fn work() {
    thread::sleep(WORK);
}

/// Jobs a second that the workers get done when there is always one waiting.
fn capacity() -> f64 {
    const JOBS: u32 = 1000;
    let pool = WorkerPool::builder().workers(WORKERS).build().expect("valid");
    let start = Instant::now();
    for _ in 0..JOBS {
        pool.submit_blocking(work).expect("open");
    }
    drop(pool); // waits for the rest
    f64::from(JOBS) / start.elapsed().as_secs_f64()
}

/// Times from submission to end of the jobs that were run.
fn overload(pool: &WorkerPool, deadlines: bool, rate: f64, time: Duration) -> Vec<Duration> {
    let done = Arc::new(Mutex::new(Vec::new()));
    let start = Instant::now();
    let mut submitted = 0;
    while start.elapsed() < time {
        // As many as are due by now, whatever has become of those before.
        while f64::from(submitted) < start.elapsed().as_secs_f64() * rate {
            submitted += 1;
            let (done, asked) = (Arc::clone(&done), Instant::now());
            let job = move || {
                work();
                done.lock().expect("no panic").push(asked.elapsed());
            };
            // Refused when the queue is full: that is part of the game.
            let _ = if deadlines {
                pool.within(PATIENCE).try_submit(job)
            } else {
                pool.try_submit(job)
            };
        }
        thread::sleep(Duration::from_micros(500));
    }
    // What is still queued then does not count.
    std::mem::take(&mut *done.lock().expect("no panic"))
}

fn main() {
    if std::env::args().any(|arg| arg == "--help") {
        println!("usage: overload [--short]");
        return;
    }
    let short = std::env::args().any(|arg| arg == "--short");
    let time = Duration::from_millis(if short { 1000 } else { 5000 });
    let capacity = capacity();
    println!(
        "{WORKERS} workers do {capacity:.0} jobs a second; {:.0} are submitted, for {time:?}.",
        2.0 * capacity
    );
    println!("A job is good if it is done within {PATIENCE:?}.\n");
    println!(
        "{:<28} {:>8} {:>8} {:>9} {:>10} {:>10}",
        "", "run/s", "good/s", "goodput", "p50", "p99"
    );

    let builder = || WorkerPool::builder().workers(WORKERS).queue_capacity(QUEUE);
    let contestants = [
        ("a bounded queue", builder(), false),
        ("with deadlines", builder(), true),
        ("with deadlines and shedding", builder().shed_standing_queue(), true),
    ];
    for (name, builder, deadlines) in contestants {
        let pool = builder.build().expect("valid");
        let mut times = overload(&pool, deadlines, 2.0 * capacity, time);
        times.sort_unstable();
        let good = times.iter().filter(|time| **time <= PATIENCE).count();
        let a_second = |count: usize| count as f64 / time.as_secs_f64();
        println!(
            "{name:<28} {:>8.0} {:>8.0} {:>8.0}% {:>10.1?} {:>10.1?}",
            a_second(times.len()),
            a_second(good),
            100.0 * a_second(good) / capacity,
            times[times.len() / 2],
            times[times.len() * 99 / 100],
        );
    }
}
