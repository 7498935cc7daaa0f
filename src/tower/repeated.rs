//! The service of a repeat: calls the inner service once per attempt.

use super::serve::Serve;
use crate::error::Error;
use crate::policy::{Attempt, Context, OwnedRepeat};
use pin_project::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::task::{self, Poll, ready};

/// An [`OwnedRepeat`] around a service.
#[derive(Clone)]
pub struct RepeatService<R, S> {
    pub(super) repeat: R,
    pub(super) service: S,
}

impl<R, S, Request> Serve<Request> for RepeatService<R, S>
where
    S: Serve<Request> + Clone,
    R: OwnedRepeat<S::Response, S::Error>,
    Request: Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = R::CallFuture<ServiceAttempts<S, Request>>;

    #[inline]
    fn poll_ready(&mut self, task: &mut task::Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(task)
    }

    #[inline]
    fn serve(&mut self, cx: Context, request: Request) -> Self::Future {
        let clone = self.service.clone();
        let service = std::mem::replace(&mut self.service, clone);
        self.repeat.call_owned(cx, ServiceAttempts { service, is_ready: true, request })
    }
}

/// The service and the request of a call, from which each attempt is started.
pub struct ServiceAttempts<S, Request> {
    service: S,
    /// Whether `service` is ready: `poll_ready` succeeded, and it has not been called since.
    is_ready: bool,
    request: Request,
}

impl<S, Request> Attempt<S::Response, S::Error> for ServiceAttempts<S, Request>
where
    S: Serve<Request> + Clone,
    Request: Clone,
{
    type Future = AttemptFuture<S, Request>;

    #[inline]
    fn start(&mut self, cx: Context) -> Self::Future {
        let request = self.request.clone();
        if std::mem::take(&mut self.is_ready) {
            return AttemptFuture::Running(self.service.serve(cx, request));
        }
        AttemptFuture::Preparing { call: Some((self.service.clone(), request)), cx }
    }
}

/// One attempt: waits until its service is ready, then calls it.
#[pin_project(project = AttemptProjection)]
pub enum AttemptFuture<S, Request>
where
    S: Serve<Request>,
{
    Preparing { call: Option<(S, Request)>, cx: Context },
    Running(#[pin] S::Future),
}

impl<S, Request> Future for AttemptFuture<S, Request>
where
    S: Serve<Request>,
{
    type Output = Result<S::Response, Error<S::Error>>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<Self::Output> {
        loop {
            match self.as_mut().project() {
                AttemptProjection::Running(running) => return running.poll(task),
                AttemptProjection::Preparing { call, cx } => {
                    let (service, _) = call.as_mut().expect(COMPLETED);
                    let readiness = ready!(service.poll_ready(task));
                    let (mut service, request) = call.take().expect(COMPLETED);
                    readiness.map_err(Error::Operation)?;
                    let running = service.serve(cx.after_waiting(), request);
                    self.set(Self::Running(running));
                }
            }
        }
    }
}

const COMPLETED: &str = "an attempt was polled after it had completed";
