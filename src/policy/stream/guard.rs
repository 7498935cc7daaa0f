//! A guard whose permit is carried by the stream that the operation returns: [`StreamGuard`].

use super::StreamPermits;
use crate::error::{Error, Rejection};
use crate::outcome::Outcome;
use crate::policy::{Admission, Context, Facts, Guard, OwnedGuard, Policy};
use crate::sync::block_on;
use pin_project::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{self, Poll, ready};

/// A guard that holds its permit until the stream that the operation returned has ended, and then
/// records the outcome.
///
/// The result of the operation must contain a [`PermitStream`](super::PermitStream). An error of
/// the operation is recorded immediately.
#[derive(Clone)]
pub struct StreamGuard<G, F> {
    guard: G,
    permits: F,
}

impl<G, F> StreamGuard<G, F> {
    /// Creates a guard that adds the permits of `guard` to the stream in the result. `permits`
    /// returns the permits of that stream.
    ///
    /// If `permits` returns `None`, the result is recorded immediately. `permits` should return
    /// `None` for a result that is a failure although it contains a stream, such as a response with
    /// status 500.
    ///
    /// ```
    /// use mainstay::policy::{PermitStream, StreamGuard};
    /// use mainstay::{CircuitBreaker, Pipeline};
    ///
    /// struct Response<S> {
    ///     status: u16,
    ///     body: PermitStream<S>,
    /// }
    ///
    /// let breaker = CircuitBreaker::new();
    /// let guard = StreamGuard::new(breaker.clone(), |response: &Response<_>| {
    ///     (response.status < 500).then(|| response.body.permits())
    /// });
    /// let pipeline = Pipeline::builder().guard(guard).build();
    /// let response = pipeline.call_blocking(|| {
    ///     let body = futures::stream::iter([Ok::<u8, ()>(1)]);
    ///     Ok::<_, ()>(Response { status: 200, body: PermitStream::new(body) })
    /// })?;
    /// assert_eq!(breaker.snapshot().counts.total, 0); // the body has not ended
    /// for chunk in futures::executor::block_on_stream(response.body) {
    ///     assert_eq!(chunk, Ok(1));
    /// }
    /// assert_eq!(breaker.snapshot().counts.total, 1);
    /// # Ok::<(), mainstay::Error<()>>(())
    /// ```
    #[must_use]
    pub const fn new<T>(guard: G, permits: F) -> Self
    where
        F: Fn(&T) -> Option<&StreamPermits>,
    {
        Self { guard, permits }
    }

    /// Returns the guard that was passed to [`new`](Self::new).
    #[must_use]
    pub const fn guard(&self) -> &G {
        &self.guard
    }
}

/// Adds the permit to the stream of the result, or records the result if it has no stream.
fn record<T, E, G>(
    permit: G::OwnedPermit,
    permits: impl Fn(&T) -> Option<&StreamPermits>,
    result: &Result<T, Error<E>>,
) where
    G: OwnedGuard<T, E, OwnedPermit: Send + 'static>,
{
    // A function pointer, because the type of the function item contains `T` and `E`, which need
    // not be `'static`.
    let record: fn(G::OwnedPermit, Outcome) = G::record_outcome_owned;
    match result.as_ref().ok().and_then(permits) {
        Some(permits) => permits.add(permit, record),
        None => G::record_owned(permit, result),
    }
}

impl<G: Policy, F: Send + Sync> Policy for StreamGuard<G, F> {
    type Kind = G::Kind;

    fn facts(&self) -> Facts {
        self.guard.facts()
    }
}

impl<T, E, G, F> Guard<T, E> for StreamGuard<G, F>
where
    T: Send,
    E: Send,
    G: OwnedGuard<T, E, OwnedPermit: Send + 'static, AdmitFuture: Send>,
    F: Fn(&T) -> Option<&StreamPermits> + Send + Sync,
{
    type Permit<'a>
        = G::OwnedPermit
    where
        Self: 'a;

    async fn admit(&self, cx: Context) -> Result<G::OwnedPermit, Rejection> {
        match self.guard.admit_owned(cx) {
            Admission::Admitted(permit) => Ok(permit),
            Admission::Rejected(rejection) => Err(rejection),
            Admission::Waiting(admission) => admission.await,
        }
    }

    fn admit_blocking(&self, cx: Context) -> Result<G::OwnedPermit, Rejection> {
        match self.guard.admit_owned(cx) {
            Admission::Admitted(permit) => Ok(permit),
            Admission::Rejected(rejection) => Err(rejection),
            Admission::Waiting(admission) => block_on(admission),
        }
    }

    fn record(&self, permit: G::OwnedPermit, result: &Result<T, Error<E>>) {
        record::<T, E, G>(permit, &self.permits, result);
    }
}

impl<T, E, G, F> OwnedGuard<T, E> for StreamGuard<G, F>
where
    G: OwnedGuard<T, E, OwnedPermit: Send + 'static>,
    F: Fn(&T) -> Option<&StreamPermits> + Clone + Send + Sync,
{
    type OwnedPermit = (G::OwnedPermit, F);
    type AdmitFuture = StreamAdmitFuture<G::AdmitFuture, F>;

    fn admit_owned(&self, cx: Context) -> Admission<Self::OwnedPermit, Self::AdmitFuture> {
        let permits = self.permits.clone();
        match self.guard.admit_owned(cx) {
            Admission::Admitted(permit) => Admission::Admitted((permit, permits)),
            Admission::Rejected(rejection) => Admission::Rejected(rejection),
            Admission::Waiting(admission) => {
                Admission::Waiting(StreamAdmitFuture { admission, permits: Some(permits) })
            }
        }
    }

    fn record_owned((permit, permits): Self::OwnedPermit, result: &Result<T, Error<E>>) {
        record::<T, E, G>(permit, permits, result);
    }
}

/// The future that waits for the permit of a [`StreamGuard`].
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct StreamAdmitFuture<A, F> {
    #[pin]
    admission: A,
    permits: Option<F>,
}

impl<A, F, P> Future for StreamAdmitFuture<A, F>
where
    A: Future<Output = Result<P, Rejection>>,
{
    type Output = Result<(P, F), Rejection>;

    fn poll(self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let permit = ready!(this.admission.poll(task))?;
        let permits = this.permits.take().expect("the future was polled after it had completed");
        Poll::Ready(Ok((permit, permits)))
    }
}

impl<G: fmt::Debug, F> fmt::Debug for StreamGuard<G, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamGuard").field("guard", &self.guard).finish_non_exhaustive()
    }
}

impl<A, F> fmt::Debug for StreamAdmitFuture<A, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamAdmitFuture").finish_non_exhaustive()
    }
}
