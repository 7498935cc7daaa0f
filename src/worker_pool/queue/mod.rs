//! The path of a job from a submitter to a worker.

pub(crate) mod priority_queue;
pub(crate) mod wait_times;
mod wake_batch;

use super::workers::idle::{Flags, IdleWorkers, Resize, SleepEnd, WakeUp, Worker};
use crate::ring::PopError;
use crate::sync::{SpinWait, hint, thread};

use priority_queue::PriorityQueue;

/// How many times a submitter checks for a searching worker before it wakes one, with a pause
/// between the checks.
const CHECKS_BEFORE_WAKING: u32 = 8;

/// The spin policy of a searcher before it sleeps. It checks the queue every few dozen nanoseconds
/// for a few microseconds, about as long as it takes to wake a thread. So searching costs at most
/// twice as much as sleeping immediately. Then it yields once.
struct SearchSpin {
    checks: u32,
    spin: SpinWait,
}

impl SearchSpin {
    const CHECKS: u32 = 100;

    fn new() -> Self {
        Self { checks: 0, spin: SpinWait::new() }
    }

    /// Pauses briefly; returns `false` when the search must end.
    fn spin(&mut self) -> bool {
        if self.checks < Self::CHECKS && thread::spinning_helps() {
            self.checks += 1;
            hint::spin_loop();
            return true;
        }
        thread::RETRIES && self.spin.spin()
    }
}

/// Queued jobs, and the workers that wait for them. Independent of the type of the jobs and of how
/// threads are started.
pub(crate) struct Queue<J> {
    pub(crate) jobs: PriorityQueue<J>,
    pub(crate) idle: IdleWorkers,
}

impl<J> Flags for PriorityQueue<J> {
    fn set(&self) -> bool {
        self.set_flags()
    }

    fn clear(&self) {
        self.clear_flags();
    }
}

impl<J> Queue<J> {
    pub(crate) fn new(jobs: PriorityQueue<J>, min_workers: usize, max_workers: usize) -> Self {
        Self { jobs, idle: IdleWorkers::new(min_workers, max_workers) }
    }

    /// Ensures that a worker searches the queue after a push that found a flag set. Returns `true`
    /// if the caller must start a thread, which begins as the searcher.
    ///
    /// Waking a thread is a system call of some microseconds, and unnecessary if a worker is about
    /// to end its job. So a submitter first waits for 100 to 200 ns for a worker to begin a search.
    #[cold]
    #[must_use]
    pub(crate) fn wake_after_push(&self) -> bool {
        let mut checks = 0;
        loop {
            // A worker that searches after the push finds this job, or finds another job and then
            // wakes the next worker. The observed searcher cannot be a worker that set the flag
            // over an empty queue before the push: the push modified the same word later, so this
            // thread would observe that the worker no longer searches.
            if self.idle.is_searched() || self.jobs.is_empty() {
                return false;
            }
            checks += 1;
            if checks > CHECKS_BEFORE_WAKING || !thread::spinning_helps() {
                return self.wake_worker();
            }
            hint::spin_loop();
        }
    }

    /// Ensures that a worker searches the queue. Returns `true` if the caller must start a thread,
    /// which begins as the searcher.
    #[cold]
    #[must_use]
    pub(crate) fn wake_worker(&self) -> bool {
        self.wake(true)
    }

    /// Ends the search of a worker that must do something else before it [searches](Self::search).
    /// The worker [begins](IdleWorkers::begin_search) the search again afterwards. Wakes a sleeping
    /// worker in its place, but starts no thread, because a new thread would have to do the same
    /// first.
    pub(crate) fn pause_search(&self) {
        if self.idle.end_search() {
            let start = self.wake(false);
            debug_assert!(!start, "may not start threads");
        }
    }

    fn wake(&self, may_start: bool) -> bool {
        match self.idle.wake_one(&self.jobs, may_start) {
            WakeUp::Unnecessary => false,
            WakeUp::Sleeper(sleeper) => {
                sleeper.wake();
                false
            }
            WakeUp::StartThread => true,
        }
    }

    /// Waits for the next job, and calls `run` with the job and the index of its queue. Returns
    /// `false` if the worker must end. The caller is a worker that is neither searching nor asleep.
    /// `turn` counts the jobs of the worker; `start_searcher` starts a thread.
    #[inline(always)]
    pub(crate) fn run_next(
        &self,
        worker: &Worker,
        turn: u32,
        start_searcher: impl Fn(),
        mut run: impl FnMut(J, usize),
    ) -> bool {
        if self.idle.must_retire() {
            return false;
        }
        match self.jobs.pop(turn, &mut run) {
            Ok(()) => true,
            Err(_) => self.search(worker, false, turn, start_searcher, run),
        }
    }

