//! Hedge: a second attempt on another replica while the first is slow; the first success wins.

use mainstay::{Hedge, ManualClock, Pipeline};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

fn main() -> Result<(), mainstay::ConfigError> {
    let time = ManualClock::new(); // advances only while the program waits
    let clock = time.clock();
    let hedge = Hedge::builder()
        .name("search")
        .delay(20 * MS)
        .assume_idempotent() // attempts may run twice, and at the same time
        .clock(time.clock())
        .build()?;
    let pipeline = Pipeline::builder().hedge(&hedge).build();

    // Replica 1 pauses in the fifth call.
    for call in 1..=10 {
        let start = time.now();
        let result = time.drive(pipeline.call_with(|cx| {
            let clock = clock.clone();
            async move {
                let pauses = call == 5 && cx.attempt() == 1;
                clock.sleep(if pauses { 900 * MS } else { 5 * MS }).await;
                Ok::<_, ()>(cx.attempt())
            }
        }));
        println!("call {call}: attempt {} after {:?}", result.unwrap(), time.now() - start);
        assert!(time.now() - start <= 25 * MS);
    }
    println!("{:?}", hedge.snapshot());
    assert_eq!((hedge.snapshot().hedges, hedge.snapshot().wins), (1, 1));
    Ok(())
}
