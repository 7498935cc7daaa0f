//! `Clock::tokio()` with a runtime whose time was advanced before the first use of the clock. The
//! file contains one test, because the result depends on the first use in the process.
#![cfg(all(feature = "tokio", not(mainstay_loom)))]

use mainstay::time::Clock;
use std::time::Duration;

#[test]
fn a_paused_runtime_does_not_stop_the_clock_of_another() {
    const HOUR: Duration = Duration::from_secs(3600);
    let runtime = |paused| {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(paused)
            .build()
            .unwrap()
    };
    let early = runtime(true);
    runtime(true).block_on(async {
        tokio::time::advance(HOUR).await;
        let before = Clock::tokio().now();
        tokio::time::advance(HOUR).await;
        assert_eq!(Clock::tokio().now() - before, HOUR);
    });
    // The time of this runtime is earlier than the first reading of the clock.
    early.block_on(async {
        let before = Clock::tokio().now();
        tokio::time::advance(HOUR / 2).await;
        assert_eq!(Clock::tokio().now() - before, HOUR / 2);
    });
    runtime(false).block_on(async {
        let before = Clock::tokio().now();
        Clock::tokio().sleep(Duration::from_millis(5)).await;
        assert!(Clock::tokio().now() - before >= Duration::from_millis(5));
    });
}
