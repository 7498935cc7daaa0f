//! The handlers that replace errors: [`FallbackHandler`] and its implementations.

use crate::error::Error;

/// Replaces an error with a result.
///
/// Closures that map an [`Error`] to a `Result` implement this trait. A result is counted as
/// degraded only if the handler returns `Ok`.
pub trait FallbackHandler<T, E>: Send + Sync {
    /// Returns the result of a call that failed with `error`.
    ///
    /// # Errors
    ///
    /// Returns `error` if the handler does not apply to it, or an error of its own.
    fn handle(&self, error: Error<E>) -> Result<T, Error<E>>;
}

impl<T, E, F> FallbackHandler<T, E> for F
where
    F: Fn(Error<E>) -> Result<T, Error<E>> + Send + Sync,
{
    #[inline]
    fn handle(&self, error: Error<E>) -> Result<T, Error<E>> {
        self(error)
    }
}

/// A handler that replaces every error with a clone of one value; created by
/// [`Fallback::value`](super::Fallback::value).
#[derive(Clone, Copy, Debug)]
pub struct FallbackValue<T>(pub(super) T);

impl<T: Clone + Send + Sync, E> FallbackHandler<T, E> for FallbackValue<T> {
    #[inline]
    fn handle(&self, _: Error<E>) -> Result<T, Error<E>> {
        Ok(self.0.clone())
    }
}

/// A handler or operation for the errors that a rule selects; created by
/// [`FallbackTo::when`](super::FallbackTo::when) and
/// [`FallbackToOperation::when`](super::FallbackToOperation::when).
#[derive(Clone, Copy, Debug)]
pub struct FallbackWhen<P, H> {
    pub(super) rule: P,
    pub(super) handler: H,
}

impl<T, E, P, H> FallbackHandler<T, E> for FallbackWhen<P, H>
where
    P: Fn(&Error<E>) -> bool + Send + Sync,
    H: FallbackHandler<T, E>,
{
    #[inline]
    fn handle(&self, error: Error<E>) -> Result<T, Error<E>> {
        if (self.rule)(&error) { self.handler.handle(error) } else { Err(error) }
    }
}
