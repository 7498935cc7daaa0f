//! The future of a sleep.

use super::timer::SystemTimer;
use super::{Clock, Instant};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A future that completes when its clock reaches an instant. Returned by [`Clock::sleep`] and
/// [`Clock::sleep_until`].
///
/// It never completes early. It can be polled again after it has completed.
///
/// # Cancel safety
///
/// Dropping the future disarms the timer.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Sleep {
    clock: Clock,
    until: Instant,
    timer: Timer,
}

/// A timer for an instant of a clock, which is armed when it is first polled.
pub(super) struct Timer(Option<ArmedTimer>);

pub(super) enum ArmedTimer {
    System(SystemTimer),
    Source(Pin<Box<dyn Future<Output = ()> + Send>>),
}

impl std::fmt::Debug for Timer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Timer")
    }
}

impl Sleep {
    pub(super) fn new(clock: Clock, until: Instant) -> Self {
        Self { clock, until, timer: Timer::UNARMED }
    }

    /// Returns the instant at which the sleep completes.
    #[must_use]
    pub fn until(&self) -> Instant {
        self.until
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { clock, until, timer } = &mut *self;
        timer.poll(clock, *until, cx)
    }
}

impl Timer {
    pub(super) const UNARMED: Self = Self(None);

    /// Completes when `clock` reaches `until`. Both must be the same in all calls.
    pub(super) fn poll(&mut self, clock: &Clock, until: Instant, cx: &mut Context<'_>) -> Poll<()> {
        // A timer can fire early, because its source has coarse ticks or its clock was set back.
        // Therefore the clock is read, and a timer that fired early is armed again for the
        // remaining time.
        let mut fired_early = false;
        // A timer armed in this call is not late.
        let mut just_armed = false;
        loop {
            if let Some(timer) = &mut self.0 {
                let (fired, may_be_late) = match timer {
                    ArmedTimer::System(timer) => (timer.poll(until, cx), false),
                    ArmedTimer::Source(timer) => (timer.as_mut().poll(cx), !just_armed),
                };
                if fired.is_pending() {
                    // A timer can be pending although it is due: tokio's timer is pending
                    // while the task has no cooperative budget left. An operation that is always
                    // ready uses up this budget.
                    if may_be_late && clock.now() >= until {
                        self.0 = None;
                        return Poll::Ready(());
                    }
                    return Poll::Pending;
                }
                self.0 = None;
                if std::mem::replace(&mut fired_early, true) {
                    // The timers of this source fire immediately. Polling them in a loop here would
                    // block the thread.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
            let now = clock.now();
            if now >= until {
                return Poll::Ready(());
            }
            self.0 = Some(clock.arm(now, until));
            just_armed = true;
        }
    }

    /// Polls for the first time. `now` is a reading of `clock` from the same moment.
    pub(super) fn poll_at(
        &mut self,
        now: Instant,
        clock: &Clock,
        until: Instant,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        if now >= until {
            return Poll::Ready(());
        }
        let mut timer = clock.arm(now, until);
        let fired = match &mut timer {
            ArmedTimer::System(timer) => timer.poll(until, cx),
            ArmedTimer::Source(timer) => timer.as_mut().poll(cx),
        };
        match fired {
            Poll::Pending => {
                self.0 = Some(timer);
                Poll::Pending
            }
            Poll::Ready(()) => self.poll(clock, until, cx),
        }
    }
}
