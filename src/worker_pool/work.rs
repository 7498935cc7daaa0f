//! What a job is made of: work, and wrappers that carry what is known about it.

use super::codel::Verdict;
use super::tally::Tally;
use super::{JobError, Shared};
use crate::time::{Deadline, Instant};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Something to run or, with a reason, not to run.
pub(super) trait Work: Send {
    /// May panic: then the work has ended with that.
    fn run(self, desk: &Desk<'_>) -> Fate;

    /// May panic, when what the work captured does on being dropped; then it is discarded all the same.
    fn discard(self, why: Discard) -> Fate;
}

/// What became of a job, as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Completed,
    Discarded(Discard),
    /// By its handle, before.
    Cancelled,
    /// There was nothing left to do, or what became of it is counted already.
    Settled,
}

/// Discards something; a panic of it is told, but changes nothing about the fate.
pub(super) fn discard_at(
    desk: &Desk<'_>,
    why: Discard,
    discard: impl FnOnce(Discard) -> Fate,
) -> Fate {
    catch_unwind(AssertUnwindSafe(|| discard(why))).unwrap_or_else(|payload| {
        desk.pool.escaped(desk, payload);
        Fate::Discarded(why)
    })
}

/// Why a job is not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Discard {
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
pub(super) struct Desk<'a> {
    pub(super) pool: &'a Shared,
    pub(super) tally: &'a Tally,
    /// The lane that the job was taken from; `None` for one that never was in a queue.
    pub(super) lane: Option<usize>,
}

impl<W: Work> Work for Box<W> {
    fn run(self, desk: &Desk<'_>) -> Fate {
        (*self).run(desk)
    }

    fn discard(self, why: Discard) -> Fate {
        (*self).discard(why)
    }
}

/// A closure that nobody waits for.
pub(super) struct Plain<F>(pub(super) F);

impl<F: FnOnce() + Send> Work for Plain<F> {
    #[inline(always)]
    fn run(self, _: &Desk<'_>) -> Fate {
        (self.0)();
        Fate::Completed
    }

    fn discard(self, why: Discard) -> Fate {
        Fate::Discarded(why)
    }
}

/// Work whose wait in the queue is measured.
pub(super) struct Stamped<W> {
    pub(super) work: W,
    pub(super) entered: Instant,
}

impl<W: Work> Work for Stamped<W> {
    fn run(self, desk: &Desk<'_>) -> Fate {
        if desk.lane.is_some() {
            desk.pool.queue_wait.record(desk.pool.clock.now() - self.entered);
        }
        self.work.run(desk)
    }

    fn discard(self, why: Discard) -> Fate {
        self.work.discard(why)
    }
}

/// Work that is not worth running once it has waited too long.
pub(super) struct Timed<W> {
    pub(super) work: W,
    pub(super) entered: Instant,
    pub(super) deadline: Deadline,
}

impl<W: Work> Work for Timed<W> {
    fn run(self, desk: &Desk<'_>) -> Fate {
        let now = desk.pool.clock.now();
        if self.deadline.has_passed(now) {
            return discard_at(desk, Discard::Expired, |why| self.work.discard(why));
        }
        if let Some(lane) = desk.lane {
            let waited = now - self.entered;
            // One in so many, like the jobs that carry nothing but a stamp.
            if desk.tally.is_sample() {
                desk.pool.queue_wait.record(waited);
            }
            if desk.pool.verdict(lane, now, waited) == Verdict::Shed {
                return discard_at(desk, Discard::Shed, |why| self.work.discard(why));
            }
        }
        self.work.run(desk)
    }

    fn discard(self, why: Discard) -> Fate {
        self.work.discard(why)
    }
}
