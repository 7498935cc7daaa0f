//! Jobs: the creations, checks and closings under way, which outlive the callers that poll them.

use super::Shared;
use super::entry::Entry;
use super::state::State;
use super::total::{Reclaimed, TotalPermit};
use crate::error::Rejection;
use crate::resource_pool::ResourceManager;
use crate::resource_pool::error::CreationError;
use crate::resource_pool::snapshot::ResourceCloseReason;
use crate::sync::{PlainArc, PlainWeak};
use crate::time::{Clock, Instant};
use crate::wait::WaiterKey;
use std::future::Future;
use std::pin::Pin;
use std::task::{Wake, Waker};
use std::time::Duration;

/// A future of the manager, kept by the pool while no caller polls it.
pub(super) struct Job<M: ResourceManager> {
    pub(super) kind: JobKind,
    /// `None` while a caller polls it.
    pub(super) future: Option<JobFuture<M>>,
    pub(super) waker: Option<Waker>,
    /// Whether the job is in the ready queue, or enters it after the poll that is under way.
    pub(super) woken: bool,
}

pub(in crate::resource_pool) type JobFuture<M> = Pin<Box<dyn Future<Output = JobOutput<M>> + Send>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JobKind {
    /// A creation that begins at `starts_at`: immediately, or after the wait that follows a
    /// failure.
    Create {
        generation: u64,
        starts_at: Instant,
        permit: PermitUse,
    },
    Check,
    Close,
}

/// Whether a creation holds a permit of the limit over many pools, if the pool is a member of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PermitUse {
    Held,
    /// The job is the wait before a creation, which takes a permit when it begins.
    Later,
}

/// A new resource.
pub(in crate::resource_pool) struct Created<M: ResourceManager> {
    pub(super) resource: M::Resource,
    pub(super) permit: Option<TotalPermit>,
}

pub(in crate::resource_pool) enum JobOutput<M: ResourceManager> {
    Created(Result<Created<M>, CreationError<M::Error>>),
    /// The wait before a creation has ended.
    Due,
    /// The guard did not admit the creation.
    Rejected(Rejection),
    /// The resource, and whether it is healthy.
    Checked(Box<Entry<M::Resource>>, bool),
    Closed,
}

impl<M: ResourceManager> JobOutput<M> {
    /// The wait before a creation.
    pub(super) fn wait(clock: Clock, starts_at: Instant) -> JobFuture<M> {
        Box::pin(async move {
            clock.sleep_until(starts_at).await;
            Self::Due
        })
    }

    /// Closes a resource of another pool, and then creates one in its place.
    pub(super) fn replace(
        reclaimed: Reclaimed<M>,
        clock: Clock,
        creation: JobFuture<M>,
    ) -> JobFuture<M> {
        // If the future is dropped before its first poll, the resource is dropped before the
        // permit, which the creation holds.
        let parts = (reclaimed, creation);
        Box::pin(async move {
            let (reclaimed, creation) = parts;
            reclaimed.close(&clock).await;
            creation.await
        })
    }

    pub(super) fn check(
        manager: PlainArc<M>,
        clock: Clock,
        mut entry: Box<Entry<M::Resource>>,
        timeout: Duration,
    ) -> JobFuture<M> {
        Box::pin(async move {
            let checked = clock.timeout(timeout, manager.check(&mut entry.resource)).await;
            let is_healthy = matches!(checked, Some(Ok(())));
            Self::Checked(entry, is_healthy)
        })
    }

    pub(super) fn close(
        manager: PlainArc<M>,
        clock: Clock,
        entry: Box<Entry<M::Resource>>,
        timeout: Duration,
    ) -> JobFuture<M> {
        Box::pin(async move {
            clock.timeout(timeout, manager.close(entry.resource)).await;
            Self::Closed
        })
    }
}

impl<M: ResourceManager> State<M> {
    /// Adds a job to the ready queue.
    pub(super) fn start(
        &mut self,
        pool: &PlainArc<Shared<M>>,
        kind: JobKind,
        future: JobFuture<M>,
    ) -> WaiterKey {
        let job = Job { kind, future: Some(future), waker: None, woken: true };
        let key = self.jobs.push_back(job);
        let waker = PlainArc::new(JobWaker { pool: PlainArc::downgrade(pool), key });
        if let Some(job) = self.jobs.get_mut(key) {
            job.waker = Some(Waker::from(waker));
        }
        self.ready.push_back(key);
        key
    }

    /// Records that a resource leaves the pool, and that it is being closed.
    pub(super) fn count_closing(&mut self, reason: ResourceCloseReason) {
        self.closing += 1;
        self.stats.closed.count(reason);
    }
}

/// The waker of a job: adds the job to the ready queue, and wakes a caller to poll it.
struct JobWaker<M: ResourceManager> {
    pool: PlainWeak<Shared<M>>,
    key: WaiterKey,
}

impl<M: ResourceManager> Wake for JobWaker<M> {
    fn wake(self: PlainArc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &PlainArc<Self>) {
        if let Some(pool) = self.pool.upgrade() {
            pool.wake_job(self.key);
        }
    }
}
