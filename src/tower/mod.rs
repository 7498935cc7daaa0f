//! Pipelines as [Tower](https://docs.rs/tower) layers (feature `tower`).
//!
//! A [`Pipeline`] is a layer: it applies its policies to an axum route, a hyper client, or any
//! other `Service`. To use a single policy as a layer, build a pipeline with that policy only.
//!
//! # Examples
//!
//! ```
//! use mainstay::{breaker::CircuitBreaker, error::Error, pipeline::Pipeline, retry::Retry};
//! use std::time::Duration;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # fn main() -> Result<(), mainstay::error::ConfigError> {
//! let breaker = CircuitBreaker::builder().name("search").build()?;
//! let pipeline = Pipeline::builder()
//!     .timeout(Duration::from_secs(2))
//!     .retry(Retry::builder().assume_idempotent().build()?)
//!     .breaker(&breaker)
//!     .timeout(Duration::from_millis(300))
//!     .build();
//!
//! let search =
//!     service_fn(|word: String| async move { Ok::<usize, std::io::Error>(word.len()) });
//! let search = ServiceBuilder::new().layer(pipeline).service(search);
//!
//! # futures::executor::block_on(async {
//! let found: Result<usize, Error<std::io::Error>> = search.oneshot("mast".to_owned()).await;
//! assert!(matches!(found, Ok(4)));
//! # });
//! # Ok(())
//! # }
//! ```
//!
//! # How it works
//!
//! ## Requirements
//!
//! | a pipeline with | requires |
//! |---|---|
//! | timeouts only | a `Service<Request>` |
//! | a guard, such as a breaker | that the service is `Clone` |
//! | a repeat, such as a retry | that the service and the request are `Clone` |
//!
//! No `Send` or `'static` bound is required: the futures are named types, not boxes, and are `Send`
//! if their parts are. A custom policy implements [`OwnedGuard`] or [`OwnedRepeat`]. A policy added
//! by reference (`.guard(&breaker)`) is borrowed by the service; servers that require `'static`
//! services need a clone (`.guard(breaker.clone())`, `.breaker(&breaker)`).
//!
//! ## Guarantees
//!
//! * *Shared state.* A policy is a handle, and the layer clones the handle. All services that one
//!   layer creates, and all their clones, share one breaker. The connections of a server, each of
//!   which has a clone, share it as well.
//! * *One error type.* The error of every stack is [`Error<E>`](crate::error::Error), where `E` is
//!   the error of the service. Put all policies into one pipeline: two nested pipelines have the
//!   error `Error<Error<E>>`, which can be [flattened](crate::error::Error::flatten).
//! * *Rejections are returned by the future*, not by `poll_ready`: a balancer treats an error of
//!   `poll_ready` as a permanent failure of the service. `poll_ready` polls the inner service only.
//!   Its error is [`Error::Operation`], and no policy records it.
//! * *A call uses the service that was polled ready.* If a call keeps the service for later, a
//!   clone replaces it and is polled again. A further attempt of a retry clones the service and
//!   waits until the clone is ready.
//! * *A call that has ended holds no resources*, even if its future is kept. A rejected call drops
//!   the ready service together with the resources that it had reserved, such as a permit of an
//!   inner concurrency limit.
//! * The time limit of a call starts in `call`, not at the first poll of its future.
//!
//! ## Deadlines and attempt numbers
//!
//! [`Pipeline::propagate_context`] reads the deadline and the priority of each call from its
//! request, and writes the [`Context`](crate::policy::Context) of each attempt into the request that
//! the service receives, for example as an extension. A hedge can so send each attempt to another
//! host, and a client can tell the server how much time is left.
//!
//! ## A guard per key
//!
//! A pipeline receives no request, so it cannot choose the limiter of a tenant or the breaker of a
//! host. [`guard_by`] is a layer of its own that selects a guard by the request.
//!
//! ## Response bodies
//!
//! A call ends for its policies when the service returns the response; the body follows later. To
//! hold a permit until the body has ended, and to record the outcome then, add the policy as a
//! [`StreamGuard`](crate::policy::StreamGuard), and let the service return a
//! [`PermitStream`](crate::policy::PermitStream) as the body. A body that is dropped before its end
//! records no outcome. Time limits and retries end with the response.
//!
//! ```
//! use axum::body::{Body, BodyDataStream};
//! use axum::http::Response;
//! use mainstay::policy::{PermitStream, StreamGuard};
//! use mainstay::{Bulkhead, Pipeline};
//! use tower::{ServiceBuilder, service_fn};
//!
//! # fn main() -> Result<(), mainstay::ConfigError> {
//! # let upstream = service_fn(|(): ()| async {
//! #     Ok::<_, std::io::Error>(Response::new(Body::empty()))
//! # });
//! type Chunks = PermitStream<BodyDataStream>;
//!
//! let guard =
//!     StreamGuard::new(Bulkhead::builder().build()?, |response: &Response<Chunks>| {
//!         Some(response.body().permits())
//!     });
//! let service = ServiceBuilder::new()
//!     .map_response(|response: Response<Chunks>| response.map(Body::from_stream))
//!     .layer(Pipeline::builder().guard(guard).build())
//!     .map_response(|response: Response<Body>| {
//!         response.map(|body| PermitStream::new(body.into_data_stream()))
//!     })
//!     .service(upstream);
//! # use tower::ServiceExt;
//! # futures::executor::block_on(async { service.oneshot(()).await.unwrap() });
//! # Ok(())
//! # }
//! ```
//!
//! ## Axum
//!
//! A route must not fail, but a pipeline can. Convert its error into a response with axum's
//! `HandleErrorLayer`, in the same layer:
//! `ServiceBuilder::new().layer(HandleErrorLayer::new(explain)).layer(pipeline)`.
//!
//! For Tower, a response with status 500 is an `Ok`. Configure the breaker and the retry with a
//! [classifier](crate::breaker::CircuitBreaker::classified_by) that reads the status. A request
//! with a streaming body is not `Clone` and cannot be retried. The example `tower_stack` shows all
//! of this.
//!
//! # Cancel safety
//!
//! Dropping the future drops the inner future first, then releases the permit of each policy. No
//! outcome is recorded, and no permit leaks. The same applies if the service panics in
//! `poll_ready`, in `call` or later.
//!
//! # Performance
//!
//! A pipeline does not allocate, except for a timer when it is armed. A guard's permit keeps the
//! guard alive by a reference count, which costs two atomic writes per call. A guard clones the
//! service only if the call waits or is rejected. A repeat clones it once per attempt.

