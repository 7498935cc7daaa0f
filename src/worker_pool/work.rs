//! What a job is made of: work, and wrappers that carry what is known about it.

use super::codel::Verdict;
use super::tally::Tally;
use super::{JobError, Shared};
use crate::time::{Deadline, Instant};

/// Something to run or, with a reason, not to run.
pub(super) trait Work: Send {
    /// May panic: then the work has ended with that.
    fn run(self, desk: &Desk<'_>);

    fn discard(self, why: Discard);
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
    fn run(self, desk: &Desk<'_>) {
        (*self).run(desk);
    }

    fn discard(self, why: Discard) {
        (*self).discard(why);
    }
}

/// A closure that nobody waits for.
pub(super) struct Plain<F>(pub(super) F);

impl<F: FnOnce() + Send> Work for Plain<F> {
    #[inline(always)]
    fn run(self, _: &Desk<'_>) {
        (self.0)();
    }

    fn discard(self, _: Discard) {}
}

/// Work whose wait in the queue is measured.
pub(super) struct Stamped<W> {
    pub(super) work: W,
    pub(super) entered: Instant,
}

impl<W: Work> Work for Stamped<W> {
    fn run(self, desk: &Desk<'_>) {
        if desk.lane.is_some() {
            desk.pool.queue_wait.record(desk.pool.clock.now() - self.entered);
        }
        self.work.run(desk);
    }

    fn discard(self, why: Discard) {
        self.work.discard(why);
    }
}

/// Work that is not worth running once it has waited too long.
pub(super) struct Timed<W> {
    pub(super) work: W,
    pub(super) entered: Instant,
    pub(super) deadline: Deadline,
}

impl<W: Work> Work for Timed<W> {
    fn run(self, desk: &Desk<'_>) {
        let now = desk.pool.clock.now();
        if self.deadline.has_passed(now) {
            desk.tally.expired.add(1);
            return self.work.discard(Discard::Expired);
        }
        if let Some(lane) = desk.lane {
            let waited = now - self.entered;
            // One in so many, like the jobs that carry nothing but a stamp.
            if desk.tally.is_sample() {
                desk.pool.queue_wait.record(waited);
            }
            if desk.pool.verdict(lane, now, waited) == Verdict::Shed {
                desk.tally.shed.add(1);
                return self.work.discard(Discard::Shed);
            }
        }
        self.work.run(desk);
    }

    fn discard(self, why: Discard) {
        self.work.discard(why);
    }
}
