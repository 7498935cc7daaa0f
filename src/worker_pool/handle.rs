//! The result of a job, on its way to whoever asked for it.

use super::error::{JobError, JobPanic};
use super::panics::quietly;
use crate::sync::{Mutex, PlainArc};
use crate::sync::{SpinWait, block_on, block_on_timeout};
use crate::time::Deadline;
use crate::worker_pool::run::{Discard, JobEnd, Run, RunContext, discard_at};
use crate::worker_pool::workers::current;
use std::fmt;
use std::future::Future;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// The closure, then its result: all that a job and its handle share, in one allocation.
///
/// The closure lies here and not in the job, so that whoever has the handle can take it away: to cancel
/// it, or on a worker that waits for it, to run it.
pub(crate) struct Cell<F, T> {
    state: Mutex<State<F, T>>,
    deadline: Deadline,
}

struct State<F, T> {
    stage: Stage<F, T>,
    /// Of whoever waits for the result.
    waker: Option<Waker>,
    cancelled: bool,
}

enum Stage<F, T> {
    Queued(F),
    Running,
    Done(Result<T, JobError>),
    Taken,
}

impl<F, T> Stage<F, T> {
    fn take(&mut self) -> Option<Result<T, JobError>> {
        if !matches!(self, Self::Done(_)) {
            return None;
        }
        match mem::replace(self, Self::Taken) {
            Self::Done(result) => Some(result),
            _ => unreachable!("looked at above"),
        }
    }
}

/// What a worker finds when a job comes out of the queue.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ran {
    Here,
    /// Here, with a panic.
    Panicked,
    Cancelled,
    /// By whoever waited for it.
    Elsewhere,
}

impl<F: FnOnce() -> T, T> Cell<F, T> {
    pub(crate) fn new(body: F, deadline: Deadline) -> PlainArc<Self> {
        let state = State { stage: Stage::Queued(body), waker: None, cancelled: false };
        PlainArc::new(Self { state: Mutex::new(state), deadline })
    }

    /// Takes the closure to run it; `None` if that was done, or it was cancelled.
    fn begin(&self) -> Result<F, Ran> {
        let mut state = self.state.lock();
        match mem::replace(&mut state.stage, Stage::Running) {
            Stage::Queued(body) => Ok(body),
            other => {
                state.stage = other;
                Err(if state.cancelled { Ran::Cancelled } else { Ran::Elsewhere })
            }
        }
    }

    /// Hands the result over, in place of the stage before.
    fn end(&self, result: Result<T, JobError>) {
        let mut state = self.state.lock();
        state.stage = Stage::Done(result);
        let waker = state.waker.take();
        drop(state);
        wake(waker);
    }

    /// Runs the closure unless that was done. `panicked` hears of its panic.
    pub(crate) fn run(&self, panicked: impl FnOnce(&(dyn std::any::Any + Send))) -> Ran {
        let body = match self.begin() {
            Ok(body) => body,
            Err(ran) => return ran,
        };
        let result = catch_unwind(AssertUnwindSafe(body));
        if let Err(payload) = &result {
            panicked(&**payload);
        }
        let ran = if result.is_ok() { Ran::Here } else { Ran::Panicked };
        self.end(result.map_err(|payload| JobError::Panicked(JobPanic::new(payload))));
        ran
    }

    /// Ends what has not begun, and gives the closure back.
    pub(crate) fn settle(&self, error: JobError) -> Option<F> {
        let cancelled = matches!(error, JobError::Cancelled);
        let mut state = self.state.lock();
        let Stage::Queued(_) = state.stage else { return None };
        state.cancelled = cancelled;
        let Stage::Queued(body) = mem::replace(&mut state.stage, Stage::Done(Err(error))) else {
            unreachable!("looked at above")
        };
        let waker = state.waker.take();
        drop(state);
        wake(waker);
        Some(body)
    }

    fn is_cancelled(&self) -> bool {
        self.state.lock().cancelled
    }

    /// The closure of a job that was not taken.
    pub(crate) fn into_body(self: PlainArc<Self>) -> F {
        let Ok(body) = self.begin() else { unreachable!("nobody else knew of it") };
        body
    }
}

/// A panic of the waker is none of the job's.
fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        quietly(|| waker.wake());
    }
}

/// A cell as its handle sees it: without the type of the closure.
trait ErasedCell<T>: Send + Sync {
    fn poll(&self, waker: &Waker) -> Poll<Result<T, JobError>>;
    fn try_take(&self) -> Option<Result<T, JobError>>;
    fn is_finished(&self) -> bool;
    fn cancel(&self) -> bool;
    fn help(&self, context: &RunContext<'_>);
}

impl<F: FnOnce() -> T + Send, T: Send> ErasedCell<T> for Cell<F, T> {
    fn poll(&self, waker: &Waker) -> Poll<Result<T, JobError>> {
        // Cloning and dropping a waker runs the code of others: outside the lock, which is declared after
        // it and so released before.
        let mut waker = Some(waker.clone());
        let mut state = self.state.lock();
        if let Some(result) = state.stage.take() {
            return Poll::Ready(result);
        }
        assert!(!matches!(state.stage, Stage::Taken), "the result of a job is taken only once");
        mem::swap(&mut state.waker, &mut waker);
        Poll::Pending
    }

    fn try_take(&self) -> Option<Result<T, JobError>> {
        self.state.lock().stage.take()
    }

