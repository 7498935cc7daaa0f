//! Polling jobs and applying their results.

use super::Shared;
use super::entry::Entry;
use super::jobs::{Created, JobKind, JobOutput};
use super::state::LastError;
use crate::resource_pool::ResourceManager;
use crate::resource_pool::error::CreationError;
use crate::resource_pool::events::PoolEvent;
use crate::resource_pool::snapshot::ResourceCloseReason;
use crate::sync::{PlainArc, keep_panic};
use crate::time::Instant;
use crate::wait::WaiterKey;
use std::task::{Context, Poll};
use std::time::Duration;

impl<M: ResourceManager> Shared<M> {
    /// Polls once each job that is ready now.
    pub(in crate::resource_pool) fn poll_ready(self: &PlainArc<Self>) {
        let jobs = self.state.lock().ready.len();
        for _ in 0..jobs {
            let Some(key) = self.state.lock().ready.pop_front() else { return };
            let mut panic = None;
            keep_panic(&mut panic, || self.poll_job(key));
            self.settle_with(self.clock.now(), panic);
        }
    }

    pub(super) fn wake_job(&self, key: WaiterKey) {
        let mut state = self.state.lock();
        let Some(job) = state.jobs.get_mut(key) else { return };
        if std::mem::replace(&mut job.woken, true) || job.future.is_none() {
            return;
        }
        state.ready.push_back(key);
        let driver = state.take_driver();
        drop(state);
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    /// Polls a job once, unless another thread is polling it. The caller must settle afterwards.
    pub(super) fn poll_job(self: &PlainArc<Self>, key: WaiterKey) {
        let mut state = self.state.lock();
        let Some(job) = state.jobs.get_mut(key) else { return };
        // Declared before the future: if the poll unwinds, the future is dropped before the counts
        // change, and the resource with it.
        let running = Running { pool: self, key, kind: job.kind };
        let (future, waker) = (job.future.take(), job.waker.clone());
        if future.is_some() {
            job.woken = false;
        }
        drop(state);
        let (Some(mut future), Some(waker)) = (future, waker) else {
            return std::mem::forget(running);
        };
        let output = future.as_mut().poll(&mut Context::from_waker(&waker));
        match output {
            Poll::Pending => {
                let mut state = self.state.lock();
                if let Some(job) = state.jobs.get_mut(key) {
                    job.future = Some(future);
                    if job.woken {
                        state.ready.push_back(key);
                    }
                }
                std::mem::forget(running);
            }
            Poll::Ready(output) => {
                let kind = running.kind;
                let retry = self.retry(&output);
                std::mem::forget(running);
                self.complete(key, kind, output, retry);
            }
        }
    }

    /// Decides when a creation is attempted again. Runs user code, so it is called before the state
    /// changes.
    fn retry(&self, output: &JobOutput<M>) -> Retry {
        let JobOutput::Created(Err(error)) = output else { return Retry::Never };
        if let CreationError::Failed(error) = error
            && self.manager.is_permanent(error)
        {
            return Retry::Permanent(self.next_delay());
        }
        Retry::After(self.next_delay())
    }

    fn next_delay(&self) -> Duration {
        let (failures, previous) = {
            let state = self.state.lock();
            (state.failures.saturating_add(1), state.delay)
        };
        self.backoff.delay(failures, previous, &self.random)
    }

    /// Applies the output of a job.
    fn complete(
        self: &PlainArc<Self>,
        key: WaiterKey,
        kind: JobKind,
        output: JobOutput<M>,
        retry: Retry,
    ) {
        let now = self.clock.now();
        match (kind, output) {
            (JobKind::Create { generation, starts_at, .. }, JobOutput::Created(result)) => {
                let took = now - starts_at;
                let event = match result {
                    Ok(created) => {
                        self.created(key, created, generation, now);
                        PoolEvent::Created { took }
                    }
                    Err(error) => {
                        self.creation_failed(key, error, retry, now);
                        PoolEvent::CreationFailed { took }
                    }
                };
                self.emitter.emit(event, now);
            }
            (_, JobOutput::Checked(mut entry, is_healthy)) => {
                let mut state = self.state.lock();
                let job = state.jobs.remove(key);
                state.checking -= 1;
                if is_healthy {
                    entry.checked(now);
                    state.idle.push_back(entry);
                    drop(state);
                } else {
                    drop(state);
                    self.close_entry(entry, ResourceCloseReason::CheckFailed);
                }
                drop(job);
            }
            (JobKind::Create { .. }, JobOutput::Rejected(rejection)) => {
                let mut state = self.state.lock();
                let job = state.jobs.remove(key);
                state.creation_rejected(rejection, now);
                drop(state);
                drop(job);
                let reason = rejection.reason().as_str();
                self.emitter.emit(PoolEvent::CreationRejected { reason }, now);
            }
            (kind, _) => self.lost(key, kind),
        }
    }

    fn created(&self, key: WaiterKey, created: Created<M>, generation: u64, now: Instant) {
        let Created { resource, permit } = created;
        let unit = self.random.unit();
        let mut state = self.state.lock();
        let job = state.jobs.remove(key);
        let expires_at = state.config.expires_at(now, unit);
        state.creating -= 1;
        state.stats.created += 1;
        let before = state.creation_succeeded();
        state.evicting |= generation != state.generation;
        let mut entry = Box::new(Entry::new(resource, now, expires_at, generation));
        entry.permit = permit;
        state.idle.push_back(entry);
        drop(state);
        drop((job, before));
    }

    fn creation_failed(
        &self,
        key: WaiterKey,
        error: CreationError<M::Error>,
        retry: Retry,
        now: Instant,
    ) {
        let (delay, is_permanent) = match retry {
            Retry::After(delay) => (delay, false),
            Retry::Permanent(delay) => (delay, true),
            Retry::Never => (Duration::ZERO, false),
        };
        let mut state = self.state.lock();
        let job = state.jobs.remove(key);
        state.creating -= 1;
        state.size -= 1;
        state.stats.create_failures += 1;
        state.failures = state.failures.saturating_add(1);
        state.delay = delay;
        state.retry_at = now + delay;
        let before = state.last_error.replace(LastError { error: PlainArc::new(error), at: now });
        if is_permanent {
            // If other resources are open, the other waiters receive those when they return.
            let all = state.size == state.creating + state.closing;
            state.failing = if all { state.waiting } else { state.waiting.min(1) };
        }
        drop(state);
        drop((job, before));
    }

    /// Removes a job that has ended without a resource: a closing, the wait after a failure, or a
    /// job that panicked.
    fn lost(&self, key: WaiterKey, kind: JobKind) {
        let mut state = self.state.lock();
        let job = state.jobs.remove(key);
        state.uncount(kind);
        drop(state);
        drop(job);
    }
}

/// A job that is being polled. It is dropped only if the poll unwinds, and then removes the job.
struct Running<'a, M: ResourceManager> {
    pool: &'a PlainArc<Shared<M>>,
    key: WaiterKey,
    kind: JobKind,
}

impl<M: ResourceManager> Drop for Running<'_, M> {
    fn drop(&mut self) {
        self.pool.lost(self.key, self.kind);
    }
}

/// When the next creation is attempted.
#[derive(Clone, Copy, Debug)]
enum Retry {
    /// The creation did not fail.
    Never,
    After(Duration),
    /// The error is permanent and waiters receive it. The next attempt starts after the delay, if
    /// there is a waiter.
    Permanent(Duration),
}
