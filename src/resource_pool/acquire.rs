//! The future that waits for a resource.

use super::ResourceManager;
use super::engine::{Delivery, Enqueued, Shared};
use super::error::ResourcePoolError;
use super::pooled::{Lease, PooledResource};
use crate::sync::PlainArc;
use crate::time::{Expiry, Instant};
use crate::wait::WaiterKey;
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
    stage: Stage,
    expiry: Option<Expiry>,
}

enum Stage {
    New,
    /// Waits since the instant.
    Queued(WaiterKey, Instant),
    Done,
}

type Acquired<M> = Result<PooledResource<M>, ResourcePoolError<<M as ResourceManager>::Error>>;

impl<'a, M: ResourceManager> ResourcePoolAcquireFuture<'a, M> {
    #[inline]
    pub(super) fn new(pool: &'a PlainArc<Shared<M>>, timeout: Option<Duration>) -> Self {
        Self { pool, timeout, stage: Stage::New, expiry: None }
    }

    /// Takes a resource or enters the queue.
    #[cold]
    fn enqueue(mut self: Pin<&mut Self>, now: Instant, cx: &mut Context<'_>) -> Poll<Acquired<M>> {
        let this = self.as_mut().project();
        let pool = *this.pool;
        match pool.enqueue(now, cx.waker().clone()) {
            Enqueued::Taken(lease) => {
                *this.stage = Stage::Done;
                Poll::Ready(Ok(PooledResource::new(lease, now)))
            }
            Enqueued::Closed => {
                *this.stage = Stage::Done;
                Poll::Ready(Err(ResourcePoolError::Closed))
            }
            Enqueued::Queued { key, timeout, is_settled } => {
                *this.stage = Stage::Queued(key, now);
                let timeout = this.timeout.unwrap_or(timeout);
                let expiry = this.expiry.insert(Expiry::new(now + timeout));
                if !is_settled {
                    return self.poll_queued(key, now, cx);
                }
                // `now` is the present: no user code has run since.
                if expiry.poll_at(now, &pool.clock, cx).is_pending() {
                    return Poll::Pending;
                }
                self.expire(key, now)
            }
        }
    }

    /// Polls the ready jobs, then the delivery, then the time limit.
    fn poll_queued(
        mut self: Pin<&mut Self>,
        key: WaiterKey,
        since: Instant,
        cx: &mut Context<'_>,
    ) -> Poll<Acquired<M>> {
        let this = self.as_mut().project();
        let pool = *this.pool;
        if let Some(Delivery { result, at }) = pool.poll_waiter(key, since, cx.waker()) {
            *this.stage = Stage::Done;
            *this.expiry = None;
            return Poll::Ready(result.map(|lease| PooledResource::new(lease, at)));
        }
        if !this.expiry.as_mut().is_some_and(|expiry| expiry.poll(&pool.clock, cx).is_ready()) {
            return Poll::Pending;
        }
        self.expire(key, since)
    }

    /// Leaves the queue at the end of the time limit.
    #[cold]
    fn expire(self: Pin<&mut Self>, key: WaiterKey, since: Instant) -> Poll<Acquired<M>> {
        let this = self.project();
        let pool = *this.pool;
        *this.stage = Stage::Done;
        *this.expiry = None;
        Poll::Ready(match pool.leave(key) {
            // A resource or an error was delivered meanwhile.
            Some(Delivery { result, at }) => result.map(|lease| {
                pool.waited(at - since);
                PooledResource::new(lease, at)
            }),
            None => {
                let now = pool.clock.now();
                Err(pool.timed_out(now - since, now))
            }
        })
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
                        Ok(PooledResource::new(Lease::new(pool.clone(), entry), now))
                    }
                    Ok(None) => return self.as_mut().enqueue(now, cx),
                    Err(closed) => Err(closed),
                };
                *self.project().stage = Stage::Done;
                Poll::Ready(result)
            }
            Stage::Queued(key, since) => self.poll_queued(key, since, cx),
            Stage::Done => panic!("an acquire future was polled after it was ready"),
        }
    }
}

#[pinned_drop]
impl<M: ResourceManager> PinnedDrop for ResourcePoolAcquireFuture<'_, M> {
    fn drop(self: Pin<&mut Self>) {
        let this = self.project();
        if let Stage::Queued(key, _) = *this.stage {
            // A resource that was delivered meanwhile goes to the next waiter.
            drop(this.pool.leave(key));
        }
    }
}

impl<M: ResourceManager> fmt::Debug for ResourcePoolAcquireFuture<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_queued = matches!(self.stage, Stage::Queued(..));
        f.debug_struct("ResourcePoolAcquireFuture")
            .field("is_queued", &is_queued)
            .finish_non_exhaustive()
    }
}
