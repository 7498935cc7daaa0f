//! The service of a guard: admits a call, calls the inner service, and records the outcome.

use super::serve::Serve;
use crate::policy::guarded::{GuardedFuture, Owned, Start};
use crate::policy::{Admission, Context, OwnedGuard};
use std::task::{self, Poll};

/// An [`OwnedGuard`] around a service.
#[derive(Clone)]
pub struct GuardService<G, S> {
    pub(super) guard: G,
    pub(super) service: S,
}

impl<G, S, Request> Serve<Request> for GuardService<G, S>
where
    S: Serve<Request> + Clone,
    G: OwnedGuard<S::Response, S::Error>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future =
        GuardedFuture<Owned<G>, G::OwnedPermit, G::AdmitFuture, ServiceCall<S, Request>, S::Future>;

    #[inline]
    fn poll_ready(&mut self, task: &mut task::Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(task)
    }

    #[inline]
    fn serve(&mut self, cx: Context, request: Request) -> Self::Future {
        match self.guard.admit_owned(cx) {
            Admission::Admitted(permit) => {
                GuardedFuture::admitted(Owned::new(), permit, self.service.serve(cx, request))
            }
            Admission::Rejected(rejection) => {
                // Releases the resources that the ready service had reserved.
                drop(self.take_service());
                GuardedFuture::rejected(Owned::new(), rejection)
            }
            Admission::Waiting(admission) => {
                let call = ServiceCall { service: self.take_service(), request };
                GuardedFuture::new(Owned::new(), cx.after_waiting(), admission, call)
            }
        }
    }
}

impl<G, S: Clone> GuardService<G, S> {
    /// Takes the ready service and replaces it by a clone, which may not be ready.
    fn take_service(&mut self) -> S {
        let clone = self.service.clone();
        std::mem::replace(&mut self.service, clone)
    }
}

/// A call that waits for admission: the ready service and its request.
pub struct ServiceCall<S, Request> {
    service: S,
    request: Request,
}

impl<S: Serve<Request>, Request> Start<S::Response, S::Error> for ServiceCall<S, Request> {
    type Future = S::Future;

    #[inline]
    fn start(mut self, cx: Context) -> S::Future {
        self.service.serve(cx, self.request)
    }
}
