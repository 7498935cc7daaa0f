//! What all handles, views and workers of one pool share, and how the last handle ends it.

use super::config::Config;
use super::events::{Emitter, PoolEvent};
use super::job::Job;
use super::queue::Queue;
use super::queue::codel::{CoDel, Verdict};
use super::queue::wait_times::WaitTimes;
use super::run::RunContext;
use super::stats::{Recorder, Stats};
use super::{WorkerPool, workers};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Counter, PlainArc, PlainMutex, plain_thread};
use crate::time::{Clock, Instant};
use std::fmt;
use std::time::Duration;

/// The shared part of a pool.
pub(crate) struct Shared {
    pub(crate) queue: Queue<Job>,
    pub(crate) config: Config,
    pub(crate) name: &'static str,
    pub(crate) clock: Clock,
    /// One for each priority: the delay of urgent jobs says nothing about that of others.
    pub(crate) codel: Option<[PlainMutex<CoDel>; 3]>,
    pub(crate) emitter: Emitter,
    pub(crate) queue_waits: WaitTimes,
    /// Counts what other threads than workers do, and what workers had counted that have ended.
    pub(crate) outside: Stats,
    pub(crate) worker_stats: PlainMutex<Vec<PlainArc<Stats>>>,
    /// The number of `WorkerPool` values. The pool is shut down when the last is dropped.
    pub(crate) handles: AtomicU64,
    pub(crate) thread_number: Counter,
    pub(crate) threads: PlainMutex<Vec<plain_thread::JoinHandle<()>>>,
}

impl Shared {
    /// The context of threads that are not workers of the pool.
    pub(crate) fn outside_context(&self) -> RunContext<'_> {
        RunContext { pool: self, recorder: Recorder::Shared(&self.outside), queue: None }
    }

    /// Decides about a job that has `waited` in the queue of a priority.
    pub(crate) fn codel_verdict(&self, queue: usize, now: Instant, waited: Duration) -> Verdict {
        let Some(codel) = &self.codel else { return Verdict::Run };
        let is_last = self.queue.jobs.queue(queue).ring().is_empty();
        let (before, verdict, after) = {
            let mut codel = codel[queue].lock();
            (codel.is_standing(), codel.dequeue(now, waited, is_last), codel.is_standing())
        };
        if before != after {
            self.emit(if after { PoolEvent::Overloaded } else { PoolEvent::Recovered });
        }
        verdict
    }

    /// Reports an event to the observer. User code that panics on the way is ignored.
    #[cold]
    pub(crate) fn emit(&self, event: PoolEvent) {
        let figures = || (self.queue.idle.present().0, self.queue.jobs.len());
        self.emitter.emit(event, &self.clock, figures);
    }

    /// Calls `visit` with the counters of every thread.
    pub(crate) fn for_each_stats(&self, mut visit: impl FnMut(&Stats)) {
        // Under the lock, so that a worker that ends is counted exactly once.
        let worker_stats = self.worker_stats.lock();
        visit(&self.outside);
        worker_stats.iter().for_each(|stats| visit(stats));
    }
}

/// After a push that found a flag set: ensures that a worker looks for the job.
#[cold]
pub(crate) fn wake_after_push(pool: &PlainArc<Shared>) {
    if pool.queue.wake_after_push() {
        workers::start_searcher(pool);
    }
}

/// Ensures that a worker looks for what is in the queue.
#[cold]
pub(crate) fn wake_worker(pool: &PlainArc<Shared>) {
    if pool.queue.wake_worker() {
        workers::start_searcher(pool);
    }
}

impl Clone for WorkerPool {
    fn clone(&self) -> Self {
        // Ordering: relaxed. The handle that is cloned keeps the count above zero.
        self.shared.handles.fetch_add(1, Ordering::Relaxed);
        Self { shared: PlainArc::clone(&self.shared) }
    }
}

impl Drop for WorkerPool {
    fn drop(&mut self) {
        // Ordering: acquire and release, so that the last handle sees what the others did.
        if self.shared.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            drop(self.shutdown(self.shared.config.on_drop));
        }
    }
}

impl fmt::Debug for WorkerPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerPool")
            .field("name", &self.name())
            .field("snapshot", &self.snapshot())
            .finish()
    }
}
