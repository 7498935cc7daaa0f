//! One partition of a bulkhead: [`BulkheadPartition`].

use super::BulkheadPartitionSnapshot;
use super::future::{BulkheadPartitionAcquireFuture, OwnedBulkheadPartitionAcquireFuture};
use super::permit::{BulkheadPartitionPermit, OwnedBulkheadPartitionPermit};
use super::shared::Shared;
use crate::concurrency::queue::{
    CallerQueue, Entry, Granted, Limit, Request, WaitTimes, WaiterStatus, block,
};
use crate::error::{Error, Reason, Rejection};
use crate::sync::PlainArc;
use crate::time::{Clock, Instant};
use crate::wait::WaiterKey;
use std::fmt;
use std::future::Future;
use std::time::Duration;

/// A partition of a [`PartitionedBulkhead`](super::PartitionedBulkhead), which limits the calls
/// that are made through it. It implements [`Guard`](crate::policy::Guard) and
/// [`OwnedGuard`](crate::policy::OwnedGuard).
///
/// Cloning is cheap, and all clones refer to the same partition.
///
/// ```
/// use mainstay::{concurrency::PartitionedBulkhead, pipeline::Pipeline};
///
/// let bulkhead = PartitionedBulkhead::builder()
///     .partition("users", |users| users.min_concurrent(20))
///     .partition("batch", |batch| batch.max_concurrent(5))
///     .build()?;
/// let pipeline = Pipeline::builder().guard(bulkhead.partition("batch")?).build();
/// assert_eq!(pipeline.call_blocking(|| Ok::<_, ()>(7)), Ok(7));
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct BulkheadPartition {
    pub(super) shared: PlainArc<Shared>,
    pub(super) index: usize,
    /// The number of permits that a call takes.
    pub(super) cost: u32,
}

