//! The settings of a partitioned bulkhead and its builders.

use super::events::Emitter;
use super::shared::{Partition, Shared};
use super::{POLICY, PartitionedBulkhead};
use crate::codel::CoDel;
use crate::concurrency::queue::QueueConfig;
use crate::error::ConfigError;
use crate::event::Observer;
use crate::policy;
use crate::sync::PlainArc;
use crate::time::Clock;
use std::fmt;
use std::time::Duration;

/// A builder of a [`PartitionedBulkhead`].
#[derive(Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct PartitionedBulkheadBuilder {
    name: String,
    max_concurrent: u32,
    partitions: Vec<(String, BulkheadPartitionBuilder)>,
    clock: Clock,
    observer: Option<PlainArc<dyn Observer>>,
}

/// The settings of one partition; see [`PartitionedBulkheadBuilder::partition`].
#[derive(Clone, Debug)]
#[must_use = "settings do nothing until they are returned to the builder"]
pub struct BulkheadPartitionBuilder {
    min_concurrent: u32,
    max_concurrent: Option<u32>,
    max_queue: Option<u32>,
    max_wait: Duration,
    queue: QueueConfig,
}

/// Validated settings.
pub(super) struct Config {
    pub(super) max_concurrent: u32,
    pub(super) partitions: Vec<PartitionConfig>,
}

pub(super) struct PartitionConfig {
    pub(super) name: String,
    pub(super) min: u32,
    pub(super) max: u32,
    pub(super) max_queue: u32,
    pub(super) max_wait: Duration,
    pub(super) queue: QueueConfig,
}

/// The upper bound of `max_queue`: each waiter takes memory.
const MAX_QUEUE: u32 = 1_000_000;
/// The upper bound of the number of partitions: a release examines every one.
const MAX_PARTITIONS: usize = 64;

impl PartitionedBulkheadBuilder {
    pub(super) fn new() -> Self {
        Self {
            name: POLICY.into(),
            max_concurrent: 25,
            partitions: Vec::new(),
            clock: Clock::system(),
            observer: None,
        }
    }

    /// Sets the name. Rejections and events carry it together with that of the partition:
    /// `api/batch`. Default: `partitioned_bulkhead`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets how many calls may run at the same time in all partitions together, at least 1.
    /// Default: 25, as for a [`Bulkhead`](crate::concurrency::Bulkhead).
    pub const fn max_concurrent(mut self, calls: u32) -> Self {
        self.max_concurrent = calls;
        self
    }

    /// Adds a partition with the settings that `configure` returns. There must be at least one, and
    /// at most 64. The names must differ, and each must be a valid [policy
    /// name](crate::policy::name).
    ///
    /// ```
    /// use mainstay::concurrency::PartitionedBulkhead;
    ///
    /// let bulkhead = PartitionedBulkhead::builder()
    ///     .max_concurrent(20)
    ///     .partition("users", |users| users.min_concurrent(15))
    ///     .partition("batch", |batch| batch.max_concurrent(10))
    ///     .build()?;
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    pub fn partition(
        mut self,
        name: impl Into<String>,
        configure: impl FnOnce(BulkheadPartitionBuilder) -> BulkheadPartitionBuilder,
    ) -> Self {
        let partition = configure(BulkheadPartitionBuilder::new());
        self.partitions.push((name.into(), partition));
        self
    }

    /// Sets the clock. Default: the system clock.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the observer of rejections (events of kind `rejected`, with `reason`, `limit`,
    /// `in_flight` and `queued` of the partition) and of new settings (`reconfigured`, with
    /// `limit`). Default: none.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observer = Some(PlainArc::new(observer));
        self
    }

    /// Builds the bulkhead.
    ///
    /// # Errors
    ///
    /// Returns an error that names the first setting that is out of range.
    pub fn build(self) -> Result<PartitionedBulkhead, ConfigError> {
        let name = policy::name(&self.name)?;
        let config = self.validate()?;
        let partitions = config.partitions.iter().map(|partition| {
            let full_name = policy::name(&format!("{name}/{}", partition.name))?;
            Ok(Partition::new(policy::name(&partition.name)?, full_name))
        });
        let partitions = partitions.collect::<Result<_, ConfigError>>()?;
        let emitter = Emitter::new(name, self.observer);
        let shared = Shared::new(&config, partitions, self.clock, emitter);
        Ok(PartitionedBulkhead(PlainArc::new(shared)))
    }

    pub(super) fn validate(&self) -> Result<Config, ConfigError> {
        let max_concurrent = self.max_concurrent;
        if max_concurrent == 0 {
            return Err(ConfigError::new("max_concurrent", 0, "at least 1"));
        }
        if !(1..=MAX_PARTITIONS).contains(&self.partitions.len()) {
            let accepted = "1 to 64 partitions";
            return Err(ConfigError::new("partition", self.partitions.len(), accepted));
        }
        let mut partitions: Vec<PartitionConfig> = Vec::new();
        for (name, partition) in &self.partitions {
            if partitions.iter().any(|other| other.name == *name) {
                return Err(ConfigError::new("partition", name, "names that differ"));
            }
            partitions.push(partition.validate(name, max_concurrent)?);
        }
        let guaranteed: u64 = partitions.iter().map(|partition| u64::from(partition.min)).sum();
        if guaranteed > u64::from(max_concurrent) {
            let accepted = "a sum of at most max_concurrent of the bulkhead";
            return Err(ConfigError::new("min_concurrent", guaranteed, accepted));
        }
        Ok(Config { max_concurrent, partitions })
    }
}

