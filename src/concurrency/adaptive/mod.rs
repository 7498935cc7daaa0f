//! A concurrency limit that adapts to the capacity of the server: [`AdaptiveLimiter`].

mod config;
mod events;
mod future;
mod guard;
#[cfg(all(test, mainstay_loom))]
mod loom;
mod permit;
mod shared;
mod snapshot;

pub use config::AdaptiveLimiterBuilder;
pub use future::{AdaptiveLimiterAcquireFuture, OwnedAdaptiveLimiterAcquireFuture};
pub use guard::{ClassifiedAdaptiveLimiter, OverloadOnTimeout};
pub use permit::{AdaptiveLimiterPermit, OwnedAdaptiveLimiterPermit};
pub use snapshot::AdaptiveLimiterSnapshot;

use super::controller::{LearnedLimit, LimitController};
use crate::error::Reason;
use crate::error::{ConfigError, Error, Rejection};
use crate::policy::{Context, Guard};
use crate::sync::PlainArc;
use crate::sync::atomic::Ordering::Relaxed;
use crate::time::Instant;
use crate::wait::SemaphoreError;
use shared::{Latest, Shared};
use std::fmt;
use std::time::Duration;

const POLICY: &str = "adaptive_limiter";

/// A limiter of concurrent calls whose limit adapts to the capacity of the server.
///
/// Use it for work whose capacity is unknown or changes: in a server, around the handlers; in a
/// client, around the calls to one server. Calls beyond the limit are rejected immediately, or wait
/// in a bounded queue. A [`LimitController`] adjusts the limit to the latencies of the calls. The
/// [module documentation](super#how-it-works) explains how to choose a controller, and the
/// [simulator](super::simulator) compares them.
///
/// Cloning is cheap, and all clones share one limit.
///
/// # Examples
///
/// ```
/// use mainstay::concurrency::AdaptiveLimiter;
/// use mainstay::error::Error;
///
/// let limiter = AdaptiveLimiter::builder().name("search").build()?;
/// # let search = || Ok::<_, std::io::Error>(42);
/// match limiter.call_blocking(|| search()) {
///     Ok(found) => println!("{found}"),
///     Err(Error::Rejected(rejection)) => println!("overloaded: {rejection}"),
///     Err(error) => println!("{error}"),
/// }
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
///
/// # Performance
///
/// A call reads the clock twice, takes and releases a permit of a
/// [`Semaphore`](crate::wait::Semaphore) (one atomic read-modify-write each), and adds one to a
/// histogram. Nothing is allocated. About once a second, one call closes the window, which takes a
/// few microseconds and does not delay other calls.
#[derive(Clone)]
pub struct AdaptiveLimiter(PlainArc<Shared>);

impl AdaptiveLimiter {
    /// Creates a builder.
    pub fn builder() -> AdaptiveLimiterBuilder {
        AdaptiveLimiterBuilder::new()
    }

    fn from_shared(shared: Shared) -> Self {
        Self(PlainArc::new(shared))
    }

    fn shared(&self) -> &Shared {
        &self.0
    }

