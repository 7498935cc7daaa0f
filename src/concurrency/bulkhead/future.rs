//! The futures that wait for a permit.

use super::Bulkhead;
use super::engine::{Entry, WaiterStatus};
use super::permit::{BulkheadPermit, Granted, OwnedBulkheadPermit};
use super::shared::Shared;
use super::state::WaitTimes;
use crate::error::{Reason, Rejection};
use crate::sync::thread::Parker;
use crate::time::{Expiry, Instant};
use crate::wait::WaiterKey;
use pin_project::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// The future returned by [`Bulkhead::acquire`](super::Bulkhead::acquire).
///
/// # Cancel safety
///
/// Dropping the future leaves the queue, and releases a permit that was granted meanwhile.
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct BulkheadAcquireFuture<'a>(#[pin] Acquire<&'a Shared>);

/// The future returned by [`Bulkhead::acquire_owned`](super::Bulkhead::acquire_owned), which keeps
/// the bulkhead alive.
///
/// # Cancel safety
///
/// Dropping the future leaves the queue, and releases a permit that was granted meanwhile.
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct OwnedBulkheadAcquireFuture(#[pin] Acquire<Bulkhead>);

/// The permits that a caller requests, and the limits on its wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) cost: u32,
    /// `None` stands for the bulkhead's `max_wait`.
    pub(super) max_wait: Option<Duration>,
    /// When the whole call must be complete.
    pub(super) deadline: Instant,
    /// The time of the request, if it is known.
    pub(super) now: Option<Instant>,
}

impl Request {
    #[inline]
    pub(super) const fn new(cost: u32, max_wait: Option<Duration>) -> Self {
        Self { cost, max_wait, deadline: Instant::FAR_FUTURE, now: None }
    }
}

/// A handle to the shared state, borrowed or owned.
pub(super) trait Handle {
    fn shared(&self) -> &Shared;
}

impl Handle for &Shared {
    #[inline]
    fn shared(&self) -> &Shared {
        self
    }
}

impl Handle for Bulkhead {
    #[inline]
    fn shared(&self) -> &Shared {
        Self::shared(self)
    }
}

/// One acquisition, without a timer.
struct Acquisition<H: Handle> {
    handle: H,
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

impl<H: Handle> Acquisition<H> {
    #[inline]
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Granted, Rejection>> {
        if let Stage::New = self.stage {
            let shared = self.handle.shared();
            match shared.take(&self.request) {
                Ok(granted) => {
                    self.stage = Stage::Done;
                    return Poll::Ready(Ok(granted));
                }
                Err(reason) => return self.enter(reason, cx),
            }
        }
        self.check(cx)
    }

    /// Enters the queue or rejects the request. `reason` is why the permits could not be taken.
    #[cold]
    fn enter(&mut self, reason: Reason, cx: &mut Context<'_>) -> Poll<Result<Granted, Rejection>> {
        let shared = self.handle.shared();
        let Request { cost, max_wait, deadline, now } = self.request;
        if reason != Reason::ConcurrencyLimited || shared.engine.max_queue() == 0 {
            return self.reject(reason);
        }
        let since = now.unwrap_or_else(|| shared.clock.now());
        let max_wait = max_wait.unwrap_or_else(|| shared.engine.max_wait());
        let give_up = deadline.min(since + max_wait);
        match shared.engine.enter(cost, WaitTimes { since, give_up, deadline }) {
            Entry::Granted => {
                self.stage = Stage::Done;
                Poll::Ready(Ok(Granted::Immediately { cost }))
            }
            Entry::Rejected(reason) => self.reject(reason),
            Entry::Queued { key, is_next } => {
                // Set before user code is called, so that the waiter leaves the queue if that code
                // panics.
                self.stage = Stage::Queued { key, give_up };
                if is_next {
                    self.handle.shared().engine.serve(Some(since), None);
                }
                self.check(cx)
            }
        }
    }

