//! The state that the handles, permits and futures of a partitioned bulkhead share.

use super::config::Config;
use super::engine::{Engine, PartitionFigures};
use super::events::Emitter;
use super::{BulkheadPartitionSnapshot, PartitionedBulkheadSnapshot};
use crate::error::{Reason, Rejection};
use crate::sync::CachePadded;
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};
use crate::time::{Clock, Instant};
use std::panic::{RefUnwindSafe, UnwindSafe};

pub(super) struct Shared {
    pub(super) engine: CachePadded<Engine>,
    pub(super) partitions: Box<[Partition]>,
    pub(super) clock: Clock,
    pub(super) emitter: Emitter,
}

/// The names and the counters of a partition.
pub(super) struct Partition {
    pub(super) name: &'static str,
    /// The name together with that of the bulkhead, for rejections and events.
    pub(super) full_name: &'static str,
    /// Calls rejected because no permit was free or the queue was full.
    full: AtomicU64,
    /// Calls rejected because they waited too long or their deadline had passed.
    timed_out: AtomicU64,
    /// Calls rejected with [`Reason::Shed`].
    shed: AtomicU64,
}

// A panic of a waker, a clock or an observer leaves the queues intact. No other user code runs in a
// method.
impl UnwindSafe for Shared {}
impl RefUnwindSafe for Shared {}

impl Partition {
    pub(super) fn new(name: &'static str, full_name: &'static str) -> Self {
        let [full, timed_out, shed] = [(); 3].map(|()| AtomicU64::new(0));
        Self { name, full_name, full, timed_out, shed }
    }

    fn snapshot(&self, figures: PartitionFigures, now: Instant) -> BulkheadPartitionSnapshot {
        BulkheadPartitionSnapshot {
            name: self.name,
            min_concurrent: figures.share.min,
            max_concurrent: figures.share.max,
            in_flight: figures.share.in_use,
            max_queue: figures.max_queue,
            queued: figures.queued,
            order: figures.order,
            oldest_wait: figures.oldest_since.map(|since| now.since(since)),
            median_service_time: figures.median,
            rejected_full: self.full.load(Relaxed),
            rejected_timeout: self.timed_out.load(Relaxed),
            rejected_shed: self.shed.load(Relaxed),
        }
    }
}

impl Shared {
    pub(super) fn new(
        config: &Config,
        partitions: Box<[Partition]>,
        clock: Clock,
        emitter: Emitter,
    ) -> Self {
        Self { engine: CachePadded::new(Engine::new(config)), partitions, clock, emitter }
    }

    /// Creates a rejection, counts it and reports it to the observer.
    #[cold]
    pub(super) fn reject(&self, partition: usize, reason: Reason) -> Rejection {
        let counters = &self.partitions[partition];
        match reason {
            Reason::QueueTimeout => counters.timed_out.fetch_add(1, Relaxed),
            Reason::Shed => counters.shed.fetch_add(1, Relaxed),
            Reason::ShutDown => 0,
            _ => counters.full.fetch_add(1, Relaxed),
        };
        let mut rejection = Rejection::new(reason, counters.full_name);
        if matches!(reason, Reason::ConcurrencyLimited | Reason::QueueFull)
            && let Some(median) = self.engine.median(partition)
        {
            rejection = rejection.with_retry_after(median);
        }
        let figures = || {
            let now = self.clock.now();
            (self.engine.figures(partition, now), now)
        };
        self.emitter.rejected(rejection, figures);
        rejection
    }

    pub(super) fn snapshot(&self) -> PartitionedBulkheadSnapshot {
        // The clock may be user code, so it is read before the engine is locked.
        let now = self.clock.now();
        let figures = self.engine.all_figures(now);
        let (max_concurrent, _) = self.engine.permits();
        PartitionedBulkheadSnapshot {
            max_concurrent,
            in_flight: figures.iter().map(|figures| figures.share.in_use).sum(),
            partitions: self
                .partitions
                .iter()
                .zip(figures)
                .map(|(partition, figures)| partition.snapshot(figures, now))
                .collect(),
        }
    }

    pub(super) fn partition_snapshot(&self, partition: usize) -> BulkheadPartitionSnapshot {
        let now = self.clock.now();
        self.partitions[partition].snapshot(self.engine.figures(partition, now), now)
    }
}
