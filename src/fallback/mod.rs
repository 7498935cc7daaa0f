//! A policy that returns results in place of errors: [`Fallback`].
//!
//! # Examples
//!
//! ```
//! use mainstay::error::Error;
//! use mainstay::fallback::Fallback;
//! use mainstay::pipeline::Pipeline;
//! use std::time::Duration;
//!
//! # #[derive(Clone, Debug, PartialEq)]
//! # struct Prices(u32);
//! # async fn fetch() -> Result<Prices, std::io::Error> { Err(std::io::Error::other("down")) }
//! # fn main() -> Result<(), mainstay::error::ConfigError> {
//! let fallback = Fallback::builder().name("prices").build()?;
//! let pipeline = Pipeline::builder()
//!     .fallback(fallback.value(Prices(100))) // yesterday's
//!     .timeout(Duration::from_secs(1))
//!     .build();
//! # futures::executor::block_on(async {
//! let prices = pipeline.call(|| async { fetch().await }).await;
//! assert_eq!(prices.unwrap(), Prices(100));
//! assert_eq!(fallback.snapshot().degraded, 1);
//! # });
//! # Ok(())
//! # }
//! ```
//!
//! # How it works
//!
//! A fallback runs the operation once. It returns a success unchanged, and replaces an error with a
//! [`value`](Fallback::value), or with the result of a function of the error
//! ([`handle`](Fallback::handle)). [`when`](FallbackTo::when) restricts the fallback to some
//! errors; the caller receives the others unchanged. Fallbacks can be nested: the outer one
//! replaces the errors that the inner one returns.
//!
//! A fallback to another [`operation`](Fallback::operation), such as a request to a replica or to a
//! cache, divides the time until the deadline of a call: it drops the first operation early enough
//! to leave a [share](FallbackBuilder::share) of that time to the other operation. Such fallbacks
//! can be nested too. With a deadline in 1 s and a share of 0.3, three nested operations have 490,
//! 210 and 300 ms.
//!
//! A fallback belongs at the top of a pipeline. Policies above it receive a success in place of the
//! failure: a breaker would never open, a retry would never retry.
//! [`Pipeline::check`](crate::pipeline::Pipeline::check) reports this. It also reports a fallback
//! for all errors above a limiter: an overloaded service would return degraded results instead of
//! rejections, and its callers would not slow down.
//!
//! # Observability
//!
//! A degraded result has the same type as any other. To let the caller distinguish it, return a
//! value that is marked as degraded from [`handle`](Fallback::handle).
//! [`FallbackSnapshot::degraded`] counts degraded results, and an
//! [observer](FallbackBuilder::observer) receives an event of kind `degraded` for each, with its
//! `cause`: `operation`, `timeout` or the reason of the rejection.
//!
//! # Performance
//!
//! A success costs one branch. A fallback to another operation reads the clock if the call has a
//! deadline. It does not allocate, except for a timer when the first operation is pending.

mod events;
mod handler;
mod operation;
mod policy;

pub use handler::{FallbackHandler, FallbackValue, FallbackWhen};
pub use operation::{FallbackOperation, FallbackOperationFuture, FallbackToOperation};
pub use policy::{FallbackFuture, FallbackTo};

use crate::error::{ConfigError, Error};
use crate::event::Observer;
use crate::policy::Context;
use crate::sync::PlainArc;
use crate::time::Clock;
use events::Emitter;
use std::fmt;

const POLICY: &str = "fallback";

/// The default share of the remaining time that is reserved for another operation.
const DEFAULT_SHARE: f64 = 0.3;

/// A fallback, which returns a result in place of an error. See the [module](self).
///
/// Clones share one counter with each other, and with the policies that [`value`](Self::value),
/// [`handle`](Self::handle) and [`operation`](Self::operation) return.
#[derive(Clone)]
pub struct Fallback(PlainArc<Emitter>);

/// The counter of a [`Fallback`] at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FallbackSnapshot {
    /// The number of errors that were replaced by a success since the fallback was built.
    pub degraded: u64,
}

/// A builder of a [`Fallback`].
#[derive(Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct FallbackBuilder {
    name: String,
    clock: Clock,
    share: f64,
    observer: Option<PlainArc<dyn Observer>>,
}

impl Fallback {
    /// Creates a fallback with the name `fallback` and without an observer.
    #[must_use]
    pub fn new() -> Self {
        Self(PlainArc::new(Emitter::new(POLICY, Clock::system(), DEFAULT_SHARE, None)))
    }

    /// Creates a builder.
    pub fn builder() -> FallbackBuilder {
        FallbackBuilder {
            name: POLICY.into(),
            clock: Clock::system(),
            share: DEFAULT_SHARE,
            observer: None,
        }
    }

