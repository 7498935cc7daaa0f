//! Client-side throttling: [`Throttle`].

mod config;
mod guard;
#[cfg(all(test, mainstay_loom))]
mod loom;
mod permit;
mod shared;
mod state;

pub use config::ThrottleBuilder;
pub use guard::ClassifiedThrottle;
pub use permit::{OwnedThrottlePermit, ThrottlePermit};

use crate::error::{ConfigError, Error, Rejection};
use crate::sync::PlainArc;
use shared::Shared;
use std::fmt;

const POLICY: &str = "throttle";

/// A client-side throttle, which rejects more calls the more calls the dependency refuses.
///
/// A server that refuses most calls spends its time on refusals, so its clients should send fewer.
/// A circuit breaker is either open or closed. A throttle instead admits about twice as many calls
/// as the dependency accepts, so it does not flap and does not depend on the result of a probe. It
/// suits a dependency that accepts *some* of the calls, such as a service with many replicas or a
/// quota.
///
/// With `K` the [multiplier](ThrottleBuilder::accept_multiplier) (2), over the last two minutes,
/// the share of calls that is rejected is
///
/// ```text
/// max(0, (requests − K · accepts) / (requests + 1))
/// ```
///
/// (*Handling Overload*, Site Reliability Engineering, 2016.) Rejected calls count as requests that
/// were not accepted. Recovery takes about two windows, because the admitted calls can at most
/// double as accepted calls are recorded. By default, at most nine calls of ten are rejected, and
/// one call per second is always admitted.
///
/// Cloning is cheap, and all clones share one throttle.
///
/// # Examples
///
/// ```
/// use mainstay::concurrency::Throttle;
/// use mainstay::error::Error;
///
/// let throttle = Throttle::builder().name("search").build()?;
/// # let search = || Ok::<_, std::io::Error>(42);
/// match throttle.call_blocking(|| search()) {
///     Ok(found) => println!("{found}"),
///     Err(Error::Rejected(rejection)) => println!("not now: {rejection}"),
///     Err(error) => println!("{error}"),
/// }
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
///
/// # Performance
///
/// While nothing is rejected, admission is one load. Recording reads the clock and adds to a
/// [time window](crate::window). The share is computed ten times per second, by one of the calls.
#[derive(Clone)]
pub struct Throttle(PlainArc<Shared>);

/// The state and the counters of a [`Throttle`] at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct ThrottleSnapshot {
    /// The number of calls in the window, including those that the throttle rejected.
    pub requests: u64,
    /// The number of calls in the window that the dependency accepted.
    pub accepts: u64,
    /// The share of calls that the throttle currently rejects.
    pub rejection_rate: f64,
    /// The number of calls that the throttle has rejected since it was built.
    pub rejections: u64,
}

impl Throttle {
    /// Creates a builder.
    pub fn builder() -> ThrottleBuilder {
        ThrottleBuilder::new()
    }

    fn from_shared(shared: Shared) -> Self {
        Self(PlainArc::new(shared))
    }

    fn shared(&self) -> &Shared {
        &self.0
    }

    /// Admits a call, or rejects it with the current rejection rate as the probability. Never
    /// waits.
    ///
    /// # Errors
    ///
    /// Returns a rejection with [`Reason::Shed`](crate::error::Reason::Shed).
    #[inline]
    pub fn try_acquire(&self) -> Result<ThrottlePermit<'_>, Rejection> {
        self.0.admit(|| self.0.clock.now())?;
        Ok(ThrottlePermit::new(&self.0))
    }

    /// Admits a call as [`try_acquire`](Self::try_acquire) does, with a permit that keeps the
    /// throttle alive.
    ///
    /// # Errors
    ///
    /// Returns the same rejection as [`try_acquire`](Self::try_acquire).
    pub fn try_acquire_owned(&self) -> Result<OwnedThrottlePermit, Rejection> {
        self.0.admit(|| self.0.clock.now())?;
        Ok(OwnedThrottlePermit::new(self.clone()))
    }

    /// Runs `op` unless the throttle rejects the call. Every error of `op` counts as not accepted.
    ///
    /// ```
    /// # use mainstay::Throttle;
    /// let throttle = Throttle::builder().build()?;
    /// # futures::executor::block_on(async {
    /// assert_eq!(throttle.call(|| async { Ok::<_, ()>(200) }).await, Ok(200));
    /// # });
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the error of `op`, or the rejection.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future records nothing.
    pub async fn call<Op, Fut, T, E>(&self, op: Op) -> Result<T, Error<E>>
    where
        Op: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let permit = self.try_acquire()?;
        let result = op().await;
        permit.record(result.is_ok());
        result.map_err(Error::Operation)
    }

    /// Runs the closure `op` unless the throttle rejects the call; see [`call`](Self::call).
    ///
    /// ```
    /// # use mainstay::Throttle;
    /// let throttle = Throttle::builder().build()?;
    /// assert_eq!(throttle.call_blocking(|| Ok::<_, ()>(200)), Ok(200));
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the error of `op`, or the rejection.
    pub fn call_blocking<T, E>(&self, op: impl FnOnce() -> Result<T, E>) -> Result<T, Error<E>> {
        let permit = self.try_acquire()?;
        let result = op();
        permit.record(result.is_ok());
        result.map_err(Error::Operation)
    }

    /// Returns a view for pipelines that classifies results by `classify`. A failure counts as a
    /// call that the dependency did not accept.
    ///
    /// ```
    /// use mainstay::concurrency::Throttle;
    /// use mainstay::error::Error;
    /// use mainstay::outcome::Outcome;
    /// use mainstay::pipeline::Pipeline;
    ///
    /// let throttle = Throttle::builder().build()?;
    /// let by_status = throttle.classified_by(|result: &Result<u16, Error<()>>| match result {
    ///     Ok(429 | 503) => Outcome::Failure,
    ///     Ok(_) => Outcome::Success,
    ///     Err(_) => Outcome::Failure,
    /// });
    /// let pipeline = Pipeline::builder().throttle(by_status).build();
    /// assert_eq!(pipeline.call_blocking(|| Ok(200)), Ok(200));
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn classified_by<C>(&self, classify: C) -> ClassifiedThrottle<C> {
        ClassifiedThrottle::new(self.clone(), classify)
    }

    /// Applies the `accept_multiplier`, `max_rejection_rate` and `min_calls` of `config`, while the
    /// throttle is in use.
    ///
    /// The recorded calls are kept. The other settings of `config` are validated and not applied.
    ///
    /// ```
    /// # use mainstay::concurrency::Throttle;
    /// # let throttle = Throttle::builder().build()?;
    /// throttle.reconfigure(&Throttle::builder().accept_multiplier(1.5))?;
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the first setting that is out of range. Then nothing is changed.
    pub fn reconfigure(&self, config: &ThrottleBuilder) -> Result<(), ConfigError> {
        config.validate()?;
        *self.0.strictness.lock() = config.strictness;
        self.0.update(self.0.clock.now());
        Ok(())
    }

    /// Returns the name that was given to the builder.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// Returns the current state and counters.
    #[must_use]
    pub fn snapshot(&self) -> ThrottleSnapshot {
        let counts = self.0.counts();
        ThrottleSnapshot {
            requests: counts.total,
            accepts: counts.total.saturating_sub(counts.failed),
            rejection_rate: self.0.rate(),
            rejections: self.0.rejections(),
        }
    }
}

impl fmt::Debug for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttle")
            .field("name", &self.name())
            .field("rejection_rate", &self.0.rate())
            .finish_non_exhaustive()
    }
}
