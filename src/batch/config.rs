//! The builder of a batcher, with validation and defaults: [`BatcherBuilder`].

use super::items::{Batch, BatchResults};
use super::queue::Queue;
use super::run::Split;
use super::shared::{Operation, Shared, Weigher};
use super::state::Config;
use super::{Batcher, POLICY};
use crate::error::ConfigError;
use crate::policy;
use crate::random;
use crate::share;
use crate::sync::{Mutex, PlainArc};
use crate::time::Clock;
use std::fmt;
use std::future::Future;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

/// What happens to a call while the queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum BatchOverflowRule {
    /// The call waits, in order of arrival.
    #[default]
    Wait,
    /// The call is rejected with [`Reason::QueueFull`](crate::error::Reason::QueueFull). Callers
    /// that are [slowed](super#overload) count as queued.
    Reject,
}

/// Configures a [`Batcher`].
#[must_use = "a builder does nothing until `build`"]
pub struct BatcherBuilder<T, R, E> {
    operation: Operation<T, R, E>,
    name: String,
    config: Config,
    high_watermark: f64,
    weigher: Option<Weigher<T>>,
    split: Option<Split<T, E>>,
    clock: Clock,
}

// No method of the builder calls the stored closures.
impl<T, R, E> UnwindSafe for BatcherBuilder<T, R, E> {}
impl<T, R, E> RefUnwindSafe for BatcherBuilder<T, R, E> {}

/// The largest accepted number of items. It bounds the memory of the queue.
const MAX_ITEMS: usize = 1 << 24;
/// The largest accepted size of a batch. The sum of a full queue fits into a `u64`.
const MAX_BYTES: u64 = 1 << 39;
const DAY: Duration = Duration::from_secs(86_400);

impl<T, R, E> BatcherBuilder<T, R, E> {
    pub(super) fn new<B, Fut>(operation: impl Fn(Batch<T>) -> Fut + Send + Sync + 'static) -> Self
    where
        B: BatchResults<R, E>,
        Fut: Future<Output = B> + Send + 'static,
    {
        Self {
            operation: Box::new(move |batch| {
                let results = operation(batch);
                Box::pin(async move { results.await.into_outcome() })
            }),
            name: POLICY.into(),
            config: Config {
                name: POLICY,
                max_items: 512,
                max_bytes: MAX_BYTES,
                max_linger: Duration::from_millis(10),
                max_concurrent: 1,
                max_queue: 10 * 512,
                high_watermark: 0,
                max_lag: Duration::from_secs(1),
                max_pause: Duration::from_millis(10),
                when_full: BatchOverflowRule::Wait,
            },
            high_watermark: 0.8,
            weigher: None,
            split: None,
            clock: Clock::system(),
        }
    }

    /// Sets the name that errors carry. Default: `batcher`.
    ///
    /// ```
    /// # use mainstay::batch::{Batch, Batcher};
    /// # async fn write(batch: Batch<u8>) -> Result<Vec<u8>, ()> { Ok(batch.into_vec()) }
    /// let built = Batcher::builder(write).name("events").build()?;
    /// assert_eq!(built.name(), "events");
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the largest number of items of a batch, from 1 to 2^24. Default: 512, beyond which most
    /// databases gain little.
    ///
    /// ```
    /// # use mainstay::batch::{Batch, Batcher};
    /// # async fn write(batch: Batch<u8>) -> Result<Vec<u8>, ()> { Ok(batch.into_vec()) }
    /// let built = Batcher::builder(write).max_items(100).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub const fn max_items(mut self, items: usize) -> Self {
        self.config.max_items = items;
        self
    }

    /// Sets the largest size of a batch, from 1 to 2^39, and the closure that returns the size of
    /// an item. Default: no limit. A larger item is sent in a batch of its own.
    ///
    /// The unit is that of the closure; it need not be bytes. The closure runs once per call,
    /// before the item enters the queue.
    ///
    /// ```
    /// # use mainstay::batch::{Batch, Batcher};
    /// # async fn write(batch: Batch<String>) -> Result<Vec<()>, ()> { Ok(vec![(); batch.len()]) }
    /// let built = Batcher::builder(write)
    ///     .max_bytes(1 << 20, |line: &String| line.len() as u64)
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn max_bytes(
        mut self,
        bytes: u64,
        size: impl Fn(&T) -> u64 + Send + Sync + 'static,
    ) -> Self {
        self.config.max_bytes = bytes;
        self.weigher = Some(Box::new(size));
        self
    }

