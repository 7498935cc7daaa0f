//! The result of a job, shared between the queue and the job's handle.

use super::error::{JobError, JobPanic};
use super::panics::{drop_quietly, quietly};
use super::run::{DiscardReason, JobEnd, QueuedState, Run, RunContext};
use super::workers::current;
use super::workers::pool_id::PoolId;
use crate::sync::{Mutex, PlainArc, SpinWait, block_on, block_on_timeout};
use crate::time::Deadline;

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::mem;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// The state that a job and its handle share, in one allocation: the closure, and later its result.
///
/// The closure is stored here and not in the queued job, so that the handle can take it: to cancel
/// the job, or to run it on a worker that waits for it.
pub(crate) struct JobCell<F, T> {
    state: Mutex<CellState<F, T>>,
    deadline: Deadline,
}

struct CellState<F, T> {
    stage: Stage<F, T>,
    /// The waker of the task or thread that waits for the result.
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
    fn take_result(&mut self) -> Option<Result<T, JobError>> {
        if !matches!(self, Self::Done(_)) {
            return None;
        }
        match mem::replace(self, Self::Taken) {
            Self::Done(result) => Some(result),
            _ => unreachable!("checked above"),
        }
    }
}

impl<F, T> JobCell<F, T> {
    pub(crate) fn new(body: F, deadline: Deadline) -> PlainArc<Self> {
        let state = CellState { stage: Stage::Queued(body), waker: None, cancelled: false };
        PlainArc::new(Self { state: Mutex::new(state), deadline })
    }

    /// Takes the closure in order to run it. Fails if the job has already begun or ended.
    fn begin(&self) -> Result<F, JobEnd> {
        let mut state = self.state.lock();
        match mem::replace(&mut state.stage, Stage::Running) {
            Stage::Queued(body) => Ok(body),
            other => {
                state.stage = other;
                Err(if state.cancelled { JobEnd::Cancelled } else { JobEnd::Counted })
            }
        }
    }

    fn end(&self, result: Result<T, JobError>) {
        let mut state = self.state.lock();
        state.stage = Stage::Done(result);
        let waker = state.waker.take();
        drop(state);
        wake(waker);
    }

    /// Runs the closure, unless it has been taken. Calls `on_panic` if the closure panics.
    pub(crate) fn run(&self, on_panic: impl FnOnce(&(dyn Any + Send))) -> JobEnd
    where
        F: FnOnce() -> T,
    {
        let body = match self.begin() {
            Ok(body) => body,
            Err(end) => return end,
        };
        let result = catch_unwind(AssertUnwindSafe(body));
        if let Err(payload) = &result {
            on_panic(&**payload);
        }
        let end = if result.is_ok() { JobEnd::Completed } else { JobEnd::Counted };
        self.end(result.map_err(|payload| JobError::Panicked(JobPanic::new(payload))));
        end
    }

    /// Ends the job with an error if it has not begun, and returns its closure.
    pub(crate) fn fail(&self, error: JobError) -> Option<F> {
        let cancelled = matches!(error, JobError::Cancelled);
        let mut state = self.state.lock();
        let Stage::Queued(_) = state.stage else { return None };
        state.cancelled = cancelled;
        let Stage::Queued(body) = mem::replace(&mut state.stage, Stage::Done(Err(error))) else {
            unreachable!("checked above")
        };
        let waker = state.waker.take();
        drop(state);
        wake(waker);
        Some(body)
    }

    fn is_cancelled(&self) -> bool {
        self.state.lock().cancelled
    }

    fn is_queued(&self) -> bool {
        matches!(self.state.lock().stage, Stage::Queued(_))
    }

    /// Returns whether the deadline has passed. If the clock panics, the job is cancelled, because
    /// the calling worker waits for the job and may be the only worker of the pool.
    fn has_expired(&self, context: &RunContext<'_>) -> bool {
        if self.deadline == Deadline::NEVER {
            return false;
        }
        let now = catch_unwind(AssertUnwindSafe(|| context.pool.clock.now()));
        now.map(|now| self.deadline.has_passed(now)).unwrap_or_else(|payload| {
            context.record_escaped_panic(payload);
            drop_quietly(self.fail(JobError::Cancelled));
            false
        })
    }
}

