//! The state that the handles, permits and futures of a bulkhead share.

use super::config::Config;
use super::engine::Engine;
use super::events::{Emitter, RejectionFigures};
use super::snapshot::BulkheadSnapshot;
use crate::concurrency::queue::{CallerQueue, Entry, Granted, Limit, WaitTimes, WaiterStatus};
use crate::error::{Reason, Rejection};
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};
use crate::sync::{CachePadded, PlainArc};
use crate::time::{Clock, Instant};
use crate::wait::WaiterKey;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

pub(in crate::concurrency) struct Shared {
    pub(super) engine: CachePadded<Engine>,
    pub(super) clock: Clock,
    pub(super) emitter: PlainArc<Emitter>,
    /// Calls rejected because no permit was free or the queue was full.
    full: AtomicU64,
    /// Calls rejected because they waited too long or their deadline had passed.
    timed_out: AtomicU64,
    /// Calls rejected with [`Reason::Shed`].
    shed: AtomicU64,
}

// A panic of a waker, a clock or an observer leaves the queue intact. The methods run no other user
// code.
impl UnwindSafe for Shared {}
impl RefUnwindSafe for Shared {}

impl Shared {
    pub(super) fn new(config: Config, clock: Clock, emitter: PlainArc<Emitter>) -> Self {
        Self {
            engine: CachePadded::new(Engine::new(config)),
            clock,
            emitter,
            full: AtomicU64::new(0),
            timed_out: AtomicU64::new(0),
            shed: AtomicU64::new(0),
        }
    }

    #[inline]
    pub(super) fn give_back(&self, granted: Granted) {
        self.engine.give_back(granted, &self.clock);
    }

    pub(super) fn reconfigure(&self, config: Config) {
        self.engine.reconfigure(config);
        self.engine.serve_by(&self.clock, None);
    }

    pub(super) fn snapshot(&self) -> BulkheadSnapshot {
        let figures = self.engine.figures(|| self.clock.now());
        BulkheadSnapshot {
            max_concurrent: self.engine.limit(),
            in_flight: self.engine.in_use(),
            max_queue: self.engine.max_queue(),
            queued: figures.len,
            order: figures.order,
            oldest_wait: figures.oldest_wait,
            median_service_time: self.engine.median(),
            rejected_full: self.full.load(Relaxed),
            rejected_timeout: self.timed_out.load(Relaxed),
            rejected_shed: self.shed.load(Relaxed),
        }
    }
}

impl Limit for Shared {
    fn clock(&self) -> &Clock {
        &self.clock
    }

    #[inline]
    fn take(&self, cost: u32) -> Result<(), Reason> {
        self.engine.take(cost)
    }

    fn max_wait(&self) -> Option<Duration> {
        (self.engine.max_queue() > 0).then(|| self.engine.max_wait())
    }

    fn enter(&self, cost: u32, times: WaitTimes) -> Result<Entry, Reason> {
        self.engine.enter(cost, times)
    }

    fn with_queue<R>(&self, f: impl FnOnce(&mut CallerQueue) -> R) -> R {
        self.engine.with_queue(f)
    }

    fn serve(&self, now: Instant) {
        self.engine.serve(Some(now), None);
    }

    fn leave(&self, key: WaiterKey) -> WaiterStatus {
        self.engine.leave(key, &self.clock)
    }

    fn cancel(&self, granted: Granted) {
        self.engine.cancel(granted, &self.clock);
    }

    #[cold]
    fn reject(&self, reason: Reason) -> Rejection {
        let counter = match reason {
            Reason::QueueTimeout => Some(&self.timed_out),
            Reason::Shed => Some(&self.shed),
            Reason::ShutDown => None,
            _ => Some(&self.full),
        };
        counter.map(|counter| counter.fetch_add(1, Relaxed));
        let mut rejection = Rejection::new(reason, self.emitter.name);
        if let Some(median) = self.engine.median()
            && matches!(reason, Reason::ConcurrencyLimited | Reason::QueueFull)
        {
            rejection = rejection.with_retry_after(median);
        }
        self.emitter.rejected(rejection, || RejectionFigures {
            limit: self.engine.limit(),
            in_flight: self.engine.in_use(),
            queued: self.engine.queued(),
            at: self.clock.now(),
        });
        rejection
    }
}
