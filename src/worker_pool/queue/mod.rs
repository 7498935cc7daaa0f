//! The queue and its idle: how a job gets from a submitter to a worker.

pub(crate) mod codel;
pub(crate) mod priority_queue;
pub(crate) mod wait_times;

use crate::ring::PopError;
use crate::sync::SpinWait;
use crate::sync::{hint, thread};
use crate::worker_pool::queue::priority_queue::PriorityQueue;
use crate::worker_pool::workers::idle::{Flags, IdleWorkers, Resized, Rouse, Slept, Worker};

/// How often a submitter looks for a searcher before it wakes one, a pause apart.
const LOOKS: u32 = 8;

/// A searcher's patience: it looks every few dozen nanoseconds for a few microseconds, about as long as it
/// takes to wake a thread, so that looking costs at most twice what sleeping at once would have. Then it
/// yields a few times, then sleeps.
struct Patience {
    looks: u32,
    spin: SpinWait,
}

impl Patience {
    const LOOKS: u32 = 100;

    fn new() -> Self {
        Self { looks: 0, spin: SpinWait::new() }
    }

    /// False when enough was waited.
    fn again(&mut self) -> bool {
        if self.looks < Self::LOOKS && thread::spinning_helps() {
            self.looks += 1;
            hint::spin_loop();
            return true;
        }
        thread::LOOKS_AGAIN && self.spin.spin()
    }
}

/// Knows nothing of what a job is, nor how a thread is started.
pub(crate) struct Queue<J> {
    pub(crate) lanes: PriorityQueue<J>,
    pub(crate) idle: IdleWorkers,
}

impl<J> Flags for PriorityQueue<J> {
    fn raise(&self) -> bool {
        Self::raise(self)
    }

    fn lower(&self) {
        Self::lower(self);
    }
}

impl<J> Queue<J> {
    pub(crate) fn new(lanes: usize, capacity: usize, least: usize, most: usize) -> Self {
        Self { lanes: PriorityQueue::new(lanes, capacity), idle: IdleWorkers::new(least, most) }
    }

    /// After a push that saw a flag. True if a thread is to be started, as the searcher.
    ///
    /// To wake a thread is a system call of some microseconds, and for nothing if a worker is just about to end
    /// its job. So it is given the time of a hundred nanoseconds or two to come back.
    #[cold]
    #[must_use]
    pub(crate) fn called(&self) -> bool {
        let mut looks = 0;
        loop {
            // Who searches at any time after the push will see the job, or on finding another will call. Such a
            // one cannot have raised the flag over an empty queue before the push: the push, which moved the
            // same word after it, would have brought along that nobody searches.
            if self.idle.is_searched() || self.lanes.is_empty() {
                return false;
            }
            looks += 1;
            if looks > LOOKS || !thread::spinning_helps() {
                return self.call();
            }
            hint::spin_loop();
        }
    }

    /// Whenever jobs may have been left to nobody. True if a thread is to be started, as the searcher.
    #[cold]
    #[must_use]
    pub(crate) fn call(&self) -> bool {
        self.rouse(true)
    }

    /// Ends the search of a worker who has something to do before it [looks](Self::search), and will then
    /// [begin](IdleWorkers::begin_search) again: who sleeps may be quicker, but nobody is hired, for a new thread
    /// would have to do the same first.
    pub(crate) fn interrupt_search(&self) {
        if self.idle.end_search() {
            let hire = self.rouse(false);
            debug_assert!(!hire, "not asked for");
        }
    }

    fn rouse(&self, may_hire: bool) -> bool {
        match self.idle.call(&self.lanes, may_hire) {
            Rouse::Nobody => false,
            Rouse::Wake(sleeper) => {
                sleeper.wake();
                false
            }
            Rouse::Hire => true,
        }
    }

    /// Gives `run` the next job, and the lane that it comes from; false if the worker, who neither searches nor
    /// sleeps, may leave. `turn` counts its jobs, `hire` starts a thread.
    #[inline(always)]
    pub(crate) fn next(
        &self,
        worker: &Worker,
        turn: u32,
        hire: impl Fn(),
        mut run: impl FnMut(J, usize),
    ) -> bool {
        if self.idle.is_surplus() {
            return false;
        }
        match self.lanes.pop(turn, &mut run) {
            Ok(()) => true,
            Err(_) => self.search(worker, false, turn, hire, run),
        }
    }

