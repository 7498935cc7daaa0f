//! Policies that admit or reject operations: [`Guard`], [`OwnedGuard`].

use super::{Context, Policy};
use crate::error::{Error, Rejection};
use crate::outcome::Outcome;
use std::future::Future;

/// A policy that admits or rejects an operation, and records its outcome.
///
/// One implementation serves futures, blocking closures and pipelines; see the
/// [example](crate::policy#examples) of the module. `&G` and `Arc<G>` are guards if `G` is one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not guard operations that return `Result<{T}, Error<{E}>>`",
    note = "a `Guard<T, E>` may require more of `T` and `E`, for example by its classifier"
)]
pub trait Guard<T, E>: Policy {
    /// The permit of an admitted operation. Dropping the permit releases it without recording an
    /// outcome, for example when a call is cancelled.
    type Permit<'a>: Send
    where
        Self: 'a;

    /// Waits for admission.
    ///
    /// # Errors
    ///
    /// The future returns the rejection if the operation is not admitted.
    fn admit(
        &self,
        cx: Context,
    ) -> impl Future<Output = Result<Self::Permit<'_>, Rejection>> + Send;

    /// Waits for admission, blocking the thread.
    ///
    /// # Errors
    ///
    /// Returns the rejection if the operation is not admitted.
    fn admit_blocking(&self, cx: Context) -> Result<Self::Permit<'_>, Rejection>;

    /// Records the outcome of the operation.
    fn record<'a>(&'a self, permit: Self::Permit<'a>, result: &Result<T, Error<E>>);
}

/// A [`Guard`] for futures that borrow nothing, such as those of a Tower service. Its permits keep
/// the guard alive, and its admission future is a named type.
///
/// Permits and futures need not be `Send`.
pub trait OwnedGuard<T, E>: Policy + Clone {
    /// The permit of an admitted operation: a [`Guard::Permit`] that keeps the guard alive.
    type OwnedPermit;

    /// The future that waits for admission. A guard that never waits uses [`std::future::Ready`].
    type AdmitFuture: Future<Output = Result<Self::OwnedPermit, Rejection>>;

    /// Admits or rejects the operation, or returns a future that waits for admission.
    fn admit_owned(&self, cx: Context) -> Admission<Self::OwnedPermit, Self::AdmitFuture>;

    /// Records the outcome of the operation.
    fn record_owned(permit: Self::OwnedPermit, result: &Result<T, Error<E>>);

    /// Records the outcome of an operation whose end is reported without a result; see
    /// [`StreamGuard`](super::StreamGuard). A guard that records outcomes implements it. Default:
    /// drops the permit.
    fn record_outcome_owned(permit: Self::OwnedPermit, outcome: Outcome) {
        let _ = outcome;
        drop(permit);
    }
}

/// A guard's immediate decision on an operation, made by [`OwnedGuard::admit_owned`].
#[derive(Clone, Copy, Debug)]
pub enum Admission<P, W> {
    /// The operation may run with this permit.
    Admitted(P),
    /// The operation must not run.
    Rejected(Rejection),
    /// The operation must wait for this future.
    Waiting(W),
}
