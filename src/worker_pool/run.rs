//! The trait of work that a worker can run, and wrappers that carry its time limits.

use super::error::JobError;
use super::events::PoolEvent;
use super::panics::{Payload, drop_quietly, quietly};
use super::shared::Shared;
use super::stats::{Recorder, SAMPLE_INTERVAL};
use crate::codel::Verdict;
use crate::time::{Deadline, Instant};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Work that a worker runs, or discards with a reason.
pub(crate) trait Run: Send {
    /// Runs the work. If this panics, the work has ended with that panic.
    fn run(self, context: &RunContext<'_>) -> JobEnd;

    /// Discards the work. Panics if dropping its captures panics; the work is discarded
    /// nevertheless.
    fn discard(self, reason: DiscardReason) -> JobEnd;

    /// Returns the state of the work while it is queued. Must not run user code.
    fn queued_state(&self) -> QueuedState;
}

/// The state of queued work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QueuedState {
    /// The work waits for a worker, and has no handle.
    Detached,
    /// The work waits for a worker; a handle, a scope or a map waits for its end.
    Owned,
    /// The work has ended: it was cancelled, or run by another thread.
    Ended,
}

/// How a job ended, which selects the counter that is incremented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JobEnd {
    Completed,
    Discarded(DiscardReason),
    /// The job's handle cancelled it before a worker took it.
    Cancelled,
    /// The job had already ended, or its end has already been counted.
    Counted,
}

/// Why a job is not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DiscardReason {
    Expired,
    Shed,
    QueueFull,
    ShutDown,
    /// The job was dropped because the clock of the pool panicked.
    Dropped,
}

impl From<DiscardReason> for JobError {
    fn from(reason: DiscardReason) -> Self {
        match reason {
            DiscardReason::Expired => Self::Expired,
            DiscardReason::Shed => Self::Shed,
            DiscardReason::QueueFull => Self::QueueFull,
            DiscardReason::ShutDown => Self::ShutDown,
            DiscardReason::Dropped => Self::Cancelled,
        }
    }
}

/// The pool that a job runs in, and where the job came from.
#[derive(Clone, Copy)]
pub(crate) struct RunContext<'a> {
    pub(crate) pool: &'a Shared,
    pub(crate) recorder: Recorder<'a>,
    /// The index of the priority queue that held the job; `None` if it was not queued.
    pub(crate) queue: Option<usize>,
}

impl RunContext<'_> {
    /// Runs a job and counts its end. Catches a panic of the job.
    #[inline(always)]
    pub(crate) fn run_counted(&self, job: impl FnOnce() -> JobEnd) {
        self.recorder.add_begun();
        match catch_unwind(AssertUnwindSafe(job)) {
            Ok(JobEnd::Completed) => return self.recorder.add_completed(),
            Ok(other) => self.recorder.stats().add_end(other),
            Err(payload) => self.record_escaped_panic(payload),
        }
        self.recorder.add_not_completed();
    }

    /// Counts and reports a panic of a job.
    #[cold]
    pub(crate) fn record_panic(&self, payload: &(dyn Any + Send)) {
        self.recorder.stats().panicked.add(1);
        if let Some(hook) = &self.pool.config.on_panic {
            quietly(|| hook(payload));
        }
        self.pool.emit(PoolEvent::Panicked);
    }

    /// Counts and reports a panic whose payload no handle receives.
    #[cold]
    pub(crate) fn record_escaped_panic(&self, payload: Payload) {
        self.record_panic(&*payload);
        drop_quietly(payload);
    }

    /// Calls `discard`. A panic is counted and reported; the job still ends as discarded.
    pub(crate) fn discard(
        &self,
        reason: DiscardReason,
        discard: impl FnOnce(DiscardReason) -> JobEnd,
    ) -> JobEnd {
        catch_unwind(AssertUnwindSafe(|| discard(reason))).unwrap_or_else(|payload| {
            self.record_escaped_panic(payload);
            JobEnd::Discarded(reason)
        })
    }
}

impl<R: Run> Run for Box<R> {
    fn run(self, context: &RunContext<'_>) -> JobEnd {
        (*self).run(context)
    }

    fn discard(self, reason: DiscardReason) -> JobEnd {
        (*self).discard(reason)
    }

    fn queued_state(&self) -> QueuedState {
        (**self).queued_state()
    }
}

/// A closure without a handle.
pub(crate) struct Closure<F>(pub(crate) F);

impl<F: FnOnce() + Send> Run for Closure<F> {
    #[inline(always)]
    fn run(self, _: &RunContext<'_>) -> JobEnd {
        (self.0)();
        JobEnd::Completed
    }

    fn discard(self, reason: DiscardReason) -> JobEnd {
        JobEnd::Discarded(reason)
    }

    fn queued_state(&self) -> QueuedState {
        QueuedState::Detached
    }
}

/// Work whose queue wait is measured.
pub(crate) struct Stamped<R> {
    pub(crate) work: R,
    pub(crate) queued_at: Instant,
}

impl<R: Run> Run for Stamped<R> {
    fn run(self, context: &RunContext<'_>) -> JobEnd {
        if context.queue.is_some() {
            context.pool.queue_waits.record(context.pool.clock.now() - self.queued_at);
        }
        self.work.run(context)
    }

    fn discard(self, reason: DiscardReason) -> JobEnd {
        self.work.discard(reason)
    }

    fn queued_state(&self) -> QueuedState {
        self.work.queued_state()
    }
}

/// Work that is discarded instead of run once it has waited too long.
pub(crate) struct Timed<R> {
    pub(crate) work: R,
    pub(crate) queued_at: Instant,
    pub(crate) deadline: Deadline,
}

impl<R: Run> Run for Timed<R> {
    fn run(self, context: &RunContext<'_>) -> JobEnd {
        let now = context.pool.clock.now();
        if self.deadline.has_passed(now) {
            return context.discard(DiscardReason::Expired, |reason| self.work.discard(reason));
        }
        if let Some(queue) = context.queue {
            let waited = now - self.queued_at;
            if context.recorder.begun().is_multiple_of(SAMPLE_INTERVAL) {
                context.pool.queue_waits.record(waited);
            }
            if context.pool.codel_verdict(queue, now, waited) == Verdict::Shed {
                return context.discard(DiscardReason::Shed, |reason| self.work.discard(reason));
            }
        }
        self.work.run(context)
    }

    fn discard(self, reason: DiscardReason) -> JobEnd {
        self.work.discard(reason)
    }

    fn queued_state(&self) -> QueuedState {
        self.work.queued_state()
    }
}
