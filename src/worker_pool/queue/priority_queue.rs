//! Bounded queues, one for each priority, and the order in which workers take from them.

use super::wake_batch::WakeBatch;
use crate::error::ConfigError;
use crate::ring::{PopError, Ring};
use crate::sync::atomic::Ordering::{Acquire, Release};
use crate::sync::{PlainAtomicBool, PlainMutex, SpinWait, thread};
use crate::wait::{Condition, Wait, WaitQueue};
use crate::worker_pool::panics::quietly;
use crate::worker_pool::workers::pool_id::PoolId;

/// One bounded queue for all jobs, or one for each priority, the most urgent first.
pub(crate) struct PriorityQueue<J> {
    queues: Box<[BoundedQueue<J>]>,
    compacting: PlainMutex<()>,
}

/// The result of [`PriorityQueue::compact`].
pub(crate) struct Compaction<J> {
    pub(crate) removed: Vec<J>,
    /// Whether the caller must ensure that a worker searches the queue, as after a push.
    pub(crate) has_waiting_workers: bool,
    /// Whether the caller must notify submitters of the queue.
    pub(crate) has_waiting_submitters: bool,
}

/// A ring, and the submitters that wait until it is not full.
pub(crate) struct BoundedQueue<J> {
    ring: Ring<J>,
    submitters: WaitQueue,
    wake_batch: WakeBatch,
    /// Whether the queue may hold jobs that have ended.
    may_hold_ended: PlainAtomicBool,
}

/// The [`Condition`] of a waiting submitter: the ring is not full.
pub(crate) struct NotFull<'a, J>(&'a Ring<J>);

impl<J> Condition for NotFull<'_, J> {
    fn set_waiting(&self) -> bool {
        self.0.flag_waiting_producers()
    }

    fn clear_waiting(&self) {
        self.0.clear_waiting_producers();
    }

    /// A submitter that spins until one slot is free takes a core from the workers, and spins again
    /// after one job.
    fn spin_wait(&self) -> SpinWait {
        SpinWait::none()
    }
}

impl<J> BoundedQueue<J> {
    pub(crate) fn ring(&self) -> &Ring<J> {
        &self.ring
    }

    pub(crate) fn wait_until_not_full(&self) -> Wait<'_, NotFull<'_, J>> {
        Wait::new(&self.submitters, NotFull(&self.ring))
    }

    /// Takes the oldest job and calls `act` with it.
    #[inline(always)]
    pub(crate) fn pop<R>(&self, act: impl FnOnce(J) -> R) -> Result<R, PopError> {
        self.ring.pop_with(|job, awaited_slot| {
            if let Some(number) = awaited_slot {
                self.slot_freed(number);
            }
            act(job)
        })
    }

    /// Wakes waiting submitters if enough slots have been freed for them.
    #[cold]
    fn slot_freed(&self, number: u64) {
        match self.wake_batch.slot_freed(number, thread::uptime_nanos) {
            0 => {}
            count => self.notify(count),
        }
    }

    /// Wakes up to `count` waiting submitters. Wakers are user code: a panic of one must not reach
    /// the thread that took a job.
    #[cold]
    pub(crate) fn notify(&self, count: usize) {
        quietly(|| self.submitters.notify(count, &NotFull(&self.ring)));
    }
}

/// Returns the order in which a worker tries the queues. `turn` counts the jobs that it has taken.
///
/// Urgent jobs come first. Of 16 turns three begin with the middle queue and one with the last, so
/// that each gets at least that share and no job starves.
fn order(turn: u32) -> [usize; 3] {
    match turn % 16 {
        15 => [2, 1, 0],
        3 | 7 | 11 => [1, 0, 2],
        _ => [0, 1, 2],
    }
}

impl<J> PriorityQueue<J> {
    /// Creates `count` queues, 1 or 3.
    ///
    /// # Errors
    ///
    /// Returns an error that names `queue_capacity` if the memory cannot be allocated.
    pub(crate) fn try_new(count: usize, capacity: usize) -> Result<Self, ConfigError> {
        let queue = |_| {
            let ring = Ring::try_new(capacity)
                .map_err(|error| ConfigError::new("queue_capacity", capacity, error.accepted()))?;
            let may_hold_ended = PlainAtomicBool::new(false);
            let wake_batch = WakeBatch::new(capacity);
            Ok(BoundedQueue { ring, submitters: WaitQueue::new(), wake_batch, may_hold_ended })
        };
        let queues = (0..count).map(queue).collect::<Result<_, _>>()?;
        Ok(Self { queues, compacting: PlainMutex::new(()) })
    }

