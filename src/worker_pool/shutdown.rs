//! The end of a pool.

use super::events::PoolEvent;
use super::job::Job;
use super::{Shared, WorkerPoolSnapshot, workers};
use crate::ring::PopError;
use crate::sync::PlainArc;
use crate::sync::{SpinWait, block_on_timeout};
use crate::worker_pool::run::{Discard, discard_at};
use crate::worker_pool::workers::current::{self, PoolId};
use std::fmt;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

/// How to end a pool.
///
/// ```
/// use mainstay::worker_pool::{Shutdown, WorkerPool};
/// use std::time::Duration;
///
/// let pool = WorkerPool::new();
/// pool.execute(|| println!("one last job")).unwrap();
/// let report = pool.shutdown(Shutdown::drain().within(Duration::from_secs(5)));
/// assert_eq!((report.completed, report.running, report.jobs.len()), (1, 0, 0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shutdown {
    cancel: bool,
    patience: Option<Duration>,
}

impl Shutdown {
    /// Runs what is queued, and waits for that.
    #[must_use]
    pub const fn drain() -> Self {
        Self { cancel: false, patience: None }
    }

    /// Hands back what is queued, and waits for what runs.
    #[must_use]
    pub const fn cancel() -> Self {
        Self { cancel: true, patience: None }
    }

    /// Waits for no longer than `patience`; without this, for as long as it takes. What is still queued
    /// then is handed back; what still runs goes on, and its thread ends when it does.
    #[must_use]
    pub const fn within(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }
}

/// What became of the jobs of a pool that was [shut down](super::WorkerPool::shutdown).
#[derive(Debug)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Jobs that ran to an end, since the pool was built.
    pub completed: u64,
    /// Jobs that panicked, since the pool was built.
    pub panicked: u64,
    /// Jobs that are still running.
    pub running: usize,
    /// Jobs that are still queued and will be run, if a worker of the pool drains it: that one cannot wait.
    pub queued: usize,
    /// Jobs that were queued and will not be run, unless you do. Their handles wait until you do, or drop them.
    /// Among them are the places in the queue of jobs that were cancelled, or that a scope, a map or a join has
    /// begun elsewhere; running these does nothing.
    pub jobs: Vec<QueuedJob>,
}

/// A job that a shutdown handed back. Dropping it lets its handle know that the pool
/// [was shut down](super::JobError::Shutdown).
#[must_use = "dropping it drops the job"]
pub struct QueuedJob {
    job: Option<Job>,
    pool: PlainArc<Shared>,
}

impl QueuedJob {
    /// Runs the job on this thread. Its panic goes where it would have gone on a worker.
    pub fn run(mut self) {
        if let Some(job) = self.job.take() {
            let context = self.pool.outside_desk();
            self.pool.count(&context, || job.run(&context));
        }
    }
}

impl Drop for QueuedJob {
    fn drop(&mut self) {
        if let Some(job) = self.job.take() {
            // A panic stops here, for many may be dropped at once.
            let context = self.pool.outside_desk();
            context.stats.note(discard_at(&context, Discard::ShutDown, |why| job.discard(why)));
        }
    }
}

impl fmt::Debug for QueuedJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueuedJob").finish_non_exhaustive()
    }
}

pub(crate) fn shut_down(pool: &PlainArc<Shared>, how: Shutdown) -> ShutdownReport {
    if pool.queue.close() {
        pool.tell(PoolEvent::ShutDown);
    }
    let mut jobs = Vec::new();
    if how.cancel {
        take_queued(pool, &mut jobs);
    }
    // A worker cannot wait for itself, nor for another that waits for it.
    if !current::is_worker_of(PoolId::of(pool)) {
        if wait_for_workers(pool, how.patience) {
            workers::join_all(pool);
        }
        // Nothing, unless time was short; or there was no worker, for the system refused the threads.
        take_queued(pool, &mut jobs);
    }
    let WorkerPoolSnapshot { completed, panicked, running, queued, .. } =
        WorkerPoolSnapshot::of(pool);
    ShutdownReport { completed, panicked, running, queued, jobs }
}

/// Whether all are gone, within `patience`.
fn wait_for_workers(pool: &Shared, patience: Option<Duration>) -> bool {
    let mut gone = poll_fn(|cx| match pool.queue.idle.all_gone(cx.waker()) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    });
    match patience {
        None => {
            crate::sync::block_on(gone);
            true
        }
        Some(patience) => block_on_timeout(&mut gone, patience).is_some(),
    }
}

/// Takes what is left out of a closed queue, beside workers that may do the same.
fn take_queued(pool: &PlainArc<Shared>, into: &mut Vec<QueuedJob>) {
    let mut spin = SpinWait::new();
    loop {
        match pool.queue.lanes.pop(0, |job, _| job) {
            Ok(job) => {
                into.push(QueuedJob { job: Some(job), pool: PlainArc::clone(pool) });
            }
            Err(PopError::Busy) => {
                if !spin.spin() {
                    spin = SpinWait::new();
                }
            }
            Err(PopError::Empty | PopError::Closed) => return,
        }
    }
}
