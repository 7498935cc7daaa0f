//! Jobs of a scope or a map, which the thread that waits for them may run itself.

pub(crate) mod map;
pub(crate) mod scope;

use super::job::Job;
use super::panics::{Payload, drop_quietly};
use super::run::{DiscardReason, JobEnd, Run, RunContext};
use crate::sync::{Mutex, PlainArc, block_on};

use std::collections::VecDeque;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Poll, Waker};

/// A list of jobs outside the pool's queue, and the owner that waits for them.
///
/// For each job a [`Ticket`] is queued, by which a worker runs one of the list. The owner runs jobs
/// that no worker has begun, so a ticket may be refused or discarded, or find the list empty. That is
/// why waiting is safe on a worker too, even on the only one.
#[derive(Debug)]
pub(crate) struct InlineJobs {
    list: Mutex<List>,
    on_discard: OnDiscard,
}

/// What discarding a ticket does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnDiscard {
    /// Nothing: the owner runs every job.
    KeepJob,
    /// Discards the oldest job: the owner may not run any.
    DiscardJob,
}

#[derive(Debug, Default)]
struct List {
    waiting: VecDeque<Job>,
    running: usize,
    /// The owner's, which is a thread of this crate: calling it runs no user code.
    waker: Option<Waker>,
    panic: Option<Payload>,
}

impl InlineJobs {
    pub(crate) fn new(on_discard: OnDiscard) -> PlainArc<Self> {
        PlainArc::new(Self { list: Mutex::new(List::default()), on_discard })
    }

    pub(crate) fn add(&self, job: Job) {
        let waker = {
            let mut list = self.list.lock();
            list.waiting.push_back(job);
            list.waker.take()
        };
        wake(waker);
    }

    /// Takes the oldest job to run it.
    fn begin(&self) -> Option<Job> {
        let mut list = self.list.lock();
        let job = list.waiting.pop_front();
        list.running += usize::from(job.is_some());
        job
    }

    /// Runs the oldest job on the owner's thread; returns `false` if there is none.
    pub(crate) fn run_one(&self, context: &RunContext<'_>) -> bool {
        let job = self.begin();
        let found = job.is_some();
        if let Some(job) = job {
            context.run_counted(|| self.run(job, context));
        }
        found
    }

    fn run(&self, job: Job, context: &RunContext<'_>) -> JobEnd {
        let result = catch_unwind(AssertUnwindSafe(|| job.run(context)));
        let end = *result.as_ref().unwrap_or(&JobEnd::Counted);
        if let Err(payload) = &result {
            context.record_panic(&**payload);
        }
        let (waker, surplus) = {
            let mut list = self.list.lock();
            list.running -= 1;
            let waker = if list.running == 0 { list.waker.take() } else { None };
            let surplus = match result {
                Err(panic) if list.panic.is_none() => {
                    list.panic = Some(panic);
                    None
                }
                other => other.err(),
            };
            (waker, surplus)
        };
        wake(waker);
        drop_quietly(surplus);
        end
    }

    /// Runs what is left and waits for what other threads run; when it returns all jobs have ended.
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

    fn discard_one(&self, reason: DiscardReason) -> JobEnd {
        let job = self.list.lock().waiting.pop_front();
        job.map_or(JobEnd::Counted, |job| job.discard(reason))
    }

    /// Drops the jobs that have not begun.
    pub(crate) fn clear(&self) {
        let jobs = std::mem::take(&mut self.list.lock().waiting);
        drop(jobs);
    }

    /// Takes the first panic of a job, if one panicked.
    pub(crate) fn take_panic(&self) -> Option<Payload> {
        self.list.lock().panic.take()
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// Queued in place of one of the [`InlineJobs`], of which it runs the oldest. The job is counted, the
/// ticket is not.
pub(crate) struct Ticket(pub(crate) PlainArc<InlineJobs>);

impl Run for Ticket {
    fn run(self, context: &RunContext<'_>) -> JobEnd {
        self.0.begin().map_or(JobEnd::Counted, |job| self.0.run(job, context))
    }

    fn discard(self, reason: DiscardReason) -> JobEnd {
        match self.0.on_discard {
            OnDiscard::KeepJob => JobEnd::Counted,
            OnDiscard::DiscardJob => self.0.discard_one(reason),
        }
    }
}
