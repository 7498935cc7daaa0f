//! Worker pool: run work on a fixed set of threads, behind a bounded queue.

use mainstay::{JobError, Shutdown, WorkerPool};
use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pool = WorkerPool::builder().name("thumbnails").workers(2).queue_capacity(64).build()?;

    // Without a result, and with one.
    pool.submit_blocking(|| println!("a job on {:?}", std::thread::current().name()))?;
    let handle = pool.spawn_blocking(|| 6 * 7)?;
    println!("the result: {}", handle.join_blocking()?);

    // A job that panics ends itself, not its worker.
    let error = pool.call_blocking(|| -> u32 { panic!("a corrupt file") }).unwrap_err();
    println!("{error}");
    assert!(matches!(error, JobError::Panicked(_)));

    // Borrow from the caller; collect results in order.
    let mut words = vec!["c", "a", "b"];
    pool.scope(|scope| scope.spawn(|| words.sort_unstable()));
    let lengths: Result<Vec<usize>, JobError> = pool.map(words, str::len).collect();
    println!("lengths: {:?}", lengths?);

    // A job that waited too long is dropped unrun.
    pool.start_timeout(Duration::from_millis(50)).try_submit(|| ())?;
    let report = pool.shutdown(Shutdown::drain());
    println!("completed {} jobs, {} were not begun", report.completed, report.jobs.len());
    Ok(())
}
