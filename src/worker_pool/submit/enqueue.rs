//! Submission of a job: it is queued, or runs in the call that submits it.

use super::{StartLimit, WorkerPoolSubmitter};
use crate::error::{Reason, Rejection};
use crate::random::one_in;
use crate::ring::PushError;
use crate::sync::SpinWait;
use crate::sync::hint::spin_loop;
use crate::time::{Deadline, Instant};
use crate::wait::Attempt;
use crate::worker_pool::error::SubmitError;
use crate::worker_pool::handle::TrackedJob;
use crate::worker_pool::job::{Job, fits};
use crate::worker_pool::queue::priority_queue::BoundedQueue;
use crate::worker_pool::run::{
    DiscardReason, JobEnd, QueuedState, Run, RunContext, Stamped, Timed,
};
use crate::worker_pool::shared::{remove_ended_jobs, wake_after_push};
use crate::worker_pool::stats::SAMPLE_INTERVAL;
use crate::worker_pool::workers::current;
use std::time::Duration;

/// Work, with the data that the pool needs while it is queued.
pub(super) enum Envelope<R> {
    Bare(R),
    Stamped(Stamped<R>),
    Timed(Timed<R>),
    /// Work that is too large for a slot. The first attempt to push it allocates the box; later
    /// attempts use the same box.
    Boxed(Box<Self>),
}

impl<R: Run> Envelope<R> {
    pub(super) fn into_work(self) -> R {
        match self {
            Self::Bare(work) => work,
            Self::Stamped(Stamped { work, .. }) | Self::Timed(Timed { work, .. }) => work,
            Self::Boxed(envelope) => envelope.into_work(),
        }
    }

    /// Starts measuring the queue wait, which excludes the time before the job is queued.
    fn stamp(&mut self, now: impl FnOnce() -> Instant) {
        match self {
            Self::Bare(_) => {}
            Self::Stamped(Stamped { queued_at, .. }) | Self::Timed(Timed { queued_at, .. }) => {
                *queued_at = now();
            }
            Self::Boxed(envelope) => envelope.stamp(now),
        }
    }
}

/// A boxed envelope is queued as a whole. Any envelope can run in the call that submits it.
impl<R: Run> Run for Envelope<R> {
    fn run(self, context: &RunContext<'_>) -> JobEnd {
        match self {
            Self::Bare(work) => work.run(context),
            Self::Stamped(work) => work.run(context),
            Self::Timed(work) => work.run(context),
            Self::Boxed(envelope) => envelope.run(context),
        }
    }

    fn discard(self, reason: DiscardReason) -> JobEnd {
        self.into_work().discard(reason)
    }

    fn queued_state(&self) -> QueuedState {
        match self {
            Self::Bare(work) => work.queued_state(),
            Self::Stamped(work) => work.queued_state(),
            Self::Timed(work) => work.queued_state(),
            Self::Boxed(envelope) => envelope.queued_state(),
        }
    }
}

/// Pushes `work`, in a box if it does not fit into a slot. The box is allocated before a slot is
/// claimed, because other threads wait for a claimed slot.
#[inline(always)]
fn push<R: Run + 'static, W: Run + 'static>(
    queue: &BoundedQueue<Job>,
    work: W,
    envelope: impl FnOnce(W) -> Envelope<R>,
) -> Result<bool, PushError<Envelope<R>>> {
    if const { fits::<W>() } {
        queue.ring().push_with(work, Job::new).map_err(|error| map_error(error, envelope))
    } else {
        push_boxed(queue, Box::new(envelope(work)))
    }
}

#[cold]
fn push_boxed<R: Run + 'static>(
    queue: &BoundedQueue<Job>,
    envelope: Box<Envelope<R>>,
) -> Result<bool, PushError<Envelope<R>>> {
    queue.ring().push_with(envelope, Job::new).map_err(|error| map_error(error, Envelope::Boxed))
}

fn map_error<A, B>(error: PushError<A>, map: impl FnOnce(A) -> B) -> PushError<B> {
    match error {
        PushError::Full(work) => PushError::Full(map(work)),
        PushError::Busy(work) => PushError::Busy(map(work)),
        PushError::Closed(work) => PushError::Closed(map(work)),
    }
}

/// How long a blocking submission waits while the queue is full.
#[derive(Clone, Copy, Debug)]
pub(super) enum BlockingLimit {
    /// Not at all.
    NoWait,
    Timeout(Duration),
    Unlimited,
}

