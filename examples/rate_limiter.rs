//! Rate limiter: at most ten requests at once and 100 a second on average.

use mainstay::{Quota, RateLimiter};
use std::time::{Duration, Instant};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let limiter = RateLimiter::new(Quota::per_second(100).burst(10))?;

    // Take a token if there is one.
    let granted = (0..15).filter(|_| limiter.try_acquire().is_ok()).count();
    println!("{granted} of 15 requests were granted immediately");
    assert!(granted >= 10);
    let denied = limiter.try_acquire_n(10).unwrap_err();
    println!("ten more: {denied}");

    // Or wait for one: waiters are served in order of arrival.
    let started = Instant::now();
    for _ in 0..20 {
        limiter.acquire().await?;
    }
    println!("20 more took {:?}", started.elapsed());
    assert!(started.elapsed() > Duration::from_millis(150));

    // Or wait with a timeout: a wait that cannot end in time is denied immediately.
    let denied = limiter.acquire_n_timeout(10, Duration::from_millis(20)).await.unwrap_err();
    println!("ten more within 20 ms: {denied}");
    Ok(())
}
