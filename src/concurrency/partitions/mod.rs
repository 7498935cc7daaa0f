//! A limit on concurrent calls that is shared by several kinds of calls: [`PartitionedBulkhead`].

mod config;
mod engine;
mod events;
mod future;
mod guard;
#[cfg(all(test, mainstay_loom))]
mod loom;
mod partition;
mod permit;
mod shared;
mod state;

pub use config::{BulkheadPartitionBuilder, PartitionedBulkheadBuilder};
pub use future::{BulkheadPartitionAcquireFuture, OwnedBulkheadPartitionAcquireFuture};
pub use partition::BulkheadPartition;
pub use permit::{BulkheadPartitionPermit, OwnedBulkheadPartitionPermit};

use crate::error::ConfigError;
use crate::sync::PlainArc;
use crate::wait::QueueOrder;
use shared::Shared;
use std::fmt;
use std::time::Duration;

const POLICY: &str = "partitioned_bulkhead";

/// A fixed limit on concurrent calls that several kinds of calls share. Each kind, a *partition*,
/// has a guaranteed minimum and a maximum, and borrows permits that other partitions do not use.
///
/// A separate [bulkhead](super::Bulkhead) for each kind would waste the permits of idle kinds. One
/// bulkhead for all kinds would let one kind use the whole limit.
///
/// Cloning is cheap, and all clones share one limit.
///
/// # Examples
///
/// ```
/// use mainstay::concurrency::PartitionedBulkhead;
///
/// let bulkhead = PartitionedBulkhead::builder()
///     .name("api")
///     .max_concurrent(20)
///     .partition("users", |users| users.min_concurrent(15))
///     .partition("batch", |batch| batch.max_concurrent(10).max_queue(100))
///     .build()?;
/// let (users, batch) = (bulkhead.partition("users")?, bulkhead.partition("batch")?);
/// # let load_profile = || Ok::<_, std::io::Error>("profile");
/// let profile = users.call_blocking(|| load_profile());
/// # assert!(profile.is_ok());
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
///
/// # How it works
///
/// A call takes a permit if its partition runs fewer calls than the maximum of the partition, all
/// partitions together run fewer calls than the limit, and no waiting caller can use the permit. A
/// released permit goes to a waiting caller of a partition that runs fewer calls than its
/// guaranteed minimum. If there is none, it goes to any caller whose partition is below its
/// maximum. In both cases, the caller that arrived first is served first. A call can
/// [cost](BulkheadPartition::cost) several permits; if too few are free when it is next, the free
/// permits are reserved for it. As a result:
///
/// - The limits are hard: neither the limit of the bulkhead nor the maximum of a partition is ever
///   exceeded. After a limit is lowered, no permit is granted until enough calls have ended.
/// - A free permit is granted to a waiting caller that may use it, unless the permit is reserved
///   for a call that needs several.
/// - A partition below its guaranteed minimum receives the next permit that any partition releases.
///   If callers of several such partitions wait, each release serves the one that arrived first.
///
/// A guarantee does not interrupt calls: while others have borrowed all permits, a guaranteed call
/// must wait until one of them ends. By default, each partition has a
/// [queue](BulkheadPartitionBuilder::max_queue) for its guaranteed calls. If such calls must not
/// wait, limit the other partitions so that their maxima and the guaranteed minimum together do not
/// exceed the limit of the bulkhead.
///
/// # Overload
///
/// Each partition has a queue of its own, with the rules of a
/// [`Bulkhead`](super::Bulkhead#overload): once its oldest caller has waited for longer than
/// [`lifo_after`](BulkheadPartitionBuilder::lifo_after), the newest is served first; a call that
/// cannot end before its deadline is rejected; and [`codel`](BulkheadPartitionBuilder::codel) sheds
/// callers from a standing queue. An overloaded partition does not change the order of the others.
///
/// # Cancel safety
///
/// A call whose future is dropped, or whose operation panics, releases its permit. If the future is
/// dropped while the caller waits, the caller leaves the queue, and a permit that was granted
/// meanwhile is released.
///
/// # Performance
///
/// A call that is admitted without a wait locks a mutex twice and allocates nothing. It reads the
/// clock only if it has a deadline or if other callers wait. While callers wait, the release of a
/// permit takes time in proportion to the number of partitions.
#[derive(Clone)]
pub struct PartitionedBulkhead(PlainArc<Shared>);

/// The state and the counters of a [`PartitionedBulkhead`] at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionedBulkheadSnapshot {
    /// How many calls may run at the same time.
    pub max_concurrent: u32,
    /// The number of permits in use. It can exceed `max_concurrent` after the limit was lowered.
    pub in_flight: u32,
    /// The partitions, in the order in which they were added.
    pub partitions: Vec<BulkheadPartitionSnapshot>,
}