/// How an attempt of a waiting submission ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Entered {
    Queued,
    Closed,
}

/// The result of submitting an `R`, which an error returns to the caller.
pub(super) type Enqueued<R> = Result<(), (Reason, Envelope<R>)>;

/// The number of retries of a submission that does not wait, while another thread uses the slot. A
/// thread that has not finished by then was preempted.
const BUSY_RETRIES: u32 = 64;

impl<'a> WorkerPoolSubmitter<'a> {
    #[inline(always)]
    pub(super) fn envelope<R: Run>(&self, work: R) -> Envelope<R> {
        self.envelope_with(self.limits(), work)
    }

    #[inline(always)]
    pub(super) fn envelope_with<R: Run>(
        &self,
        limits: Option<(Instant, Deadline)>,
        work: R,
    ) -> Envelope<R> {
        if let Some((queued_at, deadline)) = limits {
            return Envelope::Timed(Timed { work, queued_at, deadline });
        }
        // A stamp must not cause boxing. Samples are chosen at random: with a counter per thread, a
        // thread that submits to two pools in turn could sample only one of them.
        if const { fits::<Stamped<R>>() || !fits::<R>() } && one_in(SAMPLE_INTERVAL) {
            return Envelope::Stamped(Stamped { work, queued_at: self.pool.clock.now() });
        }
        Envelope::Bare(work)
    }

    /// Returns the current time and the job's deadline, if its wait in the queue is limited.
    #[inline(always)]
    pub(super) fn limits(&self) -> Option<(Instant, Deadline)> {
        let limited = self.pool.codel.is_some() || !matches!(self.start_limit, StartLimit::None);
        limited.then(|| self.deadline())
    }

    fn deadline(&self) -> (Instant, Deadline) {
        let now = self.pool.clock.now();
        let deadline = match self.start_limit {
            StartLimit::None => Deadline::NEVER,
            StartLimit::Timeout(timeout) => Deadline::after(now, timeout),
            StartLimit::Deadline(deadline) => deadline,
        };
        (now, deadline)
    }

