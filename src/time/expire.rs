use super::{Clock, Instant, Sleep};
use pin_project::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Drives a future until an instant; `None` if it had not ended by then.
#[pin_project]
pub(crate) struct Expire<'a, F> {
    clock: &'a Clock,
    #[pin]
    future: F,
    #[pin]
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

/// The end of something's time. To be polled only when that something has been found pending: most are
/// ready before a timer would be armed.
#[pin_project]
pub(crate) struct Expiry {
    until: Instant,
    #[pin]
    sleep: Option<Sleep>,
}

impl Expiry {
    #[inline]
    pub(crate) const fn new(until: Instant) -> Self {
        Self { until, sleep: None }
    }

    #[cold]
    pub(crate) fn poll(self: Pin<&mut Self>, clock: &Clock, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        if *this.until == Instant::FAR_FUTURE {
            return Poll::Pending;
        }
        if this.sleep.is_none() {
            this.sleep.set(Some(clock.sleep_until(*this.until)));
        }
        this.sleep.as_pin_mut().expect("was just set").poll(cx)
    }
}
