//! Manual clock: test timing rules exactly and without waiting.

use mainstay::{Backoff, Jitter, ManualClock, Retry, Timeout};
use std::future::{pending, ready};
use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let clock = ManualClock::new();
    let started = clock.now();

    // `drive` polls the future and moves the clock from deadline to deadline.
    let timeout = Timeout::new(Duration::from_secs(30)).clock(clock.clock());
    let result = clock.drive(timeout.call(pending::<Result<(), ()>>));
    assert!(result.unwrap_err().is_timeout());
    assert_eq!(clock.now() - started, Duration::from_secs(30));

    // The waits of 1, 2 and 4 s between four attempts take no real time.
    let backoff = Backoff::exponential(Duration::from_secs(1)).jitter(Jitter::None);
    let retry = Retry::builder().max_attempts(4).backoff(backoff).clock(clock.clock()).build()?;
    let started = clock.now();
    let result = clock.drive(retry.call(|| ready(Err::<(), _>("refused"))));
    assert!(result.is_err());
    println!("four attempts took {:?} on the manual clock", clock.now() - started);
    assert_eq!(clock.now() - started, Duration::from_secs(7));
    Ok(())
}
