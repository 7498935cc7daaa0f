use super::{Clock, Instant};
use pin_project::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Completes when its clock reaches an instant; made by [`Clock::sleep`] and [`Clock::sleep_until`].
///
/// # Cancel safety
///
/// Dropping it disarms the timer. Polling it again after it completed completes again.
#[pin_project]
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Sleep {
    clock: Clock,
    until: Instant,
    #[pin]
    timer: Option<Timer>,
}

#[pin_project(project = TimerProjection)]
pub(super) enum Timer {
    System(#[pin] futures_timer::Delay),
    Source(Pin<Box<dyn Future<Output = ()> + Send>>),
}

impl std::fmt::Debug for Timer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("armed")
    }
}

impl Sleep {
    pub(super) fn new(clock: Clock, until: Instant) -> Self {
        Self { clock, until, timer: None }
    }

    /// When it completes.
    #[must_use]
    pub fn until(&self) -> Instant {
        self.until
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        // A timer may come early: its source counts in coarser ticks, or its clock was set back. So
        // the clock has the last word, and a timer is armed anew for what is left.
        let mut early = false;
        loop {
            if let Some(timer) = this.timer.as_mut().as_pin_mut() {
                match timer.project() {
                    TimerProjection::System(delay) => ready!(delay.poll(cx)),
                    TimerProjection::Source(sleep) => ready!(sleep.as_mut().poll(cx)),
                }
                this.timer.set(None);
                if std::mem::replace(&mut early, true) {
                    // A source whose timers are always over at once: not in a loop of ours.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
            let left = this.until.since(this.clock.now());
            if left.is_zero() {
                return Poll::Ready(());
            }
            this.timer.set(Some(this.clock.arm(left)));
        }
    }
}
