//! An iterator that applies a function to many items, a limited number at a time.

use super::{InlineJobs, OnDiscard};
use crate::error::Reason;
use crate::sync::{Mutex, PlainArc, block_on};

use crate::worker_pool::error::{JobError, JobPanic};
use crate::worker_pool::job::Job;
use crate::worker_pool::run::{DiscardReason, JobEnd, QueuedState, Run, RunContext};
use crate::worker_pool::shared::Shared;
use crate::worker_pool::submit::WorkerPoolSubmitter;
use crate::worker_pool::workers::current;
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::iter::Fuse;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Poll, Waker};

/// An iterator over the results of a function that the workers apply to each item; created by
/// [`WorkerPool::map`](crate::worker_pool::WorkerPool::map).
///
/// Items are taken from their iterator as results are taken from this one. At most
/// [`concurrency`](Self::concurrency) items are in progress at once, including those whose result
/// has not been taken yet. Dropping the iterator drops the items that have not begun.
pub struct WorkerPoolMap<'a, I: Iterator, F, R> {
    pool: &'a PlainArc<Shared>,
    items: Fuse<I>,
    function: PlainArc<F>,
    concurrency: usize,
    ordered: bool,
    jobs: PlainArc<InlineJobs>,
    results: PlainArc<Results<R>>,
    /// The number of results taken. If results are ordered, also the number of the first item in
    /// `window`.
    taken: usize,
    /// The items in progress, each with its result if that has arrived. If results are unordered,
    /// the next result is stored at the front.
    window: VecDeque<Option<Result<R, JobError>>>,
    /// Whether a ticket could not be queued, so that no worker may take its job.
    lacks_ticket: bool,
}

/// Results that the workers have sent and the iterator has not received. Their number is bounded by
/// that of the items in progress.
struct Results<R> {
    state: Mutex<ResultsState<R>>,
}

struct ResultsState<R> {
    arrived: VecDeque<NumberedResult<R>>,
    /// The waker of the thread that uses the iterator. It comes from `block_on`, so calling it runs
    /// no user code.
    waker: Option<Waker>,
}

type NumberedResult<R> = (usize, Result<R, JobError>);

impl<R> Results<R> {
    fn new() -> PlainArc<Self> {
        let state = ResultsState { arrived: VecDeque::new(), waker: None };
        PlainArc::new(Self { state: Mutex::new(state) })
    }

    fn send(&self, number: usize, result: Result<R, JobError>) {
        let waker = {
            let mut state = self.state.lock();
            state.arrived.push_back((number, result));
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn try_receive(&self) -> Option<NumberedResult<R>> {
        self.state.lock().arrived.pop_front()
    }

    fn receive(&self) -> NumberedResult<R> {
        block_on(poll_fn(|cx| {
            let waker = cx.waker().clone();
            let mut state = self.state.lock();
            match state.arrived.pop_front() {
                Some(result) => Poll::Ready(result),
                None => {
                    state.waker = Some(waker);
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
            concurrency: pool.queue.idle.max_workers().max(1),
            ordered: true,
            jobs: InlineJobs::new(OnDiscard::DiscardJob),
            results: Results::new(),
            taken: 0,
            window: VecDeque::new(),
            lacks_ticket: false,
        }
    }

    /// Sets how many items may be in progress at once; at least 1. Default: the maximum number of
    /// workers, so that no worker is idle and few results are buffered.
    ///
    /// ```
    /// # let pool = mainstay::worker_pool::WorkerPool::new();
    /// let squares = pool.map(1..=100u64, |n| n * n).concurrency(4);
    /// assert_eq!(squares.map(Result::unwrap).sum::<u64>(), 338_350);
    /// ```
    #[must_use]
    pub fn concurrency(mut self, items: usize) -> Self {
        self.concurrency = items.max(1);
        self
    }

    /// Yields results as they arrive, not in the order of the items.
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
    /// The result for an item, or an error if the function panicked, or if the item was not begun
    /// because the pool was shut down, shed load, or evicted it.
    type Item = Result<R, JobError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.window.len() < self.concurrency
            && let Some(item) = self.items.next()
        {
            self.begin(item);
        }
        while self.window.front()?.is_none() {
            let (number, result) = match self.results.try_receive() {
                Some(result) => result,
                None if self.run_one_here() => continue,
                None => self.results.receive(),
            };
            let place = if self.ordered { number - self.taken } else { 0 };
            self.window[place] = Some(result);
        }
        self.taken += 1;
        self.window.pop_front().flatten()
    }
}

impl<I, F, R> WorkerPoolMap<'_, I, F, R>
where
    I: Iterator<Item: Send + 'static>,
    F: Fn(I::Item) -> R + Send + Sync + 'static,
    R: Send + 'static,
{
    fn begin(&mut self, item: I::Item) {
        let job = Job::new(ItemJob {
            function: PlainArc::clone(&self.function),
            item,
            number: self.taken + self.window.len(),
            results: PlainArc::clone(&self.results),
        });
        self.window.push_back(None);
        let ticket = self.jobs.add(job);
        match WorkerPoolSubmitter::new(self.pool).try_queue_ticket(ticket) {
            Ok(()) => {}
            Err((Reason::ShutDown, ticket)) => {
                self.pool.outside.add_end(ticket.discard(DiscardReason::ShutDown));
            }
            Err((_, ticket)) => {
                ticket.give_up();
                self.lacks_ticket = true;
            }
        }
    }

    /// Runs one of the jobs on this thread if waiting for a worker could last forever: on a worker
    /// of the pool, or if a job has no ticket in the queue. Returns whether a job was run.
    fn run_one_here(&mut self) -> bool {
        let jobs = &self.jobs;
        let ran = current::on_worker_of(self.pool.id, |context| jobs.run_one(context))
            .unwrap_or_else(|| self.lacks_ticket && jobs.run_one(&self.pool.outside_context()));
        self.lacks_ticket &= ran;
        ran
    }
}

impl<I: Iterator, F, R> Drop for WorkerPoolMap<'_, I, F, R> {
    fn drop(&mut self) {
        self.jobs.clear(self.pool.id);
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

/// The function applied to one item.
struct ItemJob<F, A, R> {
    function: PlainArc<F>,
    item: A,
    number: usize,
    results: PlainArc<Results<R>>,
}

impl<F, A, R> Run for ItemJob<F, A, R>
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
                context.record_panic(&**payload);
                JobEnd::Counted
            }
        };
        results.send(number, result.map_err(|payload| JobError::Panicked(JobPanic::new(payload))));
        end
    }

    fn discard(self, reason: DiscardReason) -> JobEnd {
        self.results.send(self.number, Err(reason.into()));
        JobEnd::Discarded(reason)
    }

    fn queued_state(&self) -> QueuedState {
        QueuedState::Owned
    }
}
