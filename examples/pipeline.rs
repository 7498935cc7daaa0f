//! Pipeline: timeout, retry, circuit breaker and rate limiter around one call.

use mainstay::{CircuitBreaker, Error, Pipeline, Quota, RateLimiter, Retry};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let breaker = CircuitBreaker::builder().name("search").build()?;
    let limiter = RateLimiter::new(Quota::per_second(1000).burst(50))?;
    let pipeline = Pipeline::builder() // outermost first
        .timeout(Duration::from_secs(2)) // the whole call
        .retry(Retry::builder().assume_idempotent().build()?) // a search may run twice
        .breaker(&breaker) // shared: a clone refers to the same breaker
        .rate_limit(&limiter)
        .timeout(Duration::from_millis(300)) // one attempt
        .build();
    for lint in pipeline.check() {
        println!("warning: {lint}");
    }

    let requests = AtomicU32::new(0);
    let search = || async {
        match requests.fetch_add(1, Ordering::Relaxed) {
            0 => Err("connection reset"),
            _ => Ok(["mainstay"]),
        }
    };
    match pipeline.call(search).await {
        Ok(found) => println!("found {found:?} after {requests:?} requests"),
        Err(Error::Operation(error)) => println!("the search failed: {error}"),
        Err(Error::Timeout(timed_out)) => println!("{timed_out}"),
        Err(error) => println!("rejected: {error}"),
    }
    Ok(())
}
