//! Pacing: evenly spaced calls at a high rate, a slow start for a cold server, and a daily quota.

use mainstay::rate::{CalendarPeriod, Quota, RateLimiter, RateRule, RuleRateLimiter};
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A burst of 1 makes a leaky bucket: one token every 200 µs, although timers are coarser.
    let even = RateLimiter::new(Quota::per_second(5_000).burst(1))?;
    let start = Instant::now();
    for _ in 0..1_000 {
        even.acquire_blocking()?;
    }
    let took = start.elapsed();
    println!("1,000 calls at 5,000 per second took {took:?}");
    assert!(took >= Duration::from_micros(999 * 200));

    // The rate rises from 667 to 2,000 per second within 300 ms, while the server fills its caches.
    let warming = RuleRateLimiter::new(RateRule::warm_up(2_000, Duration::from_millis(300)))?;
    for part in 1..=4 {
        let (start, mut calls) = (Instant::now(), 0);
        while start.elapsed() < Duration::from_millis(100) {
            warming.acquire_blocking()?;
            calls += 1;
        }
        println!("{} ms: {calls} calls", part * 100);
    }

    // A contract allows 1,000 calls per day; a day begins at midnight UTC.
    let contract = RuleRateLimiter::new(RateRule::calendar(1_000, CalendarPeriod::Day))?;
    contract.try_acquire_n(400)?;
    let snapshot = contract.snapshot();
    println!("{} calls left, for {:?}", snapshot.remaining, snapshot.reset_after);
    assert!(snapshot.remaining >= 600);
    Ok(())
}
