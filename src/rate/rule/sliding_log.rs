//! An exact sliding window, which stores the time of each grant: [`SlidingLog`].

use super::{Shortage, Standing};
use crate::time::Instant;
use std::collections::VecDeque;
use std::time::Duration;

/// The grants of the last period.
#[derive(Clone, Debug)]
pub(super) struct SlidingLog {
    limit: u32,
    period: Duration,
    /// The time and the number of tokens of each grant, oldest first. After `advance`, all of them
    /// are less than one period old.
    grants: VecDeque<(Instant, u32)>,
    /// The sum of the tokens of `grants`. Never exceeds `limit`.
    used: u32,
}

impl SlidingLog {
    pub(super) const fn new(limit: u32, period: Duration) -> Self {
        Self { limit, period, grants: VecDeque::new(), used: 0 }
    }

    /// Takes `n` tokens if at most `limit` are then used in the last period. A grant leaves the
    /// window exactly one period after it was made.
    pub(super) fn take(&mut self, now: Instant, n: u32) -> Result<(), Shortage> {
        let now = self.advance(now);
        if n > self.limit - self.used {
            return Err(self.shortage(now, n));
        }
        self.used += n;
        match self.grants.back_mut() {
            Some((at, tokens)) if *at == now => *tokens += n,
            _ => self.grants.push_back((now, n)),
        }
        Ok(())
    }

    pub(super) fn standing(&mut self, now: Instant) -> Standing {
        let now = self.advance(now);
        let reset_at = self.grants.back().map_or(now, |(at, _)| *at + self.period);
        Standing { remaining: self.limit - self.used, reset_after: reset_at - now }
    }

    /// Removes the grants that have left the window. Returns `now`, or the time of the last grant
    /// if the clock was set back.
    fn advance(&mut self, now: Instant) -> Instant {
        let now = self.grants.back().map_or(now, |(at, _)| now.max(*at));
        while let Some((at, tokens)) = self.grants.front()
            && now - *at >= self.period
        {
            self.used -= tokens;
            self.grants.pop_front();
        }
        now
    }

    fn shortage(&self, now: Instant, n: u32) -> Shortage {
        let mut used = self.used;
        for (at, tokens) in &self.grants {
            used -= tokens;
            if self.limit - used >= n {
                return Shortage::Until(*at + self.period - now);
            }
        }
        Shortage::Forever
    }
}
