//! Jobs that borrow from whoever waits for them.

use crate::sync::PlainArc;
use crate::worker_pool::inline::InlineJobs;
use crate::worker_pool::job::{Loan, lend};
use crate::worker_pool::run::{Discard, JobEnd, Run, RunContext};
use crate::worker_pool::submit::Submitter;
use crate::worker_pool::{Shared, workers::current};
use std::fmt;

/// Spawns jobs that borrow from outside of [`WorkerPool::scope`](crate::worker_pool::WorkerPool::scope).
#[derive(Clone, Copy)]
pub struct WorkerPoolScope<'scope, 'env: 'scope> {
    loan: &'scope Loan<'scope, 'env>,
    pool: &'scope PlainArc<Shared>,
}

impl<'scope> WorkerPoolScope<'scope, '_> {
    /// Spawns a job that ends before the scope does. It can spawn more: the scope can be copied into it.
    ///
    /// The job is run under all circumstances: if the pool has no room or is shut down, or no worker gets
    /// to it in time, by the thread that waits for the scope. So the pool's limits do not bind here; what
    /// has been spawned and not begun takes up memory.
    ///
    /// Each job asks for a place in the queue, by which a worker may come to it. Places of jobs that others
    /// were quicker to begin stay taken until their turn comes, even when the scope has ended: a scope of
    /// many small jobs can fill the queue for a moment.
    pub fn spawn(&self, job: impl FnOnce() + Send + 'scope) {
        self.loan.add(job);
        let ticket = Ticket(PlainArc::clone(self.loan.inline_jobs()));
        // SubmitError, it is not missed: see `InlineJobs`.
        let _ = Submitter::new(self.pool).try_enter_ticket(ticket);
    }
}

impl fmt::Debug for WorkerPoolScope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerPoolScope").finish_non_exhaustive()
    }
}

/// The right to run one of the inline_jobs.
struct Ticket(PlainArc<InlineJobs>);

impl Run for Ticket {
    fn run(self, context: &RunContext<'_>) -> JobEnd {
        self.0.redeem(context)
    }

    fn discard(self, _: Discard) -> JobEnd {
        JobEnd::Settled
    }
}

/// See [`WorkerPool::scope`](crate::worker_pool::WorkerPool::scope).
pub(crate) fn scope<'env, R>(
    pool: &'env PlainArc<Shared>,
    body: impl for<'scope> FnOnce(WorkerPoolScope<'scope, 'env>) -> R,
) -> R {
    let inline_jobs = PlainArc::new(InlineJobs::default());
    let work = |context: &RunContext<'_>| {
        lend(PlainArc::clone(&inline_jobs), context, |loan| body(WorkerPoolScope { loan, pool }))
    };
    let mut work = Some(work);
    let mut run = |context: &RunContext<'_>| work.take().map(|work| work(context));
    let result = current::on_worker_of(current::PoolId::of(pool), &mut run)
        .unwrap_or_else(|| run(&pool.outside_desk()));
    let Some(result) = result else { unreachable!("run once, at one of the two") };
    if let Some(panic) = inline_jobs.take_panic() {
        std::panic::resume_unwind(panic);
    }
    result
}