    /// Acquires a permit if the limit allows it now and there are no waiting calls.
    ///
    /// ```
    /// # use mainstay::concurrency::AdaptiveLimiter;
    /// let limiter = AdaptiveLimiter::builder().build()?;
    /// let permit = limiter.try_acquire().expect("no other call is in flight");
    /// permit.success();
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns a rejection with [`Reason::ConcurrencyLimited`], or [`Reason::ShutDown`] after
    /// [`close`](Self::close).
    #[inline]
    pub fn try_acquire(&self) -> Result<AdaptiveLimiterPermit<'_>, Rejection> {
        self.try_acquire_at(self.0.settings.clock.now())
    }

    #[inline]
    fn try_acquire_at(&self, now: Instant) -> Result<AdaptiveLimiterPermit<'_>, Rejection> {
        match self.0.take(now) {
            Ok(permit) => Ok(AdaptiveLimiterPermit::new(&self.0, permit, now)),
            Err(reason) => Err(self.rejected(reason)),
        }
    }

    #[cold]
    fn rejected(&self, reason: Reason) -> Rejection {
        self.0.saturated();
        self.0.reject(reason)
    }

    /// Waits for a permit, in the order of the queue.
    ///
    /// # Errors
    /// Returns a rejection with [`Reason::QueueFull`] if too many calls are already waiting, or
    /// [`Reason::ShutDown`] after [`close`](Self::close).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the caller leaves the queue, and a permit that was granted
    /// meanwhile is released.
    #[inline]
    pub fn acquire(&self) -> AdaptiveLimiterAcquireFuture<'_> {
        self.acquire_until(Instant::FAR_FUTURE)
    }

    /// Waits for a permit, for at most `timeout`.
    ///
    /// ```
    /// # use mainstay::concurrency::AdaptiveLimiter;
    /// # use std::time::Duration;
    /// # let limiter = AdaptiveLimiter::builder().build()?;
    /// # futures::executor::block_on(async {
    /// let permit = limiter.acquire_timeout(Duration::from_millis(50)).await?;
    /// permit.success();
    /// # Ok::<(), mainstay::error::Rejection>(())
    /// # }).unwrap();
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The same as for [`acquire`](Self::acquire), and [`Reason::QueueTimeout`] after `timeout`.
    ///
    /// # Cancel safety
    ///
    /// The same as for [`acquire`](Self::acquire).
    pub fn acquire_timeout(&self, timeout: Duration) -> AdaptiveLimiterAcquireFuture<'_> {
        self.acquire_until(self.0.settings.clock.now() + timeout)
    }

    fn acquire_until(&self, deadline: Instant) -> AdaptiveLimiterAcquireFuture<'_> {
        AdaptiveLimiterAcquireFuture::new(&self.0, deadline)
    }

    /// Waits for a permit, blocking the thread.
    ///
    /// # Errors
    ///
    /// The same as for [`acquire`](Self::acquire).
    pub fn acquire_blocking(&self) -> Result<AdaptiveLimiterPermit<'_>, Rejection> {
        self.acquire().block()
    }

    /// Waits for a permit, blocking the thread for at most `timeout`.
    ///
    /// ```
    /// # use mainstay::AdaptiveLimiter;
    /// # use std::{sync::Arc, time::Duration};
    /// let limiter = AdaptiveLimiter::builder().build()?;
    /// let permit = limiter.acquire_blocking_timeout(Duration::from_millis(50))?;
    /// permit.success();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The same as for [`acquire_timeout`](Self::acquire_timeout).
    pub fn acquire_blocking_timeout(
        &self,
        timeout: Duration,
    ) -> Result<AdaptiveLimiterPermit<'_>, Rejection> {
        self.acquire_timeout(timeout).block()
    }

    /// Acquires a permit that keeps the limiter alive.
    ///
    /// # Errors
    ///
    /// The same as for [`try_acquire`](Self::try_acquire).
    pub fn try_acquire_owned(&self) -> Result<OwnedAdaptiveLimiterPermit, Rejection> {
        self.try_acquire_owned_at(self.0.settings.clock.now())
    }

    fn try_acquire_owned_at(&self, now: Instant) -> Result<OwnedAdaptiveLimiterPermit, Rejection> {
        match self.0.semaphore.try_acquire_owned() {
            Ok(permit) if now >= self.0.next_start() => {
                self.0.started();
                Ok(OwnedAdaptiveLimiterPermit::new(self.clone(), permit, now))
            }
            Ok(_) | Err(SemaphoreError::Exhausted) => {
                Err(self.rejected(Reason::ConcurrencyLimited))
            }
            Err(SemaphoreError::Closed) => Err(self.rejected(Reason::ShutDown)),
        }
    }

    /// Waits for a permit. The permit and the future keep the limiter alive.
    ///
    /// # Errors
    ///
    /// The same as for [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    ///
    /// The same as for [`acquire`](Self::acquire).
    pub fn acquire_owned(&self) -> OwnedAdaptiveLimiterAcquireFuture {
        OwnedAdaptiveLimiterAcquireFuture::new(self.clone(), Instant::FAR_FUTURE)
    }

    /// Waits for a permit that keeps the limiter alive, for at most `timeout`.
    ///
    /// ```
    /// # use mainstay::AdaptiveLimiter;
    /// # use std::{sync::Arc, time::Duration};
    /// let limiter = AdaptiveLimiter::builder().build()?;
    /// # futures::executor::block_on(async {
    /// let permit = limiter.acquire_owned_timeout(Duration::from_millis(50)).await?;
    /// permit.success();
    /// # Ok::<(), mainstay::Rejection>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The same as for [`acquire_timeout`](Self::acquire_timeout).
    ///
    /// # Cancel safety
    ///
    /// The same as for [`acquire`](Self::acquire).
    pub fn acquire_owned_timeout(&self, timeout: Duration) -> OwnedAdaptiveLimiterAcquireFuture {
        let deadline = self.0.settings.clock.now() + timeout;
        OwnedAdaptiveLimiterAcquireFuture::new(self.clone(), deadline)
    }

    /// Runs `op` if the limit allows it, waiting for up to
    /// [`max_wait`](AdaptiveLimiterBuilder::max_wait). Only successes are recorded; to record
    /// overload, [classify](Self::classified_by) results in a pipeline, or use a permit.
    ///
    /// ```
    /// # use mainstay::AdaptiveLimiter;
    /// # use std::{sync::Arc, time::Duration};
    /// let limiter = AdaptiveLimiter::builder().build()?;
    /// # futures::executor::block_on(async {
    /// assert_eq!(limiter.call(|| async { Ok::<_, ()>(200) }).await, Ok(200));
    /// # });
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the error of `op`, or the rejection if `op` was not run.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future releases the permit and records nothing.
    pub async fn call<Op, Fut, T, E>(&self, op: Op) -> Result<T, Error<E>>
    where
        Op: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let view = ClassifiedAdaptiveLimiter::from(self);
        let permit = Guard::<(), ()>::admit(&view, Context::new()).await?;
        let result = op().await;
        if result.is_ok() {
            permit.success();
        }
        result.map_err(Error::Operation)
    }

    /// Runs `op` on this thread if the limit allows it. See [`call`](Self::call).
    ///
    /// ```
    /// # use mainstay::AdaptiveLimiter;
    /// # use std::{sync::Arc, time::Duration};
    /// let limiter = AdaptiveLimiter::builder().build()?;
    /// assert_eq!(limiter.call_blocking(|| Ok::<_, ()>(200)), Ok(200));
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the error of `op`, or the rejection if `op` was not run.
    pub fn call_blocking<T, E>(&self, op: impl FnOnce() -> Result<T, E>) -> Result<T, Error<E>> {
        let view = ClassifiedAdaptiveLimiter::from(self);
        let permit = Guard::<(), ()>::admit_blocking(&view, Context::new())?;
        let result = op();
        if result.is_ok() {
            permit.success();
        }
        result.map_err(Error::Operation)
    }

    /// Returns a view for pipelines that classifies results by `classify`: an
    /// [`Outcome::Success`](crate::outcome::Outcome::Success) counts with its latency, a failure as
    /// overload.
    ///
    /// ```
    /// use mainstay::concurrency::AdaptiveLimiter;
    /// use mainstay::error::Error;
    /// use mainstay::outcome::Outcome;
    /// use mainstay::pipeline::Pipeline;
    ///
    /// let limiter = AdaptiveLimiter::builder().build()?;
    /// let by_status = limiter.classified_by(|result: &Result<u16, Error<()>>| match result {
    ///     Ok(429 | 503) => Outcome::Failure, // rejected by the server
    ///     Ok(_) => Outcome::Success,
    ///     Err(Error::Timeout(_)) => Outcome::Failure,
    ///     Err(_) => Outcome::Ignore,
    /// });
    /// let pipeline = Pipeline::builder().adaptive_limit(by_status).build();
    /// assert_eq!(pipeline.call_blocking(|| Ok(200)), Ok(200));
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn classified_by<C>(&self, classify: C) -> ClassifiedAdaptiveLimiter<C> {
        ClassifiedAdaptiveLimiter::new(self.clone(), classify)
    }

    /// Replaces the controller while the limiter is in use.
    ///
    /// The new controller adopts what the old one has [learned](Self::learned). Calls in flight
    /// keep their permits.
    ///
    /// ```
    /// # use mainstay::concurrency::{AdaptiveLimiter, BaselineController};
    /// # let limiter = AdaptiveLimiter::builder().build()?;
    /// limiter.reconfigure(BaselineController::new().max_limit(50.0))?;
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if a setting of the controller is out of range. Nothing is changed then.
    pub fn reconfigure(
        &self,
        mut controller: impl LimitController + 'static,
    ) -> Result<(), ConfigError> {
        controller.validate()?;
        controller.adopt(self.learned());
        self.0.replace(Box::new(controller));
        Ok(())
    }

    /// Returns what the controller has learned, to be passed to
    /// [`AdaptiveLimiterBuilder::learned`] after a restart.
    #[must_use]
    pub fn learned(&self) -> LearnedLimit {
        self.0.latest().learned
    }

    /// Returns the current limit. Below one, one call runs at a time, with a pause after each.
    #[must_use]
    pub fn limit(&self) -> f64 {
        self.0.latest().limit
    }

    /// Returns the number of calls in flight. It can exceed the limit after the limit was lowered.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.0.semaphore.in_use()
    }

    /// Closes the limiter: rejects new and waiting calls. Calls in flight keep their permits.
    /// Returns false if the limiter was already closed.
    pub fn close(&self) -> bool {
        self.0.semaphore.close()
    }

    /// Returns true if [`close`](Self::close) was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.semaphore.is_closed()
    }

    /// Returns the name given to the builder.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.emitter.name
    }

    /// Returns a snapshot of the limit, the calls and the last window.
    #[must_use]
    pub fn snapshot(&self) -> AdaptiveLimiterSnapshot {
        let Latest { limit, reason, learned, windows, window } = self.0.latest();
        AdaptiveLimiterSnapshot {
            limit,
            reason,
            in_flight: self.in_flight(),
            queued: self.0.queued.load(Relaxed),
            baseline: learned.baseline,
            windows,
            last_window: window,
        }
    }
}

impl fmt::Debug for AdaptiveLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdaptiveLimiter")
            .field("name", &self.name())
            .field("limit", &self.limit())
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}
