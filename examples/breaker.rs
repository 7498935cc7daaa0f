//! Circuit breaker: stop calling a dependency that fails, and probe it after a pause.

use mainstay::{Backoff, CircuitBreaker, Error, ManualClock};
use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let clock = ManualClock::new(); // in production leave this out: the system clock is the default
    let breaker = CircuitBreaker::builder()
        .name("search")
        .count_window(20)
        .min_calls(10)
        .failure_rate(0.5)
        .open_duration(Backoff::constant(Duration::from_secs(5)))
        .clock(clock.clock())
        .build()?;
    breaker
        .on_transition(|transition| println!("   {} -> {}", transition.from, transition.to))
        .detach();

    let mut rejected = 0;
    for _ in 0..15 {
        match breaker.call_blocking(|| Err::<(), _>("connection refused")) {
            Err(Error::Rejected(rejection)) => {
                rejected += 1;
                assert_eq!(rejection.retry_after(), Some(Duration::from_secs(5)));
            }
            other => assert!(other.is_err()),
        }
    }
    println!("{rejected} of 15 calls were rejected without reaching the server");
    assert_eq!(rejected, 5); // the tenth failure opened the breaker

    clock.advance(Duration::from_secs(5));
    while breaker.state() != mainstay::CircuitBreakerState::Closed {
        breaker.call_blocking(|| Ok::<_, std::io::Error>("found"))?; // a probe
    }
    Ok(())
}
