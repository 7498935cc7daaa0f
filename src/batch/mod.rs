//! Items of many callers, sent in batches by one operation: [`Batcher`].
//!
//! Writing 500 rows with one statement takes a database hardly longer than writing one row. A
//! batcher collects the items of concurrent calls, runs one operation for all of them, and returns
//! to each caller the result for its own item. Databases call this technique *group commit*,
//! GraphQL servers call it *DataLoader*.
//!
//! # Examples
//!
//! ```
//! use mainstay::batch::{Batch, Batcher};
//!
//! /// Loads the users with one query.
//! async fn load(ids: Batch<u64>) -> Result<Vec<String>, &'static str> {
//!     Ok(ids.iter().map(|id| format!("user {id}")).collect())
//! }
//!
//! # futures::executor::block_on(async {
//! let users = Batcher::builder(load).name("users").max_items(100).build()?;
//! let calls = (0..200).map(|id| users.call(id));
//! let found = futures::future::join_all(calls).await;
//! assert_eq!(found[7].as_deref(), Ok("user 7"));
//! assert!(users.snapshot().batches <= 3);
//! # Ok::<(), mainstay::ConfigError>(())
//! # })?;
//! # Ok::<(), mainstay::ConfigError>(())
//! ```
//!
//! # How it works
//!
//! Items are queued in the order in which their calls are first polled. A batch takes the oldest
//! items. The next batch starts:
//!
//! - immediately if the queue holds a full batch ([`max_items`](BatcherBuilder::max_items) or
//!   [`max_bytes`](BatcherBuilder::max_bytes)), or if the batcher is [flushed](Batcher::flush) or
//!   [closed](Batcher::close);
//! - otherwise once [`max_linger`](BatcherBuilder::max_linger) has passed since the start of the
//!   previous batch. An idle batcher therefore sends a single item immediately, and under load each
//!   batch contains the items that arrived within one `max_linger`.
//!
//! In both cases, at most [`max_concurrent`](BatcherBuilder::max_concurrent) batches run at a time.
//!
//! ## Drivers
//!
//! A batcher has no thread and no runtime of its own. Its callers drive it: polling a call also
//! polls the operations that were woken, and starts the next batch when it is due. For this work,
//! the batcher wakes one task: a waiting flush or drain if there is one, otherwise the caller that
//! was polled last. If the woken task drops its call, another task is woken. A task that is woken
//! and does not poll its call, such as a `select!` loop that is busy in another branch, delays all
//! batches until another call is polled.
//!
//! To drive a batcher independently of its callers, spawn [`run`](Batcher::run) on any runtime.
//! While such a *runner* exists, callers only wait for their results. Use a runner if the operation
//! needs the context of a runtime and some callers [block](Batcher::call_blocking), if calls are
//! held without being polled, or if a batch must continue after all its calls were dropped.
//!
//! ## Results
//!
//! The operation returns `Result<Vec<R>, E>`, or `Vec<Result<R, E>>` if items can fail one by one
//! ([`BatchResults`]). An error of a whole batch is cloned for each caller. With
//! [`split_when`](BatcherBuilder::split_when), a failed batch is split in halves until the items
//! that fail are found. To retry whole batches, use a [pipeline](crate::pipeline) inside the
//! operation.
//!
//! # Overload
//!
//! The queue is [bounded](BatcherBuilder::max_queue). A call that arrives while the queue is full
//! waits or is rejected ([`when_full`](BatcherBuilder::when_full)).
//!
//! Callers are slowed before the queue is full: they enter it one by one, in order of arrival, with
//! a pause between two entries. The pause grows from zero to
//! [`max_pause`](BatcherBuilder::max_pause)
//!
//! - while the number of queued items grows from the [high
//!   watermark](BatcherBuilder::high_watermark), 80 % by default, to the capacity of the queue, or
//! - while the lag, the time for which the oldest item has been queued, grows from
//!   [`max_lag`](BatcherBuilder::max_lag) to twice `max_lag`,
//!
//! whichever gives the longer pause. As the pause grows, fewer callers enter, until they enter only
//! as fast as the operation processes their items.
//!
//! # Shutdown
//!
//! [`close`](Batcher::close) rejects later calls and calls that wait to enter the queue. Queued
//! items are sent without lingering. [`drain_timeout`](Batcher::drain_timeout) closes the batcher,
//! waits until all items are answered, and returns a report.
//!
//! # Cancel safety
//!
//! Dropping a call removes its item from the queue if the item was not sent. If the item was sent,
//! its batch continues, and the result for the item is dropped. If all calls of a running batch are
//! dropped and there is no runner, the operation of the batch is dropped.
//!
//! # Panics
//!
//! If the operation panics, or returns the wrong number of results, every caller of its batch
//! receives [`Reason::Panicked`]. The panic is not propagated, and the batcher stays usable.
//!
//! # Performance
//!
//! A call locks the batcher three times, reads the clock once, and allocates nothing if the queue
//! has been this long before. A batch allocates its future, its waker and a few vectors.

