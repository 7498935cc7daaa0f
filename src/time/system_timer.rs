//! The timer of the system clock.

use crate::sync::{PlainArc, discard_panic};
use futures_timer::Delay;
use pin_project::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// A timer that the `futures-timer` thread of the process drives.
///
/// That thread wakes the tasks of all timers. If a waker panicked on it, the thread would end, and
/// every later sleep of the process would panic. Therefore each waker is wrapped in a
/// [`PanicGuard`].
#[pin_project]
pub(super) struct SystemTimer {
    #[pin]
    delay: Delay,
    /// Wraps the waker of the last poll.
    guard: Option<PlainArc<PanicGuard>>,
}

impl SystemTimer {
    pub(super) fn new(duration: Duration) -> Self {
        Self { delay: Delay::new(duration), guard: None }
    }
}

impl Future for SystemTimer {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let guard = match this.guard {
            Some(guard) if guard.will_wake(cx.waker()) => guard,
            other => other.insert(PlainArc::new(PanicGuard(Some(cx.waker().clone())))),
        };
        let waker = Waker::from(PlainArc::clone(guard));
        this.delay.poll(&mut Context::from_waker(&waker))
    }
}

/// A waker whose panics are discarded, including those of its destructor. The field is `None` only
/// while the guard is being dropped.
struct PanicGuard(Option<Waker>);

impl PanicGuard {
    fn will_wake(&self, waker: &Waker) -> bool {
        self.0.as_ref().is_some_and(|own| own.will_wake(waker))
    }
}

impl Wake for PanicGuard {
    fn wake(self: PlainArc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &PlainArc<Self>) {
        if let Some(waker) = &self.0 {
            discard_panic(|| waker.wake_by_ref());
        }
    }
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        let waker = self.0.take();
        discard_panic(|| drop(waker));
    }
}
