//! What an operation may return: [`OperationResult`].

use super::Error;

/// The result of an operation: `Result<T, E>`, or `Result<T, Error<E>>`, which the call of a
/// pipeline or of another policy returns.
///
/// It is implemented for these two types only.
#[diagnostic::on_unimplemented(
    message = "the operation returns `{Self}` in place of `Result<{T}, {E}>`",
    note = "an operation returns `Result<{T}, {E}>` or `Result<{T}, Error<{E}>>`"
)]
pub trait OperationResult<T, E>: sealed::Sealed {
    /// Converts into the error of a call.
    ///
    /// # Errors
    ///
    /// Returns the error of the operation.
    fn flatten(self) -> Result<T, Error<E>>;
}

mod sealed {
    pub trait Sealed {}

    impl<T, E> Sealed for Result<T, E> {}
}

impl<T, E> OperationResult<T, E> for Result<T, E> {
    #[inline]
    fn flatten(self) -> Result<T, Error<E>> {
        self.map_err(Error::Operation)
    }
}

impl<T, E> OperationResult<T, E> for Result<T, Error<E>> {
    #[inline]
    fn flatten(self) -> Self {
        self
    }
}