    fn check(&mut self, cx: &mut Context<'_>) -> Poll<Result<Granted, Rejection>> {
        let Stage::Queued { key, .. } = self.stage else {
            panic!("an acquire future was polled after it was ready")
        };
        match self.handle.shared().engine.check(key, cx.waker()) {
            WaiterStatus::Waiting => Poll::Pending,
            status => Poll::Ready(self.end(status)),
        }
    }

    /// Ends a wait at its `give_up` time. If the permits were granted before, the acquisition
    /// succeeds.
    #[cold]
    fn expire(&mut self) -> Result<Granted, Rejection> {
        let Stage::Queued { key, .. } = self.stage else { unreachable!("only waiters expire") };
        self.stage = Stage::Done;
        let shared = self.handle.shared();
        let (status, _waker) = shared.engine.leave(key);
        if status == WaiterStatus::Waiting {
            // The next waiter may need fewer permits than the one that left.
            shared.engine.serve_by(&shared.clock, None);
        }
        self.end(status)
    }

    /// Ends the acquisition of a waiter that was removed from the queue.
    fn end(&mut self, status: WaiterStatus) -> Result<Granted, Rejection> {
        self.stage = Stage::Done;
        match status {
            WaiterStatus::Granted(at) => Ok(Granted::Later { cost: self.request.cost, at }),
            WaiterStatus::Rejected(reason) => Err(self.handle.shared().reject(reason)),
            WaiterStatus::Waiting => Err(self.handle.shared().reject(Reason::QueueTimeout)),
        }
    }

    fn reject(&mut self, reason: Reason) -> Poll<Result<Granted, Rejection>> {
        self.stage = Stage::Done;
        Poll::Ready(Err(self.handle.shared().reject(reason)))
    }

    /// Returns the instant at which the caller stops waiting.
    fn give_up(&self) -> Instant {
        match self.stage {
            Stage::Queued { give_up, .. } => give_up,
            _ => Instant::FAR_FUTURE,
        }
    }
}

impl<H: Handle> Acquisition<H> {
    /// Leaves the queue, and releases the permits if they were granted meanwhile.
    #[cold]
    fn abandon(&self, key: WaiterKey) {
        let shared = self.handle.shared();
        let (status, _waker) = shared.engine.leave(key);
        match status {
            // The operation did not run, so the time since the grant is not a service time.
            WaiterStatus::Granted(_) => {
                shared.engine.give_back(self.request.cost, &shared.clock);
            }
            WaiterStatus::Waiting => shared.engine.serve_by(&shared.clock, None),
            WaiterStatus::Rejected(_) => {}
        }
    }
}

impl<H: Handle> Drop for Acquisition<H> {
    #[inline]
    fn drop(&mut self) {
        if let Stage::Queued { key, .. } = self.stage {
            self.abandon(key);
        }
    }
}

impl Shared {
    /// Takes the requested permits if they are free and the deadline has not passed.
    #[inline]
    pub(super) fn take(&self, request: &Request) -> Result<Granted, Reason> {
        if request.now.is_some_and(|now| now >= request.deadline) {
            return Err(Reason::QueueTimeout);
        }
        self.engine.take(request.cost)?;
        Ok(Granted::Immediately { cost: request.cost })
    }

    /// Acquires permits, blocking the thread.
    #[inline]
    pub(super) fn block(&self, request: Request) -> Result<BulkheadPermit<'_>, Rejection> {
        block(self, request).map(|granted| BulkheadPermit::new(self, granted))
    }
}

/// Acquires permits, blocking the thread.
#[inline]
pub(super) fn block<H: Handle>(handle: H, request: Request) -> Result<Granted, Rejection> {
    match handle.shared().take(&request) {
        Ok(granted) => Ok(granted),
        Err(_) => enter_and_block(handle, request),
    }
}

