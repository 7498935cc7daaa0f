//! The future that waits for a resource.

use super::ResourceManager;
use super::engine::{Caller, Delivery, Enqueued, Shared, WaitLimit};
use super::error::ResourcePoolError;
use super::pooled::{Lease, PooledResource};
use crate::sync::PlainArc;
use crate::time::Instant;
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
/// Dropping the future removes the caller from the queue. A resource that the caller has already
/// been given goes to the next caller, and the next caller continues to poll the creations and
/// checks.
#[pin_project(PinnedDrop)]
#[must_use = "futures do nothing unless polled"]
pub struct ResourcePoolAcquireFuture<'a, M: ResourceManager> {
    pool: &'a PlainArc<Shared<M>>,
    /// `None`: the acquire timeout of the pool.
    timeout: Option<Duration>,
    caller: Caller,
    stage: Stage,
    /// Present in the stage `Queued`.
    limit: Option<WaitLimit<M>>,
}

enum Stage {
    New,
    /// In the queue since the instant.
    Queued(WaiterKey, Instant),
    Done,
}

type Acquired<M> = Result<PooledResource<M>, ResourcePoolError<<M as ResourceManager>::Error>>;

impl<'a, M: ResourceManager> ResourcePoolAcquireFuture<'a, M> {
    #[inline]
    pub(super) fn new(
        pool: &'a PlainArc<Shared<M>>,
        timeout: Option<Duration>,
        caller: Caller,
    ) -> Self {
        Self { pool, timeout, caller, stage: Stage::New, limit: None }
    }

    /// Takes a resource or enters the queue.
    #[cold]
    fn enqueue(mut self: Pin<&mut Self>, now: Instant, cx: &mut Context<'_>) -> Poll<Acquired<M>> {
        let this = self.as_mut().project();
        let pool = *this.pool;
        match pool.enqueue(now, *this.timeout, this.caller, cx.waker().clone()) {
            Enqueued::Taken(lease) => {
                *this.stage = Stage::Done;
                Poll::Ready(Ok(PooledResource::new(lease, now)))
            }
            Enqueued::Closed => {
                *this.stage = Stage::Done;
                Poll::Ready(Err(ResourcePoolError::Closed))
            }
            Enqueued::Queued { key, limit, is_settled } => {
                *this.stage = Stage::Queued(key, now);
                let limit = this.limit.insert(limit);
                if !is_settled {
                    return self.poll_queued(key, now, cx);
                }
                // `now` is still the current time: no user code has run since it was read.
                if limit.start(now, &pool.clock, cx).is_pending() {
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
        let limit = this.limit.as_mut().expect("a future in the queue has a limit");
        if let Some(Delivery { result, at }) =
            pool.poll_waiter(key, (since, this.caller), limit, cx.waker())
        {
            *this.stage = Stage::Done;
            *this.limit = None;
            return Poll::Ready(result.map(|lease| PooledResource::new(lease, at)));
        }
        if limit.poll(&pool.clock, cx).is_pending() {
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
        Poll::Ready(match this.limit.take().and_then(|mut limit| pool.leave(key, &mut limit)) {
            // A resource or an error was delivered meanwhile.
            Some(Delivery { result, at }) => result.map(|mut lease| {
                pool.waited(&mut lease, since, at, this.caller);
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
                // If others wait, this caller must wait too: skip `try_take`, to lock only once.
                let taken = match pool.has_waiters() {
                    true => Ok(None),
                    false => pool.try_take(now, self.caller),
                };
                let result = match taken {
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
        if let Stage::Queued(key, _) = *this.stage
            && let Some(limit) = this.limit
        {
            // A resource that was delivered meanwhile goes to the next waiter.
            drop(this.pool.leave(key, limit));
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