impl BulkheadPartition {
    /// Acquires a permit if one is free for the partition and no waiting caller can use it. Never
    /// waits.
    ///
    /// ```
    /// # use mainstay::concurrency::PartitionedBulkhead;
    /// let bulkhead = PartitionedBulkhead::builder()
    ///     .partition("batch", |batch| batch.max_concurrent(1))
    ///     .build()?;
    /// let batch = bulkhead.partition("batch")?;
    /// let permit = batch.try_acquire().expect("no other call runs");
    /// assert!(batch.try_acquire().is_err());
    /// # drop(permit);
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns a rejection with [`Reason::ConcurrencyLimited`], or [`Reason::ShutDown`] after
    /// [`close`](super::PartitionedBulkhead::close).
    #[inline]
    pub fn try_acquire(&self) -> Result<BulkheadPartitionPermit<'_>, Rejection> {
        match self.take(self.cost) {
            Ok(()) => Ok(BulkheadPartitionPermit::new(self, Granted::immediately(self.cost))),
            Err(reason) => Err(self.reject(reason)),
        }
    }

    /// Waits for a permit, for at most [`max_wait`](super::BulkheadPartitionBuilder::max_wait).
    /// Without a [queue](super::BulkheadPartitionBuilder::max_queue), the future never waits.
    ///
    /// # Errors
    ///
    /// The future returns the same rejections as [`try_acquire`](Self::try_acquire), and one with
    /// [`Reason::QueueFull`] if too many callers wait, [`Reason::QueueTimeout`] after `max_wait`,
    /// or [`Reason::Shed`] if [`codel`](super::BulkheadPartitionBuilder::codel) sheds the caller.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future removes the caller from the queue, and releases a permit that was
    /// granted meanwhile.
    #[inline]
    pub fn acquire(&self) -> BulkheadPartitionAcquireFuture<'_> {
        BulkheadPartitionAcquireFuture::new(self, Request::new(self.cost, None))
    }

    /// Waits for a permit, for at most `timeout` instead of `max_wait`. The timeout counts from the
    /// first poll.
    ///
    /// ```
    /// # use mainstay::{concurrency::PartitionedBulkhead, error::Reason};
    /// # use std::time::Duration;
    /// # futures::executor::block_on(async {
    /// let bulkhead = PartitionedBulkhead::builder()
    ///     .max_concurrent(1)
    ///     .partition("users", |users| users.min_concurrent(1))
    ///     .partition("batch", |batch| batch)
    ///     .build()?;
    /// let (users, batch) = (bulkhead.partition("users")?, bulkhead.partition("batch")?);
    /// let borrowed = batch.try_acquire()?;
    /// let waited = users.acquire_timeout(Duration::from_millis(1)).await;
    /// assert_eq!(waited.unwrap_err().reason(), Reason::QueueTimeout);
    /// # drop(borrowed);
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
    pub fn acquire_timeout(&self, timeout: Duration) -> BulkheadPartitionAcquireFuture<'_> {
        BulkheadPartitionAcquireFuture::new(self, Request::new(self.cost, Some(timeout)))
    }

    /// Waits for a permit, blocking the thread for at most `max_wait`.
    ///
    /// # Errors
    ///
    /// The same as for [`acquire`](Self::acquire).
    pub fn acquire_blocking(&self) -> Result<BulkheadPartitionPermit<'_>, Rejection> {
        let granted = block(self, Request::new(self.cost, None))?;
        Ok(BulkheadPartitionPermit::new(self, granted))
    }

    /// Waits for a permit, blocking the thread for at most `timeout` instead of `max_wait`.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use mainstay::concurrency::PartitionedBulkhead;
    /// let bulkhead = PartitionedBulkhead::builder()
    ///     .partition("batch", |batch| batch.max_concurrent(10))
    ///     .build()?;
    /// let batch = bulkhead.partition("batch").expect("was just added");
    /// let permit = batch.acquire_blocking_timeout(Duration::from_secs(1))?;
    /// # drop(permit);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The same as for [`acquire`](Self::acquire).
    pub fn acquire_blocking_timeout(
        &self,
        timeout: Duration,
    ) -> Result<BulkheadPartitionPermit<'_>, Rejection> {
        let granted = block(self, Request::new(self.cost, Some(timeout)))?;
        Ok(BulkheadPartitionPermit::new(self, granted))
    }

    /// Acquires a permit that keeps the bulkhead alive, as [`try_acquire`](Self::try_acquire) does.
    ///
    /// # Errors
    ///
    /// The same as for [`try_acquire`](Self::try_acquire).
    pub fn try_acquire_owned(&self) -> Result<OwnedBulkheadPartitionPermit, Rejection> {
        match self.take(self.cost) {
            Ok(()) => {
                let granted = Granted::immediately(self.cost);
                Ok(OwnedBulkheadPartitionPermit::new(self.clone(), granted))
            }
            Err(reason) => Err(self.reject(reason)),
        }
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
    pub fn acquire_owned(&self) -> OwnedBulkheadPartitionAcquireFuture {
        OwnedBulkheadPartitionAcquireFuture::new(self.clone(), Request::new(self.cost, None))
    }

    /// Waits for a permit that keeps the bulkhead alive, for at most `timeout`.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # futures::executor::block_on(async {
    /// # use mainstay::concurrency::PartitionedBulkhead;
    /// let bulkhead = PartitionedBulkhead::builder()
    ///     .partition("batch", |batch| batch.max_concurrent(10))
    ///     .build()?;
    /// let batch = bulkhead.partition("batch").expect("was just added");
    /// let permit = batch.acquire_owned_timeout(Duration::from_secs(1)).await?;
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
    pub fn acquire_owned_timeout(&self, timeout: Duration) -> OwnedBulkheadPartitionAcquireFuture {
        OwnedBulkheadPartitionAcquireFuture::new(
            self.clone(),
            Request::new(self.cost, Some(timeout)),
        )
    }

    /// Waits for a permit that keeps the bulkhead alive, blocking the thread.
    ///
    /// # Errors
    ///
    /// The same as for [`acquire`](Self::acquire).
    pub fn acquire_owned_blocking(&self) -> Result<OwnedBulkheadPartitionPermit, Rejection> {
        let granted = block(self, Request::new(self.cost, None))?;
        Ok(OwnedBulkheadPartitionPermit::new(self.clone(), granted))
    }

    /// Waits for a permit that keeps the bulkhead alive, blocking the thread for at most `timeout`.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use mainstay::concurrency::PartitionedBulkhead;
    /// let bulkhead = PartitionedBulkhead::builder()
    ///     .partition("batch", |batch| batch.max_concurrent(10))
    ///     .build()?;
    /// let batch = bulkhead.partition("batch").expect("was just added");
    /// let permit = batch.acquire_owned_blocking_timeout(Duration::from_secs(1))?;
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
    ) -> Result<OwnedBulkheadPartitionPermit, Rejection> {
        let granted = block(self, Request::new(self.cost, Some(timeout)))?;
        Ok(OwnedBulkheadPartitionPermit::new(self.clone(), granted))
    }

    /// Waits for a permit as [`acquire`](Self::acquire) does, then runs `op`.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// # use mainstay::concurrency::PartitionedBulkhead;
    /// let bulkhead = PartitionedBulkhead::builder()
    ///     .partition("batch", |batch| batch.max_concurrent(10))
    ///     .build()?;
    /// let batch = bulkhead.partition("batch").expect("was just added");
    /// # async fn export() -> Result<u32, std::io::Error> { Ok(42) }
    /// let rows = batch.call(|| export()).await?;
    /// # assert_eq!(rows, 42);
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
    /// Dropping the future removes the caller from the queue, or drops the operation and releases
    /// the permit.
    pub async fn call<Op, Fut, T, E>(&self, op: Op) -> Result<T, Error<E>>
    where
        Op: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let _permit = self.acquire().await?;
        op().await.map_err(Error::Operation)
    }

    /// Waits for a permit as [`acquire_blocking`](Self::acquire_blocking) does, then runs the
    /// closure `op`.
    ///
    /// ```
    /// # use mainstay::concurrency::PartitionedBulkhead;
    /// let bulkhead = PartitionedBulkhead::builder()
    ///     .partition("batch", |batch| batch.max_concurrent(10))
    ///     .build()?;
    /// let batch = bulkhead.partition("batch").expect("was just added");
    /// assert_eq!(batch.call_blocking(|| Ok::<_, ()>(42)), Ok(42));
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

    /// Returns a handle to the same partition whose calls take `permits` permits each. Default: 1.
    /// A call is rejected if it costs more than the maximum of the partition or the limit of the
    /// bulkhead.
    ///
    /// ```
    /// # use mainstay::concurrency::PartitionedBulkhead;
    /// let bulkhead = PartitionedBulkhead::builder()
    ///     .partition("batch", |batch| batch.max_concurrent(10))
    ///     .build()?;
    /// let batch = bulkhead.partition("batch")?;
    /// let export = batch.cost(4); // as expensive as four other calls
    /// let permit = export.try_acquire().expect("no other call runs");
    /// assert_eq!((permit.cost(), batch.in_flight()), (4, 4));
    /// # drop(permit);
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn cost(&self, permits: u32) -> Self {
        Self { cost: permits, ..self.clone() }
    }

    /// Returns the number of permits that the calls of the partition hold.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.shared.engine.share(self.index).in_use
    }

    /// Returns the name of the partition.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.shared.partitions[self.index].name
    }

    /// Returns the current state and counters of the partition.
    #[must_use]
    pub fn snapshot(&self) -> BulkheadPartitionSnapshot {
        self.shared.partition_snapshot(self.index)
    }
}

