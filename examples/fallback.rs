//! Fallback: return a degraded result in place of an error.

use mainstay::{CircuitBreaker, Error, Fallback, Pipeline};

#[derive(Clone, Debug, PartialEq)]
enum Prices {
    Live(u32),
    Cached(u32),
}

fn main() -> Result<(), mainstay::ConfigError> {
    let breaker = CircuitBreaker::builder().name("prices").build()?;
    // The result shows whether it is degraded; the fallback counts how often.
    let fallback = Fallback::builder().name("cached prices").build()?;
    let cached = fallback.value(Prices::Cached(99)).when(|error| match error {
        Error::Operation(message) => *message != "no such item",
        _ => true, // a timeout, or an open breaker
    });
    let pipeline = Pipeline::builder().fallback(cached).breaker(&breaker).build();
    assert!(pipeline.check().is_empty());

    let live = pipeline.call_blocking(|| Ok(Prices::Live(101)));
    let degraded = pipeline.call_blocking(|| Err("connection refused"));
    let error = pipeline.call_blocking(|| Err("no such item"));
    println!("{live:?}\n{degraded:?}\n{error:?}\n{:?}", fallback.snapshot());
    assert_eq!(live, Ok(Prices::Live(101)));
    assert_eq!(degraded, Ok(Prices::Cached(99)));
    assert_eq!(error, Err(Error::Operation("no such item")));
    assert_eq!(fallback.snapshot().degraded, 1);
    Ok(())
}
