//! Many like jobs, a few at a time.

use crate::error::Reason;
use crate::sync::block_on;
use crate::sync::{Mutex, PlainArc};
use crate::worker_pool::Shared;
use crate::worker_pool::error::{JobError, JobPanic};
use crate::worker_pool::inline::InlineJobs;
use crate::worker_pool::job::Job;
use crate::worker_pool::run::{Discard, JobEnd, Run, RunContext};
use crate::worker_pool::submit::Submitter;
use crate::worker_pool::workers::current::{self, PoolId};
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::iter::Fuse;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Poll, Waker};

/// The results of a function for each of many items: an iterator, made by
/// [`WorkerPool::map`](crate::worker_pool::WorkerPool::map).
///
/// Items are taken from their iterator as results are taken from this one, so that no more than
/// [`concurrency`](Self::concurrency) of them are under way at once, results not yet taken included.
/// Dropping it drops what has not begun.
pub struct WorkerPoolMap<'a, I: Iterator, F, R> {
    pool: &'a PlainArc<Shared>,
    items: Fuse<I>,
    function: PlainArc<F>,
    concurrency: usize,
    ordered: bool,
    inline_jobs: PlainArc<InlineJobs>,
    results: PlainArc<Results<R>>,
    /// How many results have been taken; the number of the first of `window`.
    taken: usize,
    /// In order: what came of the items that are under way, as far as it is known.
    window: VecDeque<Option<Result<R, JobError>>>,
    /// Whether a ticket did not get into the queue, so that nobody else may run the errand.
    help: bool,
}

/// The way from the workers back here. No more can lie in it than are under way, so that it needs no bound.
struct Results<R> {
    list: Mutex<(VecDeque<Reply<R>>, Option<Waker>)>,
}

type Reply<R> = (usize, Result<R, JobError>);

impl<R> Results<R> {
    fn send(&self, number: usize, result: Result<R, JobError>) {
        let waker = {
            let (replies, waker) = &mut *self.list.lock();
            replies.push_back((number, result));
            waker.take()
        };
        // Always a thread's of ours.
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn try_receive(&self) -> Option<Reply<R>> {
        self.list.lock().0.pop_front()
    }

    fn receive(&self) -> Reply<R> {
        block_on(poll_fn(|cx| {
            let known = cx.waker().clone();
            let (replies, waker) = &mut *self.list.lock();
            match replies.pop_front() {
                Some(reply) => Poll::Ready(reply),
                None => {
                    *waker = Some(known);
                    Poll::Pending
                }
            }
        }))
    }
}

impl<'a, I: Iterator, F, R> WorkerPoolMap<'a, I, F, R> {
    pub(crate) fn new(pool: &'a PlainArc<Shared>, items: I, function: F) -> Self {
        Self {
            pool,
            items: items.fuse(),
            function: PlainArc::new(function),
            concurrency: pool.queue.idle.most().max(1),
            ordered: true,
            inline_jobs: PlainArc::default(),
            results: PlainArc::new(Results { list: Mutex::new((VecDeque::new(), None)) }),
            taken: 0,
            window: VecDeque::new(),
            help: false,
        }
    }

    /// How many items are under way at most; as many as the pool may have workers by default, and at least 1.
    #[must_use]
    pub fn concurrency(mut self, items: usize) -> Self {
        self.concurrency = items.max(1);
        self
    }

    /// Gives results as they come, not in the order of the items.
    #[must_use]
    pub fn unordered(mut self) -> Self {
        self.ordered = false;
        self
    }
}

impl<I, F, R> Iterator for WorkerPoolMap<'_, I, F, R>
where
    I: Iterator<Item: Send + 'static>,
    F: Fn(I::Item) -> R + Send + Sync + 'static,
    R: Send + 'static,
{
    /// An error if the function panicked; or if the item was not tried: the pool was shut down or shed load
    /// before its turn, or dropped the oldest job to make room for others.
    type Item = Result<R, JobError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.window.len() < self.concurrency
            && let Some(item) = self.items.next()
        {
            let work = Mapped {
                function: PlainArc::clone(&self.function),
                item,
                number: self.taken + self.window.len(),
                results: PlainArc::clone(&self.results),
            };
            self.window.push_back(None);
            self.inline_jobs.add(Job::new(work));
            match Submitter::new(self.pool)
                .try_enter_ticket(Ticket(PlainArc::clone(&self.inline_jobs)))
            {
                Ok(()) => {}
                Err((Reason::ShutDown, ticket)) => {
                    self.pool.outside.note(ticket.discard(Discard::ShutDown));
                }
                Err(_) => self.help = true,
            }
        }
        // With numbers out of order, `window` is a mere count.
        while self.window.front()?.is_none() {
            let (number, result) = match self.results.try_receive() {
                Some(reply) => reply,
                None if help_out(self.pool, &self.inline_jobs, &mut self.help) => continue,
                None => self.results.receive(),
            };
            let place = if self.ordered { number - self.taken } else { 0 };
            self.window[place] = Some(result);
        }
        self.taken += 1;
        self.window.pop_front().flatten()
    }
}

/// Runs one of the inline_jobs here, where waiting for another to do so might be for ever: on a worker, or if
/// not each has its ticket in the queue.
fn help_out(pool: &PlainArc<Shared>, inline_jobs: &InlineJobs, needed: &mut bool) -> bool {
    let on_worker = current::on_worker_of(PoolId::of(pool), |context| inline_jobs.run_one(context));
    let helped = on_worker.unwrap_or_else(|| *needed && inline_jobs.run_one(&pool.outside_desk()));
    *needed &= helped;
    helped
}

impl<I: Iterator, F, R> Drop for WorkerPoolMap<'_, I, F, R> {
    fn drop(&mut self) {
        self.inline_jobs.clear();
    }
}

impl<I: Iterator, F, R> fmt::Debug for WorkerPoolMap<'_, I, F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerPoolMap")
            .field("concurrency", &self.concurrency)
            .field("ordered", &self.ordered)
            .field("taken", &self.taken)
            .finish_non_exhaustive()
    }
}

/// One item under way.
struct Mapped<F, A, R> {
    function: PlainArc<F>,
    item: A,
    number: usize,
    results: PlainArc<Results<R>>,
}

impl<F, A, R> Run for Mapped<F, A, R>
where
    F: Fn(A) -> R + Send + Sync,
    A: Send,
    R: Send,
{
    fn run(self, context: &RunContext<'_>) -> JobEnd {
        let Self { function, item, number, results } = self;
        let result = catch_unwind(AssertUnwindSafe(|| function(item)));
        let end = match &result {
            Ok(_) => JobEnd::Completed,
            Err(payload) => {
                context.pool.panicked(context, &**payload);
                JobEnd::Settled
            }
        };
        results.send(number, result.map_err(|payload| JobError::Panicked(JobPanic::new(payload))));
        end
    }

    fn discard(self, why: Discard) -> JobEnd {
        self.results.send(self.number, Err(why.into()));
        JobEnd::Discarded(why)
    }
}

/// The right, and here the duty, to run one of the inline_jobs, or to let know that it will not be run.
struct Ticket(PlainArc<InlineJobs>);

impl Run for Ticket {
    fn run(self, context: &RunContext<'_>) -> JobEnd {
        self.0.redeem(context)
    }

    fn discard(self, why: Discard) -> JobEnd {
        self.0.discard_one(why)
    }
}
