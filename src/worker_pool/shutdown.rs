//! Shutdown of a pool: its options, its report and the jobs that it returns.

use super::events::PoolEvent;
use super::job::Job;
use super::run::{DiscardReason, JobEnd, QueuedState};
use super::shared::Shared;
use super::snapshot::WorkerPoolSnapshot;
use super::workers;
use super::workers::current;
use crate::ring::PopError;
use crate::sync::{PlainArc, SpinWait, block_on, block_on_timeout};

use std::fmt;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

/// How to shut a pool down.
///
/// ```
/// use mainstay::worker_pool::{WorkerPoolShutdown, WorkerPool};
/// use std::time::Duration;
///
/// let pool = WorkerPool::new();
/// pool.try_submit(|| println!("the last job"))?;
/// let report = pool.shutdown(WorkerPoolShutdown::drain().timeout(Duration::from_secs(5)));
/// assert_eq!((report.completed, report.running, report.unrun_jobs.len()), (1, 0, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerPoolShutdown {
    queued_jobs: QueuedJobs,
    timeout: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum QueuedJobs {
    Run,
    HandBack,
}

impl WorkerPoolShutdown {
    /// Runs the queued jobs and waits for them.
    #[must_use]
    pub const fn drain() -> Self {
        Self { queued_jobs: QueuedJobs::Run, timeout: None }
    }

    /// Returns the queued jobs that have no handle, ends the others with an error, and waits for
    /// the running jobs.
    #[must_use]
    pub const fn cancel() -> Self {
        Self { queued_jobs: QueuedJobs::HandBack, timeout: None }
    }

    /// Sets how long to wait. By default the wait is not limited. Jobs that are still queued after
    /// `timeout` are treated as by [`cancel`](Self::cancel). Jobs that are still running continue,
    /// and their threads end after them.
    ///
    /// ```
    /// # use mainstay::worker_pool::{WorkerPool, WorkerPoolShutdown};
    /// # use std::time::Duration;
    /// # let pool = WorkerPool::new();
    /// let shutdown = WorkerPoolShutdown::drain().timeout(Duration::from_secs(5));
    /// assert_eq!(pool.shutdown(shutdown).running, 0);
    /// ```
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

/// A report on the jobs of a pool that was [shut down](super::WorkerPool::shutdown).
#[derive(Debug)]
#[non_exhaustive]
pub struct WorkerPoolShutdownReport {
    /// The number of jobs that returned, since the pool was built.
    pub completed: u64,
    /// The number of jobs that panicked, since the pool was built.
    pub panicked: u64,
    /// The number of jobs that are still running.
    pub running: usize,
    /// The number of jobs that are still queued and will be run. Zero unless a worker of the pool
    /// drains the pool, because it cannot wait.
    pub queued: usize,
    /// The number of queued jobs that have a handle and will not be run. Their handles have
    /// received [`JobError::ShutDown`](super::JobError::ShutDown). Includes items of maps.
    pub cancelled: usize,
    /// The queued jobs that have no handle. They run only if the caller [runs](QueuedJob::run)
    /// them.
    pub unrun_jobs: Vec<QueuedJob>,
}

/// A queued job without a handle that a shutdown returned.
#[must_use = "dropping it drops the job"]
pub struct QueuedJob {
    job: Option<Job>,
    pool: PlainArc<Shared>,
}

impl QueuedJob {
    /// Runs the job on the current thread. A panic of the job is caught and counted, as on a
    /// worker.
    pub fn run(mut self) {
        if let Some(job) = self.job.take() {
            let context = self.pool.outside_context();
            context.run_counted(|| job.run(&context));
        }
    }
}

impl Drop for QueuedJob {
    fn drop(&mut self) {
        if let Some(job) = self.job.take() {
            // A panic is caught, because many jobs may be dropped together.
            let context = self.pool.outside_context();
            let end = context.discard(DiscardReason::ShutDown, |reason| job.discard(reason));
            context.recorder.stats().add_end(end);
        }
    }
}

impl fmt::Debug for QueuedJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueuedJob").finish_non_exhaustive()
    }
}

/// Implements [`WorkerPool::shutdown`](super::WorkerPool::shutdown).
pub(crate) fn shut_down(
    pool: &PlainArc<Shared>,
    shutdown: WorkerPoolShutdown,
) -> WorkerPoolShutdownReport {
    if pool.queue.close() {
        pool.emit(PoolEvent::ShutDown);
    }
    let mut jobs = Vec::new();
    let mut cancelled = 0;
    if shutdown.queued_jobs == QueuedJobs::HandBack {
        cancelled += take_queued(pool, &mut jobs);
    }
    // A worker cannot wait for itself, nor for another worker that waits for it.
    if !current::is_worker_of(pool.id) {
        if wait_for_workers(pool, shutdown.timeout) {
            workers::join_all(pool);
        }
        // This finds jobs only after a timeout, or if the pool has no worker because no thread
        // could be started.
        cancelled += take_queued(pool, &mut jobs);
    }
    let WorkerPoolSnapshot { completed, panicked, running, queued, .. } =
        WorkerPoolSnapshot::of(pool);
    WorkerPoolShutdownReport { completed, panicked, running, queued, cancelled, unrun_jobs: jobs }
}

/// Waits until all threads have ended. Returns `false` if they did not end in time.
fn wait_for_workers(pool: &Shared, timeout: Option<Duration>) -> bool {
    let mut all_ended = poll_fn(|cx| match pool.queue.idle.all_ended(cx.waker()) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    });
    match timeout {
        None => {
            block_on(all_ended);
            true
        }
        Some(timeout) => block_on_timeout(&mut all_ended, timeout).is_some(),
    }
}

/// Takes the jobs that are left in a closed queue. Jobs without a handle are added to `jobs`; the
/// others are discarded, so that their handles become ready. Returns the number of discarded jobs.
/// Workers may take jobs at the same time.
fn take_queued(pool: &PlainArc<Shared>, jobs: &mut Vec<QueuedJob>) -> usize {
    let mut cancelled = 0;
    let mut spin = SpinWait::new();
    loop {
        match pool.queue.jobs.pop(0, |job, _| job) {
            Ok(job) if job.queued_state() == QueuedState::Detached => {
                jobs.push(QueuedJob { job: Some(job), pool: PlainArc::clone(pool) });
            }
            Ok(job) => {
                let context = pool.outside_context();
                let end = context.discard(DiscardReason::ShutDown, |reason| job.discard(reason));
                context.recorder.stats().add_end(end);
                cancelled += usize::from(end == JobEnd::Discarded(DiscardReason::ShutDown));
            }
            Err(PopError::Busy) => {
                if !spin.spin() {
                    spin = SpinWait::new();
                }
            }
            Err(PopError::Empty | PopError::Closed) => return cancelled,
        }
    }
}