    /// Returns a fallback that replaces every error with a clone of `value`.
    ///
    /// ```
    /// # use mainstay::Fallback;
    /// let fallback = Fallback::new().value(0);
    /// assert_eq!(fallback.call_blocking(|| Err::<u32, _>("down")), Ok(0));
    /// ```
    #[must_use]
    pub fn value<T>(&self, value: T) -> FallbackTo<FallbackValue<T>> {
        let handler = FallbackValue(value);
        FallbackTo { fallback: self.clone(), handler, replaces_all: true }
    }

    /// Returns a fallback that replaces an error with the result of `handler`, which may return the
    /// error unchanged.
    ///
    /// ```
    /// # use mainstay::{Error, Fallback};
    /// let fallback = Fallback::new().handle(|error| match error {
    ///     Error::Operation(404) => Ok("not found"),
    ///     error => Err(error),
    /// });
    /// assert_eq!(fallback.call_blocking(|| Err(404)), Ok("not found"));
    /// assert!(fallback.call_blocking(|| Err(500)).is_err());
    /// ```
    #[must_use]
    pub fn handle<T, E, F>(&self, handler: F) -> FallbackTo<F>
    where
        F: Fn(Error<E>) -> Result<T, Error<E>> + Send + Sync,
    {
        FallbackTo { fallback: self.clone(), handler, replaces_all: false }
    }

    /// Returns a fallback that replaces an error with the result of another operation.
    ///
    /// `operation` receives the error and the [`Context`], which has the remaining time. It returns
    /// a future of a `Result<T, E>`, or of a `Result<T, Error<E>>`, as the call of another pipeline
    /// does. The future may return the error that `operation` received.
    ///
    /// ```
    /// use mainstay::{Error, Fallback, Pipeline};
    /// use std::time::Duration;
    ///
    /// # async fn primary() -> Result<u32, &'static str> { Err("down") }
    /// # async fn replica() -> Result<u32, &'static str> { Ok(7) }
    /// let fallback = Fallback::new().operation(|_: Error<&str>, _| replica());
    /// let pipeline = Pipeline::builder()
    ///     .timeout(Duration::from_secs(1))
    ///     .fallback_to(fallback) // starts after 0.7 s at the latest
    ///     .build();
    /// # futures::executor::block_on(async {
    /// assert_eq!(pipeline.call(primary).await, Ok(7));
    /// # });
    /// ```
    #[must_use]
    pub fn operation<E, F, Fut>(&self, operation: F) -> FallbackToOperation<F>
    where
        F: Fn(Error<E>, Context) -> Fut + Send + Sync,
    {
        FallbackToOperation { fallback: self.clone(), operation, replaces_all: true }
    }

    /// Returns the name that was given to the builder.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// Returns the counter.
    #[must_use]
    pub fn snapshot(&self) -> FallbackSnapshot {
        FallbackSnapshot { degraded: self.0.count() }
    }
}

impl Default for Fallback {
    fn default() -> Self {
        Self::new()
    }
}

impl FallbackBuilder {
    /// Sets the name that events and lints carry. Default: `fallback`.
    ///
    /// ```
    /// # use mainstay::Fallback;
    /// let built = Fallback::builder().name("prices").build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the share of the remaining time that is reserved for another
    /// [operation](Fallback::operation), from 0 up to, but not including, 1. Default: 0.3.
    ///
    /// If a call has a deadline, the first operation is dropped when only that share of the time is
    /// left, so that an operation that hangs leaves time for the other one. Without a deadline, the
    /// first operation has no time limit. A blocking closure receives the limit as the deadline of
    /// its [`Context`], but is not interrupted.
    ///
    /// ```
    /// # use mainstay::Fallback;
    /// let built = Fallback::builder().share(0.5).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub const fn share(mut self, share: f64) -> Self {
        self.share = share;
        self
    }

    /// Sets the clock, for the time of events and the time limit of the first operation. Default:
    /// the system clock.
    ///
    /// ```
    /// # use mainstay::{Fallback, ManualClock};
    /// let built = Fallback::builder().clock(ManualClock::new().clock()).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the observer of degraded results: events of kind `degraded`, with `cause`. Default:
    /// none.
    ///
    /// ```
    /// # use mainstay::{Event, Fallback};
    /// let built = Fallback::builder()
    ///     .observer(|event: &Event<'_>| eprintln!("{event}"))
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observer = Some(PlainArc::new(observer));
        self
    }

    /// Builds the fallback.
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] if the name or the share is not valid.
    pub fn build(self) -> Result<Fallback, ConfigError> {
        let name = crate::policy::name(&self.name)?;
        if !(0.0..1.0).contains(&self.share) {
            let accepted = "a share from 0 up to, but not including, 1";
            return Err(ConfigError::new("share", self.share, accepted));
        }
        Ok(Fallback(PlainArc::new(Emitter::new(name, self.clock, self.share, self.observer))))
    }
}

impl fmt::Debug for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fallback")
            .field("name", &self.name())
            .field("snapshot", &self.snapshot())
            .finish()
    }
}

impl fmt::Debug for FallbackBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FallbackBuilder").field("name", &self.name).finish_non_exhaustive()
    }
}
