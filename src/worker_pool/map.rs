//! Many like jobs, a few at a time.

use super::Shared;
use super::errands::Errands;
use super::error::{JobError, Panic};
use super::here::{self, PoolId};
use super::job::Job;
use super::submit::Submitter;
use super::work::{Desk, Discard, Work};
use crate::error::Reason;
use crate::ring::{Receiver, Sender, channel};
use crate::sync::PlainArc;
use std::collections::VecDeque;
use std::fmt;
use std::iter::Fuse;
use std::panic::{AssertUnwindSafe, catch_unwind};

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
    way: Option<Way<R>>,
    /// How many results have been taken; the number of the first of `window`.
    taken: usize,
    /// In order: what came of the items that are under way, as far as it is known.
    window: VecDeque<Option<Result<R, JobError>>>,
    /// Whether a ticket did not get into the queue, so that nobody else may run the errand.
    help: bool,
}

/// From the workers back here. Room for all that are under way, so that sending never waits.
type Way<R> = (Sender<Reply<R>>, Receiver<Reply<R>>);
type Reply<R> = (usize, Result<R, JobError>);

impl<'a, I: Iterator, F, R> Map<'a, I, F, R> {
    pub(super) fn new(pool: &'a PlainArc<Shared>, items: I, function: F) -> Self {
        Self {
            pool,
            items: items.fuse(),
            function: PlainArc::new(function),
            concurrency: pool.queue.crew.most().max(1),
            ordered: true,
            errands: PlainArc::default(),
            way: None,
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
    /// An error if the function panicked, or the pool was shut down before the item's turn.
    type Item = Result<R, JobError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (sender, receiver) = self.way.get_or_insert_with(|| channel(self.concurrency));
        while self.window.len() < self.concurrency
            && let Some(item) = self.items.next()
        {
            let work = Mapped {
                function: PlainArc::clone(&self.function),
                item,
                number: self.taken + self.window.len(),
                results: sender.clone(),
            };
            self.window.push_back(None);
            self.errands.add(Job::new(work));
            match Submitter::new(self.pool).try_enter_ticket(Ticket(PlainArc::clone(&self.errands))) {
                Ok(()) => {}
                Err((Reason::ShutDown, ticket)) => ticket.discard(Discard::ShutDown),
                Err(_) => self.help = true,
            }
        }
        // With numbers out of order, `window` is a mere count.
        while self.window.front()?.is_none() {
            let (number, result) = match receiver.try_recv() {
                Ok(reply) => reply,
                Err(_) if help_out(self.pool, &self.errands, &mut self.help) => continue,
                Err(_) => receiver.recv_blocking().ok()?,
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
    results: Sender<Reply<R>>,
}

impl<F, A, R> Work for Mapped<F, A, R>
where
    F: Fn(A) -> R + Send + Sync,
    A: Send,
    R: Send,
{
    fn run(self, desk: &Desk<'_>) {
        let Self { function, item, number, results } = self;
        let result = catch_unwind(AssertUnwindSafe(|| function(item)));
        if let Err(payload) = &result {
            desk.pool.panicked(desk, &**payload);
        }
        // An error says that nobody wants the result any more.
        let _ = results
            .send_blocking((number, result.map_err(|payload| JobError::Panicked(Panic::new(payload)))));
    }

    fn discard(self, why: Discard) {
        let _ = self.results.send_blocking((self.number, Err(why.into())));
    }
}

/// The right, and here the duty, to run one of the errands, or to let know that it will not be run.
struct Ticket(PlainArc<Errands>);

impl Work for Ticket {
    fn run(self, desk: &Desk<'_>) {
        if !self.0.run_one(desk) {
            desk.tally.hollow.add(1);
        }
    }

    fn discard(self, why: Discard) {
        self.0.discard_one(why);
    }
}