mod call;
mod config;
mod items;
#[cfg(all(test, mainstay_loom))]
mod loom;
mod observe;
mod queue;
mod run;
mod shared;
mod snapshot;
mod state;
mod timer;

pub use config::{BatchOverflowRule, BatcherBuilder};
pub use items::{Batch, BatchResults};
pub use snapshot::{BatcherDrainReport, BatcherSnapshot};

#[cfg(doc)]
use crate::error::Reason;
use crate::error::{Error, TimedOut};
use crate::sync::{PlainArc, block_on};
use call::CallFuture;
use observe::{Goal, ObserveFuture};
use shared::Shared;
use std::fmt;
use std::future::Future;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

const POLICY: &str = "batcher";

/// A collector of items that are processed in batches. See the [module documentation](self).
///
/// `T` is the item, `R` the result for one item and `E` the error of the operation. Cloning is
/// cheap, and all clones share one queue.
pub struct Batcher<T, R, E>(PlainArc<Shared<T, R, E>>);

// After a panic of user code, every item is still queued, in flight or answered.
impl<T, R, E> UnwindSafe for Batcher<T, R, E> {}
impl<T, R, E> RefUnwindSafe for Batcher<T, R, E> {}

impl<T, R, E> Batcher<T, R, E>
where
    T: Send + 'static,
    R: Send + 'static,
    E: Clone + Send + 'static,
{
    /// Creates a builder of a batcher that runs `operation` for each batch.
    ///
    /// `operation` is called outside any lock, by the [driver](self#drivers). An operation that
    /// blocks can use [`std::future::ready`]:
    ///
    /// ```
    /// use mainstay::batch::Batcher;
    /// use std::future::ready;
    ///
    /// let lengths = Batcher::<String, usize, ()>::builder(|lines| {
    ///     ready(Ok(lines.iter().map(|line| line.len()).collect()))
    /// })
    /// .build()?;
    /// assert_eq!(lengths.call_blocking("four".to_owned()), Ok(4));
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn builder<B, Fut>(
        operation: impl Fn(Batch<T>) -> Fut + Send + Sync + 'static,
    ) -> BatcherBuilder<T, R, E>
    where
        B: BatchResults<R, E>,
        Fut: Future<Output = B> + Send + 'static,
    {
        BatcherBuilder::new(operation)
    }

    /// Queues `item`, and waits for its result. Nothing is queued before the first poll.
    ///
    /// ```
    /// # use mainstay::batch::{Batch, Batcher};
    /// # async fn write(batch: Batch<u8>) -> Result<Vec<u8>, ()> { Ok(batch.into_vec()) }
    /// # futures::executor::block_on(async {
    /// let sink = Batcher::builder(write).build()?;
    /// assert_eq!(sink.call(5).await, Ok(5));
    /// # Ok::<(), mainstay::ConfigError>(())
    /// # })?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Operation`] with the error for the item or its batch;
    /// - [`Error::Rejected`] with [`Reason::QueueFull`], with [`Reason::ShutDown`] if the batcher
    ///   is closed, or with [`Reason::Panicked`] if the operation panicked;
    /// - [`Error::Timeout`] if a drain timed out after the item was sent.
    pub async fn call(&self, item: T) -> Result<R, Error<E>> {
        CallFuture::new(&self.0, item, None).await
    }

    /// Calls as [`call`](Self::call) does, and waits for at most `timeout`.
    ///
    /// The item has a deadline: it is not sent after the timeout, and the operation can read the
    /// [earliest deadline](Batch::deadline) of its batch. The timeout ends this call only: the
    /// operation continues for the other callers of the batch.
    ///
    /// ```
    /// # use mainstay::batch::{Batch, Batcher};
    /// # async fn write(batch: Batch<u8>) -> Result<Vec<u8>, ()> { Ok(batch.into_vec()) }
    /// # use std::time::Duration;
    /// # futures::executor::block_on(async {
    /// let sink = Batcher::builder(write).build()?;
    /// assert_eq!(sink.call_timeout(5, Duration::from_secs(1)).await, Ok(5));
    /// # Ok::<(), mainstay::ConfigError>(())
    /// # })?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`Error::Timeout`] after `timeout`, [`Error::Rejected`] with
    /// [`Reason::DeadlineExceeded`] if the batcher reaches the item only after its deadline, and
    /// the errors of [`call`](Self::call).
    pub async fn call_timeout(&self, item: T, timeout: Duration) -> Result<R, Error<E>> {
        let call = CallFuture::new(&self.0, item, Some(timeout));
        let result = self.0.clock.timeout(timeout, call).await;
        result.unwrap_or_else(|| Err(TimedOut::new(self.name(), timeout).into()))
    }

    /// Calls as [`call`](Self::call) does, and blocks the thread, which may poll the operation.
    ///
    /// ```
    /// # use mainstay::batch::{Batch, Batcher};
    /// # async fn write(batch: Batch<u8>) -> Result<Vec<u8>, ()> { Ok(batch.into_vec()) }
    /// let sink = Batcher::builder(write).build()?;
    /// assert_eq!(sink.call_blocking(5), Ok(5));
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`call`](Self::call).
    pub fn call_blocking(&self, item: T) -> Result<R, Error<E>> {
        block_on(CallFuture::new(&self.0, item, None))
    }

    /// Calls as [`call_timeout`](Self::call_timeout) does, and blocks the thread.
    ///
    /// The timeout does not interrupt an operation that blocks this thread.
    ///
    /// ```
    /// # use mainstay::batch::{Batch, Batcher};
    /// # async fn write(batch: Batch<u8>) -> Result<Vec<u8>, ()> { Ok(batch.into_vec()) }
    /// # use std::time::Duration;
    /// let sink = Batcher::builder(write).build()?;
    /// assert_eq!(sink.call_blocking_timeout(5, Duration::from_secs(1)), Ok(5));
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`call_timeout`](Self::call_timeout).
    pub fn call_blocking_timeout(&self, item: T, timeout: Duration) -> Result<R, Error<E>> {
        let mut call = CallFuture::new(&self.0, item, Some(timeout));
        let result = self.0.clock.block_on_timeout(&mut call, timeout);
        result.unwrap_or_else(|| Err(TimedOut::new(self.name(), timeout).into()))
    }

    /// Sends the items that are queued now without lingering, and waits until they are answered.
    ///
    /// Dropping the future ends the wait; these items are still sent without lingering.
    ///
    /// ```
    /// # use mainstay::batch::{Batch, Batcher};
    /// # async fn write(batch: Batch<u8>) -> Result<Vec<u8>, ()> { Ok(batch.into_vec()) }
    /// # futures::executor::block_on(async {
    /// let sink = Batcher::builder(write).build()?;
    /// sink.flush().await;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// # })?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub async fn flush(&self) {
        ObserveFuture::new(&self.0, Goal::Flushed).await;
    }

    /// Flushes as [`flush`](Self::flush) does, and blocks the thread.
    pub fn flush_blocking(&self) {
        block_on(ObserveFuture::new(&self.0, Goal::Flushed));
    }

    /// Drives the batcher until it is [closed](Self::close) and empty.
    ///
    /// Spawn it on a runtime to drive batches independently of their callers; see
    /// [Drivers](self#drivers). While the future exists, from its first poll on, callers only wait.
    /// If it is dropped, the callers drive again, and operations without callers are dropped.
    ///
    /// ```
    /// use mainstay::batch::{Batch, Batcher};
    ///
    /// # async fn write(batch: Batch<u8>) -> Result<Vec<u8>, ()> { Ok(batch.into_vec()) }
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # runtime.block_on(async {
    /// let sink = Batcher::builder(write).build()?;
    /// let driver = tokio::spawn({
    ///     let sink = sink.clone();
    ///     async move { sink.run().await }
    /// });
    /// assert_eq!(sink.call(5).await, Ok(5));
    /// sink.close();
    /// driver.await.unwrap();
    /// # Ok::<(), mainstay::ConfigError>(())
    /// # })?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub async fn run(&self) {
        ObserveFuture::new(&self.0, Goal::Run).await;
    }

    /// Drives the batcher as [`run`](Self::run) does, on this thread, until it is closed and empty.
    pub fn run_blocking(&self) {
        block_on(ObserveFuture::new(&self.0, Goal::Run));
    }

    /// Closes the batcher. Returns `false` if it was already closed.
    ///
    /// Later calls, and calls that wait to enter the queue, are rejected with [`Reason::ShutDown`].
    /// Queued items are sent without lingering.
    pub fn close(&self) -> bool {
        self.0.close()
    }

    /// Closes the batcher and waits until all items are answered, for at most `timeout` from the
    /// first poll.
    ///
    /// After the timeout, callers whose items were not sent receive [`Reason::ShutDown`]. The
    /// running operations are dropped, and their callers receive [`Error::Timeout`].
    ///
    /// ```
    /// # use mainstay::batch::{Batch, Batcher};
    /// # async fn write(batch: Batch<u8>) -> Result<Vec<u8>, ()> { Ok(batch.into_vec()) }
    /// # use std::time::Duration;
    /// # futures::executor::block_on(async {
    /// let sink = Batcher::builder(write).build()?;
    /// let report = sink.drain_timeout(Duration::from_secs(5)).await;
    /// assert!(report.is_complete());
    /// # Ok::<(), mainstay::ConfigError>(())
    /// # })?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the wait. The batcher stays closed.
    pub async fn drain_timeout(&self, timeout: Duration) -> BatcherDrainReport {
        let before = self.0.counts();
        self.close();
        let drained = self.0.clock.timeout(timeout, ObserveFuture::new(&self.0, Goal::Drained));
        if drained.await.is_none() {
            self.0.abort(timeout);
        }
        self.0.report_since(before)
    }

    /// Drains as [`drain_timeout`](Self::drain_timeout) does, and blocks the thread.
    ///
    /// The timeout does not interrupt an operation that blocks this thread.
    ///
    /// ```
    /// # use mainstay::batch::{Batch, Batcher};
    /// # async fn write(batch: Batch<u8>) -> Result<Vec<u8>, ()> { Ok(batch.into_vec()) }
    /// # use std::time::Duration;
    /// let sink = Batcher::builder(write).build()?;
    /// assert!(sink.drain_blocking_timeout(Duration::from_secs(5)).is_complete());
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn drain_blocking_timeout(&self, timeout: Duration) -> BatcherDrainReport {
        let before = self.0.counts();
        self.close();
        let mut drained = ObserveFuture::new(&self.0, Goal::Drained);
        if self.0.clock.block_on_timeout(&mut drained, timeout).is_none() {
            self.0.abort(timeout);
        }
        self.0.report_since(before)
    }
}

impl<T, R, E> Batcher<T, R, E> {
    /// Returns the name that was given to the builder.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.config.name
    }

    /// Returns whether [`close`](Self::close) was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.queue.lock().is_closed
    }

    /// Returns the current state and counters.
    #[must_use]
    pub fn snapshot(&self) -> BatcherSnapshot {
        self.0.snapshot()
    }
}

impl<T, R, E> Clone for Batcher<T, R, E> {
    fn clone(&self) -> Self {
        Self(PlainArc::clone(&self.0))
    }
}

impl<T, R, E> fmt::Debug for Batcher<T, R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batcher")
            .field("name", &self.name())
            .field("snapshot", &self.snapshot())
            .finish()
    }
}
