//! Jobs of a scope or a map, which the thread that waits for them may run itself.

pub(crate) mod map;
pub(crate) mod scope;

use super::job::Job;
use super::panics::{Payload, drop_quietly, quietly};
use super::run::{DiscardReason, JobEnd, QueuedState, Run, RunContext};
use super::workers::pool_id::PoolId;
use crate::sync::{Mutex, PlainArc, block_on};

use std::collections::VecDeque;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Poll, Waker};

/// A list of jobs outside the pool's queue, and the owner that waits for them.
///
/// For each job, a [`Ticket`] is queued. A worker that takes a ticket runs the oldest job of the
/// list. The owner can run every job that no worker has begun. Therefore a job can run although the
/// queue rejected its ticket, and a worker can take a ticket and find the list empty. Waiting is
/// safe on a worker too, even on the only one. [`OnDiscard`] determines the effect of discarding a
/// ticket.
#[derive(Debug)]
pub(crate) struct InlineJobs {
    list: Mutex<List>,
    on_discard: OnDiscard,
}

/// The effect of discarding a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnDiscard {
    /// Nothing: the owner runs every job that no worker has begun.
    KeepJob,
    /// Discards the oldest job, because it is possible that the owner runs no job.
    DiscardJob,
}

#[derive(Debug, Default)]
struct List {
    waiting: VecDeque<Job>,
    /// The number of jobs that have left `waiting`, which is the sequence number of its first job.
    taken: u64,
    running: usize,
    /// The waker of the owner. It is a thread waker of this crate: calling it runs no user code.
    waker: Option<Waker>,
    panic: Option<Payload>,
}

impl InlineJobs {
    pub(crate) fn new(on_discard: OnDiscard) -> PlainArc<Self> {
        PlainArc::new(Self { list: Mutex::new(List::default()), on_discard })
    }

    /// Adds a job, and returns the ticket to queue for it.
    pub(crate) fn add(self: &PlainArc<Self>, job: Job) -> Ticket {
        let (number, waker) = {
            let mut list = self.list.lock();
            let number = list.taken + list.waiting.len() as u64;
            list.waiting.push_back(job);
            (number, list.waker.take())
        };
        wake(waker);
        Ticket { jobs: Some(PlainArc::clone(self)), number }
    }

    /// Takes the oldest job to run it.
    fn begin(&self) -> Option<Job> {
        let mut list = self.list.lock();
        let job = list.take_first();
        list.running += usize::from(job.is_some());
        job
    }

    /// Runs the oldest job on the owner's thread; returns `false` if there is none.
    pub(crate) fn run_one(&self, context: &RunContext<'_>) -> bool {
        let Some(job) = self.begin() else { return false };
        // The queue may still hold the ticket of this job.
        context.pool.id.record_ended_job();
        context.run_counted(|| self.run(job, context));
        true
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

    /// Runs the remaining jobs and waits for those on other threads, until all jobs have ended.
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

    /// Applies [`OnDiscard`] when the ticket with this number is discarded: discards the oldest job
    /// if the list requires that and the ticket is still needed.
    fn discard_ticket(&self, number: u64, reason: DiscardReason) -> JobEnd {
        let job = {
            let mut list = self.list.lock();
            let needed = self.on_discard == OnDiscard::DiscardJob && list.taken <= number;
            if needed { list.take_first() } else { None }
        };
        job.map_or(JobEnd::Counted, |job| job.discard(reason))
    }

    /// Drops the jobs that have not begun.
    pub(crate) fn clear(&self, pool: PoolId) {
        let jobs = {
            let mut list = self.list.lock();
            list.taken += list.waiting.len() as u64;
            std::mem::take(&mut list.waiting)
        };
        if !jobs.is_empty() {
            pool.record_ended_job();
        }
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

impl List {
    fn take_first(&mut self) -> Option<Job> {
        let job = self.waiting.pop_front()?;
        self.taken += 1;
        Some(job)
    }
}

/// A queue entry for one of the [`InlineJobs`], which runs the oldest of them. The job is counted,
/// the ticket is not.
pub(crate) struct Ticket {
    /// `None` once the ticket was used.
    jobs: Option<PlainArc<InlineJobs>>,
    /// The job's number. The ticket is needed until all jobs up to this one have left the list.
    number: u64,
}

impl Ticket {
    /// Drops the ticket and keeps its job.
    pub(crate) fn give_up(self) {
        drop(self.take());
    }

    fn take(mut self) -> PlainArc<InlineJobs> {
        self.jobs.take().expect("taken once: by value")
    }
}

impl Run for Ticket {
    fn run(self, context: &RunContext<'_>) -> JobEnd {
        let jobs = self.take();
        jobs.begin().map_or(JobEnd::Counted, |job| jobs.run(job, context))
    }

    fn discard(self, reason: DiscardReason) -> JobEnd {
        let number = self.number;
        self.take().discard_ticket(number, reason)
    }

    fn queued_state(&self) -> QueuedState {
        match &self.jobs {
            Some(jobs) if jobs.list.lock().taken <= self.number => QueuedState::Owned,
            _ => QueuedState::Ended,
        }
    }
}

/// A ticket that is dropped by a panic of the clock counts as discarded: a map waits for its job.
impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(jobs) = self.jobs.take() {
            quietly(|| {
                jobs.discard_ticket(self.number, DiscardReason::Dropped);
            });
        }
    }
}
