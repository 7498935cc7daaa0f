//! The future that waits for a resource.

use super::ResourceManager;
use super::engine::{Enqueued, Shared};
use super::error::ResourcePoolError;
use super::pooled::{Lease, PooledResource};
use crate::sync::PlainArc;
use crate::time::{Expiry, Instant};
use crate::wait::{OneshotReceiver, WaiterKey, oneshot};
use pin_project::{pin_project, pinned_drop};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// The future returned by [`ResourcePool::acquire`](super::ResourcePool::acquire).
///
/// # Cancel safety
///
/// Dropping the future leaves the queue. A resource that was handed over meanwhile goes to the next
/// caller, and a creation or check under way is continued by the next caller.
#[pin_project(PinnedDrop)]
#[must_use = "futures do nothing unless polled"]
pub struct ResourcePoolAcquireFuture<'a, M: ResourceManager> {
    pool: &'a PlainArc<Shared<M>>,
    /// `None`: the acquire timeout of the pool.
    timeout: Option<Duration>,
    stage: Stage<M>,
    expiry: Option<Expiry>,
}

enum Stage<M: ResourceManager> {
    New,
    Queued { key: WaiterKey, since: Instant, receiver: OneshotReceiver<Delivery<M>> },
    Done,
}

type Delivery<M> = Result<Lease<M>, ResourcePoolError<<M as ResourceManager>::Error>>;
type Acquired<M> = Result<PooledResource<M>, ResourcePoolError<<M as ResourceManager>::Error>>;

impl<'a, M: ResourceManager> ResourcePoolAcquireFuture<'a, M> {
    #[inline]
    pub(super) fn new(pool: &'a PlainArc<Shared<M>>, timeout: Option<Duration>) -> Self {
        Self { pool, timeout, stage: Stage::New, expiry: None }
    }

    #[cold]
    fn enqueue(self: Pin<&mut Self>, now: Instant, cx: &mut Context<'_>) -> Option<Acquired<M>> {
        let this = self.project();
        let pool = *this.pool;
        let (sender, receiver) = oneshot();
        match pool.enqueue(now, sender, cx.waker().clone()) {
            Enqueued::Taken(entry) => {
                Some(Ok(PooledResource::new(Lease::new(pool.clone(), entry), now)))
            }
            Enqueued::Closed => Some(Err(ResourcePoolError::Closed)),
            Enqueued::Queued(key) => {
                *this.stage = Stage::Queued { key, since: now, receiver };
                let timeout = this.timeout.unwrap_or_else(|| pool.acquire_timeout());
                *this.expiry = Some(Expiry::new(now + timeout));
                None
            }
        }
    }

    /// Polls the ready jobs, then the delivery, then the time limit.
    #[cold]
    fn poll_queued(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Acquired<M>> {
        let this = self.project();
        let pool = *this.pool;
        let Stage::Queued { key, since, receiver } = this.stage else {
            panic!("an acquire future was polled after it was ready");
        };
        let (key, since) = (*key, *since);
        pool.poll_ready();
        let mut delivery = match Pin::new(&mut *receiver).poll(cx) {
            Poll::Ready(delivery) => Some(delivery.unwrap_or(Err(ResourcePoolError::Closed))),
            Poll::Pending => None,
        };
        if delivery.is_none() {
            if !this.expiry.as_mut().is_some_and(|expiry| expiry.poll(&pool.clock, cx).is_ready()) {
                return Poll::Pending;
            }
            pool.leave(key);
            // A resource or an error may have been delivered meanwhile.
            delivery = receiver.try_recv().unwrap_or(None);
        }
        let now = pool.clock.now();
        let waited = now - since;
        let result = match delivery {
            Some(Ok(lease)) => {
                pool.waited(waited);
                Ok(PooledResource::new(lease, now))
            }
            Some(Err(error)) => Err(error),
            None => Err(pool.timed_out(waited, now)),
        };
        *this.stage = Stage::Done;
        *this.expiry = None;
        Poll::Ready(result)
    }
}

impl<M: ResourceManager> Future for ResourcePoolAcquireFuture<'_, M> {
    type Output = Acquired<M>;

    /// # Panics
    ///
    /// Panics if it is polled again after it was ready.
    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.stage {
            Stage::New => {
                let pool = self.pool;
                let now = pool.clock.now();
                let result = match pool.try_take(now) {
                    Ok(Some(entry)) => {
                        Some(Ok(PooledResource::new(Lease::new(pool.clone(), entry), now)))
                    }
                    Ok(None) => self.as_mut().enqueue(now, cx),
                    Err(closed) => Some(Err(closed)),
                };
                if let Some(result) = result {
                    *self.project().stage = Stage::Done;
                    return Poll::Ready(result);
                }
            }
            Stage::Queued { key, .. } => self.pool.set_waker(key, cx.waker().clone()),
            Stage::Done => {}
        }
        self.poll_queued(cx)
    }
}

#[pinned_drop]
impl<M: ResourceManager> PinnedDrop for ResourcePoolAcquireFuture<'_, M> {
    fn drop(self: Pin<&mut Self>) {
        let this = self.project();
        if let Stage::Queued { key, .. } = this.stage {
            this.pool.leave(*key);
        }
    }
}

impl<M: ResourceManager> fmt::Debug for ResourcePoolAcquireFuture<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_queued = matches!(self.stage, Stage::Queued { .. });
        f.debug_struct("ResourcePoolAcquireFuture")
            .field("is_queued", &is_queued)
            .finish_non_exhaustive()
    }
}
