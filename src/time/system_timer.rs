//! The timer of the system clock.

use crate::sync::{PlainArc, discard_panic};
use futures_timer::Delay;
use pin_project::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// A timer of the process's `futures-timer` thread.
///
/// That thread wakes the tasks of all timers. If a waker panicked there, the thread would end, and every
/// later sleep of the process would panic. So each waker is wrapped in a [`PanicGuard`].
#[pin_project]
pub(super) struct SystemTimer {
    #[pin]
    delay: Delay,
    waker: Option<GuardedWaker>,
}

struct GuardedWaker {
    /// The waker of the last poll.
    own: Waker,
    /// Wakes `own` without ever panicking.
    guarded: Waker,
}

impl SystemTimer {
    pub(super) fn new(duration: Duration) -> Self {
        Self { delay: Delay::new(duration), waker: None }
    }
}

impl Future for SystemTimer {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let waker = match this.waker {
            Some(known) if known.own.will_wake(cx.waker()) => known,
            other => other.insert(GuardedWaker::new(cx.waker())),
        };
        this.delay.poll(&mut Context::from_waker(&waker.guarded))
    }
}

impl GuardedWaker {
    fn new(own: &Waker) -> Self {
        let guarded = Waker::from(PlainArc::new(PanicGuard(Some(own.clone()))));
        Self { own: own.clone(), guarded }
    }
}

/// A waker whose panics are discarded, also those of its destructor. `None` only while it is dropped.
struct PanicGuard(Option<Waker>);

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
