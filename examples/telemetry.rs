//! Telemetry: what policies report, as metrics, as `tracing` events, or to a closure.

use mainstay::event::{Event, Observer};
use mainstay::{CircuitBreaker, MetricsObserver, TracingObserver};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let metrics = MetricsObserver::new(); // uses the current recorder of the `metrics` crate
    let breaker = CircuitBreaker::builder()
        .name("search")
        .consecutive_failures(3)
        .observer(move |event: &Event<'_>| {
            metrics.observe(event);
            TracingObserver.observe(event);
            println!("event: {event}");
        })
        .build()?;

    for _ in 0..3 {
        let _ = breaker.call_blocking(|| Err::<(), _>("connection refused"));
    }
    // A snapshot is available at any time, for a dashboard or a health endpoint.
    let snapshot = breaker.snapshot();
    println!("{snapshot:?}");
    assert_eq!(breaker.history().len(), 1);
    Ok(())
}
