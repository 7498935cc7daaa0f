//! Tower: a pipeline is a layer, for axum, hyper, tonic and every other Tower service.

use mainstay::{CircuitBreaker, Error, Pipeline, Retry};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tower::{ServiceBuilder, ServiceExt, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let breaker = CircuitBreaker::builder().name("upstream").build()?;
    let pipeline = Pipeline::builder()
        .timeout(Duration::from_secs(1))
        .retry(Retry::builder().assume_idempotent().build()?)
        .breaker(&breaker) // its state is shared by all clones of the service
        .build();

    let requests = Arc::new(AtomicU32::new(0));
    let upstream = service_fn(move |request: &'static str| {
        let first = requests.fetch_add(1, Ordering::Relaxed) == 0;
        async move { if first { Err("connection reset") } else { Ok(request.len()) } }
    });
    let service = ServiceBuilder::new().layer(pipeline).service(upstream);

    let response: Result<usize, Error<&str>> = service.oneshot("hello").await;
    println!("{response:?}");
    assert_eq!(response, Ok(5));
    Ok(())
}
