//! What `execute` does when the queue is full: [`OverflowRule`].

use super::WorkerPoolSubmitter;
use super::enqueue::{BlockingLimit, Enqueued, Envelope};
use crate::error::Reason;
use crate::ring::{PopError, PushError};
use crate::sync::thread::yield_now;
use crate::worker_pool::events::PoolEvent;
use crate::worker_pool::run::{DiscardReason, JobEnd, Run};
use crate::worker_pool::workers::current;

/// What [`execute`](crate::worker_pool::WorkerPool::execute) does when the queue is full.
///
/// No rule loses a job silently. The caller receives an error, or the job runs, or an older job is
/// evicted. An evicted job is counted and reported, and its handle receives an error.
///
/// ```
/// use mainstay::worker_pool::{OverflowRule, WorkerPool};
///
/// let pool = WorkerPool::builder().when_full(OverflowRule::CallerRuns).build()?;
/// pool.execute(|| println!("runs on a worker, or here"))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OverflowRule {
    /// Blocks the calling thread until the queue is not full.
    ///
    /// On a worker of the same pool the job runs inside the call instead, because otherwise all
    /// workers could be blocked. A caller that holds a lock, a borrow or a transaction that the job
    /// also needs then deadlocks or panics, but only when the queue is full. Two pools whose jobs
    /// submit to each other can block each other forever; use [`Reject`](Self::Reject) for one of
    /// them.
    Block,
    /// Returns the job with [`Reason::QueueFull`](crate::error::Reason::QueueFull).
    Reject,
    /// Runs the job on the calling thread, which limits the caller to the throughput of the pool.
    ///
    /// The job runs inside the call, so the caller must not hold a lock that the job also takes. If
    /// the job would be nested deeper than
    /// [`max_inline_depth`](crate::worker_pool::WorkerPoolBuilder::max_inline_depth), it is rejected.
    CallerRuns,
    /// Evicts the job that has waited longest. Its handle receives
    /// [`JobError::QueueFull`](crate::worker_pool::JobError::QueueFull). The job counts as rejected, and an
    /// `evicted` event is reported.
    ///
    /// If a thread that is pushing or taking a job was preempted, the caller yields until that
    /// thread has finished.
    DropOldest,
}

impl WorkerPoolSubmitter<'_> {
    /// Queues the work, and applies the pool's overflow rule if the queue is full.
    #[inline(always)]
    pub(super) fn enqueue_by_rule<R: Run + 'static>(&self, envelope: Envelope<R>) -> Enqueued<R> {
        match self.try_enqueue(envelope) {
            Err((Reason::QueueFull, envelope)) => self.apply_overflow_rule(envelope),
            other => other,
        }
    }

    #[cold]
    fn apply_overflow_rule<R: Run + 'static>(&self, envelope: Envelope<R>) -> Enqueued<R> {
        match self.pool.config.overflow_rule {
            OverflowRule::Reject => Err((Reason::QueueFull, envelope)),
            OverflowRule::Block => self.enqueue_blocking(envelope, BlockingLimit::Unlimited),
            OverflowRule::CallerRuns => {
                let mut envelope = Some(envelope);
                current::on_worker_of(self.pool.id, |context| {
                    self.run_here(envelope.take(), context)
                })
                .unwrap_or_else(|| self.run_here(envelope.take(), &self.pool.outside_context()))
            }
            OverflowRule::DropOldest => self.enqueue_over_oldest(envelope),
        }
    }

    fn enqueue_over_oldest<R: Run + 'static>(&self, mut envelope: Envelope<R>) -> Enqueued<R> {
        loop {
            envelope = match self.push(envelope) {
                Ok(()) => return Ok(()),
                Err(PushError::Closed(envelope)) => return Err((Reason::ShutDown, envelope)),
                Err(PushError::Full(envelope)) => {
                    if self.evict_oldest().is_err() {
                        yield_now();
                    }
                    envelope
                }
                // Not full: a thread was suspended while it takes a job out.
                Err(PushError::Busy(envelope)) => {
                    yield_now();
                    envelope
                }
            };
        }
    }

    fn evict_oldest(&self) -> Result<(), PopError> {
        self.queue().pop(|oldest| {
            let context = self.pool.outside_context();
            let discard = |reason| oldest.discard(reason);
            let end = context.discard(DiscardReason::QueueFull, discard);
            context.recorder.stats().add_end(end);
            if end == JobEnd::Discarded(DiscardReason::QueueFull) {
                self.pool.emit(PoolEvent::Evicted);
            }
        })
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::super::super::{OverflowRule, WorkerPool};
    use std::sync::mpsc;
    use std::thread;

    /// The slot at the end of the queue is still in use by a thread that takes the oldest job out
    /// of it: a push fails, and yet the queue is not full.
    #[test]
    fn no_job_is_evicted_while_a_slot_is_being_freed() {
        let pool = WorkerPool::builder()
            .workers(1)
            .queue_capacity(3)
            .when_full(OverflowRule::DropOldest)
            .build()
            .unwrap();
        let (hold, held) = mpsc::channel::<()>();
        let (begin, begun) = mpsc::channel();
        pool.execute(move || {
            begin.send(()).unwrap();
            let _ = held.recv();
        })
        .unwrap();
        begun.recv().unwrap();
        (0..3).for_each(|_| pool.execute(|| ()).unwrap());
        let finish = pool.shared.queue.jobs.queue(0).ring().stall_pop().unwrap();
        thread::scope(|scope| {
            let submitter = scope.spawn(|| pool.execute(|| ()));
            // Long enough for a wrong eviction.
            (0..10_000).for_each(|_| thread::yield_now());
            drop(finish());
            submitter.join().unwrap().unwrap();
        });
        assert_eq!((pool.snapshot().rejected, pool.snapshot().queued), (0, 3));
        drop(hold);
    }
}
