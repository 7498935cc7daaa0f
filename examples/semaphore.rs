//! Semaphore: limit how many operations run at once; waiters are served in order of arrival.

use mainstay::Semaphore;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let semaphore = Semaphore::new(3);
    let (running, peak) = (AtomicU32::new(0), AtomicU32::new(0));

    thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                let _permit = semaphore.acquire_blocking().expect("the semaphore is never closed");
                peak.fetch_max(running.fetch_add(1, Relaxed) + 1, Relaxed);
                thread::sleep(Duration::from_millis(5)); // the operation
                running.fetch_sub(1, Relaxed);
            }); // dropping the permit admits the next waiter
        }
    });
    println!("12 threads, at most {peak:?} at once");
    assert!(peak.into_inner() <= 3);

    // Weights, and a limit that changes while permits are held.
    let large = semaphore.try_acquire_n(3)?;
    semaphore.resize(5);
    println!("{} of {} permits are available", semaphore.available(), semaphore.limit());
    drop(large);
    Ok(())
}
