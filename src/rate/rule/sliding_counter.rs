//! An approximate sliding window of two counters: [`SlidingCounter`].

use super::{Shortage, Standing};
use crate::time::{Instant, nanos};
use std::time::Duration;

/// The token counts of the current and the previous window. The count of the previous window is
/// weighted by the share of it that lies within the last period.
///
/// ```text
/// used = previous × (1 − elapsed / period) + current
/// ```
///
/// (K. Hawkins, "How we built rate limiting capable of scaling to millions of domains", 2017.)
#[derive(Clone, Debug)]
pub(super) struct SlidingCounter {
    limit: u32,
    period: u64,
    /// The start of the current window, in nanoseconds.
    start: u64,
    previous: u32,
    current: u32,
}

impl SlidingCounter {
    pub(super) const fn new(limit: u32, period: Duration, now: Instant) -> Self {
        let (start, period) = (now.as_nanos(), nanos(period));
        Self { limit, period, start, previous: 0, current: 0 }
    }

    pub(super) fn take(&mut self, now: Instant, n: u32) -> Result<(), Shortage> {
        let elapsed = self.advance(now);
        if self.scaled(elapsed, n) > self.scaled_limit() {
            return Err(self.shortage(elapsed, n));
        }
        self.current += n;
        Ok(())
    }

    pub(super) fn standing(&mut self, now: Instant) -> Standing {
        let elapsed = self.advance(now);
        let free = self.scaled_limit().saturating_sub(self.scaled(elapsed, 0));
        let left = self.period - elapsed;
        let reset_after = match (self.previous, self.current) {
            (0, 0) => 0,
            (_, 0) => left,
            _ => left.saturating_add(self.period),
        };
        Standing {
            remaining: (free / u128::from(self.period)) as u32,
            reset_after: Duration::from_nanos(reset_after),
        }
    }

    /// Moves to the window that contains `now`. Returns the time since its start; zero if the clock
    /// was set back to before it.
    fn advance(&mut self, now: Instant) -> u64 {
        let elapsed = now.as_nanos().saturating_sub(self.start);
        let windows = elapsed / self.period;
        if windows > 0 {
            self.previous = if windows == 1 { self.current } else { 0 };
            self.current = 0;
            self.start += windows * self.period;
        }
        elapsed % self.period
    }

    /// Returns the tokens used after a grant of `n`, multiplied by the period. The result is exact:
    /// counts have at most 33 bits and periods 64, so `u128` does not overflow.
    fn scaled(&self, elapsed: u64, n: u32) -> u128 {
        let current = u128::from(self.current) + u128::from(n);
        u128::from(self.previous) * u128::from(self.period - elapsed)
            + current * u128::from(self.period)
    }

    fn scaled_limit(&self) -> u128 {
        u128::from(self.limit) * u128::from(self.period)
    }

    fn shortage(&self, elapsed: u64, n: u32) -> Shortage {
        let Some(free) = self.limit.checked_sub(n) else { return Shortage::Forever };
        let until = match free.checked_sub(self.current) {
            // Later in this window, when a smaller share of the previous window counts.
            Some(free) => self.overlap_ends(self.previous, free),
            // In the next window, in which `current` has become `previous`.
            None => self.period.saturating_add(self.overlap_ends(self.current, free)),
        };
        Shortage::Until(Duration::from_nanos(until - elapsed))
    }

    /// Returns the first time after the start of a window at which at most `free` of the `previous`
    /// tokens count. `previous` is greater than `free`.
    fn overlap_ends(&self, previous: u32, free: u32) -> u64 {
        let overlap = u128::from(free) * u128::from(self.period) / u128::from(previous);
        self.period - overlap as u64
    }
}
