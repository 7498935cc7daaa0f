//! Policies around one call: [`Pipeline`].
//!
//! ```
//! use mainstay::{breaker::CircuitBreaker, error::Error, pipeline::Pipeline, retry::Retry};
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), mainstay::error::ConfigError> {
//! let breaker = CircuitBreaker::builder().name("search").build()?;
//! let retry = Retry::builder().idempotent(true).build()?; // a search may run twice
//! let pipeline = Pipeline::builder()             // outermost first, like reading a sentence
//!     .timeout(Duration::from_secs(2))           // the whole call
//!     .retry(retry)                              // each attempt passes what stands below
//!     .breaker(&breaker)                         // shared with whoever else has a clone
//!     .timeout(Duration::from_millis(300))       // one attempt
//!     .build();
//! # assert!(pipeline.check().is_empty());
//!
//! # async fn search(_: &str) -> Result<u32, std::io::Error> { Ok(42) }
//! # futures::executor::block_on(async {
//! let found = pipeline.call(|| async { search("mast").await }).await;
//! # assert!(matches!(found, Ok(42)));
//! # });
//! # Ok(())
//! # }
//! ```
//!
//! The stack is part of the type: no boxing, no dynamic calls, and on the path of success no
//! allocation. [`boxed`](Pipeline::boxed) hides it where a struct must name it.
//!
//! # What the order means
//!
//! A policy sees what comes out of those below it, and nothing else.
//!
//! | stack, outermost first | means |
//! |---|---|
//! | `timeout` · `retry` | the limit holds for all attempts and the waits between them together |
//! | `retry` · `timeout` | each attempt has the limit to itself, and a timeout is tried again |
//! | `retry` · `breaker` | the breaker counts every attempt; when it rejects one, the retry stops |
//! | `breaker` · `retry` | the breaker counts a call once, after all its attempts |
//! | `breaker` · `timeout` | the breaker sees the timeout, and counts it as a failure |
//! | `timeout` · `breaker` | a timeout drops the call, and the breaker does not count it at all |
//! | `retry` · `guard` | the guard's permit is given back before the wait for the next attempt |
//! | `guard` · `retry` | the guard's permit is held through all attempts and waits |
//!
//! When in doubt, take [`Pipeline::standard`], which is the order of the example: total timeout, retry,
//! breaker, what limits concurrency or rate, timeout of one attempt. Whatever you take,
//! [`check`](Pipeline::check) tells where policies get in each other's way, and
//! [`docs::composing`](crate::docs::composing) who counts what.
//!
//! # Around closures
//!
//! [`call_blocking`](Pipeline::call_blocking) runs the same stack around a closure that holds the thread.
//! There a time limit interrupts nothing: it is a deadline that the closure can ask its [`Context`] for
//! (to set a socket's time limit, say), and a late `Ok` is returned as the `Ok` it is. A breaker that
//! counts slow calls counts it slow; a retry begins no attempt past it.
//!
//! # Cancel safety
//!
//! Dropping the future of a call drops the operation first, then each policy's hold on it, from the
//! inside to the outside. Nothing is counted, and nothing leaks.

mod boxed;
mod check;
mod future;
mod layers;
mod stack;
mod verbs;

pub use boxed::BoxPipeline;
pub use check::{Lint, LintRule};
pub use layers::{GuardLayer, LimitLayer, RepeatLayer};
pub use stack::{Describe, EmptyStack, PipelineLayer, PipelineOnceLayer, PipelineStack};
pub use verbs::StandardStack;

use crate::error::Error;
use crate::policy::guarded::OperationFuture;
use crate::policy::{Context, Facts};
#[cfg(feature = "tower")]
pub(crate) use future::LimitFuture;
use std::fmt;
use std::future::Future;

/// Policies around one call; see the [module](self).
#[derive(Clone)]
pub struct Pipeline<S> {
    pub(crate) stack: S,
}

/// Puts a [`Pipeline`] together, outermost policy first.
#[derive(Clone, Debug)]
pub struct PipelineBuilder<S> {
    stack: S,
}

impl Pipeline<EmptyStack> {
    /// A pipeline without a policy yet.
    #[must_use]
    pub fn builder() -> PipelineBuilder<EmptyStack> {
        PipelineBuilder { stack: EmptyStack }
    }
}

impl<S> Pipeline<S> {
    /// Runs `op` through all policies.
    ///
    /// `op` is called anew for each attempt, so it makes a future from what it borrows. Where no policy
    /// repeats, [`call_once`](Self::call_once) takes one that gives away what it owns.
    ///
    /// # Errors
    /// [`Error::Operation`] with the operation's own error, or what a policy made of it.
    pub fn call<Op, Fut, T, E>(&self, op: Op) -> impl Future<Output = Result<T, Error<E>>> + Send
    where
        S: PipelineLayer<T, E>,
        Op: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, E>> + Send,
        T: Send,
        E: Send,
    {
        self.call_with(move |_| op())
    }

    /// As [`call`](Self::call), with an operation that is told which attempt it is and how much time it
    /// has.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn call_with<Op, Fut, T, E>(&self, op: Op) -> Result<T, Error<E>>
    where
        S: PipelineLayer<T, E>,
        Op: Fn(Context) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, E>> + Send,
        T: Send,
        E: Send,
    {
        let op = &op;
        self.stack.call(Context::new(), move |cx| OperationFuture(op(cx))).await
    }

    /// As [`call_with`](Self::call_with), with an operation that can run only once: a request body moves
    /// in without being cloned. For stacks in which no policy repeats.
    ///
    /// ```
    /// use mainstay::{breaker::CircuitBreaker, pipeline::Pipeline};
    /// # use std::time::Duration;
    ///
    /// # fn main() -> Result<(), mainstay::error::ConfigError> {
    /// let pipeline = Pipeline::builder()
    ///     .breaker(CircuitBreaker::builder().build()?)
    ///     .timeout(Duration::from_secs(1))
    ///     .build();
    /// let body = vec![0_u8; 1 << 20];
    /// # async fn post(body: Vec<u8>) -> Result<usize, std::io::Error> { Ok(body.len()) }
    /// # futures::executor::block_on(async {
    /// let sent = pipeline.call_once(|_| post(body)).await;
    /// # assert!(matches!(sent, Ok(1_048_576)));
    /// # });
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn call_once<Op, Fut, T, E>(&self, op: Op) -> Result<T, Error<E>>
    where
        S: PipelineOnceLayer<T, E>,
        Op: FnOnce(Context) -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
        T: Send,
        E: Send,
    {
        self.stack.call_once(Context::new(), move |cx| OperationFuture(op(cx))).await
    }

    /// As [`call`](Self::call), around a closure that holds the thread.
    ///
    /// # Errors
    /// As [`call`](Self::call); no time limit interrupts it.
    pub fn call_blocking<T, E>(&self, op: impl Fn() -> Result<T, E>) -> Result<T, Error<E>>
    where
        S: PipelineLayer<T, E>,
        T: Send,
        E: Send,
    {
        self.call_blocking_with(|_| op())
    }

    /// As [`call_with`](Self::call_with), around a closure that holds the thread.
    ///
    /// # Errors
    /// As [`call_blocking`](Self::call_blocking).
    pub fn call_blocking_with<T, E>(
        &self,
        op: impl Fn(Context) -> Result<T, E>,
    ) -> Result<T, Error<E>>
    where
        S: PipelineLayer<T, E>,
        T: Send,
        E: Send,
    {
        self.stack.call_blocking(Context::new(), |cx| op(cx).map_err(Error::Operation))
    }

    /// As [`call_once`](Self::call_once), around a closure that holds the thread.
    ///
    /// # Errors
    /// As [`call_blocking`](Self::call_blocking).
    pub fn call_once_blocking<T, E>(
        &self,
        op: impl FnOnce(Context) -> Result<T, E>,
    ) -> Result<T, Error<E>>
    where
        S: PipelineOnceLayer<T, E>,
        T: Send,
        E: Send,
    {
        self.stack.call_once_blocking(Context::new(), |cx| op(cx).map_err(Error::Operation))
    }

    /// Hides the stack from the type, so that a struct can name it.
    ///
    /// ```
    /// use mainstay::pipeline::{BoxPipeline, Pipeline};
    /// use std::time::Duration;
    ///
    /// struct Client {
    ///     pipeline: BoxPipeline<String, std::io::Error>,
    /// }
    /// let client = Client { pipeline: Pipeline::builder().timeout(Duration::from_secs(1)).build().boxed() };
    /// let page = client.pipeline.call_blocking(|| Ok("hello".to_string()));
    /// assert!(page.is_ok());
    /// ```
    #[must_use]
    pub fn boxed<T: Send, E: Send>(self) -> BoxPipeline<T, E>
    where
        S: PipelineLayer<T, E> + 'static,
    {
        BoxPipeline::new(self)
    }

    /// What the policies say of themselves, outermost first.
    #[must_use]
    pub fn facts(&self) -> Vec<Facts>
    where
        S: Describe,
    {
        facts(&self.stack)
    }

    /// What is wrong with the stack: policies in an order, or with limits, that cannot do what they are
    /// there for. Empty if all is well; each [`LintRule`] says what it looks for.
    ///
    /// It reads what the policies say of themselves at this moment, and costs nothing when it is not
    /// called: call it where the pipeline is built, or in a test.
    ///
    /// ```
    /// use mainstay::{breaker::CircuitBreaker, pipeline::{Pipeline, LintRule}};
    /// use std::time::Duration;
    ///
    /// let pipeline = Pipeline::builder()
    ///     .timeout(Duration::from_secs(2))
    ///     .breaker(CircuitBreaker::builder().name("search").build()?)
    ///     .build();
    /// let lints = pipeline.check();
    /// assert_eq!(lints[0].rule, LintRule::UnseenTimeout);
    /// assert_eq!(
    ///     lints[0].to_string(),
    ///     "unseen-timeout: circuit_breaker \"search\" does not see what timeout ends after 2s: a dependency \
    ///      that hangs never opens it; put a timeout below the circuit_breaker"
    /// );
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn check(&self) -> Vec<Lint>
    where
        S: Describe,
    {
        check::check(&self.facts())
    }
}

fn facts(stack: &dyn Describe) -> Vec<Facts> {
    let mut all = Vec::new();
    stack.describe(&mut |facts| all.push(facts));
    all
}

/// One line a policy, outermost first.
impl<S: Describe> fmt::Debug for Pipeline<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(&self.stack, f)
    }
}

fn describe(stack: &dyn Describe, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut list = f.debug_list();
    stack.describe(&mut |facts| {
        list.entry(&facts);
    });
    list.finish()
}