    /// The same for a worker who finds the queue empty, or, if it is `searching`, was started to look.
    #[cold]
    #[inline(never)]
    pub(crate) fn search(
        &self,
        worker: &Worker,
        mut searching: bool,
        turn: u32,
        hire: impl Fn(),
        mut run: impl FnMut(J, usize),
    ) -> bool {
        let call = || {
            if self.call() {
                hire();
            }
        };
        let found = |searching| {
            if searching && self.idle.end_search() {
                call();
            }
        };
        let mut patience = Patience::new();
        let mut busy = SpinWait::new();
        loop {
            searching = searching || self.idle.begin_search();
            let popped = self.lanes.pop(turn, |job, lane| {
                // First, for the job may take its time.
                found(searching);
                run(job, lane);
            });
            match popped {
                Ok(()) => return true,
                Err(PopError::Closed) => {
                    found(searching);
                    return false;
                }
                // A job is on its way.
                Err(PopError::Busy) => {
                    if !busy.spin() {
                        busy = SpinWait::new();
                    }
                    continue;
                }
                Err(PopError::Empty) => {}
            }
            if searching && patience.again() {
                continue;
            }
            match self.idle.sleep(worker, searching, &self.lanes) {
                Slept::Not => searching = false,
                Slept::Roused => {
                    searching = true;
                    patience = Patience::new();
                }
                Slept::Dismissed => {
                    if searching {
                        call();
                    }
                    return false;
                }
            }
        }
    }

    /// Ends pushing. WorkerCount run what is left, and leave. True for the call that did it.
    pub(crate) fn close(&self) -> bool {
        // The lanes first: who finds the idle closed shall find them so.
        let closed = self.lanes.close();
        self.idle.close().iter().for_each(|sleeper| sleeper.wake());
        closed
    }

    /// Says how many threads to start.
    pub(crate) fn resize(&self, least: usize, most: usize) -> usize {
        let Resized { hire, wake } = self.idle.resize(least, most);
        wake.iter().for_each(|sleeper| sleeper.wake());
        hire
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

    /// The flag that a push sees.
    fn push(queue: &Queue<u32>, job: u32) -> bool {
        queue.lanes.lane(0).ring().push_with(job, |job| job).unwrap()
    }

    /// What a search finds, of a worker that would not have to sleep.
    fn search(queue: &Queue<u32>, searching: bool, hire: impl Fn()) -> u32 {
        let mut found = 0;
        assert!(queue.search(&Worker::new(None), searching, 0, hire, |job, _| found = job));
        found
    }

    #[test]
    fn a_pool_that_may_grow_is_called_once() {
        let queue = Queue::new(1, 8, 0, 2);
        assert!(!queue.call(), "nothing to do: the flag is raised");
        assert!(push(&queue, 1));
        assert!(queue.call(), "start a thread");
        assert!(!push(&queue, 2), "one is on its way");
        assert!(!queue.call());
        // The first on finding a job sees that there is more.
        let hired = std::cell::Cell::new(0);
        assert_eq!(search(&queue, true, || hired.set(hired.get() + 1)), 1);
        assert_eq!(hired.get(), 1);
        assert_eq!(search(&queue, true, || panic!("no more than two")), 2);
        assert!(!push(&queue, 3), "nobody is spare: submitters pay nothing");
        assert_eq!(queue.idle.present(), (2, 0));
    }

    #[test]
    fn a_thread_that_cannot_be_started_is_not_asked_for_again() {
        let queue = Queue::new(1, 8, 1, 3);
        assert_eq!(queue.idle.hire(1), 1);
        assert!(!queue.call());
        assert!(push(&queue, 1) && queue.call());
        queue.idle.not_hired();
        assert!(!queue.idle.end_search(), "nobody is spare any more");
        assert!(!push(&queue, 2) && !queue.call());
        assert_eq!(search(&queue, false, || panic!("not again")), 1);
        assert_eq!(search(&queue, false, || panic!("not again")), 2);
        assert_eq!(queue.idle.present(), (1, 0));
        // Resizing tries again.
        assert_eq!(queue.resize(1, 2), 0);
        assert!(!queue.call());
        assert!(push(&queue, 3) && queue.call());
    }

    #[test]
    fn a_thread_that_cannot_be_started_leaves_for_the_one_too_many() {
        let queue = Queue::new(1, 8, 1, 2);
        assert_eq!(queue.idle.hire(1), 1);
        assert!(!queue.call());
        assert!(push(&queue, 1) && queue.call(), "a thread is on its way");
        assert_eq!(queue.resize(1, 1), 0, "now one is too many");
        queue.idle.not_hired();
        assert!(!queue.idle.end_search());
        let mut ran = 0;
        assert!(queue.next(&Worker::new(None), 0, || (), |job, _| ran = job), "the other stays");
        assert_eq!((ran, queue.idle.present()), (1, (1, 0)));
    }

    #[test]
    fn the_surplus_leaves() {
        let queue = Queue::<u32>::new(1, 8, 3, 3);
        assert_eq!(queue.idle.hire(3), 3);
        assert_eq!(queue.resize(1, 1), 0);
        assert_eq!(queue.resize(2, 2), 0, "one of the two that were to go may stay");
        let leaves = || !queue.next(&Worker::new(None), 0, || (), |_, _| ());
        push(&queue, 1);
        assert!(leaves(), "before the next job");
        assert!(!leaves());
        assert_eq!(queue.resize(4, 4), 2);
    }
}