/// Calls a waker. Wakers are user code: a panic of one must end neither the job nor the worker.
fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        quietly(|| waker.wake());
    }
}

/// A [`JobCell`] as its handle uses it, with the type of the closure erased.
trait ErasedCell<T>: Send + Sync {
    fn poll(&self, waker: &Waker) -> Poll<Result<T, JobError>>;
    fn try_take(&self) -> Option<Result<T, JobError>>;
    fn is_finished(&self) -> bool;
    fn cancel(&self) -> bool;
    /// Runs the job on the current thread, which is a worker, if the job has not begun.
    fn help(&self, context: &RunContext<'_>);
}

impl<F: FnOnce() -> T + Send, T: Send> ErasedCell<T> for JobCell<F, T> {
    fn poll(&self, waker: &Waker) -> Poll<Result<T, JobError>> {
        // Cloning and dropping a waker runs user code, so both happen outside the lock. The guard
        // is declared after the waker, and so is dropped before it.
        let mut waker = Some(waker.clone());
        let mut state = self.state.lock();
        if let Some(result) = state.stage.take_result() {
            return Poll::Ready(result);
        }
        assert!(!matches!(state.stage, Stage::Taken), "a job handle was polled after it was ready");
        mem::swap(&mut state.waker, &mut waker);
        Poll::Pending
    }

    fn try_take(&self) -> Option<Result<T, JobError>> {
        self.state.lock().stage.take_result()
    }

    fn is_finished(&self) -> bool {
        matches!(self.state.lock().stage, Stage::Done(_) | Stage::Taken)
    }

    fn cancel(&self) -> bool {
        self.fail(JobError::Cancelled).is_some()
    }

    fn help(&self, context: &RunContext<'_>) {
        context.run_counted(|| {
            if self.has_expired(context) {
                let Some(body) = self.fail(JobError::Expired) else { return JobEnd::Counted };
                return context.discard(DiscardReason::Expired, |reason| {
                    drop(body);
                    JobEnd::Discarded(reason)
                });
            }
            match self.run(|payload| context.record_panic(payload)) {
                // A cancelled job is counted when it is taken from the queue.
                JobEnd::Cancelled => JobEnd::Counted,
                end => end,
            }
        });
    }
}

/// The queued half of a job that has a handle. If it is dropped without having been run or
/// discarded, the job is cancelled, so that the handle becomes ready.
pub(crate) struct TrackedJob<F, T>(Option<PlainArc<JobCell<F, T>>>);

impl<F, T> TrackedJob<F, T> {
    pub(crate) fn new(cell: PlainArc<JobCell<F, T>>) -> Self {
        Self(Some(cell))
    }

    fn take(mut self) -> PlainArc<JobCell<F, T>> {
        self.0.take().expect("taken once: by value")
    }

    /// Returns the closure of a job that was not queued and has not run.
    pub(crate) fn into_body(self) -> F {
        let Ok(body) = self.take().begin() else { unreachable!("no other thread knows the job") };
        body
    }
}

impl<F, T> Drop for TrackedJob<F, T> {
    fn drop(&mut self) {
        if let Some(cell) = self.0.take() {
            drop_quietly(cell.fail(DiscardReason::Dropped.into()));
        }
    }
}

impl<F: FnOnce() -> T + Send, T: Send> Run for TrackedJob<F, T> {
    fn run(self, context: &RunContext<'_>) -> JobEnd {
        self.take().run(|payload| context.record_panic(payload))
    }

    fn discard(self, reason: DiscardReason) -> JobEnd {
        let cell = self.take();
        match cell.fail(reason.into()) {
            Some(body) => {
                drop(body);
                JobEnd::Discarded(reason)
            }
            None if cell.is_cancelled() => JobEnd::Cancelled,
            None => JobEnd::Counted,
        }
    }

