//! Prices that may be five minutes old, and a day old while the price service is down.

use mainstay::cache::{Cached, SingleValueStore};
use mainstay::{ConfigError, ManualClock};
use std::time::Duration;

fn main() -> Result<(), ConfigError> {
    let time = ManualClock::new();
    let prices = Cached::<(), u32, &str>::builder(SingleValueStore::new())
        .name("prices")
        .ttl(Duration::from_secs(5 * 60))
        .stale_on_error(Duration::from_secs(24 * 3600))
        .negative_ttl(Duration::from_secs(10)) // after a failed request, send none for 10 s
        .clock(time.clock())
        .build()?;
    let fetch = |price: Result<u32, &'static str>| {
        println!("  a request to the price service");
        price
    };

    println!("first call");
    assert_eq!(prices.call_blocking(&(), || fetch(Ok(100))), Ok(100));
    println!("one minute later");
    time.advance(Duration::from_secs(60));
    assert_eq!(prices.call_blocking(&(), || fetch(Ok(101))), Ok(100));
    println!("one hour later, during an outage");
    time.advance(Duration::from_secs(3600));
    for _ in 0..3 {
        assert_eq!(prices.call_blocking(&(), || fetch(Err("down"))), Ok(100));
    }
    println!("after the outage");
    time.advance(Duration::from_secs(60));
    assert_eq!(prices.call_blocking(&(), || fetch(Ok(102))), Ok(102));
    println!("{:?}", prices.snapshot());
    Ok(())
}
