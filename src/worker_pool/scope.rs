//! Jobs that borrow from whoever waits for them.

use super::errands::Errands;
use super::job::{Loan, lend};
use super::submit::Submitter;
use super::work::{Desk, Discard, Fate, Work};
use super::{Shared, here};
use crate::sync::PlainArc;
use std::fmt;

/// Spawns jobs that borrow from outside of [`WorkerPool::scope`](super::WorkerPool::scope).
#[derive(Clone, Copy)]
pub struct Scope<'scope, 'env: 'scope> {
    loan: &'scope Loan<'scope, 'env>,
    pool: &'scope PlainArc<Shared>,
}

impl<'scope> Scope<'scope, '_> {
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
        let ticket = Ticket(PlainArc::clone(self.loan.errands()));
        // Refused, it is not missed: see `Errands`.
        let _ = Submitter::new(self.pool).try_enter_ticket(ticket);
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").finish_non_exhaustive()
    }
}

/// The right to run one of the errands.
struct Ticket(PlainArc<Errands>);

impl Work for Ticket {
    fn run(self, desk: &Desk<'_>) -> Fate {
        self.0.redeem(desk)
    }

    fn discard(self, _: Discard) -> Fate {
        Fate::Settled
    }
}

/// See [`WorkerPool::scope`](super::WorkerPool::scope).
pub(super) fn scope<'env, R>(
    pool: &'env PlainArc<Shared>,
    body: impl for<'scope> FnOnce(Scope<'scope, 'env>) -> R,
) -> R {
    let errands = PlainArc::new(Errands::default());
    let work =
        |desk: &Desk<'_>| lend(PlainArc::clone(&errands), desk, |loan| body(Scope { loan, pool }));
    let mut work = Some(work);
    let mut run = |desk: &Desk<'_>| work.take().map(|work| work(desk));
    let result = here::on_worker_of(here::PoolId::of(pool), &mut run)
        .unwrap_or_else(|| run(&pool.outside_desk()));
    let Some(result) = result else { unreachable!("run once, at one of the two") };
    if let Some(panic) = errands.take_panic() {
        std::panic::resume_unwind(panic);
    }
    result
}
