//! A retry with a custom rule: [`RetryWhen`].

use super::{Retry, RetryRule};
use crate::error::Error;
#[cfg(doc)]
use crate::policy::Repeat;
use crate::policy::guarded::OperationFuture;
use crate::policy::{Context, RepeatSafety};
use std::fmt;
use std::future::Future;

/// A view of a [`Retry`] with the rule `R`; returned by [`Retry::when`], [`Retry::when_with`],
/// [`Retry::with_rule`], [`Retry::classified_by`] and [`Retry::classified_with`].
///
/// All views of a retry share its settings, its budget and its counters. A view implements
/// [`Repeat`], like the retry.
#[derive(Clone)]
pub struct RetryWhen<R> {
    pub(super) retry: Retry,
    pub(super) rule: R,
    pub(super) safety: RepeatSafety,
}

impl<R> RetryWhen<R> {
    /// Returns this view with the budget of the retry, or with a new default budget if it has none.
    pub(crate) fn with_default_budget(self) -> Self {
        Self { retry: self.retry.with_default_budget(), ..self }
    }

    /// Runs `op` until the rule or a limit ends the retry; see [`Retry::call`].
    ///
    /// ```
    /// # use mainstay::Retry;
    /// let retry = Retry::builder().build()?.when(|result| matches!(result, Ok(503)));
    /// # futures::executor::block_on(async {
    /// assert_eq!(retry.call(|| async { Ok::<u16, ()>(200) }).await, Ok(200));
    /// # });
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the error of the last attempt that failed.
    pub async fn call<Op, Fut, T, E>(&self, mut op: Op) -> Result<T, Error<E>>
    where
        R: RetryRule<T, E>,
        Op: FnMut() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.call_with(|_| op()).await
    }

    /// Runs `op` until the rule or a limit ends the retry, and passes it the [`Context`] of each
    /// attempt; see [`Retry::call_with`].
    ///
    /// ```
    /// # use mainstay::Retry;
    /// let retry = Retry::builder().build()?.when(|result| matches!(result, Ok(503)));
    /// # futures::executor::block_on(async {
    /// let attempt = retry.call_with(|cx| async move { Ok::<_, ()>(cx.attempt()) });
    /// assert_eq!(attempt.await, Ok(1));
    /// # });
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the error of the last attempt that failed.
    pub async fn call_with<Op, Fut, T, E>(&self, mut op: Op) -> Result<T, Error<E>>
    where
        R: RetryRule<T, E>,
        Op: FnMut(Context) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.retry.run(Context::new(), &self.rule, |cx| OperationFuture(op(cx))).await
    }

    /// Runs the closure `op` until the rule or a limit ends the retry, blocking the thread; see
    /// [`Retry::call_blocking`].
    ///
    /// ```
    /// # use mainstay::Retry;
    /// let retry = Retry::builder().build()?.when(|result| matches!(result, Ok(503)));
    /// assert_eq!(retry.call_blocking(|| Ok::<u16, ()>(200)), Ok(200));
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the error of the last attempt that failed.
    pub fn call_blocking<T, E>(&self, mut op: impl FnMut() -> Result<T, E>) -> Result<T, Error<E>>
    where
        R: RetryRule<T, E>,
    {
        self.call_with_blocking(|_| op())
    }

    /// Runs the closure `op` until the rule or a limit ends the retry, blocking the thread, and
    /// passes it the [`Context`] of each attempt; see [`Retry::call_with_blocking`].
    ///
    /// ```
    /// # use mainstay::Retry;
    /// let retry = Retry::builder().build()?.when(|result| matches!(result, Ok(503)));
    /// assert_eq!(retry.call_with_blocking(|cx| Ok::<_, ()>(cx.attempt())), Ok(1));
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the error of the last attempt that failed.
    pub fn call_with_blocking<T, E>(
        &self,
        mut op: impl FnMut(Context) -> Result<T, E>,
    ) -> Result<T, Error<E>>
    where
        R: RetryRule<T, E>,
    {
        let op = |cx| op(cx).map_err(Error::Operation);
        self.retry.run_blocking(Context::new(), &self.rule, op)
    }
}

impl<R> fmt::Debug for RetryWhen<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryWhen").field("retry", &self.retry).finish_non_exhaustive()
    }
}
