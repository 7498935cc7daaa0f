//! Adaptive limiter: find the concurrency limit of a server with 8 workers that 64 threads call.

use mainstay::concurrency::{AdaptiveLimiter, BaselineController};
use mainstay::wait::Semaphore;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seconds: u64 = std::env::args().nth(1).map_or(Ok(10), |seconds| seconds.parse())?;
    let controller = BaselineController::new().initial_limit(4.0);
    let limiter = AdaptiveLimiter::builder().name("server").controller(controller).build()?;
    let workers = Semaphore::new(8);
    let end = Instant::now() + Duration::from_secs(seconds);
    thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                while Instant::now() < end {
                    match limiter.try_acquire() {
                        Ok(permit) => {
                            let worker = workers.acquire_blocking();
                            sleep(Duration::from_millis(10));
                            drop(worker);
                            permit.success();
                        }
                        Err(_) => sleep(Duration::from_millis(2)), // at the limit: retry later
                    }
                }
            });
        }
        while Instant::now() < end {
            sleep(Duration::from_secs(1));
            let now = limiter.snapshot();
            println!("limit {:.0} ({}), {} in flight", now.limit, now.reason, now.in_flight);
        }
    });
    assert_eq!(limiter.in_flight(), 0);
    Ok(())
}
