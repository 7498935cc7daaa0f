//! Throttle: a client sends fewer calls while its server fails, and all of them after the server
//! has recovered.

use mainstay::concurrency::Throttle;
use mainstay::random::Random;
use mainstay::time::ManualClock;
use std::time::Duration;

fn main() -> Result<(), mainstay::error::ConfigError> {
    // A client on virtual time: 100 calls per second, for six minutes.
    let time = ManualClock::new();
    let throttle = Throttle::builder()
        .name("server")
        .window_duration(Duration::from_secs(30))
        .clock(time.clock())
        .random(Random::seeded(1))
        .build()?;
    for minute in 0..6 {
        let down = minute == 1 || minute == 2;
        let mut sent = 0;
        for _ in 0..6000 {
            time.advance(Duration::from_millis(10));
            if let Ok(permit) = throttle.try_acquire() {
                sent += 1;
                match down {
                    true => permit.failure(),
                    false => permit.success(),
                }
            }
        }
        let rate = 100.0 * throttle.snapshot().rejection_rate;
        println!("minute {minute}: down {down:<5}, sent {sent} of 6000, now rejects {rate:.0} %");
    }
    assert_eq!(throttle.snapshot().rejection_rate, 0.0);
    Ok(())
}
