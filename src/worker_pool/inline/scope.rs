//! Scopes: jobs that may borrow from the thread that waits for them.

use super::{InlineJobs, OnDiscard};
use crate::sync::PlainArc;
use crate::worker_pool::job::{ScopeJobs, run_scope};
use crate::worker_pool::run::RunContext;
use crate::worker_pool::shared::Shared;
use crate::worker_pool::submit::WorkerPoolSubmitter;
use crate::worker_pool::workers::current;
use std::fmt;

/// A [scope](crate::worker_pool::WorkerPool::scope) whose jobs may borrow from outside the scope.
#[derive(Clone, Copy)]
pub struct WorkerPoolScope<'scope, 'env: 'scope> {
    jobs: &'scope ScopeJobs<'scope, 'env>,
    pool: &'scope PlainArc<Shared>,
}

impl<'scope> WorkerPoolScope<'scope, '_> {
    /// Spawns a job that ends before the scope does. The job may spawn further jobs, because the
    /// scope is `Copy`.
    ///
    /// The job always runs. If the queue is full, the pool was shut down, or no worker takes the
    /// job first, the thread that waits for the scope runs it. The capacity of the queue does not
    /// limit the number of jobs: each job that has not begun takes memory.
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
        // If the queue does not accept the ticket, the waiting thread runs the job.
        let _ = WorkerPoolSubmitter::new(self.pool).try_queue_ticket(ticket);
    }
}

impl fmt::Debug for WorkerPoolScope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerPoolScope").finish_non_exhaustive()
    }
}

/// Implements [`WorkerPool::scope`](crate::worker_pool::WorkerPool::scope).
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
