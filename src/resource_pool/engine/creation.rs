//! Creations, and the guard that admits them.

use super::jobs::{Created, JobFuture, JobOutput};
use super::total::TotalPermit;
use crate::error::{Error, TimedOut};
use crate::policy::{Admission, Context, OwnedGuard};
use crate::resource_pool::ResourceManager;
use crate::resource_pool::error::CreationError;
use crate::sync::PlainArc;
use crate::time::{Clock, Instant};
use std::time::Duration;

/// A creation that begins at an instant.
pub(in crate::resource_pool) struct Creation<M: ResourceManager> {
    pub(super) manager: PlainArc<M>,
    pub(super) clock: Clock,
    pub(super) starts_at: Instant,
    pub(super) timeout: Duration,
    /// The name of the pool.
    pub(super) pool: &'static str,
    /// The permit of the limit over many pools, if the pool is a member of one.
    pub(super) permit: Option<TotalPermit>,
}

/// A guard of creations, without its type.
pub(in crate::resource_pool) trait CreationGuard<M: ResourceManager>:
    Send + Sync
{
    /// Returns the future of a creation that begins when the guard admits it. Runs no user code.
    fn guarded(self: PlainArc<Self>, creation: Creation<M>) -> JobFuture<M>;
}

impl<M: ResourceManager> Creation<M> {
    /// Returns the future of a creation without a guard. Runs no user code.
    pub(super) fn unguarded(self) -> JobFuture<M> {
        Box::pin(async move {
            self.wait().await;
            let result = self.run().await;
            self.output(result)
        })
    }

    async fn wait(&self) {
        if self.starts_at > Instant::ORIGIN {
            self.clock.sleep_until(self.starts_at).await;
        }
    }

    async fn run(&self) -> Result<M::Resource, Error<M::Error>> {
        match self.clock.timeout(self.timeout, self.manager.create()).await {
            Some(Ok(resource)) => Ok(resource),
            Some(Err(error)) => Err(Error::Operation(error)),
            None => Err(Error::Timeout(TimedOut::new(self.pool, self.timeout))),
        }
    }

    fn output(mut self, result: Result<M::Resource, Error<M::Error>>) -> JobOutput<M> {
        JobOutput::Created(match result {
            Ok(resource) => Ok(Created { resource, permit: self.permit.take() }),
            Err(Error::Operation(error)) => Err(CreationError::Failed(error)),
            Err(_) => Err(CreationError::TimedOut(self.timeout)),
        })
    }
}

impl<M, G> CreationGuard<M> for G
where
    M: ResourceManager,
    G: OwnedGuard<M::Resource, M::Error> + 'static,
    G::OwnedPermit: Send,
    G::AdmitFuture: Send,
{
    fn guarded(self: PlainArc<Self>, creation: Creation<M>) -> JobFuture<M> {
        Box::pin(async move {
            creation.wait().await;
            let admitted = match self.admit_owned(Context::new()) {
                Admission::Admitted(permit) => Ok(permit),
                Admission::Rejected(rejection) => Err(rejection),
                Admission::Waiting(admission) => admission.await,
            };
            // If this future is dropped during the creation, the permit is dropped.
            let permit = match admitted {
                Ok(permit) => permit,
                Err(rejection) => return JobOutput::Rejected(rejection),
            };
            let result = creation.run().await;
            G::record_owned(permit, &result);
            creation.output(result)
        })
    }
}
