//! Deadline: a service reads the deadline of a request, rejects the request if too little time is
//! left, and passes the remaining time to the next service.

use mainstay::deadline::{self, DeadlineGuard};
use mainstay::error::{ConfigError, Error};
use mainstay::time::{Clock, Deadline};
use mainstay::{Pipeline, Retry};
use std::time::Duration;

fn main() -> Result<(), ConfigError> {
    let clock = Clock::system();
    let guard = DeadlineGuard::builder().min_remaining(Duration::from_millis(20)).build()?;
    let retry = Retry::builder().assume_idempotent().build()?;
    let pipeline = Pipeline::builder().guard(&guard).retry(retry).build();

    for header in ["2S", "1500m", "5m"] {
        let remaining = deadline::from_grpc_timeout(header).expect("valid");
        let deadline = Deadline::after(clock.now(), remaining);
        let result = pipeline.with_deadline(deadline, &clock).call_with_blocking(|cx| {
            let rest = cx.remaining().map(deadline::to_grpc_timeout);
            Ok::<_, std::io::Error>(rest.expect("the call has a deadline"))
        });
        match result {
            Ok(rest) => println!("grpc-timeout: {header} -> {rest} for the next service"),
            Err(Error::Rejected(rejection)) => println!("grpc-timeout: {header}: {rejection}"),
            Err(error) => println!("{error}"),
        }
    }
    assert_eq!(guard.snapshot().too_short, 1);
    Ok(())
}
