//! Pipelines as [Tower](https://docs.rs/tower) layers (feature `tower`).
//!
//! A [`Pipeline`] *is* a layer: put its policies around an axum route, a hyper client, anything that is a
//! `Service`. A pipeline of one policy is that policy's layer.
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
//!     .retry(Retry::builder().idempotent(true).build()?)
//!     .breaker(&breaker)
//!     .timeout(Duration::from_millis(300))
//!     .build();
//!
//! let search = service_fn(|word: String| async move { Ok::<usize, std::io::Error>(word.len()) });
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
//! # What it asks of the service
//!
//! | a pipeline with | asks for |
//! |---|---|
//! | timeouts only | a `Service<Request>`, no more |
//! | a guard (a breaker, say) | that the service is `Clone` |
//! | a repeat (a retry) | that service and request are `Clone` |
//!
//! Nothing has to be `Send` or `'static`: the futures are named types, not boxes, and are `Send` if what
//! they are made of is. Policies of your own join in by [`OwnedGuard`] and [`OwnedRepeat`].
//!
//! # What it promises
//!
//! * *One state.* A policy is a handle, and the layer clones the handle: all services that a layer makes,
//!   and all their clones, share one breaker. So does every connection of a server, each of which gets a
//!   clone.
//! * *One error.* Whatever the stack, it is [`Error<E>`](crate::error::Error), `E` being the service's own.
//!   So put all policies into one pipeline; two pipelines in a row give `Error<Error<E>>`, to be
//!   [flattened](crate::error::Error::flatten).
//! * *Refusals come from `call`*, as the future's result, and not from `poll_ready`, where they would tell
//!   a balancer that the service is gone for good. `poll_ready` asks the service and nobody else; its
//!   error is [`Error::Operation`], and no policy counts it.
//! * *The service that was ready is the one that is called.* Where a call has to keep it for later, it is
//!   replaced by its clone, which is asked anew. A further attempt of a retry makes a clone and waits until
//!   that is ready.
//! * *A refused call gives back what the ready service had reserved* (a place under an inner concurrency
//!   limit, say), by putting its clone in its place.
//! * The operation's clock starts in `call`, not at the future's first poll.
//!
//! # In axum
//!
//! A route's service cannot fail, and a pipeline can; so turn its error into a response by axum's
//! `HandleErrorLayer`, in one layer with it:
//! `ServiceBuilder::new().layer(HandleErrorLayer::new(explain)).layer(pipeline)`. An answer of status 500 is an
//! `Ok` to Tower: give breaker and retry a rule that knows better
//! ([`classified_by`](crate::breaker::CircuitBreaker::classified_by)). A request with a body that streams is
//! not `Clone` and cannot be retried. The example `tower_stack` shows all of it at work.
//!
//! # Cancel safety
//!
//! As a pipeline's: dropping the future drops the inner future first, then each policy's hold on the call.
//! Nothing is counted, and nothing leaks; nor when the service panics in `poll_ready`, in `call` or later.
//!
//! # Cost
//!
//! No allocation of its own. A guard's permit holds the guard by a reference count, two atomic writes a
//! call; a guard that need not wait does not clone the service, a repeat clones it once a call.

mod guarded;
mod limited;
mod repeated;
mod serve;

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

/// A service with a pipeline around it; see the [module](self).
#[derive(Clone)]
pub struct PipelineService<S>(S);

/// The answer of a [`PipelineService`].
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
