//! Trying again: [`Retry`].
//!
//! ```
//! use mainstay::{backoff::Backoff, retry::Retry};
//! use std::{cell::Cell, time::Duration};
//!
//! # fn main() -> Result<(), mainstay::error::ConfigError> {
//! let retry = Retry::builder()
//!     .max_attempts(4)
//!     .backoff(Backoff::exponential(Duration::from_millis(1)))
//!     .build()?;
//!
//! let tries = Cell::new(0);
//! let result = retry.call_blocking(|| {
//!     tries.set(tries.get() + 1);
//!     if tries.get() < 3 { Err("not yet") } else { Ok("done") }
//! });
//! assert_eq!((result, tries.get()), (Ok("done"), 3));
//! # Ok(())
//! # }
//! ```
//!
//! # What is retried
//!
//! By default the operation's own errors and timeouts are, and a rejection is not: a policy that refuses
//! is not helped by being asked again at once. [`when`](Retry::when) gives a view with a rule of your
//! own, which sees the whole result (an HTTP 503 is an `Ok`) and may honour the wait that a server asks
//! for:
//!
//! ```
//! # use mainstay::{error::Error, retry::{Directive, Retry}};
//! # use std::time::Duration;
//! # struct Response { status: u16, retry_after: Option<Duration> }
//! # let retry = Retry::builder().build().unwrap();
//! let retry = retry.when(|result: &Result<Response, Error<std::io::Error>>| match result {
//!     Ok(Response { status: 429 | 503, retry_after: Some(wait) }) => Directive::After(*wait),
//!     Ok(response) => Directive::from(response.status >= 500),
//!     Err(error) => Directive::from(!error.is_rejected()),
//! });
//! # let _ = retry.call_blocking(|| Ok(Response { status: 200, retry_after: None }));
//! ```
//!
//! Retry only what may safely be done twice: an attempt that timed out may have done its work all the
//! same. Say that it may with [`idempotent`](Builder::idempotent), or pick what may with `when` (a
//! connection that was refused, say); a pipeline's [`check`](crate::pipeline::Pipeline::check) reminds you.
//!
//! # When it stops
//!
//! After [`max_attempts`](Builder::max_attempts); or when the wait before the next attempt would pass
//! [`max_elapsed`](Builder::max_elapsed) or the deadline of a timeout around it: then it does not wait for
//! nothing, but returns the last result at once. Whatever it stops for, the caller gets the last result
//! as it is.
//!
//! # Defaults
//!
//! | setting | default |
//! |---|---|
//! | [`max_attempts`](Builder::max_attempts) | 3 |
//! | [`backoff`](Builder::backoff) | 100 ms, doubling up to 30 s, full jitter |
//! | [`max_elapsed`](Builder::max_elapsed) | none |
//!
//! # Cancel safety
//!
//! Dropping the call drops the attempt or the wait that is under way, and holds nothing else.
//!
//! # Cost
//!
//! A first attempt that succeeds costs nothing but the look at its result: no clock, no allocation. A
//! wait arms a timer.

mod config;
mod future;
mod plan;

pub use config::Builder;
pub use future::Attempts;
pub use plan::{Decide, Directive, Failed, OnFailure};

use crate::error::Error;
use crate::policy::{Attempt, Context, Facts, OwnedRepeat, Policy, Repeat, kind};
use crate::sync::PlainArc;
use config::Settings;
use future::Borrowed;
use plan::Plan;
use std::fmt;
use std::future::Future;

const POLICY: &str = "retry";

/// Tries an operation again when it fails; see the [module](self). Clones share their settings.
#[derive(Clone, Debug)]
pub struct Retry(PlainArc<Settings>);

/// A view of a [`Retry`] with a rule of its own; made by [`Retry::when`].
#[derive(Clone)]
pub struct RetryWhen<D> {
    retry: Retry,
    decide: D,
    /// Whether `decide` was told what may be repeated, rather than what failed.
    picks: bool,
}

impl Retry {
    /// A retry to be set up.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A view that asks `decide` after each attempt: a closure from the result to a [`Directive`], or any
    /// [`Decide`].
    #[must_use]
    pub fn when<D>(&self, decide: D) -> RetryWhen<D> {
        RetryWhen { retry: self.clone(), decide, picks: true }
    }

    /// A view that tries again what `classify` calls a failure: so that a breaker and a retry go by one
    /// rule.
    ///
    /// ```
    /// # use mainstay::{breaker::CircuitBreaker, error::Error, outcome::Outcome, retry::Retry};
    /// fn verdict(result: &Result<u16, Error<std::io::Error>>) -> Outcome {
    ///     match result {
    ///         Ok(status) if *status < 500 => Outcome::Success,
    ///         Err(error) if error.is_rejected() => Outcome::Ignore,
    ///         _ => Outcome::Failure,
    ///     }
    /// }
    /// let retry = Retry::builder().build()?.classified_by(verdict);
    /// let breaker = CircuitBreaker::builder().build()?.classified_by(verdict);
    /// # let _ = (retry.call_blocking(|| Ok(200)), breaker.call_blocking(|| Ok(200)));
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn classified_by<C>(&self, classify: C) -> RetryWhen<Failed<C>> {
        // A classifier judges the dependency, and not what a second attempt would do.
        RetryWhen { picks: false, ..self.when(Failed(classify)) }
    }

