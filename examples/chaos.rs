//! Chaos: a script injects faults, and shows how a client handles them.

use mainstay::{Chaos, CircuitBreaker, Error, Fault, ManualClock, Pipeline, Timeout};
use std::time::Duration;

fn main() -> Result<(), mainstay::ConfigError> {
    let (time, seconds) = (ManualClock::new(), Duration::from_secs);
    let chaos = Chaos::builder()
        .clock(time.clock())
        .seed(7) // the same seed gives the same run
        .step(seconds(10), [Fault::latency_exponential(seconds(1)).probability(0.2)])
        .step(seconds(10), [Fault::error()])
        .build()?;
    let breaker = CircuitBreaker::builder().clock(time.clock()).build()?;
    let pipeline = Pipeline::builder()
        .breaker(&breaker)
        .timeout(Timeout::new(seconds(2)).clock(time.clock()))
        .chaos_with(chaos.errors(|_| "injected")) // replaces a real server
        .build();
    assert!(pipeline.check().is_empty());

    chaos.switch().turn_on_for(seconds(60))?; // turns itself off after a minute
    let start = time.now();
    for step in ["latency", "errors", "none"] {
        let (mut ok, mut timed_out, mut failed, mut rejected) = (0, 0, 0, 0);
        let until = time.now() + seconds(10);
        while time.now() < until {
            match time.drive(pipeline.call(async || Ok(200))) {
                Ok(_) => ok += 1,
                Err(Error::Timeout(_)) => timed_out += 1,
                Err(Error::Operation(_)) => failed += 1,
                Err(_) => rejected += 1,
            }
            time.advance(Duration::from_millis(100));
        }
        println!("{step:7}: {ok} ok, {timed_out} timed out, {failed} failed, {rejected} rejected");
    }
    assert!(chaos.snapshot().errors > 0 && time.now() - start >= seconds(30));
    Ok(())
}
