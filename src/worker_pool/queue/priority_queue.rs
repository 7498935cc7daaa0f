//! Bounded queues, one for each priority, and the order in which workers take from them.

use crate::ring::{PopError, Ring};
use crate::wait::{Condition, Wait, WaitQueue};
use crate::worker_pool::panics::quietly;

/// One queue, or one for each priority with the most urgent first.
pub(crate) struct PriorityQueue<J> {
    queues: Box<[BoundedQueue<J>]>,
}

/// A ring, and the submitters that wait until it is not full.
pub(crate) struct BoundedQueue<J> {
    ring: Ring<J>,
    submitters: WaitQueue,
}

/// What a waiting submitter waits for: that the ring is not full.
pub(crate) struct NotFull<'a, J>(&'a Ring<J>);

impl<J> Condition for NotFull<'_, J> {
    fn set_waiting(&self) -> bool {
        self.0.flag_waiting_producers()
    }

    fn clear_waiting(&self) {
        self.0.clear_waiting_producers();
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
        self.ring.pop_with(|job, waited_for| {
            if waited_for {
                self.notify(1);
            }
            act(job)
        })
    }

    /// Wakes waiting submitters. Wakers are user code: their panic must not reach the thread that
    /// took a job.
    #[cold]
    fn notify(&self, count: usize) {
        quietly(|| self.submitters.notify(count, &NotFull(&self.ring)));
    }
}

/// The order in which the queues are tried. `turn` counts the jobs that a worker has taken.
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
    /// `count` is 1 or 3.
    pub(crate) fn new(count: usize, capacity: usize) -> Self {
        let queue = |_| BoundedQueue { ring: Ring::new(capacity), submitters: WaitQueue::new() };
        Self { queues: (0..count).map(queue).collect() }
    }

    /// The queue of a priority, where 0 is the most urgent. Without priorities there is one for all.
    #[inline(always)]
    pub(crate) fn queue(&self, index: usize) -> &BoundedQueue<J> {
        match &*self.queues {
            [only] => only,
            queues => &queues[index],
        }
    }

    /// Takes the next job and calls `act` with it and the index of its queue. `turn` counts the jobs
    /// that the caller has taken.
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
        // Closed if all queues are, else empty if none is busy.
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

    /// Sets the flag of every queue, each in one step with seeing it empty and open. Returns `false`,
    /// with all flags clear, if one is not empty or is closed.
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

    /// Ends pushing; queued jobs stay. Submitters that wait are woken. Returns `true` for the call that
    /// closed the queue.
    pub(crate) fn close(&self) -> bool {
        // Every caller closes all queues before it returns, so that a second caller finds them closed.
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

    /// Whether each queue was empty at some instant during the call.
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

    fn fill(queues: &PriorityQueue<usize>, each: usize) {
        for index in 0..3 {
            (0..each).for_each(|_| queues.queue(index).ring().try_push(index).unwrap());
        }
    }

    #[test]
    fn urgent_jobs_come_first_and_no_queue_starves() {
        let queues = PriorityQueue::new(3, 64);
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
    fn an_empty_queue_gives_its_turn_to_the_others() {
        let queues = PriorityQueue::new(3, 4);
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
    fn the_flags_are_raised_together_or_not_at_all() {
        let queues = PriorityQueue::new(3, 4);
        assert!(queues.set_flags());
        assert_eq!(queues.queue(1).ring().push_with(1, |job| job), Ok(true));
        assert!(!queues.set_flags(), "one queue is not empty");
        assert_eq!(queues.queue(0).ring().push_with(0, |job| job), Ok(false));
    }
}
