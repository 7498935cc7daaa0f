//! What a job is made of: work, and wrappers that carry what is known about it.

use super::stats::WorkerStats;
use super::{JobError, Shared};
use crate::time::{Deadline, Instant};
use crate::worker_pool::queue::codel::Verdict;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Something to run or, with a reason, not to run.
pub(crate) trait Run: Send {
    /// May panic: then the work has ended with that.
    fn run(self, context: &RunContext<'_>) -> JobEnd;

    /// May panic, when what the work captured does on being dropped; then it is discarded all the same.
    fn discard(self, why: Discard) -> JobEnd;
}

/// What became of a job, as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JobEnd {
    Completed,
    Discarded(Discard),
    /// By its handle, before.
    Cancelled,
    /// There was nothing left to do, or what became of it is counted already.
    Settled,
}

/// Discards something; a panic of it is told, but changes nothing about the fate.
pub(crate) fn discard_at(
    context: &RunContext<'_>,
    why: Discard,
    discard: impl FnOnce(Discard) -> JobEnd,
) -> JobEnd {
    catch_unwind(AssertUnwindSafe(|| discard(why))).unwrap_or_else(|payload| {
        context.pool.escaped(context, payload);
        JobEnd::Discarded(why)
    })
}

/// Why a job is not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Discard {
    Expired,
    Shed,
    QueueFull,
    ShutDown,
}

impl From<Discard> for JobError {
    fn from(why: Discard) -> Self {
        match why {
            Discard::Expired => Self::Expired,
            Discard::Shed => Self::Shed,
            Discard::QueueFull => Self::QueueFull,
            Discard::ShutDown => Self::Shutdown,
        }
    }
}

/// Who runs a job.
#[derive(Clone, Copy)]
pub(crate) struct RunContext<'a> {
    pub(crate) pool: &'a Shared,
    pub(crate) stats: &'a WorkerStats,
    /// The lane that the job was taken from; `None` for one that never was in a queue.
    pub(crate) lane: Option<usize>,
}

impl<W: Run> Run for Box<W> {
    fn run(self, context: &RunContext<'_>) -> JobEnd {
        (*self).run(context)
    }

    fn discard(self, why: Discard) -> JobEnd {
        (*self).discard(why)
    }
}

/// A closure that nobody waits for.
pub(crate) struct Closure<F>(pub(super) F);

impl<F: FnOnce() + Send> Run for Closure<F> {
    #[inline(always)]
    fn run(self, _: &RunContext<'_>) -> JobEnd {
        (self.0)();
        JobEnd::Completed
    }

    fn discard(self, why: Discard) -> JobEnd {
        JobEnd::Discarded(why)
    }
}

/// Work whose wait in the queue is measured.
pub(crate) struct Stamped<W> {
    pub(crate) work: W,
    pub(crate) entered: Instant,
}

impl<W: Run> Run for Stamped<W> {
    fn run(self, context: &RunContext<'_>) -> JobEnd {
        if context.lane.is_some() {
            context.pool.queue_wait.record(context.pool.clock.now() - self.entered);
        }
        self.work.run(context)
    }

    fn discard(self, why: Discard) -> JobEnd {
        self.work.discard(why)
    }
}

/// Work that is not worth running once it has waited too long.
pub(crate) struct Timed<W> {
    pub(crate) work: W,
    pub(crate) entered: Instant,
    pub(crate) deadline: Deadline,
}

impl<W: Run> Run for Timed<W> {
    fn run(self, context: &RunContext<'_>) -> JobEnd {
        let now = context.pool.clock.now();
        if self.deadline.has_passed(now) {
            return discard_at(context, Discard::Expired, |why| self.work.discard(why));
        }
        if let Some(lane) = context.lane {
            let waited = now - self.entered;
            // One in so many, like the jobs that carry nothing but a stamp.
            if context.stats.is_sample() {
                context.pool.queue_wait.record(waited);
            }
            if context.pool.verdict(lane, now, waited) == Verdict::Shed {
                return discard_at(context, Discard::Shed, |why| self.work.discard(why));
            }
        }
        self.work.run(context)
    }

    fn discard(self, why: Discard) -> JobEnd {
        self.work.discard(why)
    }
}
