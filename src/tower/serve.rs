//! A service that is told about the call: what stands between the layers of a pipeline.

use super::guarded::GuardedService;
use super::limited::LimitedService;
use super::repeated::RepeatedService;
use crate::error::Error;
use crate::pipeline::{Bottom, Guarded, Limited, Operation, Repeated, Stack};
use crate::policy::Context;
use std::future::Future;
use std::task::{self, Poll};

/// A Tower service that passes on the [`Context`], as one policy does to the next, and whose error is flat.
pub trait Serve<Request> {
    type Response;
    /// The innermost service's own.
    type Error;
    type Future: Future<Output = Result<Self::Response, Error<Self::Error>>>;

    fn poll_ready(&mut self, task: &mut task::Context<'_>) -> Poll<Result<(), Self::Error>>;

    fn serve(&mut self, cx: Context, request: Request) -> Self::Future;
}

/// The user's service.
#[derive(Clone)]
pub struct Base<S>(pub(super) S);

impl<S, Request> Serve<Request> for Base<S>
where
    S: tower_service::Service<Request>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Operation<S::Future>;

    #[inline]
    fn poll_ready(&mut self, task: &mut task::Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(task)
    }

    #[inline]
    fn serve(&mut self, _: Context, request: Request) -> Self::Future {
        Operation(self.0.call(request))
    }
}

/// Puts a pipeline's layers around a service, the innermost first.
pub trait Around<S> {
    type Service;

    fn around(&self, service: S) -> Self::Service;
}

impl<S> Around<S> for Bottom {
    type Service = S;

    fn around(&self, service: S) -> S {
        service
    }
}

impl<S, Outer, Inner> Around<S> for Stack<Outer, Inner>
where
    Inner: Around<S>,
    Outer: Around<Inner::Service>,
{
    type Service = Outer::Service;

    fn around(&self, service: S) -> Self::Service {
        self.outer.around(self.inner.around(service))
    }
}

impl<S, G: Clone> Around<S> for Guarded<G> {
    type Service = GuardedService<G, S>;

    fn around(&self, service: S) -> Self::Service {
        GuardedService { guard: self.0.clone(), service }
    }
}

impl<S, R: Clone> Around<S> for Repeated<R> {
    type Service = RepeatedService<R, S>;

    fn around(&self, service: S) -> Self::Service {
        RepeatedService { repeat: self.0.clone(), service }
    }
}

impl<S, L: Clone> Around<S> for Limited<L> {
    type Service = LimitedService<L, S>;

    fn around(&self, service: S) -> Self::Service {
        LimitedService { limit: self.0.clone(), service }
    }
}
