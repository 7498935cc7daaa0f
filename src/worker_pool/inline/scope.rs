//! Jobs that borrow from the thread that waits for them.

use super::{InlineJobs, OnDiscard};
use crate::sync::PlainArc;
use crate::worker_pool::job::{ScopeJobs, run_scope};
use crate::worker_pool::run::RunContext;
use crate::worker_pool::shared::Shared;
use crate::worker_pool::submit::Submitter;
use crate::worker_pool::workers::current;
use std::fmt;

/// Spawns jobs that may borrow from outside the [scope](crate::worker_pool::WorkerPool::scope).
#[derive(Clone, Copy)]
pub struct WorkerPoolScope<'scope, 'env: 'scope> {
    jobs: &'scope ScopeJobs<'scope, 'env>,
    pool: &'scope PlainArc<Shared>,
}

impl<'scope> WorkerPoolScope<'scope, '_> {
    /// Spawns a job that ends before the scope does. The job may spawn more: the scope is `Copy`.
    ///
    /// The job is always run. If the queue is full, the pool was shut down, or no worker reaches
    /// the job in time, the thread that waits for the scope runs it. So the pool's limits do not
    /// apply: a job that was spawned and has not begun takes memory, however many there are.
    ///
    /// ```
    /// # let pool = mainstay::worker_pool::WorkerPool::new();
    /// let mut words = vec!["b", "c", "a"];
    /// let mut sum = 0;
    /// pool.scope(|scope| {
    ///     scope.spawn(|| words.sort());
    ///     scope.spawn(|| sum = (1..=100).sum());
    /// });
    /// assert_eq!((words, sum), (vec!["a", "b", "c"], 5050));
    /// ```
    pub fn spawn(&self, job: impl FnOnce() + Send + 'scope) {
        let ticket = self.jobs.add(job);
        // If it is not accepted, the waiting thread runs the job.
        let _ = Submitter::new(self.pool).try_queue_ticket(ticket);
    }
}

impl fmt::Debug for WorkerPoolScope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerPoolScope").finish_non_exhaustive()
    }
}

/// See [`WorkerPool::scope`](crate::worker_pool::WorkerPool::scope).
pub(crate) fn scope<'env, R>(
    pool: &'env PlainArc<Shared>,
    body: impl for<'scope> FnOnce(WorkerPoolScope<'scope, 'env>) -> R,
) -> R {
    let jobs = InlineJobs::new(OnDiscard::KeepJob);
    let mut body = Some(|context: &RunContext<'_>| {
        run_scope(PlainArc::clone(&jobs), context, |jobs| body(WorkerPoolScope { jobs, pool }))
    });
    let mut run = |context: &RunContext<'_>| body.take().map(|body| body(context));
    let result =
        current::on_worker_of(pool.id, &mut run).unwrap_or_else(|| run(&pool.outside_context()));
    let Some(result) = result else { unreachable!("`run` is called once") };
    if let Some(panic) = jobs.take_panic() {
        std::panic::resume_unwind(panic);
    }
    result
}
