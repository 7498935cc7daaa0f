//! The state that the handles, views and workers of a pool share, and the shutdown by the last
//! handle.

use super::config::Config;
use super::events::{Emitter, PoolEvent};
use super::job::Job;
use super::panics::quietly;
use super::queue::Queue;
use super::queue::wait_times::WaitTimes;
use super::run::{DiscardReason, QueuedState, RunContext};
use super::stats::{Recorder, Stats};
use super::workers::pool_id::PoolId;
use super::{WorkerPool, workers};
use crate::codel::{CoDel, Verdict};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Counter, PlainArc, PlainMutex, plain_thread};
use crate::time::{Clock, Instant};
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

/// The state that the handles, views and workers of a pool share.
pub(crate) struct Shared {
    pub(crate) id: PoolId,
    pub(crate) queue: Queue<Job>,
    pub(crate) config: Config,
    pub(crate) name: &'static str,
    pub(crate) clock: Clock,
    /// One for each priority, because urgent jobs wait for less time than the others.
    pub(crate) codel: Option<[PlainMutex<CoDel>; 3]>,
    pub(crate) emitter: Emitter,
    pub(crate) queue_waits: WaitTimes,
    /// The counters of all threads that are not workers, plus those of workers that have ended.
    pub(crate) outside: Stats,
    pub(crate) worker_stats: PlainMutex<Vec<PlainArc<Stats>>>,
    /// The number of `WorkerPool` values. The pool shuts down when the last is dropped.
    pub(crate) handles: AtomicU64,
    pub(crate) thread_number: Counter,
    pub(crate) threads: PlainMutex<Vec<plain_thread::JoinHandle<()>>>,
}

// Every lock is released before user code runs, and panics of user code are caught: no panic leaves
// a pool in a broken state.
impl UnwindSafe for Shared {}
impl RefUnwindSafe for Shared {}

impl Shared {
    /// Returns the context for threads that are not workers of the pool.
    pub(crate) fn outside_context(&self) -> RunContext<'_> {
        RunContext { pool: self, recorder: Recorder::Shared(&self.outside), queue: None }
    }

    /// Decides whether to run or shed a job that has `waited` in the queue of a priority.
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

    /// Reports an event to the observer. A panic of the observer or of the clock is ignored: it
    /// must neither end the job nor reach the caller that caused the event.
    #[cold]
    pub(crate) fn emit(&self, event: PoolEvent) {
        let figures = || (self.queue.idle.present().0, self.queue.jobs.len());
        quietly(|| self.emitter.emit(event, &self.clock, figures));
    }

    /// Calls `visit` with the counters of every thread.
    pub(crate) fn for_each_stats(&self, mut visit: impl FnMut(&Stats)) {
        // The lock is held throughout, so that a worker that ends is counted exactly once.
        let worker_stats = self.worker_stats.lock();
        visit(&self.outside);
        worker_stats.iter().for_each(|stats| visit(stats));
    }
}

/// Removes jobs that have ended from a full queue. Returns `false` if no job has ended, so that the
/// queue is full of waiting jobs; otherwise the caller can try to push again.
///
/// Takes time proportional to the capacity, but only if a job has ended in the queue since the last
/// call. In the meantime, other threads find the queue busy.
#[cold]
pub(crate) fn remove_ended_jobs(pool: &PlainArc<Shared>, queue: usize) -> bool {
    let Some(compaction) =
        pool.queue.jobs.compact(queue, pool.id, |job| job.queued_state() != QueuedState::Ended)
    else {
        return false;
    };
    if compaction.has_waiting_workers {
        wake_after_push(pool);
    }
    if compaction.has_waiting_submitters {
        pool.queue.jobs.queue(queue).notify(compaction.removed.len());
    }
    for job in compaction.removed {
        // Cancelled jobs are counted now, as they are when a worker takes them.
        let context = pool.outside_context();
        let end = context.discard(DiscardReason::ShutDown, |reason| job.discard(reason));
        context.recorder.stats().add_end(end);
    }
    true
}

/// Ensures that a worker searches the queue, after a push that found a flag set.
#[cold]
pub(crate) fn wake_after_push(pool: &PlainArc<Shared>) {
    if pool.queue.wake_after_push() {
        workers::start_searcher(pool);
    }
}

/// Ensures that a worker searches the queue.
#[cold]
pub(crate) fn wake_worker(pool: &PlainArc<Shared>) {
    if pool.queue.wake_worker() {
        workers::start_searcher(pool);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.id.release();
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
        // Ordering: acquire and release, so that everything done through the other handles happens
        // before the shutdown.
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