    /// Runs `op` until it succeeds or the retry gives up; the last result.
    ///
    /// # Errors
    /// That of the last attempt.
    pub async fn call<Op, Fut, T, E>(&self, op: Op) -> Result<T, Error<E>>
    where
        Op: Fn() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.run(Context::new(), &OnFailure, |_| async { op().await.map_err(Error::Operation) })
            .await
    }

    /// The same around a closure; waits hold the thread.
    ///
    /// # Errors
    /// That of the last attempt.
    pub fn call_blocking<T, E>(&self, op: impl Fn() -> Result<T, E>) -> Result<T, Error<E>> {
        self.run_blocking(Context::new(), &OnFailure, |_| op().map_err(Error::Operation))
    }

    #[inline]
    fn run<'a, D, Op, Fut, T, E>(
        &'a self,
        cx: Context,
        decide: &'a D,
        op: Op,
    ) -> Attempts<Borrowed<'a, D>, Op, Fut>
    where
        D: Decide<T, E>,
        Op: Fn(Context) -> Fut,
        Fut: Future<Output = Result<T, Error<E>>>,
    {
        Attempts::new(Borrowed { settings: &self.0, decide }, Plan::new(&self.0, cx), op)
    }

    fn run_blocking<D, Op, T, E>(&self, cx: Context, decide: &D, op: Op) -> Result<T, Error<E>>
    where
        D: Decide<T, E>,
        Op: Fn(Context) -> Result<T, Error<E>>,
    {
        let mut plan = Plan::new(&self.0, cx);
        loop {
            let result = op(plan.context(&self.0));
            match plan.wait_after(decide.decide(&result), &self.0) {
                None => return result,
                Some(wait) => {
                    drop(result);
                    self.0.clock.sleep_blocking(wait);
                }
            }
        }
    }
}

impl<D> RetryWhen<D> {
    /// As [`Retry::call`].
    ///
    /// # Errors
    /// That of the last attempt.
    pub async fn call<Op, Fut, T, E>(&self, op: Op) -> Result<T, Error<E>>
    where
        D: Decide<T, E>,
        Op: Fn() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let op = |_| async { op().await.map_err(Error::Operation) };
        self.retry.run(Context::new(), &self.decide, op).await
    }

    /// As [`Retry::call_blocking`].
    ///
    /// # Errors
    /// That of the last attempt.
    pub fn call_blocking<T, E>(&self, op: impl Fn() -> Result<T, E>) -> Result<T, Error<E>>
    where
        D: Decide<T, E>,
    {
        self.retry.run_blocking(Context::new(), &self.decide, |_| op().map_err(Error::Operation))
    }
}

impl From<Retry> for RetryWhen<OnFailure> {
    fn from(retry: Retry) -> Self {
        Self { retry, decide: OnFailure, picks: false }
    }
}

impl From<&Retry> for RetryWhen<OnFailure> {
    fn from(retry: &Retry) -> Self {
        retry.clone().into()
    }
}

impl<D: Clone> From<&RetryWhen<D>> for RetryWhen<D> {
    fn from(retry: &Self) -> Self {
        retry.clone()
    }
}

impl Policy for Retry {
    type Kind = kind::Repeat;

    fn facts(&self) -> Facts {
        self.0.facts(false)
    }
}

impl<T: Send, E: Send> Repeat<T, E> for Retry {
    #[inline]
    fn call<Op, Fut>(&self, cx: Context, op: Op) -> impl Future<Output = Result<T, Error<E>>> + Send
    where
        Op: Fn(Context) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, Error<E>>> + Send,
    {
        self.run(cx, &OnFailure, op)
    }

    fn call_blocking<Op>(&self, cx: Context, op: Op) -> Result<T, Error<E>>
    where
        Op: Fn(Context) -> Result<T, Error<E>>,
    {
        self.run_blocking(cx, &OnFailure, op)
    }
}

impl<T, E> OwnedRepeat<T, E> for Retry {
    type CallFuture<A: Attempt<T, E>> = Attempts<RetryWhen<OnFailure>, A, A::Future>;

    #[inline]
    fn call_owned<A: Attempt<T, E>>(&self, cx: Context, attempt: A) -> Self::CallFuture<A> {
        RetryWhen::from(self).call_owned(cx, attempt)
    }
}

impl<D: Send + Sync> Policy for RetryWhen<D> {
    type Kind = kind::Repeat;

    fn facts(&self) -> Facts {
        self.retry.0.facts(self.picks)
    }
}

impl<D, T: Send, E: Send> Repeat<T, E> for RetryWhen<D>
where
    D: Decide<T, E>,
{
    #[inline]
    fn call<Op, Fut>(&self, cx: Context, op: Op) -> impl Future<Output = Result<T, Error<E>>> + Send
    where
        Op: Fn(Context) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, Error<E>>> + Send,
    {
        self.retry.run(cx, &self.decide, op)
    }

    fn call_blocking<Op>(&self, cx: Context, op: Op) -> Result<T, Error<E>>
    where
        Op: Fn(Context) -> Result<T, Error<E>>,
    {
        self.retry.run_blocking(cx, &self.decide, op)
    }
}

impl<D, T, E> OwnedRepeat<T, E> for RetryWhen<D>
where
    D: Decide<T, E> + Clone,
{
    type CallFuture<A: Attempt<T, E>> = Attempts<Self, A, A::Future>;

    #[inline]
    fn call_owned<A: Attempt<T, E>>(&self, cx: Context, attempt: A) -> Self::CallFuture<A> {
        Attempts::new(self.clone(), Plan::new(&self.retry.0, cx), attempt)
    }
}

impl<D> fmt::Debug for RetryWhen<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryWhen").field("retry", &self.retry).finish_non_exhaustive()
    }
}
