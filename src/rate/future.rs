//! Asynchronous and blocking waits for tokens.

use super::engine::{Engine, EngineRef, Waiter, WaiterPoll};
use super::shared::Shared;
use super::{Denied, Grant, RateLimiter};
use crate::error::Rejection;
use crate::sync::thread::Parker;
use crate::time::{Instant, Sleep};
use pin_project::pin_project;
use std::fmt;
use std::future::Future;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// A future that waits for tokens; returned by
/// [`RateLimiter::acquire`](super::RateLimiter::acquire) and its variants.
///
/// # Cancel safety
/// Dropping the future removes it from the queue. No tokens are taken, and the waiters behind it
/// move forward.
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct RateLimiterAcquireFuture<'a>(#[pin] AcquireFuture<&'a Shared>);

/// A future that waits for admission by a limiter and keeps the limiter alive; returned by
/// [`OwnedGuard::admit_owned`](crate::policy::OwnedGuard::admit_owned).
///
/// # Cancel safety
/// Dropping the future removes it from the queue. No tokens are taken, and the waiters behind it
/// move forward.
#[pin_project]
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct OwnedRateLimiterAcquireFuture(#[pin] AcquireFuture<RateLimiter>);

impl UnwindSafe for RateLimiterAcquireFuture<'_> {}
impl RefUnwindSafe for RateLimiterAcquireFuture<'_> {}
impl UnwindSafe for OwnedRateLimiterAcquireFuture {}
impl RefUnwindSafe for OwnedRateLimiterAcquireFuture {}

/// The common implementation of the public futures.
#[pin_project]
struct AcquireFuture<R: SharedRef> {
    limiter: R,
    cost: u32,
    deadline: Option<Instant>,
    /// `None` before the first poll.
    waiter: Option<Waiter<R>>,
    #[pin]
    sleep: Option<Sleep>,
    is_completed: bool,
}

/// A borrowed or owned reference to a limiter.
trait SharedRef: EngineRef + Clone {
    fn shared(&self) -> &Shared;
}

impl EngineRef for &Shared {
    fn engine(&self) -> &Engine {
        &self.engine
    }
}

impl SharedRef for &Shared {
    fn shared(&self) -> &Shared {
        self
    }
}

impl EngineRef for RateLimiter {
    fn engine(&self) -> &Engine {
        &self.0.engine
    }
}

impl SharedRef for RateLimiter {
    fn shared(&self) -> &Shared {
        &self.0
    }
}

/// The next step of a wait.
enum Next {
    Return(Result<Grant, Denied>),
    /// Poll again when woken, or at this instant.
    Wait(Option<Instant>),
}

impl Shared {
    /// Polls `waiter` and returns the next step of its wait. At the deadline, removes the waiter
    /// from the queue and denies the request.
    fn poll_waiter(
        &self,
        waiter: &mut Waiter<impl EngineRef>,
        now: Instant,
        deadline: Option<Instant>,
        waker: &Waker,
    ) -> Next {
        let nanos = self.engine.check_clock(self.timeline.nanos(now), || self.timeline.now());
        let deadline_nanos = deadline.map(|deadline| self.timeline.nanos(deadline));
        match waiter.poll(nanos, deadline_nanos, waker) {
            WaiterPoll::Granted(grant) => Next::Return(Ok(grant)),
            WaiterPoll::Denied(status) => Next::Return(Err(self.deny(status))),
            WaiterPoll::Pending(_) if deadline.is_some_and(|deadline| now >= deadline) => {
                waiter.leave();
                Next::Return(Err(self.deny(self.engine.peek(waiter.cost(), nanos))))
            }
            WaiterPoll::Pending(due) => {
                let due = due.map(|due| self.timeline.instant(due));
                Next::Wait(due.into_iter().chain(deadline).min())
            }
        }
    }

    pub(super) fn acquire_blocking(
        &self,
        cost: u32,
        deadline: Option<Instant>,
        mut now: Instant,
    ) -> Result<Grant, Denied> {
        if let Some(Ok(grant)) = self.engine.take_fast(cost, self.timeline.nanos(now)) {
            return Ok(grant);
        }
        let clock = self.timeline.clock();
        let parker = Parker::current();
        let mut waiter = Waiter::new(self, cost);
        loop {
            match self.poll_waiter(&mut waiter, now, deadline, parker.waker()) {
                Next::Return(result) => return result,
                Next::Wait(until) => clock.park(&parker, until.unwrap_or(Instant::FAR_FUTURE)),
            }
            now = clock.now();
        }
    }
}

impl<'a> RateLimiterAcquireFuture<'a> {
    #[inline]
    pub(super) fn new(limiter: &'a Shared, cost: u32, deadline: Option<Instant>) -> Self {
        Self(AcquireFuture::new(limiter, cost, deadline))
    }
}

impl OwnedRateLimiterAcquireFuture {
    pub(super) fn new(limiter: RateLimiter, cost: u32, deadline: Instant) -> Self {
        Self(AcquireFuture::new(limiter, cost, Some(deadline)))
    }
}

impl<R: SharedRef> AcquireFuture<R> {
    #[inline]
    fn new(limiter: R, cost: u32, deadline: Option<Instant>) -> Self {
        Self { limiter, cost, deadline, waiter: None, sleep: None, is_completed: false }
    }
}

impl Future for RateLimiterAcquireFuture<'_> {
    type Output = Result<Grant, Denied>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().0.poll(cx)
    }
}

impl Future for OwnedRateLimiterAcquireFuture {
    type Output = Result<(), Rejection>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().0.poll(cx).map(|result| result.map(drop).map_err(Into::into))
    }
}

impl<R: SharedRef> Future for AcquireFuture<R> {
    type Output = Result<Grant, Denied>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        assert!(!*this.is_completed, "a future of `acquire` was polled after it had completed");
        let shared = this.limiter.shared();
        let clock = shared.timeline.clock();
        let mut now = clock.now();
        if this.waiter.is_none()
            && let Some(Ok(grant)) = shared.engine.take_fast(*this.cost, shared.timeline.nanos(now))
        {
            *this.is_completed = true;
            return Poll::Ready(Ok(grant));
        }
        let waiter =
            this.waiter.get_or_insert_with(|| Waiter::new(this.limiter.clone(), *this.cost));
        loop {
            let until = match shared.poll_waiter(waiter, now, *this.deadline, cx.waker()) {
                Next::Return(result) => {
                    *this.is_completed = true;
                    this.sleep.set(None);
                    return Poll::Ready(result);
                }
                Next::Wait(until) => until,
            };
            if this.sleep.as_ref().get_ref().as_ref().map(Sleep::until) != until {
                this.sleep.set(until.map(|until| clock.sleep_until(until)));
            }
            match this.sleep.as_mut().as_pin_mut().map(|sleep| sleep.poll(cx)) {
                Some(Poll::Ready(())) => now = clock.now(),
                _ => return Poll::Pending,
            }
        }
    }
}

impl fmt::Debug for RateLimiterAcquireFuture<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<R: SharedRef> fmt::Debug for AcquireFuture<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcquireFuture")
            .field("cost", &self.cost)
            .field("deadline", &self.deadline)
            .field("is_queued", &self.waiter.is_some())
            .finish_non_exhaustive()
    }
}
