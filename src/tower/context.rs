//! A Tower layer that reads the context of a call from its request, and writes the context of each
//! attempt into the request: [`ContextLayer`], [`ContextPropagator`].

use super::serve::{Around, Serve};
use crate::error::{Error, Reason, Rejection, TimedOut};
use crate::pipeline::Pipeline;
use crate::policy::Context;
use crate::policy::guarded::OperationFuture;
use crate::time::{Clock, Expiry};
use pin_project::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{self, Poll, ready};
use std::time::Duration;

/// The policy name in the errors of this layer.
const POLICY: &str = "deadline";

/// A type that reads the [`Context`] of a call from its request, and writes the context of each
/// attempt into the request; see [`Pipeline::propagate_context`].
///
/// A separate type implements this trait, so that the request can be a type of another crate.
pub trait ContextPropagator<Request> {
    /// Returns `cx` with the deadline and the caller (a priority and a user) that `request`
    /// carries.
    ///
    /// `cx` has neither a deadline nor a caller. Its time is the current time of the clock that was
    /// passed to [`Pipeline::propagate_context`].
    fn extract(&self, request: &Request, cx: Context) -> Context;

    /// Writes the context of an attempt into `request`, before the service receives it.
    fn inject(&self, cx: Context, request: &mut Request);
}

impl<Stack> Pipeline<Stack> {
    /// Returns a layer that passes the [`Context`] of each call through its request.
    ///
    /// `propagator` reads the deadline and the [caller](crate::policy::Caller) of a call from the
    /// request. A call that is still running at its deadline, measured by `clock`, is dropped and
    /// returns [`Error::Timeout`]. A call whose deadline has already passed is rejected with
    /// [`Reason::DeadlineExceeded`]. The request of each attempt carries the number of the attempt,
    /// the deadline and the caller.
    ///
    /// The service must implement `Clone`.
    ///
    /// ```
    /// use axum::http::Request; // or `http::Request`
    /// use mainstay::policy::Context;
    /// use mainstay::tower::ContextPropagator;
    /// use mainstay::{Clock, Deadline, Pipeline, Retry, deadline};
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    ///
    /// /// Reads the header field `X-Request-Timeout`, and stores the context as an extension.
    /// #[derive(Clone)]
    /// struct Headers;
    ///
    /// impl<B> ContextPropagator<Request<B>> for Headers {
    ///     fn extract(&self, request: &Request<B>, cx: Context) -> Context {
    ///         let field = request.headers().get("x-request-timeout");
    ///         let text = field.and_then(|value| value.to_str().ok());
    ///         match text.and_then(deadline::from_request_timeout) {
    ///             Some(timeout) => cx.with_deadline(Deadline::after(cx.now(), timeout)),
    ///             None => cx,
    ///         }
    ///     }
    ///
    ///     fn inject(&self, cx: Context, request: &mut Request<B>) {
    ///         request.extensions_mut().insert(cx);
    ///     }
    /// }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pipeline = Pipeline::builder().retry(Retry::builder().build()?).build();
    /// let layer = pipeline.propagate_context(Headers, &Clock::system());
    /// let service = ServiceBuilder::new().layer(layer).service(service_fn(
    ///     |request: Request<()>| async move {
    ///         let cx = request.extensions().get::<Context>();
    ///         Ok::<_, ()>(cx.is_some_and(|cx| cx.remaining().is_some()))
    ///     },
    /// ));
    /// let request = Request::builder().header("x-request-timeout", "1500").body(())?;
    /// # futures::executor::block_on(async {
    /// assert_eq!(service.oneshot(request).await, Ok(true));
    /// # });
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn propagate_context<P>(&self, propagator: P, clock: &Clock) -> ContextLayer<Stack, P>
    where
        Stack: Clone,
    {
        ContextLayer { stack: self.stack.clone(), propagator, clock: clock.clone() }
    }
}

/// A Tower layer that applies a pipeline and passes on the context of calls; created by
/// [`Pipeline::propagate_context`].
#[derive(Clone)]
pub struct ContextLayer<Stack, P> {
    stack: Stack,
    propagator: P,
    clock: Clock,
}

/// A service with a pipeline that reads the context of a call from its request; created by
/// [`ContextLayer`].
#[derive(Clone)]
pub struct ContextService<S, P> {
    service: S,
    propagator: P,
    clock: Clock,
}

