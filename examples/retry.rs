//! Retry: run an operation again after a transient failure.

use mainstay::{Backoff, Retry, RetryDecision};
use std::cell::Cell;
use std::io::{Error, ErrorKind};
use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let retry = Retry::builder()
        .max_attempts(4)
        .backoff(
            Backoff::exponential(Duration::from_millis(10)).max_delay(Duration::from_millis(100)),
        )
        .assume_idempotent() // the operation may run twice
        .build()?;

    // The third attempt succeeds.
    let attempts = Cell::new(0);
    let connect = || {
        attempts.set(attempts.get() + 1);
        if attempts.get() < 3 { Err(Error::from(ErrorKind::TimedOut)) } else { Ok("connected") }
    };
    println!("{} at attempt {}", retry.call_blocking(connect)?, attempts.get());
    assert_eq!(attempts.get(), 3);

    // A rule decides which errors are retried.
    let transient = retry.when(|result| match result {
        Err(mainstay::Error::Operation(error)) => RetryDecision::from(is_transient(error)),
        _ => RetryDecision::Stop,
    });
    let result = transient.call_blocking(|| Err::<(), _>(Error::from(ErrorKind::NotFound)));
    println!("not retried: {}", result.unwrap_err());
    Ok(())
}

fn is_transient(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::ConnectionReset)
}
