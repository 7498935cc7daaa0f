//! The execution of a batch: starts the operation, polls it, answers the callers, and splits a
//! batch that failed.

use super::items::Batch;
use super::shared::{Shared, wake_all};
use crate::error::{Error, Reason, Rejection};
use crate::sync::discard_panic;
use crate::time::Deadline;
use crate::wait::WaiterKey;
use std::future::Future;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// The future of the operation for one batch or one part of it.
pub(super) type Pending<R, E> = Pin<Box<dyn Future<Output = Outcome<R, E>> + Send>>;

/// How a batch is split after a failure.
pub(super) struct Split<T, E> {
    pub(super) clone: fn(&[T]) -> Vec<T>,
    pub(super) when: Box<dyn Fn(&E) -> bool + Send + Sync>,
}

/// The items of a batch that starts, and the items and wakers that the driver drops and wakes
/// first, outside the lock.
pub(super) struct Starting<T> {
    /// `None` if the deadline of every item had passed.
    pub(super) run: Option<WaiterKey>,
    pub(super) items: Vec<T>,
    pub(super) sequences: Vec<u64>,
    pub(super) callers: Vec<WaiterKey>,
    pub(super) deadline: Deadline,
    /// Items whose deadline has passed. Their callers have been answered.
    pub(super) expired: Vec<T>,
    pub(super) wakers: Vec<Waker>,
}

impl<T> Starting<T> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            run: None,
            items: Vec::with_capacity(capacity),
            sequences: Vec::with_capacity(capacity),
            callers: Vec::with_capacity(capacity),
            deadline: Deadline::NEVER,
            expired: Vec::new(),
            wakers: Vec::new(),
        }
    }
}

/// A batch whose operation has started.
pub(super) struct Job<T, R, E> {
    callers: Vec<WaiterKey>,
    sequences: Vec<u64>,
    deadline: Deadline,
    /// Copies of all items, if the batch may be split.
    copies: Vec<T>,
    /// The part that the operation runs for: the whole batch, unless it was split.
    part: Range<usize>,
    /// The other parts that have not been answered, last first.
    rest: Vec<Range<usize>>,
    /// `None` if the operation panicked.
    future: Option<Pending<R, E>>,
    waker: Waker,
}

/// The result of the operation for one part.
pub(super) enum Outcome<R, E> {
    Values(Vec<R>),
    Each(Vec<Result<R, E>>),
    Failed(E),
    Panicked,
}

impl<R, E> Outcome<R, E> {
    /// Returns the number of results, unless there is one outcome for all items.
    fn len(&self) -> Option<usize> {
        match self {
            Self::Values(values) => Some(values.len()),
            Self::Each(results) => Some(results.len()),
            Self::Failed(_) | Self::Panicked => None,
        }
    }
}

/// Runs user code. Returns `None` if it panics.
fn catch<R>(f: impl FnOnce() -> R) -> Option<R> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(value) => Some(value),
        Err(payload) => {
            discard_panic(|| drop(payload));
            None
        }
    }
}

impl<T, R, E> Job<T, R, E> {
    /// Polls the operation.
    fn poll(&mut self) -> Poll<Outcome<R, E>> {
        let Some(future) = &mut self.future else { return Poll::Ready(Outcome::Panicked) };
        let mut cx = Context::from_waker(&self.waker);
        let poll = catch(|| future.as_mut().poll(&mut cx));
        if matches!(poll, Some(Poll::Pending)) {
            return Poll::Pending;
        }
        let dropped = catch(|| self.future = None);
        let outcome = match poll {
            Some(Poll::Ready(outcome)) if dropped.is_some() => outcome,
            _ => Outcome::Panicked,
        };
        match outcome.len() {
            Some(results) if results != self.part.len() => {
                discard_panic(|| drop(outcome));
                // Panics, so that the panic hook reports the mistake like a panic inside the
                // operation.
                let items = self.part.len();
                catch(|| panic!("the operation returned {results} results for {items} items"));
                Poll::Ready(Outcome::Panicked)
            }
            _ => Poll::Ready(outcome),
        }
    }
}

impl<T, R, E> Shared<T, R, E>
where
    T: Send + 'static,
    R: Send + 'static,
    E: Clone + Send + 'static,
{
    /// Starts the operation of a batch and polls it.
    pub(super) fn start(&self, starting: Starting<T>) {
        let Starting { run, items, sequences, callers, deadline, expired, wakers } = starting;
        wake_all(wakers);
        discard_panic(|| drop(expired));
        let Some(run) = run else { return };
        let mut job = Job {
            part: 0..items.len(),
            callers,
            sequences,
            deadline,
            copies: Vec::new(),
            rest: Vec::new(),
            future: None,
            waker: self.run_waker(run),
        };
        job.future = catch(|| {
            if let Some(split) = &self.split
                && items.len() > 1
            {
                job.copies = (split.clone)(&items);
            }
            self.operate(&job, items)
        });
        self.poll(run, job);
    }

    fn operate(&self, job: &Job<T, R, E>, items: Vec<T>) -> Pending<R, E> {
        let sequences = job.sequences[job.part.clone()].to_vec();
        (self.operation)(Batch::new(items, sequences, self.nonce, job.deadline))
    }

    /// Polls the operation of a batch until it is pending or all parts have been answered.
    pub(super) fn poll(&self, run: WaiterKey, mut job: Job<T, R, E>) {
        loop {
            let Poll::Ready(outcome) = job.poll() else {
                return self.put_back(run, job);
            };
            self.settle(run, &mut job, outcome);
            let is_abandoned = self.is_abandoned(run);
            match job.rest.pop() {
                Some(part) if !is_abandoned => job.part = part,
                _ => {
                    discard_panic(|| drop(job));
                    return self.end_run(run);
                }
            }
            job.future = catch(|| {
                let split = self.split.as_ref().expect("only a batch that may be split has parts");
                self.operate(&job, (split.clone)(&job.copies[job.part.clone()]))
            });
        }
    }

    /// Answers the callers of a part, or splits the part.
    fn settle(&self, run: WaiterKey, job: &mut Job<T, R, E>, outcome: Outcome<R, E>) {
        let part = job.part.clone();
        let callers = &job.callers[part.clone()];
        let panicked = || Err(Error::from(Rejection::new(Reason::Panicked, self.config.name)));
        match outcome {
            Outcome::Values(values) => self.answer(run, callers, values.into_iter().map(Ok)),
            Outcome::Each(results) => {
                let results = results.into_iter().map(|result| result.map_err(Error::Operation));
                self.answer(run, callers, results);
            }
            Outcome::Panicked => self.answer(run, callers, part.map(|_| panicked())),
            Outcome::Failed(error) => {
                let splits = self.split.as_ref().is_some_and(|split| {
                    part.len() > 1 && catch(|| (split.when)(&error)).unwrap_or(false)
                });
                if splits {
                    self.queue.lock().counts.splits += 1;
                    let middle = part.start + part.len() / 2;
                    job.rest.extend([middle..part.end, part.start..middle]);
                    return;
                }
                match catch(|| vec![error; part.len()]) {
                    Some(errors) => {
                        let results = errors.into_iter().map(|error| Err(Error::Operation(error)));
                        self.answer(run, callers, results);
                    }
                    None => self.answer(run, callers, part.map(|_| panicked())),
                }
            }
        }
    }
}
