//! Permits that the body of a response carries, in axum.

use axum::body::{Body, BodyDataStream, to_bytes};
use axum::http::{Request, Response, StatusCode};
use mainstay::breaker::CircuitBreaker;
use mainstay::concurrency::Bulkhead;
use mainstay::pipeline::Pipeline;
use mainstay::policy::{PermitStream, StreamGuard, StreamPermits};
use std::io;
use tower::{ServiceBuilder, ServiceExt, service_fn};

type Chunks = PermitStream<BodyDataStream>;

/// Responds with three chunks; the last is an error if the path is `/fails`.
async fn respond(request: Request<Body>) -> Result<Response<Body>, io::Error> {
    let fails = request.uri().path() == "/fails";
    let last = if fails { Err(io::Error::other("lost")) } else { Ok("c") };
    let chunks = futures::stream::iter([Ok("a"), Ok("b"), last]);
    Ok(Response::new(Body::from_stream(chunks)))
}

fn permits(response: &Response<Chunks>) -> Option<&StreamPermits> {
    (response.status() < StatusCode::INTERNAL_SERVER_ERROR).then(|| response.body().permits())
}

#[test]
fn a_permit_is_held_until_the_body_of_the_response_has_ended() {
    let breaker = CircuitBreaker::new();
    let bulkhead = Bulkhead::builder().max_concurrent(1).build().unwrap();
    let pipeline = Pipeline::builder()
        .guard(StreamGuard::new(breaker.clone(), permits))
        .guard(StreamGuard::new(bulkhead.clone(), permits))
        .build();
    let service = ServiceBuilder::new()
        .map_response(|response: Response<Chunks>| response.map(Body::from_stream))
        .layer(pipeline)
        .map_response(|response: Response<Body>| {
            response.map(|body| PermitStream::new(body.into_data_stream()))
        })
        .service(service_fn(respond));
    let get = |path: &str| {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        futures::executor::block_on(service.clone().oneshot(request))
    };
    let read = |response: Response<Body>| {
        futures::executor::block_on(to_bytes(response.into_body(), usize::MAX))
    };

    let response = get("/").unwrap();
    assert!(get("/").unwrap_err().is_rejected(), "the body holds the only permit");
    assert_eq!(breaker.snapshot().counts.total, 0);
    assert_eq!(read(response).unwrap(), "abc");
    assert_eq!((breaker.snapshot().counts.total, bulkhead.available()), (1, 1));

    assert!(read(get("/fails").unwrap()).is_err());
    assert_eq!((breaker.snapshot().counts.failed, bulkhead.available()), (1, 1));

    drop(get("/").unwrap());
    assert_eq!((breaker.snapshot().counts.total, bulkhead.available()), (2, 1));
}
