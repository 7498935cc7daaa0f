use super::serve::Serve;
use crate::error::{Error, Rejection};
use crate::policy::{Context, Decision, OwnedGuard};
use pin_project::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::task::{self, Poll, ready};

/// An [`OwnedGuard`] around a service.
#[derive(Clone)]
pub struct GuardedService<G, S> {
    pub(super) guard: G,
    pub(super) service: S,
}

impl<G, S, Request> Serve<Request> for GuardedService<G, S>
where
    S: Serve<Request> + Clone,
    G: OwnedGuard<S::Response, S::Error>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = GuardedFuture<G, S, Request>;

    #[inline]
    fn poll_ready(&mut self, task: &mut task::Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(task)
    }

    #[inline]
    fn serve(&mut self, cx: Context, request: Request) -> Self::Future {
        let step = match self.guard.admit_owned(cx) {
            Decision::Granted(permit) => {
                let running = self.service.serve(cx, request);
                Step::Running { running, permit: Some(permit) }
            }
            Decision::Refused(rejection) => {
                drop(self.take_service()); // and what it had reserved
                Step::Refused(rejection)
            }
            Decision::Waiting(admission) => {
                Step::Waiting { admission, call: Some((self.take_service(), request)), cx }
            }
        };
        GuardedFuture { step }
    }
}

impl<G, S: Clone> GuardedService<G, S> {
    /// The service that was found ready; a clone, which was not, takes its place.
    fn take_service(&mut self) -> S {
        let clone = self.service.clone();
        std::mem::replace(&mut self.service, clone)
    }
}

/// Admits, runs, settles.
#[pin_project]
pub struct GuardedFuture<G, S, Request>
where
    S: Serve<Request>,
    G: OwnedGuard<S::Response, S::Error>,
{
    #[pin]
    step: Step<G::Waiting, G::OwnedPermit, S, S::Future, Request>,
}

#[pin_project(project = StepProjection)]
enum Step<Waiting, Permit, S, Running, Request> {
    Waiting {
        #[pin]
        admission: Waiting,
        call: Option<(S, Request)>,
        cx: Context,
    },
    Running {
        // Dropped before the permit: what the operation holds is gone when its permit is given back.
        #[pin]
        running: Running,
        permit: Option<Permit>,
    },
    Refused(Rejection),
    Ended,
}

impl<G, S, Request> Future for GuardedFuture<G, S, Request>
where
    S: Serve<Request>,
    G: OwnedGuard<S::Response, S::Error>,
{
    type Output = Result<S::Response, Error<S::Error>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<Self::Output> {
        let mut step = self.project().step;
        loop {
            match step.as_mut().project() {
                StepProjection::Running { running, permit } => {
                    let result = ready!(running.poll(task));
                    let permit = permit.take();
                    step.set(Step::Ended);
                    if let Some(permit) = permit {
                        G::settle_owned(permit, &result);
                    }
                    return Poll::Ready(result);
                }
                StepProjection::Waiting { admission, call, cx } => {
                    let permit = ready!(admission.poll(task))?;
                    let (mut service, request) =
                        call.take().expect("taken only on the way to running");
                    let running = service.serve(cx.after_waiting(), request);
                    step.set(Step::Running { running, permit: Some(permit) });
                }
                StepProjection::Refused(rejection) => {
                    let rejection = *rejection;
                    step.set(Step::Ended);
                    return Poll::Ready(Err(rejection.into()));
                }
                StepProjection::Ended => panic!("polled after it had completed"),
            }
        }
    }
}