    /// Removes the jobs that `keep` rejects from a full queue, if jobs of the pool have ended since
    /// the last call. Returns `None` if no job has ended, so that the queue is full of jobs to
    /// keep. `keep` must not panic.
    pub(crate) fn compact(
        &self,
        index: usize,
        pool: PoolId,
        keep: impl FnMut(&J) -> bool,
    ) -> Option<Compaction<J>> {
        let queue = self.queue(index);
        let nothing = Compaction {
            removed: Vec::new(),
            has_waiting_workers: false,
            has_waiting_submitters: false,
        };
        let may_hold_ended = || {
            if pool.take_ended_jobs() {
                self.queues.iter().for_each(|queue| queue.may_hold_ended.store(true, Release));
            }
            queue.may_hold_ended.load(Acquire)
        };
        if !pool.has_ended_jobs() && !queue.may_hold_ended.load(Acquire) {
            // Another thread has cleared the record and may still be removing jobs.
            return self.compacting.is_locked().then(|| {
                self.wait_for_compaction();
                nothing
            });
        }
        let _compacting = self.compacting.lock();
        if !may_hold_ended() {
            return Some(nothing);
        }
        queue.may_hold_ended.store(false, Release);
        let Some(compacted) = queue.ring.compact(keep) else {
            // The queue is no longer full, or another thread is using a slot.
            queue.may_hold_ended.store(true, Release);
            return Some(nothing);
        };
        Some(Compaction {
            removed: compacted.removed,
            has_waiting_workers: compacted.has_waiting_consumers,
            has_waiting_submitters: compacted.has_waiting_producers,
        })
    }

    /// Waits until no thread is in [`compact`](Self::compact).
    pub(crate) fn wait_for_compaction(&self) {
        drop(self.compacting.lock());
    }

    /// Returns the queue of a priority, where 0 is the most urgent. Without priorities, all jobs
    /// share one queue.
    #[inline(always)]
    pub(crate) fn queue(&self, index: usize) -> &BoundedQueue<J> {
        match &*self.queues {
            [only] => only,
            queues => &queues[index],
        }
    }

    /// Takes the next job and calls `act` with it and the index of its queue. `turn` counts the
    /// jobs that the caller has taken.
    #[inline(always)]
    pub(crate) fn pop<R>(&self, turn: u32, act: impl FnOnce(J, usize) -> R) -> Result<R, PopError> {
        match &*self.queues {
            [only] => only.pop(|job| act(job, 0)),
            queues => Self::pop_in_order(queues, turn, act),
        }
    }

    fn pop_in_order<R>(
        queues: &[BoundedQueue<J>],
        turn: u32,
        act: impl FnOnce(J, usize) -> R,
    ) -> Result<R, PopError> {
        // The failure is `Closed` if all queues are closed, `Busy` if one is busy, and otherwise
        // `Empty`.
        let mut failure = PopError::Closed;
        for index in order(turn) {
            match (queues[index].pop(|job| job), failure) {
                (Ok(job), _) => return Ok(act(job, index)),
                (Err(PopError::Busy), _) => failure = PopError::Busy,
                (Err(PopError::Empty), PopError::Closed) => failure = PopError::Empty,
                (Err(_), _) => {}
            }
        }
        Err(failure)
    }

    /// Sets the flag of every queue, each in one atomic step with the check that the queue is empty
    /// and open. Returns `false`, with all flags cleared, if a queue is not empty or is closed.
    pub(crate) fn set_flags(&self) -> bool {
        let all_set = self.queues.iter().all(|queue| queue.ring.flag_waiting_consumers());
        if !all_set {
            self.clear_flags();
        }
        all_set
    }

    pub(crate) fn clear_flags(&self) {
        for queue in &self.queues {
            queue.ring.clear_waiting_consumers();
        }
    }

