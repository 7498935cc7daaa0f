use super::{Answer, RateLimiter};
use crate::time::Instant;
use std::fmt;
use std::time::Duration;

/// Tokens taken ahead of their time; made by [`RateLimiter::reserve`].
///
/// Dropping it gives the tokens back if nothing was taken or reserved after it, and nothing otherwise:
/// those who came later have been given times that count on it, and in a limiter that is one number only
/// the last step can be undone without giving the same time away twice. [`commit`](Self::commit) and
/// [`wait`](Self::wait) keep them.
///
/// ```
/// use mainstay::{rate::{Quota, RateLimiter}, time::ManualClock};
/// use std::time::Duration;
///
/// let time = ManualClock::new();
/// let limiter = RateLimiter::builder(Quota::per_second(10).burst(1)).clock(time.clock()).build()?;
/// limiter.try_acquire()?;
/// let reservation = limiter.reserve(1)?;
/// assert_eq!(reservation.delay(), Duration::from_millis(100));
/// time.drive(reservation.wait());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping a reservation gives it back"]
pub struct Reservation {
    limiter: RateLimiter,
    answer: Answer,
    kept: bool,
}

impl Reservation {
    pub(super) fn new(limiter: RateLimiter, answer: Answer) -> Self {
        Self { limiter, answer, kept: false }
    }

    /// How long after it was made the tokens may be used; zero if at once.
    #[must_use]
    pub fn delay(&self) -> Duration {
        Duration::from_nanos(self.due().saturating_sub(self.answer.now))
    }

    /// The same as an instant of the limiter's clock.
    #[must_use]
    pub fn ready_at(&self) -> Instant {
        self.limiter.shared().instant(self.due())
    }

    /// The figures of the limiter after it was made.
    #[must_use]
    pub const fn answer(&self) -> Answer {
        self.answer
    }

    fn due(&self) -> u64 {
        // Nothing need not wait for what others owe.
        if self.answer.granted == 0 {
            return self.answer.now;
        }
        self.answer.plan.nanos(self.answer.plan.due(self.answer.ahead, 0)).unwrap_or(u64::MAX)
    }

    /// Keeps the tokens: they are used, at the time that was given.
    pub fn commit(mut self) -> Answer {
        self.kept = true;
        self.answer
    }

    /// Waits until the tokens may be used, and keeps them.
    ///
    /// # Cancel safety
    /// Dropping the future drops the reservation.
    pub async fn wait(self) -> Answer {
        self.limiter.shared().clock.sleep_until(self.ready_at()).await;
        self.commit()
    }

    /// [`wait`](Self::wait) for a thread.
    pub fn wait_blocking(self) -> Answer {
        let clock = &self.limiter.shared().clock;
        clock.sleep_blocking(self.ready_at() - clock.now());
        self.commit()
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.kept && self.answer.granted > 0 {
            self.limiter.shared().core.withdraw(&self.answer);
        }
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation")
            .field("granted", &self.answer.granted())
            .field("delay", &self.delay())
            .finish_non_exhaustive()
    }
}