impl BulkheadPartitionBuilder {
    const fn new() -> Self {
        Self {
            min_concurrent: 0,
            max_concurrent: None,
            max_queue: None,
            max_wait: Duration::from_secs(1),
            queue: QueueConfig::DEFAULT,
        }
    }

    /// Sets how many concurrent calls the partition is [guaranteed]. Default: 0. The sum over all
    /// partitions must not exceed the limit of the bulkhead.
    ///
    /// [guaranteed]: PartitionedBulkhead#how-it-works
    pub const fn min_concurrent(mut self, calls: u32) -> Self {
        self.min_concurrent = calls;
        self
    }

    /// Sets how many calls of the partition may run at the same time, at least 1 and at least
    /// [`min_concurrent`](Self::min_concurrent). Default: the limit of the bulkhead, so that one
    /// partition can use all permits while the others are idle.
    pub const fn max_concurrent(mut self, calls: u32) -> Self {
        self.max_concurrent = Some(calls);
        self
    }

    /// Sets how many callers of the partition may wait, up to 1,000,000. Default:
    /// [`min_concurrent`](Self::min_concurrent), so that every guaranteed call can wait for the
    /// return of a borrowed permit, and a partition without a guarantee rejects immediately.
    pub const fn max_queue(mut self, callers: u32) -> Self {
        self.max_queue = Some(callers);
        self
    }

    /// Sets the longest time that a caller waits in the [queue](Self::max_queue). Default: one
    /// second. A call never waits beyond its own deadline.
    pub const fn max_wait(mut self, max_wait: Duration) -> Self {
        self.max_wait = max_wait;
        self
    }

    /// Sets how long the oldest caller of the partition may wait before the newest is served first.
    /// Default: 100 ms, as for a [`Bulkhead`](crate::concurrency::BulkheadBuilder::lifo_after).
    pub const fn lifo_after(mut self, age: Duration) -> Self {
        self.queue.lifo_after = age;
        self
    }

    /// Enables the shedding of callers from a standing queue, as for a
    /// [`Bulkhead`](crate::concurrency::BulkheadBuilder::codel). Disabled by default.
    ///
    /// ```
    /// # use mainstay::concurrency::PartitionedBulkhead;
    /// # use std::time::Duration;
    /// let (target, interval) = (Duration::from_millis(20), Duration::from_millis(200));
    /// let bulkhead = PartitionedBulkhead::builder()
    ///     .partition("users", |users| users.max_queue(100).codel(target, interval))
    ///     .build()?;
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    pub const fn codel(mut self, target: Duration, interval: Duration) -> Self {
        self.queue.codel = Some((target, interval));
        self
    }

    /// Enables [`codel`](Self::codel) with a target of 5 ms and an interval of 100 ms.
    pub const fn shed_standing_queue(self) -> Self {
        self.codel(CoDel::TARGET, CoDel::INTERVAL)
    }

    fn validate(&self, name: &str, all: u32) -> Result<PartitionConfig, ConfigError> {
        let (min, max) = (self.min_concurrent, self.max_concurrent.unwrap_or(all));
        if max == 0 || max < min || max > all {
            let accepted = "from 1 and min_concurrent to max_concurrent of the bulkhead";
            return Err(ConfigError::new("max_concurrent", (name, max), accepted));
        }
        let max_queue = self.max_queue.unwrap_or(min.min(MAX_QUEUE));
        if max_queue > MAX_QUEUE {
            return Err(ConfigError::new("max_queue", (name, max_queue), "0 to 1000000"));
        }
        self.queue.validate()?;
        let (name, max_wait, queue) = (name.to_owned(), self.max_wait, self.queue);
        Ok(PartitionConfig { name, min, max, max_queue, max_wait, queue })
    }
}

impl fmt::Debug for PartitionedBulkheadBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartitionedBulkheadBuilder")
            .field("name", &self.name)
            .field("max_concurrent", &self.max_concurrent)
            .field("partitions", &self.partitions)
            .finish_non_exhaustive()
    }
}
