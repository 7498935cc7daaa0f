//! Jobs that somebody waits for, and runs himself if nobody else does.

pub(crate) mod map;
pub(crate) mod scope;

use crate::sync::Mutex;
use crate::sync::block_on;
use crate::worker_pool::job::Job;
use crate::worker_pool::run::{Discard, JobEnd, RunContext};
use std::any::Any;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Poll, Waker};

/// A list of jobs apart from the pool's queue. What goes into the queue is a *ticket* for each, by which a
/// worker runs one of the list; a ticket that comes late finds nothing and does nothing. So it does not
/// matter whether a ticket found room, or is discarded: the owner, who waits for the jobs, runs
/// those that nobody has begun. That is why waiting for them is safe on a worker too, even the only one.
#[derive(Debug, Default)]
pub(crate) struct InlineJobs {
    list: Mutex<List>,
}

#[derive(Debug, Default)]
struct List {
    waiting: VecDeque<Job>,
    running: usize,
    /// Of the owner.
    waker: Option<Waker>,
    panic: Option<Box<dyn Any + Send>>,
}

impl InlineJobs {
    pub(crate) fn add(&self, job: Job) {
        let waker = {
            let mut list = self.list.lock();
            list.waiting.push_back(job);
            list.waker.take()
        };
        wake(waker);
    }

    /// The job that waits longest, to be run.
    fn begin(&self) -> Option<Job> {
        let mut list = self.list.lock();
        let job = list.waiting.pop_front();
        list.running += usize::from(job.is_some());
        job
    }

    /// For the owner: runs the job that waits longest, if there is one.
    pub(crate) fn run_one(&self, context: &RunContext<'_>) -> bool {
        let job = self.begin();
        let some = job.is_some();
        if let Some(job) = job {
            context.pool.count(context, || self.run(job, context));
        }
        some
    }

    /// For a ticket, which is counted in the place of the job that it runs.
    pub(crate) fn redeem(&self, context: &RunContext<'_>) -> JobEnd {
        self.begin().map_or(JobEnd::Settled, |job| self.run(job, context))
    }

    fn run(&self, job: Job, context: &RunContext<'_>) -> JobEnd {
        let ended = catch_unwind(AssertUnwindSafe(|| job.run(context)));
        let end = *ended.as_ref().unwrap_or(&JobEnd::Settled);
        if let Err(payload) = &ended {
            context.pool.panicked(context, &**payload);
        }
        let (waker, surplus) = {
            let mut list = self.list.lock();
            list.running -= 1;
            let waker = if list.running == 0 { list.waker.take() } else { None };
            let surplus = match ended {
                Err(panic) if list.panic.is_none() => {
                    list.panic = Some(panic);
                    None
                }
                other => other.err(),
            };
            (waker, surplus)
        };
        wake(waker);
        crate::worker_pool::panics::drop_quietly(surplus);
        end
    }

    /// Runs what is left and waits for what others run: on return all of it has ended.
    pub(crate) fn finish(&self, context: &RunContext<'_>) {
        loop {
            while self.run_one(context) {}
            let ended = block_on(poll_fn(|cx| {
                let waker = cx.waker().clone();
                let mut list = self.list.lock();
                if !list.waiting.is_empty() {
                    return Poll::Ready(false);
                }
                if list.running == 0 {
                    return Poll::Ready(true);
                }
                list.waker = Some(waker);
                Poll::Pending
            }));
            if ended {
                return;
            }
        }
    }

    /// Discards the job that waits longest, if there is one.
    pub(crate) fn discard_one(&self, why: Discard) -> JobEnd {
        let job = self.list.lock().waiting.pop_front();
        job.map_or(JobEnd::Settled, |job| job.discard(why))
    }

    /// Drops what has not begun.
    pub(crate) fn clear(&self) {
        let jobs = std::mem::take(&mut self.list.lock().waiting);
        drop(jobs);
    }

    /// The first panic of a job, if there was one.
    pub(crate) fn take_panic(&self) -> Option<Box<dyn Any + Send>> {
        self.list.lock().panic.take()
    }
}

/// The owner's waker, always a thread's of ours.
fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