/// The state and the counters of a [`BulkheadPartition`] at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BulkheadPartitionSnapshot {
    /// The name of the partition.
    pub name: &'static str,
    /// The guaranteed number of concurrent calls.
    pub min_concurrent: u32,
    /// How many calls may run at the same time.
    pub max_concurrent: u32,
    /// The number of permits in use. Those beyond `min_concurrent` are borrowed.
    pub in_flight: u32,
    /// How many callers may wait.
    pub max_queue: u32,
    /// The number of callers that wait.
    pub queued: u32,
    /// The order in which callers are served.
    pub order: QueueOrder,
    /// How long the oldest waiting caller has waited; `None` if no caller waits.
    pub oldest_wait: Option<Duration>,
    /// The median duration of the latest 31 calls that waited for their permits; `None` until 5
    /// such calls have ended.
    pub median_service_time: Option<Duration>,
    /// The number of calls rejected because no permit was free or the queue was full.
    pub rejected_full: u64,
    /// The number of calls rejected because they had waited too long, or their deadline had passed.
    pub rejected_timeout: u64,
    /// The number of calls rejected because CoDel detected a standing queue, or because their
    /// deadline could not be met.
    pub rejected_shed: u64,
}

impl PartitionedBulkhead {
    /// Creates a builder.
    pub fn builder() -> PartitionedBulkheadBuilder {
        PartitionedBulkheadBuilder::new()
    }

    /// Returns the partition with this name.
    ///
    /// ```
    /// # use mainstay::concurrency::PartitionedBulkhead;
    /// let bulkhead = PartitionedBulkhead::builder()
    ///     .partition("users", |users| users.min_concurrent(5))
    ///     .build()?;
    /// assert!(bulkhead.partition("users").is_ok());
    /// assert!(bulkhead.partition("usres").is_err());
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if there is no such partition.
    pub fn partition(&self, name: &str) -> Result<BulkheadPartition, ConfigError> {
        match self.0.partitions.iter().position(|partition| partition.name == name) {
            Some(index) => Ok(BulkheadPartition { shared: self.0.clone(), index, cost: 1 }),
            None => Err(ConfigError::new("partition", name, "the name of a partition")),
        }
    }

    /// Applies the limits and the queue settings of `config` while the bulkhead is in use. `config`
    /// must have the same partitions, in any order.
    ///
    /// Calls that run keep their permits, and waiting callers stay in their queues. The name, the
    /// clock and the observer of `config` are not applied.
    ///
    /// ```
    /// # use mainstay::concurrency::PartitionedBulkhead;
    /// let bulkhead = PartitionedBulkhead::builder().partition("users", |users| users).build()?;
    /// bulkhead.reconfigure(
    ///     &PartitionedBulkhead::builder()
    ///         .max_concurrent(50)
    ///         .partition("users", |users| users.min_concurrent(10)),
    /// )?;
    /// assert_eq!(bulkhead.snapshot().max_concurrent, 50);
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error that names the first setting that is out of range, or `partition` if a
    /// partition is new or missing. In that case, nothing is changed.
    pub fn reconfigure(&self, config: &PartitionedBulkheadBuilder) -> Result<(), ConfigError> {
        let mut config = config.validate()?;
        let position = |name: &str| self.0.partitions.iter().position(|one| one.name == name);
        let accepted = "the partitions that the bulkhead was built with";
        for partition in &config.partitions {
            if position(&partition.name).is_none() {
                return Err(ConfigError::new("partition", &partition.name, accepted));
            }
        }
        if config.partitions.len() != self.0.partitions.len() {
            return Err(ConfigError::new("partition", config.partitions.len(), accepted));
        }
        config.partitions.sort_by_key(|partition| position(&partition.name));
        self.0.engine.reconfigure(&config);
        self.0.engine.serve_by(&self.0.clock, None);
        self.0.emitter.reconfigured(config.max_concurrent, || self.0.clock.now());
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

    /// Returns the number of permits in use. It can exceed the limit after the limit was lowered.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.0.engine.permits().1
    }

    /// Returns the name given to the builder.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.emitter.name
    }

    /// Returns the current state and counters, with those of each partition.
    #[must_use]
    pub fn snapshot(&self) -> PartitionedBulkheadSnapshot {
        self.0.snapshot()
    }

    /// Returns the limit and the number of permits in use.
    pub(super) fn permits(&self) -> (u32, u32) {
        self.0.engine.permits()
    }
}

impl fmt::Debug for PartitionedBulkhead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (max_concurrent, in_flight) = self.permits();
        f.debug_struct("PartitionedBulkhead")
            .field("name", &self.name())
            .field("max_concurrent", &max_concurrent)
            .field("in_flight", &in_flight)
            .finish_non_exhaustive()
    }
}
