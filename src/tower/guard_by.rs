//! A layer that guards each request with a guard of its own: [`guard_by`].

use super::ResponseFuture;
use super::guarded::{GuardedCall, admit};
use super::serve::{Base, Serve};
use crate::error::Error;
use crate::policy::{Context, OwnedGuard};
use std::fmt;
use std::task::{self, Poll};

/// Returns a layer that guards each request with the guard that `select` returns for it, such as
/// the limiter of the tenant that sends the request.
///
/// The views of the keyed policies borrow nothing and are such guards:
/// [`KeyedRateLimiter::key_owned`](crate::rate::KeyedRateLimiter::key_owned),
/// [`KeyedCircuitBreaker::key`](crate::breaker::KeyedCircuitBreaker::key),
/// [`KeyedBulkhead::key`](crate::concurrency::KeyedBulkhead::key). Put the layer inside or outside
/// of a pipeline; with a pipeline, [flatten](Error::flatten) the errors.
///
/// ```
/// use mainstay::error::Error;
/// use mainstay::rate::{KeyedRateLimiter, Quota};
/// use mainstay::tower::guard_by;
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # fn main() -> Result<(), mainstay::error::ConfigError> {
/// struct Request {
///     tenant: u64,
/// }
///
/// let tenants: KeyedRateLimiter<u64> = KeyedRateLimiter::new(Quota::per_hour(1))?;
/// let search = service_fn(|_: Request| async { Ok::<_, std::io::Error>("found") });
/// let search = ServiceBuilder::new()
///     .layer(guard_by(move |request: &Request| tenants.key_owned(request.tenant)))
///     .service(search);
///
/// # futures::executor::block_on(async {
/// assert!(search.clone().oneshot(Request { tenant: 7 }).await.is_ok());
/// let again = search.clone().oneshot(Request { tenant: 7 }).await;
/// assert!(matches!(again, Err(Error::Rejected(_))));
/// assert!(search.oneshot(Request { tenant: 8 }).await.is_ok());
/// # });
/// # Ok(())
/// # }
/// ```
#[must_use]
pub const fn guard_by<F>(select: F) -> GuardByLayer<F> {
    GuardByLayer(select)
}

/// A layer that guards each request with a guard of its own; returned by [`guard_by`].
#[derive(Clone, Copy)]
pub struct GuardByLayer<F>(F);

/// A service that guards each request with a guard of its own; created by a [`GuardByLayer`].
#[derive(Clone)]
pub struct GuardByService<F, S> {
    select: F,
    service: Base<S>,
}

impl<F: Clone, S> tower_layer::Layer<S> for GuardByLayer<F> {
    type Service = GuardByService<F, S>;

    fn layer(&self, service: S) -> Self::Service {
        GuardByService { select: self.0.clone(), service: Base(service) }
    }
}

impl<F, G, S, Request> tower_service::Service<Request> for GuardByService<F, S>
where
    F: Fn(&Request) -> G,
    S: tower_service::Service<Request> + Clone,
    G: OwnedGuard<S::Response, S::Error>,
{
    type Response = S::Response;
    type Error = Error<S::Error>;
    type Future = ResponseFuture<GuardedCall<G, Base<S>, Request>>;

    #[inline]
    fn poll_ready(&mut self, task: &mut task::Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.service.poll_ready(task).map_err(Error::Operation)
    }

    #[inline]
    fn call(&mut self, request: Request) -> Self::Future {
        let guard = (self.select)(&request);
        ResponseFuture(admit(&guard, &mut self.service, Context::new(), request))
    }
}

impl<F> fmt::Debug for GuardByLayer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardByLayer").finish_non_exhaustive()
    }
}

impl<F, S> fmt::Debug for GuardByService<F, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardByService").finish_non_exhaustive()
    }
}