    /// Sets the shortest interval from the start of one batch to the start of the next one, unless
    /// the next one is full; up to a day. Default: 10 ms, which few callers notice.
    ///
    /// An item waits no longer than this, unless [`max_concurrent`](Self::max_concurrent) batches
    /// run or a full batch is ahead of it. In an idle batcher, an item is sent immediately.
    ///
    /// ```
    /// # use mainstay::batch::{Batch, Batcher};
    /// # async fn write(batch: Batch<u8>) -> Result<Vec<u8>, ()> { Ok(batch.into_vec()) }
    /// # use std::time::Duration;
    /// let built = Batcher::builder(write)
    ///     .max_linger(Duration::from_millis(2))
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub const fn max_linger(mut self, linger: Duration) -> Self {
        self.config.max_linger = linger;
        self
    }

    /// Sets how many batches may run at the same time, at least 1. Default: 1, which keeps the
    /// order of the items.
    ///
    /// ```
    /// # use mainstay::batch::{Batch, Batcher};
    /// # async fn write(batch: Batch<u8>) -> Result<Vec<u8>, ()> { Ok(batch.into_vec()) }
    /// let built = Batcher::builder(write).max_concurrent(4).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub const fn max_concurrent(mut self, batches: usize) -> Self {
        self.config.max_concurrent = batches;
        self
    }

    /// Sets how many items may be queued, from 1 to 2^24. Default: 5120, ten full batches.
    ///
    /// ```
    /// # use mainstay::batch::{Batch, Batcher};
    /// # async fn write(batch: Batch<u8>) -> Result<Vec<u8>, ()> { Ok(batch.into_vec()) }
    /// let built = Batcher::builder(write).max_queue(10_000).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub const fn max_queue(mut self, items: usize) -> Self {
        self.config.max_queue = items;
        self
    }

    /// Sets what happens to a call while the queue is full. Default: it waits, because a call waits
    /// for its result anyway.
    ///
    /// ```
    /// # use mainstay::batch::{Batch, BatchOverflowRule, Batcher};
    /// # async fn write(batch: Batch<u8>) -> Result<Vec<u8>, ()> { Ok(batch.into_vec()) }
    /// let built = Batcher::builder(write)
    ///     .when_full(BatchOverflowRule::Reject)
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub const fn when_full(mut self, rule: BatchOverflowRule) -> Self {
        self.config.when_full = rule;
        self
    }

    /// Sets the share of the queue above which [callers are slowed](super#overload), above 0 and at
    /// most 1. Default: 0.8.
    ///
    /// ```
    /// # use mainstay::batch::{Batch, Batcher};
    /// # async fn write(batch: Batch<u8>) -> Result<Vec<u8>, ()> { Ok(batch.into_vec()) }
    /// let built = Batcher::builder(write).high_watermark(0.5).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub const fn high_watermark(mut self, share: f64) -> Self {
        self.high_watermark = share;
        self
    }

    /// Sets the lag above which [callers are slowed](super#overload), from 1 ms to a day. The lag
    /// is the time for which the oldest item has been queued. Default: one second.
    ///
    /// ```
    /// # use mainstay::batch::{Batch, Batcher};
    /// # async fn write(batch: Batch<u8>) -> Result<Vec<u8>, ()> { Ok(batch.into_vec()) }
    /// # use std::time::Duration;
    /// let built = Batcher::builder(write)
    ///     .max_lag(Duration::from_secs(5))
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub const fn max_lag(mut self, lag: Duration) -> Self {
        self.config.max_lag = lag;
        self
    }

    /// Sets the longest pause between two entries into the queue while callers are
    /// [slowed](super#overload), up to a day. Default: 10 ms. If it is zero, callers are not
    /// slowed.
    ///
    /// ```
    /// # use mainstay::batch::{Batch, Batcher};
    /// # async fn write(batch: Batch<u8>) -> Result<Vec<u8>, ()> { Ok(batch.into_vec()) }
    /// # use std::time::Duration;
    /// let built = Batcher::builder(write).max_pause(Duration::ZERO).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub const fn max_pause(mut self, pause: Duration) -> Self {
        self.config.max_pause = pause;
        self
    }

    /// Splits a failed batch in halves if `splits` returns true for its error, and runs the
    /// operation again for each half, until the items that fail are found. Default: all callers of
    /// a failed batch receive its error.
    ///
    /// An operation that returns a result for each item is never split.
    ///
    /// Return true only for errors that an item causes, such as a violated constraint. If it
    /// returned true for the errors of a database that is down, every batch would be split into
    /// single items: almost two calls of the operation for each item.
    ///
    /// The items of a batch are cloned before the operation receives them. The operation must be
    /// idempotent, or roll back the changes of a failed batch; see [`Batch::keys`].
    ///
    /// ```
    /// use mainstay::batch::{Batch, Batcher};
    ///
    /// async fn insert(rows: Batch<i32>) -> Result<Vec<i32>, &'static str> {
    ///     match rows.iter().any(|row| *row < 0) {
    ///         true => Err("constraint"),
    ///         false => Ok(rows.into_vec()),
    ///     }
    /// }
    /// let rows = Batcher::builder(insert)
    ///     .split_when(|error| *error == "constraint")
    ///     .build()?;
    /// # futures::executor::block_on(async {
    /// let results = futures::future::join(rows.call(1), rows.call(-1)).await;
    /// assert!(results.0.is_ok() && results.1.is_err());
    /// # });
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn split_when(mut self, splits: impl Fn(&E) -> bool + Send + Sync + 'static) -> Self
    where
        T: Clone,
    {
        self.split = Some(Split { clone: <[T]>::to_vec, when: Box::new(splits) });
        self
    }

    /// Sets the clock. Default: the system clock.
    ///
    /// ```
    /// # use mainstay::{ManualClock, batch::{Batch, Batcher}};
    /// # async fn write(batch: Batch<u8>) -> Result<Vec<u8>, ()> { Ok(batch.into_vec()) }
    /// let time = ManualClock::new();
    /// let built = Batcher::builder(write).clock(time.clock()).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }
}

