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
    type Future = GuardedCall<G, S, Request>;

    #[inline]
    fn poll_ready(&mut self, task: &mut task::Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(task)
    }

    #[inline]
    fn serve(&mut self, cx: Context, request: Request) -> Self::Future {
        admit(&self.guard, &mut self.service, cx, request)
    }
}

/// The future of a call to the service `S` that the guard `G` admits or rejects.
pub(super) type GuardedCall<G, S, Request> = GuardedFuture<
    Owned<G>,
    <G as OwnedGuard<<S as Serve<Request>>::Response, <S as Serve<Request>>::Error>>::OwnedPermit,
    <G as OwnedGuard<<S as Serve<Request>>::Response, <S as Serve<Request>>::Error>>::AdmitFuture,
    ServiceCall<S, Request>,
    <S as Serve<Request>>::Future,
>;

/// Calls the ready `service` if `guard` admits the call.
#[inline]
pub(super) fn admit<G, S, Request>(
    guard: &G,
    service: &mut S,
    cx: Context,
    request: Request,
) -> GuardedCall<G, S, Request>
where
    S: Serve<Request> + Clone,
    G: OwnedGuard<S::Response, S::Error>,
{
    match guard.admit_owned(cx) {
        Admission::Admitted(permit) => {
            GuardedFuture::admitted(Owned::new(), permit, service.serve(cx, request))
        }
        Admission::Rejected(rejection) => {
            // Releases the resources that the ready service had reserved.
            drop(take(service));
            GuardedFuture::rejected(Owned::new(), rejection)
        }
        Admission::Waiting(admission) => {
            let call = ServiceCall { service: take(service), request };
            GuardedFuture::new(Owned::new(), cx.after_waiting(), admission, call)
        }
    }
}

/// Takes the ready service and replaces it by a clone, which may not be ready.
fn take<S: Clone>(service: &mut S) -> S {
    let clone = service.clone();
    std::mem::replace(service, clone)
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
