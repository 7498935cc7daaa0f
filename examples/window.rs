//! Window: failure rate and latency over the last seconds, or over the last calls.

use mainstay::time::ManualClock;
use mainstay::window::{Sample, Window, WindowGeneration};
use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let clock = ManualClock::new();
    let window = Window::time_window(Duration::from_secs(10), 10)?.with_latency();

    for call in 0..100_u64 {
        clock.advance(Duration::from_millis(50));
        let sample = if call % 4 == 0 { Sample::FAILED } else { Sample::SUCCESS };
        window.record(WindowGeneration::FIRST, clock.now(), sample);
        window.record_latency(clock.now(), Duration::from_millis(call));
    }
    let counts = window.counts(clock.now());
    let latency = window.latency(clock.now()).expect("latency is recorded").summary();
    println!("{} calls, {:.0} % failed", counts.total, 100.0 * counts.failure_rate());
    println!("{latency:?}");

    clock.advance(Duration::from_secs(11));
    println!("11 s later: {} calls", window.counts(clock.now()).total);
    Ok(())
}
