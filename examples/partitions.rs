//! Partitions: batch jobs use the connections that users leave free, until users need them.

use mainstay::concurrency::PartitionedBulkhead;
use std::thread;
use std::time::Duration;

fn main() -> Result<(), mainstay::error::ConfigError> {
    let bulkhead = PartitionedBulkhead::builder()
        .name("database")
        .max_concurrent(4)
        .partition("users", |users| users.min_concurrent(2))
        .partition("batch", |batch| batch.max_queue(100).max_wait(Duration::from_secs(10)))
        .build()?;
    let (users, batch) = (bulkhead.partition("users")?, bulkhead.partition("batch")?);

    // Twelve batch jobs use all four connections.
    let job = || {
        thread::sleep(Duration::from_millis(20));
        Ok::<_, ()>("done")
    };
    thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| batch.call_blocking(job));
        }
        while batch.snapshot().queued < 8 {
            thread::yield_now();
        }
        println!("batch uses {} connections, 8 jobs wait", batch.in_flight());

        // Users do not wait behind the queued jobs: users receive the next two free connections.
        for _ in 0..2 {
            scope.spawn(|| {
                let _permit = users.acquire_blocking().expect("a connection is guaranteed");
                println!("a user is served while {} jobs wait", batch.snapshot().queued);
            });
        }
    });
    assert_eq!((bulkhead.in_flight(), batch.snapshot().rejected_full), (0, 0));
    Ok(())
}
