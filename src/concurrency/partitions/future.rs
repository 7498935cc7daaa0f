//! The futures that wait for a permit of a partition.

use super::BulkheadPartition;
use super::engine::{Entry, WaitTimes, WaiterStatus};
use super::permit::{BulkheadPartitionPermit, OwnedBulkheadPartitionPermit};
use crate::error::{Reason, Rejection};
use crate::policy;
use crate::sync::thread::Parker;
use crate::time::{Expiry, Instant};
use crate::wait::WaiterKey;
use pin_project::pin_project;
use std::borrow::Borrow;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// The future returned by [`BulkheadPartition::acquire`].
///
/// # Cancel safety
///
/// Dropping the future removes the caller from the queue, and releases a permit that was granted
/// meanwhile.
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct BulkheadPartitionAcquireFuture<'a>(#[pin] Acquire<&'a BulkheadPartition>);

/// The future returned by [`BulkheadPartition::acquire_owned`], which keeps the bulkhead alive.
///
/// # Cancel safety
///
/// Dropping the future removes the caller from the queue, and releases a permit that was granted
/// meanwhile.
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct OwnedBulkheadPartitionAcquireFuture(#[pin] Acquire<BulkheadPartition>);

/// The time limits of an acquisition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    /// `None` stands for the partition's `max_wait`.
    max_wait: Option<Duration>,
    /// The instant by which the whole call must complete.
    deadline: Instant,
    /// The time of the request, if the clock was read.
    now: Option<Instant>,
}

impl Request {
    pub(super) const fn new(max_wait: Option<Duration>) -> Self {
        Self { max_wait, deadline: Instant::FAR_FUTURE, now: None }
    }

    /// Creates the request of a call with a context. The clock is read only if the call has a
    /// deadline and no policy above has read this clock.
    pub(super) fn of(partition: &BulkheadPartition, cx: policy::Context) -> Self {
        if cx.deadline().instant().is_none() {
            return Self::new(None);
        }
        let cx = cx.on(&partition.shared.clock);
        let deadline = cx.deadline().instant().unwrap_or(Instant::FAR_FUTURE);
        Self { max_wait: None, deadline, now: Some(cx.now()) }
    }
}

/// One acquisition, without a timer.
struct Acquisition<P: Borrow<BulkheadPartition>> {
    partition: P,
    request: Request,
    stage: Stage,
}

enum Stage {
    New,
    /// Entered the queue. The status may have been decided since the last poll.
    Queued {
        key: WaiterKey,
        give_up: Instant,
    },
    Done,
}

impl BulkheadPartition {
    /// Takes a permit if one is free and the deadline of the request has not passed.
    pub(super) fn take(&self, request: &Request) -> Result<(), Reason> {
        if request.now.is_some_and(|now| now >= request.deadline) {
            return Err(Reason::QueueTimeout);
        }
        self.shared.engine.take(self.index)
    }

    pub(super) fn give_back(&self) {
        self.shared.engine.give_back(self.index, &self.shared.clock);
    }

    pub(super) fn reject(&self, reason: Reason) -> Rejection {
        self.shared.reject(self.index, reason)
    }

    /// Enters the queue. Also returns the instant at which the wait times out.
    fn enter(&self, request: Request) -> (Entry, Instant) {
        let engine = &self.shared.engine;
        let since = request.now.unwrap_or_else(|| self.shared.clock.now());
        let max_wait = request.max_wait.unwrap_or_else(|| engine.max_wait(self.index));
        let give_up = request.deadline.min(since + max_wait);
        (engine.enter(self.index, WaitTimes { since, give_up }), give_up)
    }
}

impl<P: Borrow<BulkheadPartition>> Acquisition<P> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Rejection>> {
        let Stage::New = self.stage else { return self.check(cx) };
        self.stage = Stage::Done;
        let partition = self.partition.borrow();
        match partition.take(&self.request) {
            Ok(()) => return Poll::Ready(Ok(())),
            Err(Reason::ConcurrencyLimited) => {}
            Err(reason) => return Poll::Ready(Err(partition.reject(reason))),
        }
        match partition.enter(self.request) {
            (Entry::Granted, _) => Poll::Ready(Ok(())),
            (Entry::Rejected(reason), _) => Poll::Ready(Err(partition.reject(reason))),
            (Entry::Queued(key), give_up) => {
                self.stage = Stage::Queued { key, give_up };
                self.check(cx)
            }
        }
    }

    fn check(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Rejection>> {
        let Stage::Queued { key, .. } = self.stage else {
            panic!("an acquire future was polled after it was ready")
        };
        let partition = self.partition.borrow();
        match partition.shared.engine.check(partition.index, key, cx.waker()) {
            WaiterStatus::Waiting => Poll::Pending,
            status => Poll::Ready(self.end(status)),
        }
    }

    /// Ends a wait that has timed out. A permit that was granted meanwhile is used.
    #[cold]
    fn expire(&mut self) -> Result<(), Rejection> {
        let Stage::Queued { key, .. } = self.stage else { unreachable!("only waiters expire") };
        let partition = self.partition.borrow();
        let (status, _waker) = partition.shared.engine.leave(partition.index, key);
        self.end(status)
    }

    /// Ends the acquisition of a waiter that was removed from the queue.
    fn end(&mut self, status: WaiterStatus) -> Result<(), Rejection> {
        self.stage = Stage::Done;
        match status {
            WaiterStatus::Granted => Ok(()),
            WaiterStatus::Rejected(reason) => Err(self.partition.borrow().reject(reason)),
            WaiterStatus::Waiting => Err(self.partition.borrow().reject(Reason::QueueTimeout)),
        }
    }

    /// Returns the instant at which the wait times out.
    fn give_up(&self) -> Instant {
        match self.stage {
            Stage::Queued { give_up, .. } => give_up,
            _ => Instant::FAR_FUTURE,
        }
    }
}

