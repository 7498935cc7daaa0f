//! Worker pool: run work on a fixed set of threads, behind a bounded queue.

use mainstay::{JobError, WorkerPool, WorkerPoolShutdown};
use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pool = WorkerPool::builder().name("thumbnails").workers(2).queue_capacity(64).build()?;

    // Submit a job without a result, then a job with a result.
    pool.submit_blocking(|| println!("a job on {:?}", std::thread::current().name()))?;
    let handle = pool.spawn_blocking(|| 6 * 7)?;
    println!("the result: {}", handle.join_blocking()?);

    // A panic ends the job. Its worker thread continues.
    let error = pool.call_blocking(|| -> u32 { panic!("a corrupt file") }).unwrap_err();
    println!("{error}");
    assert!(matches!(error, JobError::Panicked(_)));

    // Jobs of a scope may borrow from the caller; a map returns its results in order.
    let mut words = vec!["c", "a", "b"];
    pool.scope(|scope| scope.spawn(|| words.sort_unstable()));
    let lengths: Result<Vec<usize>, JobError> = pool.map(words, str::len).collect();
    println!("lengths: {:?}", lengths?);

    // A job that does not start within 50 ms is dropped.
    pool.start_timeout(Duration::from_millis(50)).try_submit(|| ())?;
    let report = pool.shutdown(WorkerPoolShutdown::drain());
    println!("completed {} jobs, {} never started", report.completed, report.unrun_jobs.len());
    Ok(())
}