    #[inline(always)]
    pub(super) fn queue(&self) -> &'a BoundedQueue<Job> {
        self.pool.queue.jobs.queue(self.priority as usize)
    }

    /// Makes one attempt to push. If the queue is full and holds jobs that have ended, removes them
    /// and tries again.
    #[inline(always)]
    pub(super) fn push<R: Run + 'static>(
        &self,
        envelope: Envelope<R>,
    ) -> Result<(), PushError<Envelope<R>>> {
        match self.push_once(envelope) {
            Err(PushError::Full(envelope)) => self.push_after_removing_ended(envelope),
            other => other,
        }
    }

    #[inline(always)]
    fn push_once<R: Run + 'static>(
        &self,
        envelope: Envelope<R>,
    ) -> Result<(), PushError<Envelope<R>>> {
        let queue = self.queue();
        let pushed = match envelope {
            Envelope::Bare(work) => push(queue, work, Envelope::Bare),
            Envelope::Stamped(work) => push(queue, work, Envelope::Stamped),
            Envelope::Timed(work) => push(queue, work, Envelope::Timed),
            Envelope::Boxed(envelope) => push_boxed(queue, envelope),
        };
        if pushed? {
            wake_after_push(self.pool);
        }
        Ok(())
    }

    #[cold]
    fn push_after_removing_ended<R: Run + 'static>(
        &self,
        mut envelope: Envelope<R>,
    ) -> Result<(), PushError<Envelope<R>>> {
        let mut spin = SpinWait::new();
        while remove_ended_jobs(self.pool, self.priority as usize) {
            envelope = match self.push_once(envelope) {
                Err(PushError::Full(envelope)) if spin.spin() => envelope,
                other => return other,
            };
        }
        Err(PushError::Full(envelope))
    }

    /// Queues the work if the queue is not full.
    #[inline(always)]
    pub(super) fn try_enqueue<R: Run + 'static>(&self, envelope: Envelope<R>) -> Enqueued<R> {
        match self.push(envelope) {
            Ok(()) => Ok(()),
            Err(error) => self.retry_while_busy(error),
        }
    }

    #[cold]
    fn retry_while_busy<R: Run + 'static>(&self, mut error: PushError<Envelope<R>>) -> Enqueued<R> {
        for retry in 0..=BUSY_RETRIES {
            let PushError::Busy(envelope) = error else { break };
            match retry {
                BUSY_RETRIES => self.pool.queue.jobs.wait_for_compaction(),
                _ => spin_loop(),
            }
            error = match self.push(envelope) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
        }
        Err(match error {
            PushError::Closed(envelope) => (Reason::ShutDown, envelope),
            PushError::Full(envelope) | PushError::Busy(envelope) => (Reason::QueueFull, envelope),
        })
    }

    /// Queues the work, blocking the thread while the queue is full. A worker of this pool runs the
    /// work instead of waiting, because otherwise all workers could be blocked.
    #[inline(always)]
    pub(super) fn enqueue_blocking<R: Run + 'static>(
        &self,
        envelope: Envelope<R>,
        limit: BlockingLimit,
    ) -> Enqueued<R> {
        match self.try_enqueue(envelope) {
            Err((Reason::QueueFull, envelope)) => self.block_or_run(envelope, limit),
            other => other,
        }
    }

    #[cold]
    pub(super) fn block_or_run<R: Run + 'static>(
        &self,
        envelope: Envelope<R>,
        limit: BlockingLimit,
    ) -> Enqueued<R> {
        let mut envelope = Some(envelope);
        let ran =
            current::on_worker_of(self.pool.id, |context| self.run_here(envelope.take(), context));
        if let Some(result) = ran {
            return result;
        }
        let wait = self.queue().wait_until_not_full();
        let entered = match limit {
            BlockingLimit::NoWait => None,
            BlockingLimit::Timeout(timeout) => {
                wait.block_timeout(timeout, || self.attempt(&mut envelope))
            }
            // The attempt before this call found the queue full.
            BlockingLimit::Unlimited => {
                Some(wait.block_after(Attempt::NotReady, || self.attempt(&mut envelope)))
            }
        };
        match (entered, envelope) {
            (Some(Entered::Closed), Some(envelope)) => Err((Reason::ShutDown, envelope)),
            (None, Some(envelope)) => Err((Reason::QueueTimeout, envelope)),
            _ => Ok(()),
        }
    }

    /// Makes one attempt of a submission that waits. Takes the envelope only if the attempt
    /// succeeds.
    pub(super) fn attempt<R: Run + 'static>(
        &self,
        slot: &mut Option<Envelope<R>>,
    ) -> Attempt<Entered> {
        let Some(mut envelope) = slot.take() else {
            unreachable!("a submission ends when its envelope is taken")
        };
        envelope.stamp(|| self.pool.clock.now());
        let (attempt, envelope) = match self.push(envelope) {
            Ok(()) => return Attempt::Done(Entered::Queued),
            Err(PushError::Closed(envelope)) => (Attempt::Done(Entered::Closed), envelope),
            Err(PushError::Full(envelope)) => (Attempt::NotReady, envelope),
            Err(PushError::Busy(envelope)) => (Attempt::Busy, envelope),
        };
        *slot = Some(envelope);
        attempt
    }

    /// Runs the work in the call that submits it, unless such calls are nested too deep.
    pub(super) fn run_here<R: Run>(
        &self,
        envelope: Option<Envelope<R>>,
        context: &RunContext<'_>,
    ) -> Enqueued<R> {
        let Some(envelope) = envelope else { unreachable!("every caller passes one") };
        if current::depth() >= self.pool.config.max_inline_depth {
            return Err((Reason::QueueFull, envelope));
        }
        current::deeper(|| context.run_counted(|| envelope.run(context)));
        Ok(())
    }

    /// Counts a job that was not accepted, and creates the error that returns it.
    #[cold]
    pub(super) fn submit_error<F>(&self, reason: Reason, job: F) -> SubmitError<F> {
        self.pool.outside.rejected.add(1);
        SubmitError::new(job, Rejection::new(reason, self.pool.name))
    }

    #[cold]
    pub(super) fn spawn_error<F, T>(
        &self,
        reason: Reason,
        envelope: Envelope<TrackedJob<F, T>>,
    ) -> SubmitError<F>
    where
        F: FnOnce() -> T + Send,
        T: Send,
    {
        self.submit_error(reason, envelope.into_work().into_body())
    }

    /// Counts a job that was not accepted, and ends its handle.
    #[cold]
    pub(super) fn fail<R: Run>(&self, reason: Reason, envelope: Envelope<R>) {
        let reason = match reason {
            Reason::ShutDown => DiscardReason::ShutDown,
            _ => DiscardReason::QueueFull,
        };
        self.pool.outside.rejected.add(1);
        envelope.into_work().discard(reason);
    }
}