/// Rejects the request or enters the queue, and blocks the thread.
#[cold]
fn enter_and_block<H: Handle>(handle: H, request: Request) -> Result<Granted, Rejection> {
    let parker = Parker::current();
    let mut cx = Context::from_waker(parker.waker());
    let mut acquisition = Acquisition { handle, request, stage: Stage::New };
    loop {
        if let Poll::Ready(result) = acquisition.poll(&mut cx) {
            return result;
        }
        let (clock, give_up) = (&acquisition.handle.shared().clock, acquisition.give_up());
        if give_up != Instant::FAR_FUTURE && clock.now() >= give_up {
            return acquisition.expire();
        }
        clock.park(&parker, give_up);
    }
}

/// An acquisition with a timer.
#[pin_project]
struct Acquire<H: Handle> {
    acquisition: Acquisition<H>,
    /// Armed when the caller enters the queue.
    expiry: Option<Expiry>,
}

impl<H: Handle> Acquire<H> {
    #[inline]
    const fn new(handle: H, request: Request) -> Self {
        Self { acquisition: Acquisition { handle, request, stage: Stage::New }, expiry: None }
    }

    /// Takes the permits at the first poll if they are free. Returns whether they were taken.
    #[inline]
    fn takes_immediately(self: Pin<&mut Self>) -> bool {
        let acquisition = self.project().acquisition;
        let taken = matches!(acquisition.stage, Stage::New)
            && acquisition.handle.shared().take(&acquisition.request).is_ok();
        if taken {
            acquisition.stage = Stage::Done;
        }
        taken
    }

    #[cold]
    fn poll_granted(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Granted, Rejection>> {
        let this = self.project();
        if let Poll::Ready(result) = this.acquisition.poll(cx) {
            return Poll::Ready(result);
        }
        let give_up = this.acquisition.give_up();
        let expiry = this.expiry.get_or_insert_with(|| Expiry::new(give_up));
        match expiry.poll(&this.acquisition.handle.shared().clock, cx) {
            Poll::Ready(()) => Poll::Ready(this.acquisition.expire()),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<'a> BulkheadAcquireFuture<'a> {
    #[inline]
    pub(super) const fn new(shared: &'a Shared, request: Request) -> Self {
        Self(Acquire::new(shared, request))
    }
}

impl OwnedBulkheadAcquireFuture {
    #[inline]
    pub(super) const fn new(bulkhead: Bulkhead, request: Request) -> Self {
        Self(Acquire::new(bulkhead, request))
    }
}

impl<'a> Future for BulkheadAcquireFuture<'a> {
    type Output = Result<BulkheadPermit<'a>, Rejection>;

    /// # Panics
    ///
    /// Panics if it is polled again after it was ready.
    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut acquire = self.project().0;
        if acquire.as_mut().takes_immediately() {
            let Acquisition { handle, request, .. } = &acquire.acquisition;
            let granted = Granted::Immediately { cost: request.cost };
            return Poll::Ready(Ok(BulkheadPermit::new(handle, granted)));
        }
        let granted = acquire.as_mut().poll_granted(cx);
        granted.map_ok(|granted| BulkheadPermit::new(acquire.acquisition.handle, granted))
    }
}

impl Future for OwnedBulkheadAcquireFuture {
    type Output = Result<OwnedBulkheadPermit, Rejection>;

    /// # Panics
    ///
    /// Panics if it is polled again after it was ready.
    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut acquire = self.project().0;
        if acquire.as_mut().takes_immediately() {
            let Acquisition { handle, request, .. } = &acquire.acquisition;
            let granted = Granted::Immediately { cost: request.cost };
            return Poll::Ready(Ok(OwnedBulkheadPermit::new(handle.clone(), granted)));
        }
        let granted = acquire.as_mut().poll_granted(cx);
        granted
            .map_ok(|granted| OwnedBulkheadPermit::new(acquire.acquisition.handle.clone(), granted))
    }
}

impl fmt::Debug for BulkheadAcquireFuture<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkheadAcquireFuture").finish_non_exhaustive()
    }
}

impl fmt::Debug for OwnedBulkheadAcquireFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedBulkheadAcquireFuture").finish_non_exhaustive()
    }
}
