//! The service that each layer of a pipeline wraps, and how layers wrap it.

use super::guarded::GuardService;
use super::limited::LimitService;
use super::repeated::RepeatService;
use crate::error::Error;
use crate::pipeline::{EmptyStack, GuardLayer, PipelineStack, RepeatLayer, TimeLimitLayer};
use crate::policy::Context;
use crate::policy::guarded::OperationFuture;
use std::future::Future;
use std::task::{self, Poll};

/// A Tower service that also receives the [`Context`] of a call. Its future returns one [`Error`]
/// around the error of the user's service, however many layers wrap the service.
pub trait Serve<Request> {
    type Response;
    /// The error of the user's service.
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
    type Future = OperationFuture<S::Future>;

    #[inline]
    fn poll_ready(&mut self, task: &mut task::Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(task)
    }

    #[inline]
    fn serve(&mut self, _: Context, request: Request) -> Self::Future {
        OperationFuture(self.0.call(request))
    }
}

/// Layers that can wrap a service.
pub trait Around<S> {
    type Service;

    fn around(&self, service: S) -> Self::Service;
}

impl<S> Around<S> for EmptyStack {
    type Service = S;

    fn around(&self, service: S) -> S {
        service
    }
}

impl<S, Outer, Inner> Around<S> for PipelineStack<Outer, Inner>
where
    Inner: Around<S>,
    Outer: Around<Inner::Service>,
{
    type Service = Outer::Service;

    fn around(&self, service: S) -> Self::Service {
        self.outer.around(self.inner.around(service))
    }
}

impl<S, G: Clone> Around<S> for GuardLayer<G> {
    type Service = GuardService<G, S>;

    fn around(&self, service: S) -> Self::Service {
        GuardService { guard: self.0.clone(), service }
    }
}

impl<S, R: Clone> Around<S> for RepeatLayer<R> {
    type Service = RepeatService<R, S>;

    fn around(&self, service: S) -> Self::Service {
        RepeatService { repeat: self.0.clone(), service }
    }
}

impl<S, L: Clone> Around<S> for TimeLimitLayer<L> {
    type Service = LimitService<L, S>;

    fn around(&self, service: S) -> Self::Service {
        LimitService { limit: self.0.clone(), service }
    }
}
