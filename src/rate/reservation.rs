//! Tokens for a later time: [`Reservation`].

use super::timeline::Nanos;
use super::{Grant, RateLimiter};
use crate::time::Instant;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

/// Tokens for the time at which they will be available; made by [`RateLimiter::reserve`].
///
/// From that time on the tokens count as used, whatever happens to the reservation. So it is enough
/// to sleep for [`delay`](Self::delay) and act; [`wait`](Self::wait) does the former.
///
/// Dropping the reservation before its time returns the tokens, if nothing was taken or reserved
/// after it. Otherwise they are lost: the later requests have received times that depend on it.
/// [`commit`](Self::commit) never returns them.
///
/// ```
/// use mainstay::{rate::{Quota, RateLimiter}, time::ManualClock};
/// use std::time::Duration;
///
/// let clock = ManualClock::new();
/// let quota = Quota::per_second(10).burst(1);
/// let limiter = RateLimiter::builder(quota).clock(clock.clock()).build()?;
/// limiter.try_acquire()?;
/// let reservation = limiter.reserve()?;
/// assert_eq!(reservation.delay(), Duration::from_millis(100));
/// clock.drive(reservation.wait());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping a reservation before its time returns its tokens"]
pub struct Reservation {
    limiter: RateLimiter,
    grant: Grant,
    is_committed: bool,
}

impl UnwindSafe for Reservation {}
impl RefUnwindSafe for Reservation {}

impl Reservation {
    pub(super) fn new(limiter: RateLimiter, grant: Grant) -> Self {
        Self { limiter, grant, is_committed: false }
    }

    /// Returns the time from the reservation until the tokens may be used; zero if that is now.
    #[must_use]
    pub fn delay(&self) -> Duration {
        self.due().since(self.grant.status.now)
    }

    /// Returns the instant at which the tokens may be used, by the limiter's clock.
    #[must_use]
    pub fn ready_at(&self) -> Instant {
        self.limiter.0.timeline.instant(self.due())
    }

    /// Returns the grant, with the state of the limiter after the reservation was made.
    #[must_use]
    pub const fn grant(&self) -> Grant {
        self.grant
    }

    fn due(&self) -> Nanos {
        let status = &self.grant.status;
        // A reservation of nothing does not wait for the debts of others.
        if status.granted == 0 {
            return status.now;
        }
        status.gcra.nanos(status.gcra.due(status.ahead, 0)).unwrap_or(Nanos::new(u64::MAX))
    }

    /// Keeps the tokens, before their time too.
    pub fn commit(mut self) -> Grant {
        self.is_committed = true;
        self.grant
    }

    /// Waits until the tokens may be used.
    ///
    /// # Cancel safety
    /// Dropping the future drops the reservation.
    pub async fn wait(self) -> Grant {
        self.limiter.0.timeline.clock().sleep_until(self.ready_at()).await;
        self.commit()
    }

    /// Waits until the tokens may be used, blocking the thread.
    pub fn wait_blocking(self) -> Grant {
        let clock = self.limiter.0.timeline.clock();
        clock.sleep_blocking(self.ready_at() - clock.now());
        self.commit()
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.is_committed || self.grant.granted() == 0 {
            return;
        }
        let shared = &*self.limiter.0;
        if shared.timeline.now() < self.due() {
            shared.engine.cancel_reservation(&self.grant);
        }
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation")
            .field("granted", &self.grant.granted())
            .field("delay", &self.delay())
            .finish_non_exhaustive()
    }
}
