//! Many like jobs, a few at a time.

use super::Shared;
use super::errands::Errands;
use super::error::{JobError, Panic};
use super::here::{self, PoolId};
use super::job::Job;
use super::submit::Submitter;
use super::work::{Desk, Discard, Fate, Work};
use crate::error::Reason;
use crate::sync::block_on;
use crate::sync::{Mutex, PlainArc};
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::iter::Fuse;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Poll, Waker};

/// The results of a function for each of many items: an iterator, made by
/// [`WorkerPool::map`](super::WorkerPool::map).
///
/// Items are taken from their iterator as results are taken from this one, so that no more than
/// [`concurrency`](Self::concurrency) of them are under way at once, results not yet taken included.
/// Dropping it drops what has not begun.
pub struct Map<'a, I: Iterator, F, R> {
    pool: &'a PlainArc<Shared>,
    items: Fuse<I>,
    function: PlainArc<F>,
    concurrency: usize,
    ordered: bool,
    errands: PlainArc<Errands>,
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

impl<'a, I: Iterator, F, R> Map<'a, I, F, R> {
    pub(super) fn new(pool: &'a PlainArc<Shared>, items: I, function: F) -> Self {
        Self {
            pool,
            items: items.fuse(),
            function: PlainArc::new(function),
            concurrency: pool.queue.crew.most().max(1),
            ordered: true,
            errands: PlainArc::default(),
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

impl<I, F, R> Iterator for Map<'_, I, F, R>
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
            self.errands.add(Job::new(work));
            match Submitter::new(self.pool).try_enter_ticket(Ticket(PlainArc::clone(&self.errands)))
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
                None if help_out(self.pool, &self.errands, &mut self.help) => continue,
                None => self.results.receive(),
            };
            let place = if self.ordered { number - self.taken } else { 0 };
            self.window[place] = Some(result);
        }
        self.taken += 1;
        self.window.pop_front().flatten()
    }
}

/// Runs one of the errands here, where waiting for another to do so might be for ever: on a worker, or if
/// not each has its ticket in the queue.
fn help_out(pool: &PlainArc<Shared>, errands: &Errands, needed: &mut bool) -> bool {
    let on_worker = here::on_worker_of(PoolId::of(pool), |desk| errands.run_one(desk));
    let helped = on_worker.unwrap_or_else(|| *needed && errands.run_one(&pool.outside_desk()));
    *needed &= helped;
    helped
}

impl<I: Iterator, F, R> Drop for Map<'_, I, F, R> {
    fn drop(&mut self) {
        self.errands.clear();
    }
}

impl<I: Iterator, F, R> fmt::Debug for Map<'_, I, F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map")
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

impl<F, A, R> Work for Mapped<F, A, R>
where
    F: Fn(A) -> R + Send + Sync,
    A: Send,
    R: Send,
{
    fn run(self, desk: &Desk<'_>) -> Fate {
        let Self { function, item, number, results } = self;
        let result = catch_unwind(AssertUnwindSafe(|| function(item)));
        let fate = match &result {
            Ok(_) => Fate::Completed,
            Err(payload) => {
                desk.pool.panicked(desk, &**payload);
                Fate::Settled
            }
        };
        results.send(number, result.map_err(|payload| JobError::Panicked(Panic::new(payload))));
        fate
    }

    fn discard(self, why: Discard) -> Fate {
        self.results.send(self.number, Err(why.into()));
        Fate::Discarded(why)
    }
}

/// The right, and here the duty, to run one of the errands, or to let know that it will not be run.
struct Ticket(PlainArc<Errands>);

impl Work for Ticket {
    fn run(self, desk: &Desk<'_>) -> Fate {
        self.0.redeem(desk)
    }

    fn discard(self, why: Discard) -> Fate {
        self.0.discard_one(why)
    }
}