    fn queued_state(&self) -> QueuedState {
        match &self.0 {
            Some(cell) if cell.is_queued() => QueuedState::Owned,
            _ => QueuedState::Ended,
        }
    }
}

/// A handle to the result of a [spawned](super::WorkerPool::spawn) job.
///
/// The handle is a future of the result; outside async code, use
/// [`join_blocking`](Self::join_blocking). The handle always becomes ready, with the result or with
/// a [`JobError`] that gives the reason why there is none. Dropping the handle detaches the job,
/// which still runs.
///
/// On a worker of the same pool, use `join_blocking`: it runs the job if no worker has begun it. An
/// executor that blocks the worker until this future is ready does not run the job, and may wait
/// forever.
///
/// # Examples
///
/// ```
/// use mainstay::worker_pool::WorkerPool;
///
/// let pool = WorkerPool::new();
/// let handle = pool.try_spawn(|| 6 * 7)?;
/// assert_eq!(handle.join_blocking()?, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Cancel safety
///
/// The handle can be polled by reference, as `select!` does. No result is lost.
#[must_use = "dropping a job handle detaches the job"]
pub struct JobHandle<T> {
    cell: PlainArc<dyn ErasedCell<T>>,
    pool: PoolId,
}

// A result is complete or absent: a job that panics leaves none.
impl<T> UnwindSafe for JobHandle<T> {}
impl<T> RefUnwindSafe for JobHandle<T> {}

impl<T: Send + 'static> JobHandle<T> {
    pub(crate) fn new<F>(cell: PlainArc<JobCell<F, T>>, pool: PoolId) -> Self
    where
        F: FnOnce() -> T + Send + 'static,
    {
        Self { cell, pool }
    }
}

impl<T> JobHandle<T> {
    /// Blocks the thread until the job has ended, and returns its result.
    ///
    /// On a worker of the same pool it runs the job itself if no worker has begun it. So a job can
    /// wait for other jobs of its pool, even if the pool has one worker.
    ///
    /// # Errors
    ///
    /// Returns the reason why the job has no result.
    ///
    /// # Panics
    ///
    /// Panics if the handle was polled as a future and has returned its result.
    pub fn join_blocking(self) -> Result<T, JobError> {
        if let Some(result) = self.take_or_help() {
            return result;
        }
        block_on(self)
    }

    /// Blocks the thread until the job has ended, for at most `timeout`.
    ///
    /// On a worker of the same pool it runs the job itself if no worker has begun it, however long
    /// that takes.
    ///
    /// ```
    /// # let pool = mainstay::worker_pool::WorkerPool::new();
    /// # use std::time::Duration;
    /// let handle = pool.try_spawn(|| 6 * 7).unwrap();
    /// match handle.join_blocking_timeout(Duration::from_secs(5)) {
    ///     Ok(result) => assert_eq!(result.unwrap(), 42),
    ///     Err(handle) => assert!(!handle.is_finished()),
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the handle if the job has not ended in time.
    ///
    /// # Panics
    ///
    /// Panics if the handle was polled as a future and has returned its result.
    pub fn join_blocking_timeout(mut self, timeout: Duration) -> Result<Result<T, JobError>, Self> {
        if let Some(result) = self.take_or_help() {
            return Ok(result);
        }
        block_on_timeout(&mut self, timeout).ok_or(self)
    }

    /// Returns the result if the job has ended.
    ///
    /// # Errors
    ///
    /// Returns the handle if the job has not ended, or if the handle was polled as a future and has
    /// returned its result.
    pub fn try_join(self) -> Result<Result<T, JobError>, Self> {
        self.cell.try_take().ok_or(self)
    }

    /// Returns `true` if the job has ended, with a result or with an error.
    pub fn is_finished(&self) -> bool {
        self.cell.is_finished()
    }

    /// Cancels the job if it has not begun; its result is then [`JobError::Cancelled`]. Returns
    /// `true` if this call cancelled the job. The captures of the job are dropped before this
    /// method returns.
    pub fn cancel(&self) -> bool {
        let cancelled = self.cell.cancel();
        if cancelled {
            self.pool.record_ended_job();
        }
        cancelled
    }

    fn take_or_help(&self) -> Option<Result<T, JobError>> {
        if !self.cell.is_finished() {
            current::on_worker_of(self.pool, |context| {
                self.cell.help(context);
                self.pool.record_ended_job();
            });
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
    /// Panics if the handle is polled again after it was ready.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.cell.poll(cx.waker())
    }
}

impl<T> fmt::Debug for JobHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobHandle").field("finished", &self.is_finished()).finish_non_exhaustive()
    }
}
