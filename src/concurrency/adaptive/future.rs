//! The futures that wait for a permit.

use super::AdaptiveLimiter;
use super::permit::{AdaptiveLimiterPermit, OwnedAdaptiveLimiterPermit};
use super::shared::Shared;
use crate::error::{Reason, Rejection};
use crate::sync::PlainArc;
use crate::sync::thread::Parker;
use crate::time::{Expiry, Instant};
use crate::wait::{
    OwnedSemaphoreAcquireFuture, OwnedSemaphorePermit, SemaphoreAcquireFuture, SemaphoreClosed,
    SemaphorePermit,
};
use pin_project::{pin_project, pinned_drop};
use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

/// The future returned by [`AdaptiveLimiter::acquire`](super::AdaptiveLimiter::acquire).
///
/// # Cancel safety
///
/// If the future is dropped, the caller leaves the queue, and a permit that was granted meanwhile
/// is released.
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct AdaptiveLimiterAcquireFuture<'a>(
    #[pin] Acquisition<&'a Shared, SemaphoreAcquireFuture<'a>, SemaphorePermit<'a>>,
);

/// The future returned by
/// [`AdaptiveLimiter::acquire_owned`](super::AdaptiveLimiter::acquire_owned), which keeps the
/// limiter alive.
///
/// # Cancel safety
///
/// If the future is dropped, the caller leaves the queue, and a permit that was granted meanwhile
/// is released.
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct OwnedAdaptiveLimiterAcquireFuture(
    #[pin] Acquisition<AdaptiveLimiter, OwnedSemaphoreAcquireFuture, OwnedSemaphorePermit>,
);

impl<'a> AdaptiveLimiterAcquireFuture<'a> {
    pub(super) fn new(shared: &'a Shared, deadline: Instant) -> Self {
        Self(Acquisition::new(shared, shared.semaphore.acquire(), deadline))
    }

    /// Waits for the permit, blocking this thread.
    pub(super) fn block(self) -> Result<AdaptiveLimiterPermit<'a>, Rejection> {
        let parker = Parker::current();
        let mut cx = Context::from_waker(parker.waker());
        let mut future = pin!(self);
        loop {
            match future.as_mut().poll(&mut cx) {
                Poll::Ready(result) => return result,
                Poll::Pending => parker.park(),
            }
        }
    }
}

impl OwnedAdaptiveLimiterAcquireFuture {
    pub(super) fn new(limiter: AdaptiveLimiter, deadline: Instant) -> Self {
        let acquire = PlainArc::clone(&limiter.shared().semaphore).acquire_owned();
        Self(Acquisition::new(limiter, acquire, deadline))
    }
}

impl<'a> Future for AdaptiveLimiterAcquireFuture<'a> {
    type Output = Result<AdaptiveLimiterPermit<'a>, Rejection>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let granted = this.0.as_mut().poll_permit(cx);
        granted
            .map_ok(|(permit, started)| AdaptiveLimiterPermit::new(this.0.limiter, permit, started))
    }
}

impl Future for OwnedAdaptiveLimiterAcquireFuture {
    type Output = Result<OwnedAdaptiveLimiterPermit, Rejection>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let granted = this.0.as_mut().poll_permit(cx);
        granted.map_ok(|(permit, started)| {
            OwnedAdaptiveLimiterPermit::new(this.0.limiter.clone(), permit, started)
        })
    }
}

/// A handle to the shared state, borrowed or owned.
trait Handle {
    fn shared(&self) -> &Shared;
}

impl Handle for &Shared {
    fn shared(&self) -> &Shared {
        self
    }
}

impl Handle for AdaptiveLimiter {
    fn shared(&self) -> &Shared {
        Self::shared(self)
    }
}

/// A wait for a permit of the semaphore, then for the end of the pause if the limit is below one.
#[pin_project(PinnedDrop)]
struct Acquisition<H: Handle, A, P> {
    limiter: H,
    #[pin]
    acquire: Option<A>,
    /// The granted permit, held during the pause.
    granted: Option<P>,
    /// Whether the call is counted as queued.
    in_queue: bool,
    deadline: Instant,
    expiry: Expiry,
    pause: Option<Expiry>,
}

impl<H, A, P> Acquisition<H, A, P>
where
    H: Handle,
    A: Future<Output = Result<P, SemaphoreClosed>>,
{
    fn new(limiter: H, acquire: A, deadline: Instant) -> Self {
        Self {
            limiter,
            acquire: Some(acquire),
            granted: None,
            in_queue: false,
            deadline,
            expiry: Expiry::new(deadline),
            pause: None,
        }
    }

    fn poll_permit(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(P, Instant), Rejection>> {
        let mut this = self.project();
        let shared = this.limiter.shared();
        if this.granted.is_none() {
            let acquire = this.acquire.as_mut().as_pin_mut();
            let acquire = acquire.expect("`acquire` was polled after it had returned");
            match acquire.poll(cx) {
                Poll::Ready(Ok(permit)) => *this.granted = Some(permit),
                Poll::Ready(Err(SemaphoreClosed)) => {
                    this.acquire.set(None);
                    return Poll::Ready(Err(shared.reject(Reason::ShutDown)));
                }
                Poll::Pending if !*this.in_queue => {
                    shared.saturated();
                    if let Err(reason) = shared.enter_queue() {
                        this.acquire.set(None);
                        return Poll::Ready(Err(shared.reject(reason)));
                    }
                    *this.in_queue = true;
                }
                Poll::Pending => {}
            }
        }
        let clock = &shared.settings.clock;
        if this.granted.is_some() {
            let now = clock.now();
            let next_start = shared.next_start();
            if now >= next_start {
                let permit = this.granted.take();
                this.acquire.set(None);
                *this.pause = None;
                if std::mem::take(this.in_queue) {
                    shared.leave_queue();
                }
                shared.started();
                return Poll::Ready(Ok((permit.expect("was just seen"), now)));
            }
            if next_start < *this.deadline {
                // The permit is held during the pause, so that no other call starts.
                let pause = this.pause.get_or_insert_with(|| Expiry::new(next_start));
                if pause.poll(clock, cx).is_pending() {
                    return Poll::Pending;
                }
                // The pause was extended, or the clock is behind the timer: check again.
                *this.pause = None;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        } else if this.expiry.poll(clock, cx).is_pending() {
            return Poll::Pending;
        }
        this.acquire.set(None);
        *this.granted = None;
        if std::mem::take(this.in_queue) {
            shared.leave_queue();
        }
        Poll::Ready(Err(shared.reject(Reason::QueueTimeout)))
    }
}

#[pinned_drop]
impl<H: Handle, A, P> PinnedDrop for Acquisition<H, A, P> {
    fn drop(self: Pin<&mut Self>) {
        let this = self.project();
        if std::mem::take(this.in_queue) {
            this.limiter.shared().leave_queue();
        }
    }
}

impl fmt::Debug for AdaptiveLimiterAcquireFuture<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdaptiveLimiterAcquireFuture").finish_non_exhaustive()
    }
}

impl fmt::Debug for OwnedAdaptiveLimiterAcquireFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedAdaptiveLimiterAcquireFuture").finish_non_exhaustive()
    }
}
