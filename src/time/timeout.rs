//! Time limits, measured by a clock, for futures and for blocked threads.

use super::sleep::Timer;
use super::{Clock, Instant, Sleep};
use crate::sync::block_on_timeout;
use crate::sync::thread::Parker;
use pin_project::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// A timer that is armed when it is first polled. It must be polled only while the operation that
/// it bounds is pending, so that most operations complete without an armed timer.
pub(crate) struct Expiry {
    until: Instant,
    timer: Timer,
}

impl Expiry {
    #[inline]
    pub(crate) const fn new(until: Instant) -> Self {
        Self { until, timer: Timer::UNARMED }
    }

    pub(crate) const fn until(&self) -> Instant {
        self.until
    }

    #[cold]
    pub(crate) fn poll(&mut self, clock: &Clock, cx: &mut Context<'_>) -> Poll<()> {
        match self.until {
            Instant::FAR_FUTURE => Poll::Pending,
            until => self.timer.poll(clock, until, cx),
        }
    }

    /// Polls for the first time. `now` is a reading of `clock` from the same moment.
    #[inline]
    pub(crate) fn poll_at(
        &mut self,
        now: Instant,
        clock: &Clock,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        match self.until {
            Instant::FAR_FUTURE => Poll::Pending,
            until => self.timer.poll_at(now, clock, until, cx),
        }
    }
}

/// A future with a deadline. Resolves to `None` if the inner future has not completed by then.
#[pin_project]
pub(crate) struct Expire<'a, F> {
    clock: &'a Clock,
    #[pin]
    future: F,
    expiry: Expiry,
}

impl<'a, F> Expire<'a, F> {
    #[inline]
    pub(crate) const fn new(clock: &'a Clock, until: Instant, future: F) -> Self {
        Self { clock, future, expiry: Expiry::new(until) }
    }
}

impl<F: Future> Future for Expire<'_, F> {
    type Output = Option<F::Output>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Some(output));
        }
        this.expiry.poll(this.clock, cx).map(|()| None)
    }
}

/// A future with a timeout. Resolves to `None` if the inner future has not completed by then.
///
/// The timeout counts from the first poll that finds the inner future pending.
#[pin_project]
pub(crate) struct TimeoutFuture<F> {
    clock: Clock,
    timeout: Duration,
    #[pin]
    future: F,
    #[pin]
    sleep: Option<Sleep>,
}

impl<F: Future> Future for TimeoutFuture<F> {
    type Output = Option<F::Output>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Some(output));
        }
        if this.sleep.is_none() {
            this.sleep.set(Some(this.clock.sleep(*this.timeout)));
        }
        this.sleep.as_pin_mut().expect("was just set").poll(cx).map(|()| None)
    }
}

impl Clock {
    /// Returns a future that drives `future` for at most `timeout`, measured by this clock.
    pub(crate) fn timeout<F: Future>(&self, timeout: Duration, future: F) -> TimeoutFuture<F> {
        TimeoutFuture { clock: self.clone(), timeout, future, sleep: None }
    }

    /// Runs `future` on the calling thread for at most `timeout`, measured by this clock. Returns
    /// `None` if it has not completed by then.
    pub(crate) fn block_on_timeout<F: Future + Unpin>(
        &self,
        future: &mut F,
        timeout: Duration,
    ) -> Option<F::Output> {
        if self.is_system() {
            return block_on_timeout(future, timeout);
        }
        let parker = Parker::current();
        let mut cx = Context::from_waker(parker.waker());
        let mut deadline = None;
        loop {
            if let Poll::Ready(output) = Pin::new(&mut *future).poll(&mut cx) {
                return Some(output);
            }
            let now = self.now();
            let deadline = *deadline.get_or_insert_with(|| now + timeout);
            if now >= deadline {
                return None;
            }
            self.park(&parker, deadline);
        }
    }
}
