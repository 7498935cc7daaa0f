//! A rate that is reduced after a pause and rises again with use: [`WarmUp`].

use super::{Shortage, Standing};
use crate::time::Instant;
use std::time::Duration;

/// A limiter that grants one token per interval when it is warm, and one per three intervals when
/// it is cold. It warms up while it is used and cools down while it is not, each in `duration`.
///
/// Unused time is stored as tokens, up to `max`. Stored tokens beyond `threshold` are expensive:
/// the interval of the last one is three times that of a warm limiter, and falls linearly to the
/// threshold. The area of the trapezoid between `threshold` and `max` is the time that warming up
/// takes. (Guava, `SmoothWarmingUp`, with its cold factor of 3.)
///
/// ```text
/// interval
///    cold ┤            ╱
///         │          ╱
///    warm ┤────────╱
///         └────────┴────┴ stored
///               threshold max
/// ```
#[derive(Clone, Debug)]
pub(super) struct WarmUp {
    /// The interval of a warm limiter, in nanoseconds.
    interval: f64,
    /// The maximum of `stored`.
    max: f64,
    /// The number of unused tokens that are stored at the time `next`.
    stored: f64,
    /// The time at which the next request is granted.
    next: Instant,
    /// Whether the last request was that of a waiter. If it was woken late, `next` is still in the
    /// past, and the overdue tokens are granted to the next callers instead of being stored.
    is_catching_up: bool,
    /// The fraction of a nanosecond that was rounded off `next`, which the next request pays.
    fraction: f64,
}

/// The interval of a cold limiter as a multiple of the warm interval.
const COLD_FACTOR: f64 = 3.0;
/// The threshold as a share of `max`. With one half, the tokens above the threshold cost as much
/// time as it takes to store `max` tokens, so warming up and cooling down last equally long.
const THRESHOLD: f64 = 0.5;
/// The longest wake-up delay that is compensated.
const MAX_CATCH_UP: Duration = Duration::from_millis(20);

impl WarmUp {
    /// Creates a cold limiter.
    pub(super) fn new(interval: f64, duration: Duration, now: Instant) -> Self {
        let max = duration.as_nanos() as f64 / interval;
        Self { interval, max, stored: max, next: now, is_catching_up: false, fraction: 0.0 }
    }

    /// Takes `n` tokens if `next` has been reached, however large `n` is. The cost of the tokens
    /// delays the requests after this one.
    pub(super) fn take(&mut self, now: Instant, n: u32) -> Result<(), Shortage> {
        self.is_catching_up &= (now - MAX_CATCH_UP..now).contains(&self.next);
        if !self.is_catching_up {
            self.cool_down(now);
        }
        if self.next > now {
            return Err(Shortage::Until(self.next - now));
        }
        let cost = self.cost(f64::from(n)) + self.fraction;
        self.fraction = cost.fract();
        self.stored = (self.stored - f64::from(n)).max(0.0);
        self.next += Duration::from_nanos(cost as u64);
        Ok(())
    }

    /// Takes `n` tokens for a waiter. If the waiter was woken late, its tokens are counted from the
    /// time at which they became available. Otherwise, the limiter would cool down between waiters.
    pub(super) fn take_waiting(&mut self, now: Instant, n: u32) -> Result<(), Shortage> {
        self.cool_down(now - MAX_CATCH_UP);
        self.is_catching_up = true;
        self.take(now, n)
    }

    pub(super) fn standing(&self, now: Instant) -> Standing {
        let remaining = u32::from(self.next <= now);
        Standing { remaining, reset_after: self.next - now }
    }

    /// Stores the tokens of the time since `next`.
    fn cool_down(&mut self, now: Instant) {
        if now > self.next {
            let unused = (now - self.next).as_nanos() as f64 / self.interval;
            self.stored = (self.stored + unused).min(self.max);
            self.next = now;
        }
    }

    /// Returns the time that `n` tokens cost, in nanoseconds.
    fn cost(&self, n: f64) -> f64 {
        let threshold = THRESHOLD * self.max;
        let above = (self.stored - threshold).max(0.0);
        let expensive = n.min(above);
        let slope = (COLD_FACTOR - 1.0) / (self.max - threshold);
        // The mean of the intervals at both ends of the section of the trapezoid.
        let mean = 1.0 + slope * (above - expensive / 2.0);
        let intervals = if expensive > 0.0 { expensive * mean } else { 0.0 };
        (intervals + n - expensive) * self.interval
    }
}