impl BulkheadPartition {
    /// Releases permits after a call that ran.
    #[inline]
    pub(super) fn give_back(&self, granted: Granted) {
        self.shared.engine.give_back(self.index, granted, &self.shared.clock);
    }
}

impl Limit for BulkheadPartition {
    fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    fn take(&self, cost: u32) -> Result<(), Reason> {
        self.shared.engine.take(self.index, cost)
    }

    fn max_wait(&self) -> Option<Duration> {
        self.shared.engine.max_wait(self.index)
    }

    fn enter(&self, cost: u32, times: WaitTimes) -> Result<Entry, Reason> {
        self.shared.engine.enter(self.index, cost, times)
    }

    fn with_queue<R>(&self, f: impl FnOnce(&mut CallerQueue) -> R) -> R {
        self.shared.engine.with_queue(self.index, f)
    }

    fn serve(&self, now: Instant) {
        self.shared.engine.serve(Some(now), None);
    }

    fn leave(&self, key: WaiterKey) -> WaiterStatus {
        self.shared.engine.leave(self.index, key, &self.shared.clock)
    }

    fn cancel(&self, granted: Granted) {
        self.shared.engine.cancel(self.index, granted, &self.shared.clock);
    }

    fn reject(&self, reason: Reason) -> Rejection {
        self.shared.reject(self.index, reason)
    }
}

impl fmt::Debug for BulkheadPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkheadPartition")
            .field("name", &self.name())
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}
