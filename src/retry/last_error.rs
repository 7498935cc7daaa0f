//! The error that a call returns if a later attempt is rejected.

use crate::error::Error;

/// The latest error of an attempt of a call, other than a rejection.
///
/// A rejection means that the operation did not run in this attempt. If the last attempt is
/// rejected, the call returns this error, which is more useful.
pub(super) struct LastError<E>(Option<Box<Error<E>>>);

impl<E> LastError<E> {
    pub(super) const NONE: Self = Self(None);

    /// Stores the error of an attempt that is followed by another, unless it is a rejection. Drops
    /// an `Ok` immediately: its value may hold a connection that the next attempt needs.
    pub(super) fn store<T>(&mut self, result: Result<T, Error<E>>) {
        if let Err(error @ (Error::Operation(_) | Error::Timeout(_))) = result {
            self.0 = Some(Box::new(error));
        }
    }

    /// Returns the result of the call: the stored error if `result` is a rejection and an error is
    /// stored, otherwise `result`.
    #[inline]
    pub(super) fn or<T>(&mut self, result: Result<T, Error<E>>) -> Result<T, Error<E>> {
        match result {
            Err(Error::Rejected(rejection)) => {
                Err(self.0.take().map_or(Error::Rejected(rejection), |error| *error))
            }
            _ => result,
        }
    }
}
