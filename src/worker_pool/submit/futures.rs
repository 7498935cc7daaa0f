//! The futures of submissions that wait while the queue is full.

use super::WorkerPoolSubmitter;
use super::enqueue::{BlockingLimit, Enqueued, Envelope};
use crate::error::Reason;
use crate::time::{Instant, Sleep};
use crate::wait::Wait;
use crate::worker_pool::error::{JobError, SubmitError};
use crate::worker_pool::handle::{JobHandle, TrackedJob};
use crate::worker_pool::job::Job;
use crate::worker_pool::queue::priority_queue::NotFull;
use crate::worker_pool::run::{Closure, Run};
use crate::worker_pool::workers::current;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// A submission that waits, as a task, while the queue is full.
pub(super) struct Enqueue<'a, R> {
    submitter: WorkerPoolSubmitter<'a>,
    wait: Wait<'a, NotFull<'a, Job>>,
    envelope: Option<Envelope<R>>,
    timeout_at: Instant,
    /// Created when the task has to wait.
    timer: Option<Pin<Box<Sleep>>>,
}

const READY: &str = "a submission was polled after it was ready";

impl<'a, R: Run + 'static> Enqueue<'a, R> {
    pub(super) fn new(submitter: WorkerPoolSubmitter<'a>, envelope: Envelope<R>) -> Self {
        Self {
            submitter,
            wait: submitter.queue().wait_until_not_full(),
            envelope: Some(envelope),
            timeout_at: Instant::FAR_FUTURE,
            timer: None,
        }
    }

    /// Creates a submission that waits until `timeout` has passed since this call.
    pub(super) fn with_timeout(
        submitter: WorkerPoolSubmitter<'a>,
        envelope: Envelope<R>,
        timeout: Duration,
    ) -> Self {
        let timeout_at = submitter.pool.clock.now() + timeout;
        Self { timeout_at, ..Self::new(submitter, envelope) }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Enqueued<R>> {
        let submitter = self.submitter;
        assert!(self.envelope.is_some(), "{READY}");
        if current::is_worker_of(submitter.pool.id) {
            // As in `enqueue_blocking`, a worker does not wait: an executor may block it until this
            // future is ready. If the future has waited on another thread, the assignment leaves
            // the wait queue and passes on an unused hint.
            self.wait = submitter.queue().wait_until_not_full();
            let envelope = self.envelope.take().expect(READY);
            return Poll::Ready(submitter.enqueue_blocking(envelope, BlockingLimit::NoWait));
        }
        let Self { wait, envelope, .. } = self;
        if wait.poll(cx, || submitter.attempt(envelope)).is_ready() {
            return Poll::Ready(match envelope.take() {
                Some(envelope) => Err((Reason::ShutDown, envelope)),
                None => Ok(()),
            });
        }
        self.poll_timer(cx)
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<Enqueued<R>> {
        if self.timeout_at == Instant::FAR_FUTURE {
            return Poll::Pending;
        }
        let clock = &self.submitter.pool.clock;
        let timer = self.timer.get_or_insert_with(|| Box::pin(clock.sleep_until(self.timeout_at)));
        timer.as_mut().poll(cx).map(|()| {
            self.wait = self.submitter.queue().wait_until_not_full();
            Err((Reason::QueueTimeout, self.envelope.take().expect(READY)))
        })
    }
}

/// The future returned by [`WorkerPool::submit`](super::super::WorkerPool::submit) and
/// [`submit_timeout`](super::super::WorkerPool::submit_timeout).
#[must_use = "futures do nothing unless polled"]
pub struct SubmitFuture<'a, F> {
    enqueue: Enqueue<'a, Closure<F>>,
}

impl<'a, F> SubmitFuture<'a, F> {
    pub(super) fn new(enqueue: Enqueue<'a, Closure<F>>) -> Self {
        Self { enqueue }
    }
}

// The job is not pinned: it is only moved out.
impl<F> Unpin for SubmitFuture<'_, F> {}

impl<F: FnOnce() + Send + 'static> Future for SubmitFuture<'_, F> {
    type Output = Result<(), SubmitError<F>>;

    /// # Panics
    ///
    /// Panics if the future is polled again after it was ready.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let submitter = self.enqueue.submitter;
        self.enqueue
            .poll(cx)
            .map_err(|(reason, envelope)| submitter.submit_error(reason, envelope.into_work().0))
    }
}

impl<F> fmt::Debug for SubmitFuture<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubmitFuture").finish_non_exhaustive()
    }
}

/// The future returned by [`WorkerPool::spawn`](super::super::WorkerPool::spawn) and
/// [`spawn_timeout`](super::super::WorkerPool::spawn_timeout).
#[must_use = "futures do nothing unless polled"]
pub struct SpawnFuture<'a, F, T> {
    enqueue: Enqueue<'a, TrackedJob<F, T>>,
    handle: Option<JobHandle<T>>,
}

impl<'a, F, T> SpawnFuture<'a, F, T> {
    pub(super) fn new(enqueue: Enqueue<'a, TrackedJob<F, T>>, handle: JobHandle<T>) -> Self {
        Self { enqueue, handle: Some(handle) }
    }
}

impl<F, T> Unpin for SpawnFuture<'_, F, T> {}

impl<F, T> Future for SpawnFuture<'_, F, T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    type Output = Result<JobHandle<T>, SubmitError<F>>;

    /// # Panics
    ///
    /// Panics if the future is polled again after it was ready.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let submitter = self.enqueue.submitter;
        self.enqueue.poll(cx).map(|enqueued| match enqueued {
            Ok(()) => Ok(self.handle.take().expect(READY)),
            Err((reason, envelope)) => Err(submitter.spawn_error(reason, envelope)),
        })
    }
}

impl<F, T> fmt::Debug for SpawnFuture<'_, F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpawnFuture").finish_non_exhaustive()
    }
}

/// The future returned by [`WorkerPool::call`](super::super::WorkerPool::call).
///
/// Dropping the future before it is ready cancels the job, unless the job has begun.
#[must_use = "futures do nothing unless polled"]
pub struct CallFuture<'a, F, T> {
    /// `None` once the job is queued.
    enqueue: Option<Enqueue<'a, TrackedJob<F, T>>>,
    handle: JobHandle<T>,
}

impl<'a, F, T> CallFuture<'a, F, T> {
    pub(super) fn new(enqueue: Enqueue<'a, TrackedJob<F, T>>, handle: JobHandle<T>) -> Self {
        Self { enqueue: Some(enqueue), handle }
    }
}

impl<F, T> Unpin for CallFuture<'_, F, T> {}

impl<F, T> Future for CallFuture<'_, F, T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    type Output = Result<T, JobError>;

    /// # Panics
    ///
    /// Panics if the future is polled again after it was ready.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(enqueue) = &mut self.enqueue {
            match enqueue.poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err((reason, envelope))) => enqueue.submitter.fail(reason, envelope),
            }
            self.enqueue = None;
        }
        Pin::new(&mut self.handle).poll(cx)
    }
}

impl<F, T> Drop for CallFuture<'_, F, T> {
    fn drop(&mut self) {
        self.handle.cancel();
    }
}

impl<F, T> fmt::Debug for CallFuture<'_, F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallFuture")
            .field("queued", &self.enqueue.is_none())
            .finish_non_exhaustive()
    }
}