impl<Stack, Service, P> tower_layer::Layer<Service> for ContextLayer<Stack, P>
where
    Stack: Around<InjectService<Service, P>>,
    P: Clone,
{
    type Service = ContextService<Stack::Service, P>;

    fn layer(&self, service: Service) -> Self::Service {
        let Self { stack, propagator, clock } = self;
        let inner = InjectService { service, propagator: propagator.clone() };
        ContextService {
            service: stack.around(inner),
            propagator: propagator.clone(),
            clock: clock.clone(),
        }
    }
}

impl<S, P, Request> tower_service::Service<Request> for ContextService<S, P>
where
    S: Serve<Request> + Clone,
    P: ContextPropagator<Request>,
{
    type Response = S::Response;
    type Error = Error<S::Error>;
    type Future = ContextFuture<S::Future>;

    #[inline]
    fn poll_ready(&mut self, task: &mut task::Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.service.poll_ready(task).map_err(Error::Operation)
    }

    #[inline]
    fn call(&mut self, request: Request) -> Self::Future {
        let cx = self.propagator.extract(&request, Context::new().on(&self.clock));
        let until = match cx.deadline().instant() {
            None => None,
            Some(until) if until > cx.now() => Some((until, until - cx.now())),
            Some(_) => {
                // Drops the service that was polled ready, with the resources that it reserved.
                let clone = self.service.clone();
                drop(std::mem::replace(&mut self.service, clone));
                return ContextFuture { step: Step::Rejected, limit: None };
            }
        };
        let step = Step::Running(self.service.serve(cx, request));
        let limit = until.map(|(until, remaining)| Limit {
            expiry: Expiry::new(until),
            clock: self.clock.clone(),
            remaining,
        });
        ContextFuture { step, limit }
    }
}

/// The user's service, which receives the context of each attempt in its request.
#[derive(Clone)]
pub struct InjectService<S, P> {
    service: S,
    propagator: P,
}

impl<S, P, Request> Serve<Request> for InjectService<S, P>
where
    S: tower_service::Service<Request>,
    P: ContextPropagator<Request>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = OperationFuture<S::Future>;

    #[inline]
    fn poll_ready(&mut self, task: &mut task::Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(task)
    }

    #[inline]
    fn serve(&mut self, cx: Context, mut request: Request) -> Self::Future {
        self.propagator.inject(cx, &mut request);
        OperationFuture(self.service.call(request))
    }
}

/// The future of a call to a [`ContextService`].
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct ContextFuture<F> {
    #[pin]
    step: Step<F>,
    /// `None` if the call has no deadline.
    #[pin]
    limit: Option<Limit>,
}

#[pin_project(project = StepProjection)]
enum Step<F> {
    Running(#[pin] F),
    /// The deadline had passed when the call started.
    Rejected,
    Ended,
}

/// The time limit of a call. `remaining` is the duration that the timeout error reports.
#[pin_project]
struct Limit {
    expiry: Expiry,
    clock: Clock,
    remaining: Duration,
}

impl<F, T, E> Future for ContextFuture<F>
where
    F: Future<Output = Result<T, Error<E>>>,
{
    type Output = Result<T, Error<E>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let result = match this.step.as_mut().project() {
            StepProjection::Running(running) => match running.poll(task) {
                Poll::Ready(result) => result,
                Poll::Pending => {
                    let Some(limit) = this.limit.as_pin_mut() else { return Poll::Pending };
                    let limit = limit.project();
                    ready!(limit.expiry.poll(limit.clock, task));
                    Err(TimedOut::new(POLICY, *limit.remaining).into())
                }
            },
            StepProjection::Rejected => {
                Err(Rejection::new(Reason::DeadlineExceeded, POLICY).into())
            }
            StepProjection::Ended => panic!("a call was polled after it had completed"),
        };
        // Drops the operation even if the caller keeps this future.
        this.step.set(Step::Ended);
        Poll::Ready(result)
    }
}

impl<Stack, P> fmt::Debug for ContextLayer<Stack, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContextLayer").finish_non_exhaustive()
    }
}

impl<S, P> fmt::Debug for ContextService<S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContextService").finish_non_exhaustive()
    }
}

impl<F> fmt::Debug for ContextFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContextFuture").finish_non_exhaustive()
    }
}
