//! Bulkhead: a slow backend does not occupy the whole service, because each backend has a limit.

use mainstay::concurrency::Bulkhead;
use std::thread;
use std::time::Duration;

fn main() -> Result<(), mainstay::error::ConfigError> {
    let reports = Bulkhead::builder()
        .name("reports")
        .max_concurrent(2)
        .max_queue(2)
        .max_wait(Duration::from_millis(100))
        .build()?;
    let search = Bulkhead::builder().name("search").max_concurrent(2).build()?;

    // Two calls for reports hang. Of six more, two wait for 100 ms, and four are rejected
    // immediately.
    let hung = reports.cost(2);
    let hung = hung.try_acquire().expect("nothing else runs");
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| println!("{:?}", reports.call_blocking(|| Ok::<_, ()>("report"))));
        }
    });
    // Searches are served as before.
    println!("{:?}", search.call_blocking(|| Ok::<_, ()>("found")));

    let snapshot = reports.snapshot();
    assert_eq!(snapshot.rejected_full + snapshot.rejected_timeout, 6);
    assert_eq!((snapshot.in_flight, search.in_flight()), (2, 0));
    drop(hung);
    println!("{:?}", reports.call_blocking(|| Ok::<_, ()>("report")));
    Ok(())
}