impl<P: Borrow<BulkheadPartition>> Drop for Acquisition<P> {
    fn drop(&mut self) {
        if let Stage::Queued { key, .. } = self.stage {
            let partition = self.partition.borrow();
            let (status, _waker) = partition.shared.engine.leave(partition.index, key);
            if status == WaiterStatus::Granted {
                partition.give_back();
            }
        }
    }
}

/// Acquires a permit, blocking the thread.
pub(super) fn block<P>(partition: P, request: Request) -> Result<(), Rejection>
where
    P: Borrow<BulkheadPartition>,
{
    let parker = Parker::current();
    let mut cx = Context::from_waker(parker.waker());
    let mut acquisition = Acquisition { partition, request, stage: Stage::New };
    loop {
        if let Poll::Ready(result) = acquisition.poll(&mut cx) {
            return result;
        }
        let (clock, give_up) =
            (&acquisition.partition.borrow().shared.clock, acquisition.give_up());
        if give_up != Instant::FAR_FUTURE && clock.now() >= give_up {
            return acquisition.expire();
        }
        clock.park(&parker, give_up);
    }
}

/// An acquisition with a timer.
#[pin_project]
struct Acquire<P: Borrow<BulkheadPartition>> {
    acquisition: Acquisition<P>,
    /// Armed when the caller enters the queue.
    expiry: Option<Expiry>,
}

impl<P: Borrow<BulkheadPartition>> Acquire<P> {
    const fn new(partition: P, request: Request) -> Self {
        Self { acquisition: Acquisition { partition, request, stage: Stage::New }, expiry: None }
    }

    fn poll_granted(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Rejection>> {
        let this = self.project();
        if let Poll::Ready(result) = this.acquisition.poll(cx) {
            return Poll::Ready(result);
        }
        let give_up = this.acquisition.give_up();
        let expiry = this.expiry.get_or_insert_with(|| Expiry::new(give_up));
        match expiry.poll(&this.acquisition.partition.borrow().shared.clock, cx) {
            Poll::Ready(()) => Poll::Ready(this.acquisition.expire()),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<'a> BulkheadPartitionAcquireFuture<'a> {
    pub(super) const fn new(partition: &'a BulkheadPartition, request: Request) -> Self {
        Self(Acquire::new(partition, request))
    }
}

impl OwnedBulkheadPartitionAcquireFuture {
    pub(super) const fn new(partition: BulkheadPartition, request: Request) -> Self {
        Self(Acquire::new(partition, request))
    }
}

impl<'a> Future for BulkheadPartitionAcquireFuture<'a> {
    type Output = Result<BulkheadPartitionPermit<'a>, Rejection>;

    /// # Panics
    ///
    /// Panics if it is polled again after it was ready.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut acquire = self.project().0;
        let granted = acquire.as_mut().poll_granted(cx);
        granted.map_ok(|()| BulkheadPartitionPermit::new(acquire.acquisition.partition))
    }
}

impl Future for OwnedBulkheadPartitionAcquireFuture {
    type Output = Result<OwnedBulkheadPartitionPermit, Rejection>;

    /// # Panics
    ///
    /// Panics if it is polled again after it was ready.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut acquire = self.project().0;
        let granted = acquire.as_mut().poll_granted(cx);
        granted
            .map_ok(|()| OwnedBulkheadPartitionPermit::new(acquire.acquisition.partition.clone()))
    }
}

impl fmt::Debug for BulkheadPartitionAcquireFuture<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkheadPartitionAcquireFuture").finish_non_exhaustive()
    }
}

impl fmt::Debug for OwnedBulkheadPartitionAcquireFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedBulkheadPartitionAcquireFuture").finish_non_exhaustive()
    }
}