    /// Implements [`run_next`](Self::run_next) for a worker that found the queue empty, or that was
    /// started as the searcher. In the second case `searching` is true.
    #[cold]
    #[inline(never)]
    pub(crate) fn search(
        &self,
        worker: &Worker,
        mut searching: bool,
        turn: u32,
        start_searcher: impl Fn(),
        mut run: impl FnMut(J, usize),
    ) -> bool {
        let wake_worker = || {
            if self.wake_worker() {
                start_searcher();
            }
        };
        let end_search = |searching| {
            if searching && self.idle.end_search() {
                wake_worker();
            }
        };
        let mut search_spin = SearchSpin::new();
        let mut busy = SpinWait::new();
        loop {
            searching = searching || self.idle.begin_search();
            let popped = self.jobs.pop(turn, |job, queue| {
                // The search ends before the job runs, because the job may take long.
                end_search(searching);
                run(job, queue);
            });
            match popped {
                Ok(()) => return true,
                Err(PopError::Closed) => {
                    end_search(searching);
                    return false;
                }
                // A job is being pushed.
                Err(PopError::Busy) => {
                    if !busy.spin() {
                        busy = SpinWait::new();
                    }
                    continue;
                }
                Err(PopError::Empty) => {}
            }
            if searching && search_spin.spin() {
                continue;
            }
            match self.idle.sleep(worker, searching, &self.jobs) {
                SleepEnd::NotSlept => searching = false,
                SleepEnd::Woken => {
                    searching = true;
                    search_spin = SearchSpin::new();
                }
                SleepEnd::Retired => {
                    if searching {
                        wake_worker();
                    }
                    return false;
                }
            }
        }
    }

    /// Closes the queue: no more jobs can be pushed. Workers run the queued jobs, then end. Returns
    /// `true` if this call closed the queue.
    pub(crate) fn close(&self) -> bool {
        // The jobs are closed first: a worker that finds `idle` closed must also find `jobs`
        // closed.
        let closed = self.jobs.close();
        self.idle.close().iter().for_each(|sleeper| sleeper.wake());
        closed
    }

    /// Changes the number of workers. Returns how many threads the caller must start.
    pub(crate) fn resize(&self, min_workers: usize, max_workers: usize) -> usize {
        let Resize { start, wake } = self.idle.resize(min_workers, max_workers);
        wake.iter().for_each(|sleeper| sleeper.wake());
        start
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

    fn queue(min_workers: usize, max_workers: usize) -> Queue<u32> {
        Queue::new(PriorityQueue::try_new(1, 8).unwrap(), min_workers, max_workers)
    }

    /// Returns whether the push found the flag set.
    fn push(queue: &Queue<u32>, job: u32) -> bool {
        queue.jobs.queue(0).ring().push_with(job, |job| job).unwrap()
    }

    /// Returns the job that a worker finds without having to sleep.
    fn search(queue: &Queue<u32>, searching: bool, start_searcher: impl Fn()) -> u32 {
        let mut found = 0;
        let run = |job, _| found = job;
        assert!(queue.search(&Worker::new(None), searching, 0, start_searcher, run));
        found
    }

    #[test]
    fn a_pool_that_may_grow_starts_one_thread_at_a_time() {
        let queue = queue(0, 2);
        assert!(!queue.wake_worker(), "the queue is empty, and the flag is set");
        assert!(push(&queue, 1));
        assert!(queue.wake_worker(), "a thread must be started");
        assert!(!push(&queue, 2), "the new thread searches");
        assert!(!queue.wake_worker());
        // The first worker finds a job, and then that there is another.
        let started = std::cell::Cell::new(0);
        assert_eq!(search(&queue, true, || started.set(started.get() + 1)), 1);
        assert_eq!(started.get(), 1);
        assert_eq!(search(&queue, true, || panic!("at most two workers")), 2);
        assert!(!push(&queue, 3), "no worker is available, so no flag is set");
        assert_eq!(queue.idle.present(), (2, 0));
    }

    #[test]
    fn after_a_failed_start_no_thread_is_started_until_a_resize() {
        let queue = queue(1, 3);
        assert_eq!(queue.idle.reserve_starts(1), 1);
        assert!(!queue.wake_worker());
        assert!(push(&queue, 1) && queue.wake_worker());
        queue.idle.start_failed();
        assert!(!queue.idle.end_search(), "no worker is available any more");
        assert!(!push(&queue, 2) && !queue.wake_worker());
        assert_eq!(search(&queue, false, || panic!("no second start")), 1);
        assert_eq!(search(&queue, false, || panic!("no second start")), 2);
        assert_eq!(queue.idle.present(), (1, 0));
        assert_eq!(queue.resize(1, 2), 0);
        assert!(!queue.wake_worker());
        assert!(push(&queue, 3) && queue.wake_worker());
    }

    #[test]
    fn a_thread_that_failed_to_start_counts_as_the_surplus_worker() {
        let queue = queue(1, 2);
        assert_eq!(queue.idle.reserve_starts(1), 1);
        assert!(!queue.wake_worker());
        assert!(push(&queue, 1) && queue.wake_worker(), "a thread is being started");
        assert_eq!(queue.resize(1, 1), 0, "one worker is surplus");
        queue.idle.start_failed();
        assert!(!queue.idle.end_search());
        let mut ran = 0;
        assert!(queue.run_next(&Worker::new(None), 0, || (), |job, _| ran = job), "one stays");
        assert_eq!((ran, queue.idle.present()), (1, (1, 0)));
    }

    #[test]
    fn surplus_workers_retire_before_their_next_job() {
        let queue = queue(3, 3);
        assert_eq!(queue.idle.reserve_starts(3), 3);
        assert_eq!(queue.resize(1, 1), 0);
        assert_eq!(queue.resize(2, 2), 0, "one of the two surplus workers may stay");
        let retires = || !queue.run_next(&Worker::new(None), 0, || (), |_, _| ());
        push(&queue, 1);
        assert!(retires());
        assert!(!retires());
        assert_eq!(queue.resize(4, 4), 2);
    }
}