impl<T, R, E> BatcherBuilder<T, R, E>
where
    T: Send + 'static,
    R: Send + 'static,
    E: Clone + Send + 'static,
{
    /// Builds the batcher.
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] that names the first setting that is out of range.
    pub fn build(self) -> Result<Batcher<T, R, E>, ConfigError> {
        let name = policy::name(&self.name)?;
        self.validate()?;
        let high_watermark =
            share::at_most(self.high_watermark, self.config.max_queue as u64) as usize;
        let config = Config { name, high_watermark, ..self.config };
        Ok(Batcher(PlainArc::new_cyclic(|weak| Shared {
            config,
            clock: self.clock,
            operation: self.operation,
            weigher: self.weigher,
            split: self.split,
            nonce: random::number(),
            queue: Mutex::new(Queue::new()),
            weak: weak.clone(),
        })))
    }
}

impl<T, R, E> BatcherBuilder<T, R, E> {
    fn validate(&self) -> Result<(), ConfigError> {
        let config = &self.config;
        for (field, value) in [("max_items", config.max_items), ("max_queue", config.max_queue)] {
            if !(1..=MAX_ITEMS).contains(&value) {
                return Err(ConfigError::new(field, value, "1 to 2^24"));
            }
        }
        if !(1..=MAX_BYTES).contains(&config.max_bytes) {
            return Err(ConfigError::new("max_bytes", config.max_bytes, "1 to 2^39"));
        }
        if config.max_concurrent == 0 {
            return Err(ConfigError::new("max_concurrent", 0, "at least 1"));
        }
        if !(self.high_watermark > 0.0 && self.high_watermark <= 1.0) {
            let accepted = "a share above 0 and at most 1";
            return Err(ConfigError::new("high_watermark", self.high_watermark, accepted));
        }
        for (field, value) in [("max_linger", config.max_linger), ("max_pause", config.max_pause)] {
            if value > DAY {
                return Err(ConfigError::new(field, value, "up to one day"));
            }
        }
        match (Duration::from_millis(1)..=DAY).contains(&config.max_lag) {
            true => Ok(()),
            false => Err(ConfigError::new("max_lag", config.max_lag, "1 ms to one day")),
        }
    }
}

impl<T, R, E> fmt::Debug for BatcherBuilder<T, R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatcherBuilder")
            .field("name", &self.name)
            .field("max_items", &self.config.max_items)
            .field("max_linger", &self.config.max_linger)
            .field("max_concurrent", &self.config.max_concurrent)
            .field("max_queue", &self.config.max_queue)
            .field("when_full", &self.config.when_full)
            .finish_non_exhaustive()
    }
}
