//! A limit on concurrent calls, with a bounded queue: [`Bulkhead`].

mod config;
mod engine;
mod events;
mod future;
mod guard;
mod keyed;
#[cfg(all(test, mainstay_loom))]
mod loom;
mod permit;
mod shared;
mod snapshot;

pub use config::BulkheadBuilder;
pub use future::{BulkheadAcquireFuture, OwnedBulkheadAcquireFuture};
pub use guard::BulkheadPolicy;
pub use keyed::{KeyedBulkhead, KeyedBulkheadBuilder, KeyedBulkheadSnapshot, KeyedBulkheadView};
pub use permit::{BulkheadPermit, OwnedBulkheadPermit};
pub use snapshot::BulkheadSnapshot;

use super::queue::Request;
use crate::error::{ConfigError, Error, Rejection};
use crate::sync::PlainArc;
use shared::Shared;
use std::fmt;
use std::future::Future;
use std::time::Duration;

const POLICY: &str = "bulkhead";

/// A fixed limit on concurrent calls, so that one slow dependency does not use up the threads,
/// connections and memory of the whole service.
///
/// By default, a call beyond the limit is rejected immediately. With a
/// [`max_queue`](BulkheadBuilder::max_queue), a bounded number of callers wait. If the right limit
/// is unknown or changes, use an [`AdaptiveLimiter`](super::AdaptiveLimiter).
///
/// Cloning is cheap, and all clones share one limit.
///
/// # Examples
///
/// ```
/// use mainstay::concurrency::Bulkhead;
/// use mainstay::error::Error;
/// use std::time::Duration;
///
/// let bulkhead = Bulkhead::builder()
///     .name("reports")
///     .max_concurrent(4)
///     .max_queue(8)
///     .max_wait(Duration::from_millis(200))
///     .build()?;
/// # let report = || Ok::<_, std::io::Error>(42);
/// match bulkhead.call_blocking(|| report()) {
///     Ok(report) => println!("{report}"),
///     Err(Error::Rejected(rejection)) => println!("busy: {rejection}"),
///     Err(error) => println!("{error}"),
/// }
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
///
/// # How it works
///
/// While no caller waits, acquiring a permit and releasing it take one atomic operation each. While
/// callers wait, a released permit is granted to the next waiting caller, and a new caller enters
/// the queue. Lowering the limit revokes no permit: no further permit is granted until enough
/// permits have been released.
///
/// # Overload
///
/// Waiting callers are served in order of arrival. Once the oldest has waited for longer than
/// [`lifo_after`](BulkheadBuilder::lifo_after), the newest is served first, until the old callers
/// are served or have given up. Callers that are still waiting after `max_wait` are rejected with
/// [`Reason::QueueTimeout`].
///
/// In a pipeline with a timeout above the bulkhead, each call has a deadline. A waiting call is
/// never granted a permit after its deadline. It is rejected with [`Reason::Shed`] if less time is
/// left before the deadline than the median service time: the median duration of the latest 31
/// calls that waited for a permit. The median is unknown until 5 such calls have ended.
///
/// [`codel`](BulkheadBuilder::codel) also sheds callers from a *standing* queue: a queue that does
/// not absorb a burst but only adds delay.
///
/// [`Reason::QueueTimeout`]: crate::error::Reason::QueueTimeout
/// [`Reason::Shed`]: crate::error::Reason::Shed
///
/// # Cancel safety
///
/// A call that is dropped, or whose operation panics, releases its permit. If the
/// future of a waiting caller is dropped, the caller leaves the queue, and a permit that was granted
/// meanwhile is released.
///
/// # Performance
///
/// A call that does not wait costs two atomic read-modify-writes, reads no clock and allocates
/// nothing. A rejection takes no lock if there is neither a queue nor an observer. A waiting caller
/// allocates only to arm its timer, or if there were never as many callers that wait or run after a
/// wait.
#[derive(Clone)]
pub struct Bulkhead(PlainArc<Shared>);

