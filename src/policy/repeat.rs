//! Policies that may run an operation more than once: [`Repeat`], [`OwnedRepeat`].

use super::{Context, Policy};
use crate::error::Error;
use std::future::Future;

/// A policy that may run its operation several times, or another operation in its place.
///
/// The operation is a function from the [`Context`] of an attempt to a future. `&R` and `Arc<R>`
/// implement `Repeat` if `R` does.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not repeat operations that return `Result<{T}, Error<{E}>>`",
    note = "a `Repeat<T, E>` may require more of `T` and `E`, for example by its rule"
)]
// The `Send` bounds on futures let nested stacks be spawned.
pub trait Repeat<T: Send, E: Send>: Policy {
    /// Runs `op` as often as the policy decides, and returns the last result.
    ///
    /// An implementation passes each further attempt a context with its
    /// [number](Context::with_attempt) and, if time has passed, marked as
    /// [after a wait](Context::after_waiting), so that the policies below read the clock again.
    fn call<Op, Fut>(
        &self,
        cx: Context,
        op: Op,
    ) -> impl Future<Output = Result<T, Error<E>>> + Send
    where
        Op: Fn(Context) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, Error<E>>> + Send;

    /// Runs the closure `op` as often as the policy decides, blocking the thread.
    ///
    /// # Errors
    /// Returns the error of `op` or of the policy.
    fn call_blocking<Op>(&self, cx: Context, op: Op) -> Result<T, Error<E>>
    where
        Op: Fn(Context) -> Result<T, Error<E>>;
}

/// A [`Repeat`] whose future borrows nothing and is a named type, as a Tower service requires.
pub trait OwnedRepeat<T, E>: Policy + Clone {
    /// The future of a call.
    type CallFuture<A: Attempt<T, E>>: Future<Output = Result<T, Error<E>>>;

    /// Runs `attempt` as often as the policy decides; see [`Repeat::call`].
    fn call_owned<A: Attempt<T, E>>(&self, cx: Context, attempt: A) -> Self::CallFuture<A>;
}

/// An operation that can be started several times.
///
/// Closures from a [`Context`] to a future implement it. A type that implements it can be named
/// where a closure cannot.
pub trait Attempt<T, E> {
    /// The future of one attempt.
    type Future: Future<Output = Result<T, Error<E>>>;

    /// Starts an attempt.
    fn start(&mut self, cx: Context) -> Self::Future;
}

impl<Op, Fut, T, E> Attempt<T, E> for Op
where
    Op: FnMut(Context) -> Fut,
    Fut: Future<Output = Result<T, Error<E>>>,
{
    type Future = Fut;

    #[inline]
    fn start(&mut self, cx: Context) -> Fut {
        self(cx)
    }
}
