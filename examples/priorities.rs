//! Priorities: a server at twice its capacity rejects unimportant calls and serves important ones.

use mainstay::concurrency::{Bulkhead, Prioritizer};
use mainstay::policy::PriorityClass::{High, Low};
use mainstay::time::{Instant, ManualClock};
use std::collections::VecDeque;
use std::time::Duration;

fn main() -> Result<(), mainstay::error::ConfigError> {
    // The server runs ten calls at a time, each for 10 ms: 1,000 calls per second.
    let time = ManualClock::new();
    let bulkhead = Bulkhead::builder().max_concurrent(10).clock(time.clock()).build()?;
    let prioritizer =
        Prioritizer::builder().limiter(bulkhead.clone()).clock(time.clock()).build()?;

    // 2,000 calls arrive per second. Every second one is important.
    let mut running: VecDeque<(Instant, _, _)> = VecDeque::new();
    for second in 0..6 {
        let mut served = [0, 0];
        for call in 0..2000 {
            time.advance(Duration::from_micros(500));
            while running.front().is_some_and(|(end, ..)| *end <= time.now()) {
                running.pop_front(); // drops both permits
            }
            let class = if call % 2 == 0 { High } else { Low };
            let Ok(permit) = prioritizer.try_acquire(class) else { continue };
            match bulkhead.try_acquire() {
                Ok(slot) => {
                    running.push_back((time.now() + 10 * MS, permit, slot));
                    served[call % 2] += 1;
                }
                Err(_) => permit.rejected(),
            }
        }
        println!("second {second}: served {} important calls, {} others", served[0], served[1]);
    }
    assert!(prioritizer.snapshot().threshold >= Some(Low.into()));
    Ok(())
}
const MS: Duration = Duration::from_millis(1);