impl Bulkhead {
    /// Creates a builder.
    pub fn builder() -> BulkheadBuilder {
        BulkheadBuilder::new()
    }

    /// Creates a bulkhead that admits at most `max_concurrent` calls at the same time, without a
    /// queue.
    ///
    /// ```
    /// use mainstay::concurrency::Bulkhead;
    ///
    /// let bulkhead = Bulkhead::new(2)?;
    /// assert_eq!(bulkhead.available(), 2);
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if `max_concurrent` is 0.
    pub fn new(max_concurrent: u32) -> Result<Self, ConfigError> {
        Self::builder().max_concurrent(max_concurrent).build()
    }

    fn from_shared(shared: Shared) -> Self {
        Self(PlainArc::new(shared))
    }

    #[inline]
    fn shared(&self) -> &Shared {
        &self.0
    }

    /// Acquires a permit if one is free and no caller waits. Never waits.
    ///
    /// ```
    /// use mainstay::concurrency::Bulkhead;
    ///
    /// let bulkhead = Bulkhead::new(1)?;
    /// let permit = bulkhead.try_acquire().expect("no other call runs");
    /// assert!(bulkhead.try_acquire().is_err());
    /// # drop(permit);
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns a rejection with
    /// [`Reason::ConcurrencyLimited`](crate::error::Reason::ConcurrencyLimited), or
    /// [`Reason::ShutDown`](crate::error::Reason::ShutDown) after [`close`](Self::close).
    #[inline]
    pub fn try_acquire(&self) -> Result<BulkheadPermit<'_>, Rejection> {
        self.0.try_acquire(&Request::new(1, None))
    }

    /// Waits for a permit, for at most [`max_wait`](BulkheadBuilder::max_wait). Without a
    /// [queue](BulkheadBuilder::max_queue), the future never waits.
    ///
    /// ```
    /// use mainstay::concurrency::Bulkhead;
    ///
    /// # futures::executor::block_on(async {
    /// let bulkhead = Bulkhead::builder().max_queue(10).build()?;
    /// let permit = bulkhead.acquire().await?;
    /// # drop(permit);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// The future returns the same rejections as [`try_acquire`](Self::try_acquire), or a rejection
    /// with
    ///
    /// - [`Reason::QueueFull`](crate::error::Reason::QueueFull) if the queue is full,
    /// - [`Reason::QueueTimeout`](crate::error::Reason::QueueTimeout) after `max_wait`,
    /// - [`Reason::Shed`](crate::error::Reason::Shed) if the caller was [shed](Self#overload).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the caller leaves the queue, and a permit that was granted
    /// meanwhile is released.
    #[inline]
    pub fn acquire(&self) -> BulkheadAcquireFuture<'_> {
        BulkheadAcquireFuture::new(&self.0, Request::new(1, None))
    }

    /// Waits for a permit, for at most `timeout` instead of `max_wait`. The timeout counts from the
    /// first poll.
    ///
    /// ```
    /// use mainstay::concurrency::Bulkhead;
    /// use mainstay::error::Reason;
    /// use std::time::Duration;
    ///
    /// # futures::executor::block_on(async {
    /// let bulkhead = Bulkhead::builder().max_concurrent(1).max_queue(1).build()?;
    /// let permit = bulkhead.acquire().await?;
    /// let timeout = Duration::from_millis(1);
    /// let rejection = bulkhead.acquire_timeout(timeout).await.unwrap_err();
    /// assert_eq!(rejection.reason(), Reason::QueueTimeout);
    /// # drop(permit);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// The same as for [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    ///
    /// The same as for [`acquire`](Self::acquire).
    pub fn acquire_timeout(&self, timeout: Duration) -> BulkheadAcquireFuture<'_> {
        BulkheadAcquireFuture::new(&self.0, Request::new(1, Some(timeout)))
    }

    /// Waits for a permit, blocking the thread for at most `max_wait`.
    ///
    /// # Errors
    ///
    /// The same as for [`acquire`](Self::acquire).
    pub fn acquire_blocking(&self) -> Result<BulkheadPermit<'_>, Rejection> {
        self.0.block(Request::new(1, None))
    }

    /// Waits for a permit, blocking the thread for at most `timeout` instead of `max_wait`.
    ///
    /// ```
    /// # use mainstay::concurrency::Bulkhead;
    /// # use std::time::Duration;
    /// # let bulkhead = Bulkhead::builder().build()?;
    /// let permit = bulkhead.acquire_blocking_timeout(Duration::from_millis(50));
    /// assert!(permit.is_ok());
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The same as for [`acquire`](Self::acquire).
    pub fn acquire_blocking_timeout(
        &self,
        timeout: Duration,
    ) -> Result<BulkheadPermit<'_>, Rejection> {
        self.0.block(Request::new(1, Some(timeout)))
    }

    /// Acquires a permit as [`try_acquire`](Self::try_acquire) does. The permit keeps the bulkhead
    /// alive.
    ///
    /// # Errors
    ///
    /// The same as for [`try_acquire`](Self::try_acquire).
    pub fn try_acquire_owned(&self) -> Result<OwnedBulkheadPermit, Rejection> {
        self.take_owned(&Request::new(1, None))
    }

    /// Waits for a permit. The permit and the future keep the bulkhead alive.
    ///
    /// # Errors
    ///
    /// The same as for [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    ///
    /// The same as for [`acquire`](Self::acquire).
    pub fn acquire_owned(&self) -> OwnedBulkheadAcquireFuture {
        OwnedBulkheadAcquireFuture::new(self.clone(), Request::new(1, None))
    }

    /// Waits for a permit that keeps the bulkhead alive, for at most `timeout`.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # futures::executor::block_on(async {
    /// # use mainstay::concurrency::Bulkhead;
    /// let bulkhead = Bulkhead::new(4)?;
    /// let permit = bulkhead.acquire_owned_timeout(Duration::from_secs(1)).await?;
    /// # drop(permit);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// The same as for [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    ///
    /// The same as for [`acquire`](Self::acquire).
    pub fn acquire_owned_timeout(&self, timeout: Duration) -> OwnedBulkheadAcquireFuture {
        OwnedBulkheadAcquireFuture::new(self.clone(), Request::new(1, Some(timeout)))
    }

    /// Waits for a permit that keeps the bulkhead alive, blocking the thread.
    ///
    /// # Errors
    ///
    /// The same as for [`acquire`](Self::acquire).
    pub fn acquire_owned_blocking(&self) -> Result<OwnedBulkheadPermit, Rejection> {
        self.block_owned(Request::new(1, None))
    }

    /// Waits for a permit that keeps the bulkhead alive, blocking the thread for at most `timeout`.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use mainstay::concurrency::Bulkhead;
    /// let bulkhead = Bulkhead::new(4)?;
    /// let permit = bulkhead.acquire_owned_blocking_timeout(Duration::from_secs(1))?;
    /// # drop(permit);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The same as for [`acquire`](Self::acquire).
    pub fn acquire_owned_blocking_timeout(
        &self,
        timeout: Duration,
    ) -> Result<OwnedBulkheadPermit, Rejection> {
        self.block_owned(Request::new(1, Some(timeout)))
    }

    /// Waits for a permit as [`acquire`](Self::acquire) does, and runs `op` while holding it.
    ///
    /// ```
    /// # use mainstay::concurrency::Bulkhead;
    /// # futures::executor::block_on(async {
    /// let bulkhead = Bulkhead::new(4)?;
    /// # async fn search() -> Result<u32, std::io::Error> { Ok(42) }
    /// let found = bulkhead.call(|| search()).await?;
    /// # assert_eq!(found, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the error of `op`, or the rejection if `op` was not run.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future removes a waiting caller from the queue. Later, it drops the operation
    /// and releases the permit.
    pub async fn call<Op, Fut, T, E>(&self, op: Op) -> Result<T, Error<E>>
    where
        Op: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let _permit = self.acquire().await?;
        op().await.map_err(Error::Operation)
    }

    /// Waits for a permit as [`acquire_blocking`](Self::acquire_blocking) does, and runs the
    /// closure `op` while holding it.
    ///
    /// ```
    /// # use mainstay::concurrency::Bulkhead;
    /// let bulkhead = Bulkhead::new(4)?;
    /// assert_eq!(bulkhead.call_blocking(|| Ok::<_, ()>(42)), Ok(42));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the error of `op`, or the rejection if `op` was not run.
    pub fn call_blocking<T, E>(&self, op: impl FnOnce() -> Result<T, E>) -> Result<T, Error<E>> {
        let _permit = self.acquire_blocking()?;
        op().map_err(Error::Operation)
    }

    /// Returns a view whose calls take `permits` permits each.
    ///
    /// ```
    /// # use mainstay::concurrency::Bulkhead;
    /// let bulkhead = Bulkhead::new(10)?;
    /// let export = bulkhead.cost(4);
    /// assert_eq!(export.try_acquire().map(|permit| permit.cost()), Ok(4));
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    pub fn cost(&self, permits: u32) -> BulkheadPolicy {
        BulkheadPolicy::new(self.clone()).cost(permits)
    }

    /// Returns a view whose calls wait for at most `max_wait`. Without a
    /// [queue](BulkheadBuilder::max_queue), they do not wait.
    ///
    /// ```
    /// # use mainstay::{concurrency::Bulkhead, pipeline::Pipeline};
    /// # use std::time::Duration;
    /// let bulkhead = Bulkhead::builder().max_queue(10).build()?;
    /// let pages = Pipeline::builder()
    ///     .bulkhead(bulkhead.max_wait(Duration::from_millis(50)))
    ///     .build();
    /// assert_eq!(pages.call_blocking(|| Ok::<_, ()>(7)), Ok(7));
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    pub fn max_wait(&self, max_wait: Duration) -> BulkheadPolicy {
        BulkheadPolicy::new(self.clone()).max_wait(max_wait)
    }

    /// Applies the limit and the queue settings of `config` while the bulkhead is in use.
    ///
    /// Calls that run keep their permits, and waiting callers stay in the queue. The name, the
    /// clock and the observer of `config` are not applied.
    ///
    /// ```
    /// use mainstay::concurrency::Bulkhead;
    ///
    /// let bulkhead = Bulkhead::new(8)?;
    /// bulkhead.reconfigure(&Bulkhead::builder().max_concurrent(6))?;
    /// assert_eq!(bulkhead.available(), 6);
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error that names the first setting that is out of range; no setting is changed
    /// then.
    pub fn reconfigure(&self, config: &BulkheadBuilder) -> Result<(), ConfigError> {
        let config = config.validate()?;
        self.0.reconfigure(config);
        self.0.emitter.reconfigured(config, || self.0.clock.now());
        Ok(())
    }

    /// Closes the bulkhead: rejects new and waiting calls. Calls that run keep their permits.
    /// Returns `false` if the bulkhead was already closed.
    pub fn close(&self) -> bool {
        self.0.engine.close()
    }

    /// Returns whether [`close`](Self::close) was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.engine.is_closed()
    }

    /// Returns the number of permits that [`try_acquire`](Self::try_acquire) could acquire now: 0
    /// while callers wait.
    #[must_use]
    pub fn available(&self) -> u32 {
        self.0.engine.takable()
    }

    /// Returns the number of permits in use. It can exceed the limit after the limit was lowered.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.0.engine.in_use()
    }

    /// Returns the name given to the builder.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.emitter.name
    }

    /// Returns the current state and counters.
    #[must_use]
    pub fn snapshot(&self) -> BulkheadSnapshot {
        self.0.snapshot()
    }
}

impl fmt::Debug for Bulkhead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bulkhead")
            .field("name", &self.name())
            .field("max_concurrent", &self.0.engine.limit())
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}
