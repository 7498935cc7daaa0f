use super::{Clock, Instant, Sleep};
use pin_project::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Drives a future until an instant; `None` if it had not ended by then.
#[pin_project]
pub(crate) struct Expire<'a, F> {
    clock: &'a Clock,
    until: Instant,
    #[pin]
    future: F,
    /// Armed when the future has been found pending: most are ready before a timer would be.
    #[pin]
    sleep: Option<Sleep>,
}

impl<'a, F> Expire<'a, F> {
    #[inline]
    pub(crate) const fn new(clock: &'a Clock, until: Instant, future: F) -> Self {
        Self { clock, until, future, sleep: None }
    }
}

impl<F: Future> Future for Expire<'_, F> {
    type Output = Option<F::Output>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Some(output));
        }
        if *this.until == Instant::FAR_FUTURE {
            return Poll::Pending;
        }
        if this.sleep.is_none() {
            this.sleep.set(Some(this.clock.sleep_until(*this.until)));
        }
        let sleep = this.sleep.as_pin_mut().expect("was just set");
        sleep.poll(cx).map(|()| None)
    }
}
