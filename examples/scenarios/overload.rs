//! Scenario: twice as many jobs as the workers can complete, for a few seconds. Compares a plain
//! bounded queue, one with deadlines, and one with deadlines and load shedding.
//!
//! A job is useful only if it completes within 50 ms of its submission, because its caller times
//! out then. A job sleeps for 2 ms, as if it waited for a database.

use mainstay::worker_pool::WorkerPool;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const WORKERS: usize = 4;
const WORK: Duration = Duration::from_millis(2);
const TIMEOUT: Duration = Duration::from_millis(50);
const QUEUE: usize = 1000;

fn work() {
    thread::sleep(WORK);
}

/// Measures the jobs per second that the workers complete when the queue is never empty.
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

/// Offers `rate` jobs per second and returns the times from submission to completion.
fn overload(pool: &WorkerPool, deadlines: bool, rate: f64, time: Duration) -> Vec<Duration> {
    let done = Arc::new(Mutex::new(Vec::new()));
    let start = Instant::now();
    let mut submitted = 0;
    while start.elapsed() < time {
        // Submit every job that is due, whatever happened to the earlier ones.
        while f64::from(submitted) < start.elapsed().as_secs_f64() * rate {
            submitted += 1;
            let (done, submitted_at) = (Arc::clone(&done), Instant::now());
            let job = move || {
                work();
                done.lock().expect("no panic").push(submitted_at.elapsed());
            };
            // A full queue rejects the job.
            let _ = if deadlines {
                pool.start_timeout(TIMEOUT).try_submit(job)
            } else {
                pool.try_submit(job)
            };
        }
        thread::sleep(Duration::from_micros(500));
    }
    // Jobs that are still queued do not count.
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
        "{WORKERS} workers complete {capacity:.0} jobs per second; {:.0} are submitted, for \
         {time:?}.",
        2.0 * capacity
    );
    println!("A job is useful if it completes within {TIMEOUT:?}.\n");
    println!(
        "{:<28} {:>8} {:>8} {:>9} {:>10} {:>10}",
        "", "run/s", "useful/s", "goodput", "p50", "p99"
    );

    let builder = || WorkerPool::builder().workers(WORKERS).queue_capacity(QUEUE);
    let variants = [
        ("a bounded queue", builder(), false),
        ("with deadlines", builder(), true),
        ("with deadlines and shedding", builder().shed_standing_queue(), true),
    ];
    for (name, builder, deadlines) in variants {
        let pool = builder.build().expect("valid");
        let mut times = overload(&pool, deadlines, 2.0 * capacity, time);
        times.sort_unstable();
        let useful = times.iter().filter(|time| **time <= TIMEOUT).count();
        let per_second = |count: usize| count as f64 / time.as_secs_f64();
        println!(
            "{name:<28} {:>8.0} {:>8.0} {:>8.0}% {:>10.1?} {:>10.1?}",
            per_second(times.len()),
            per_second(useful),
            100.0 * per_second(useful) / capacity,
            times[times.len() / 2],
            times[times.len() * 99 / 100],
        );
    }
}