mod context;
mod guard_by;
mod guarded;
mod limited;
mod repeated;
mod serve;

pub use context::{ContextFuture, ContextLayer, ContextPropagator, ContextService};
pub use guard_by::{GuardByLayer, GuardByService, guard_by};

use crate::error::Error;
use crate::pipeline::Pipeline;
#[cfg(doc)]
use crate::policy::{OwnedGuard, OwnedRepeat};
use pin_project::pin_project;
use serve::{Around, Base, Serve};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A service with a pipeline around it, created by [`Pipeline`] as a Tower layer. See the [module
/// documentation](self).
#[derive(Clone)]
pub struct PipelineService<S>(S);

/// The future of a call to a [`PipelineService`].
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<F>(#[pin] F);

impl<Stack, Service> tower_layer::Layer<Service> for Pipeline<Stack>
where
    Stack: Around<Base<Service>>,
{
    type Service = PipelineService<Stack::Service>;

    fn layer(&self, service: Service) -> Self::Service {
        PipelineService(self.stack.around(Base(service)))
    }
}

impl<S, Request> tower_service::Service<Request> for PipelineService<S>
where
    S: Serve<Request>,
{
    type Response = S::Response;
    type Error = Error<S::Error>;
    type Future = ResponseFuture<S::Future>;

    #[inline]
    fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(task).map_err(Error::Operation)
    }

    #[inline]
    fn call(&mut self, request: Request) -> Self::Future {
        ResponseFuture(self.0.serve(crate::policy::Context::new(), request))
    }
}

impl<F: Future> Future for ResponseFuture<F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<F::Output> {
        self.project().0.poll(task)
    }
}

impl<S> fmt::Debug for PipelineService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PipelineService").finish_non_exhaustive()
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