    fn is_finished(&self) -> bool {
        matches!(self.state.lock().stage, Stage::Done(_) | Stage::Taken)
    }

    fn cancel(&self) -> bool {
        self.settle(JobError::Cancelled).is_some()
    }

    fn help(&self, context: &RunContext<'_>) {
        context.pool.count(context, || {
            if self.deadline != Deadline::NEVER
                && self.deadline.has_passed(context.pool.clock.now())
            {
                let Some(body) = self.settle(JobError::Expired) else { return JobEnd::Settled };
                return discard_at(context, Discard::Expired, |why| {
                    drop(body);
                    JobEnd::Discarded(why)
                });
            }
            match self.run(|payload| context.pool.panicked(context, payload)) {
                Ran::Here => JobEnd::Completed,
                // A cancelled one is counted when its turn in the queue comes.
                Ran::Panicked | Ran::Cancelled | Ran::Elsewhere => JobEnd::Settled,
            }
        });
    }
}

/// A job with a result, in the queue.
pub(crate) struct Tracked<F, T>(pub(super) PlainArc<Cell<F, T>>);

impl<F: FnOnce() -> T + Send, T: Send> Run for Tracked<F, T> {
    fn run(self, context: &RunContext<'_>) -> JobEnd {
        match self.0.run(|payload| context.pool.panicked(context, payload)) {
            Ran::Here => JobEnd::Completed,
            Ran::Cancelled => JobEnd::Cancelled,
            Ran::Panicked | Ran::Elsewhere => JobEnd::Settled,
        }
    }

    fn discard(self, why: Discard) -> JobEnd {
        match self.0.settle(why.into()) {
            Some(body) => {
                drop(body);
                JobEnd::Discarded(why)
            }
            None if self.0.is_cancelled() => JobEnd::Cancelled,
            None => JobEnd::Settled,
        }
    }
}

/// The way to the result of a [spawned](super::WorkerPool::spawn) job: a future, or
/// [`join_blocking`](Self::join_blocking) for a thread.
///
/// It always comes to an end: with the result, or with the [`JobError`] that tells why there is none.
/// Dropping it detaches the job, which runs all the same.
///
/// On a worker of the same pool use `join_blocking`, which runs the job if nobody has begun it. An executor that
/// blocks the worker until this future is ready does not, and may wait for ever.
///
/// # Cancel safety
///
/// It can be polled by reference, in a `select`, and dropped at any time.
#[must_use = "dropping it detaches the job"]
pub struct JobHandle<T> {
    cell: PlainArc<dyn ErasedCell<T>>,
    pool: current::PoolId,
}

impl<T: Send + 'static> JobHandle<T> {
    pub(crate) fn new<F>(cell: PlainArc<Cell<F, T>>, pool: current::PoolId) -> Self
    where
        F: FnOnce() -> T + Send + 'static,
    {
        Self { cell, pool }
    }
}

impl<T> JobHandle<T> {
    /// Waits for the result.
    ///
    /// On a worker of the same pool it runs the job itself if nobody has begun it, so that jobs can wait
    /// for jobs without end of workers.
    ///
    /// # Errors
    ///
    /// If there is none.
    ///
    /// # Panics
    ///
    /// If the handle, as a future, was ready before.
    pub fn join_blocking(self) -> Result<T, JobError> {
        if let Some(result) = self.take_or_help() {
            return result;
        }
        block_on(self)
    }

    /// Waits for the result, for no longer than `patience`; then the handle comes back.
    ///
    /// On a worker of the same pool it runs the job itself if nobody has begun it, however long that takes.
    ///
    /// # Errors
    ///
    /// The handle, to be asked again.
    ///
    /// # Panics
    ///
    /// If the handle, as a future, was ready before.
    pub fn join_blocking_timeout(
        mut self,
        patience: Duration,
    ) -> Result<Result<T, JobError>, Self> {
        if let Some(result) = self.take_or_help() {
            return Ok(result);
        }
        block_on_timeout(&mut self, patience).ok_or(self)
    }

    /// The result, if it is there.
    ///
    /// # Errors
    ///
    /// The handle, to be asked again; in vain if, as a future, it was ready before.
    pub fn try_join(self) -> Result<Result<T, JobError>, Self> {
        self.cell.try_take().ok_or(self)
    }

    /// Whether there is a result, or an error, to be had at once.
    pub fn is_finished(&self) -> bool {
        self.cell.is_finished()
    }

    /// Keeps the job from being run if it has not begun: true, and the result is [`JobError::Cancelled`]. What
    /// it captured is dropped now; its place in the queue stays taken until its turn comes.
    pub fn cancel(&self) -> bool {
        self.cell.cancel()
    }

    fn take_or_help(&self) -> Option<Result<T, JobError>> {
        if !self.cell.is_finished() {
            current::on_worker_of(self.pool, |context| self.cell.help(context));
            let mut spin = SpinWait::new();
            while !self.cell.is_finished() && spin.spin() {}
        }
        self.cell.try_take()
    }
}

impl<T> Future for JobHandle<T> {
    type Output = Result<T, JobError>;

    /// # Panics
    ///
    /// If polled again after it was ready.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.cell.poll(cx.waker())
    }
}

impl<T> fmt::Debug for JobHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobHandle").field("finished", &self.is_finished()).finish_non_exhaustive()
    }
}