    /// Closes all queues to pushes and wakes the waiting submitters. Queued jobs remain. Returns
    /// `true` if this call closed a queue.
    pub(crate) fn close(&self) -> bool {
        // Every caller closes all queues before it returns, so that a second caller finds them
        // closed.
        let closed =
            self.queues.iter().map(|queue| queue.ring.close()).fold(false, std::ops::BitOr::bitor);
        for queue in &self.queues {
            queue.notify(usize::MAX);
        }
        closed
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.queues[0].ring.is_closed()
    }

    /// Returns whether each queue was empty at some instant during the call.
    pub(crate) fn is_empty(&self) -> bool {
        self.queues.iter().all(|queue| queue.ring.is_empty())
    }

    pub(crate) fn len(&self) -> usize {
        self.queues.iter().map(|queue| queue.ring.len()).sum()
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;
    use crate::wait::Attempt;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::task::{Context, Wake, Waker};

    fn fill(queues: &PriorityQueue<usize>, each: usize) {
        for index in 0..3 {
            (0..each).for_each(|_| queues.queue(index).ring().try_push(index).unwrap());
        }
    }

    #[test]
    fn urgent_jobs_come_first_and_no_queue_starves() {
        let queues = PriorityQueue::try_new(3, 64).unwrap();
        fill(&queues, 64);
        let mut popped = [0; 3];
        for turn in 0..64 {
            let (job, index) = queues.pop(turn, |job, index| (job, index)).unwrap();
            assert_eq!(job, index);
            popped[index] += 1;
        }
        assert_eq!(popped, [48, 12, 4]);
    }

    #[test]
    fn the_turn_of_an_empty_queue_goes_to_the_others() {
        let queues = PriorityQueue::try_new(3, 4).unwrap();
        queues.queue(2).ring().try_push(2).unwrap();
        let pop = |turn| queues.pop(turn, |job, index| (job, index));
        assert_eq!(pop(0), Ok((2, 2)));
        assert_eq!(pop(0), Err(PopError::Empty));
        queues.queue(1).ring().try_push(1).unwrap();
        queues.close();
        assert_eq!(pop(15), Ok((1, 1)));
        assert_eq!(pop(0), Err(PopError::Closed));
    }

    #[test]
    fn the_flags_are_set_together_or_not_at_all() {
        let queues = PriorityQueue::try_new(3, 4).unwrap();
        assert!(queues.set_flags());
        assert_eq!(queues.queue(1).ring().push_with(1, |job| job), Ok(true));
        assert!(!queues.set_flags(), "one queue is not empty");
        assert_eq!(queues.queue(0).ring().push_with(0, |job| job), Ok(false));
    }

    /// Submitters that were woken push immediately, or only when the queue has been drained.
    #[test]
    fn every_waiting_submitter_is_woken() {
        for (capacity, waiting) in [(1, 5), (2, 5), (7, 20), (8, 3), (9, 40), (100, 300)] {
            for pushes_when_drained in [false, true] {
                let queues = PriorityQueue::try_new(1, capacity).unwrap();
                let queue = queues.queue(0);
                (0..capacity).for_each(|job| queue.ring().try_push(job).unwrap());
                let mut cx = Context::from_waker(Waker::noop());
                let attempt = || match queue.ring().try_push(0) {
                    Ok(()) => Attempt::Done(()),
                    Err(_) => Attempt::NotReady,
                };
                let mut submitters: Vec<_> =
                    (0..waiting).map(|_| queue.wait_until_not_full()).collect();
                let woken = Arc::new(CountingWaker::default());
                let waker = Waker::from(Arc::clone(&woken));
                for submitter in &mut submitters {
                    let poll = submitter.poll(&mut Context::from_waker(&waker), attempt);
                    assert!(poll.is_pending());
                }
                let (mut popped, mut submitters) = (0, submitters.into_iter());
                loop {
                    let is_empty = queue.pop(|_| popped += 1).is_err();
                    if is_empty || !pushes_when_drained {
                        let count = woken.0.swap(0, Relaxed);
                        for mut submitter in submitters.by_ref().take(count) {
                            assert!(submitter.poll(&mut cx, attempt).is_ready());
                        }
                        if is_empty && count == 0 {
                            break;
                        }
                    }
                }
                assert_eq!(popped, capacity + waiting, "capacity {capacity}");
            }
        }
    }

    #[derive(Default)]
    struct CountingWaker(AtomicUsize);

    impl Wake for CountingWaker {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }
}
