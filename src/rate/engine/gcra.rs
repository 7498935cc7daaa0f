//! The generic cell rate algorithm (GCRA). Pure: every decision follows from the arguments.
//!
//! The algorithm is the "virtual scheduling" form of ITU-T Recommendation I.371; J. Turner
//! described it in 1986 as the leaky bucket ("New directions in communications"). Its state is one
//! number, the *theoretical arrival time* (TAT): the time at which the limiter is full again. With
//! one token every `T` and a burst of `B` tokens:
//!
//! ```text
//! next = max(TAT, now) + n × T
//! if next ≤ now + B × T:  grant, TAT = next
//! otherwise:              deny; the tokens are available at next - B × T
//! ```
//!
//! # Units
//!
//! `T` is seldom a whole number of nanoseconds, and rounding it makes a rate of 99,999,989 a second
//! 9 % too slow or 1 % too fast. So the clock is scaled instead of `T`. A token is a power of two
//! of *units*, the smallest for which a unit is no longer than a nanosecond, and the clock is
//! multiplied by a fixed-point number from 1 to below 2. The product is rounded down. The factor is
//! rounded up, by less than one part in 2^63, so that whole numbers of tokens come out whole; over
//! the life of a limiter this adds up to a thirtieth of a unit.

use crate::error::ConfigError;
use crate::rate::Quota;
use crate::rate::timeline::Nanos;
use crate::sync::Words;

/// The algorithm for one quota: its parameters, and what it decides.
///
/// Functions of `tat` and `now` take and return units, unless they say nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gcra {
    /// Units per nanosecond, with [`FRACTION_BITS`] binary places. Zero: time stands still.
    scale: u64,
    /// Tokens of a full limiter. Also zero if there is no limit: then no request is
    /// [ordinary](Self::is_ordinary).
    burst: u32,
    /// The binary logarithm of a token in units. That of [`UNLIMITED`](Self::UNLIMITED) means no
    /// limit.
    token_bits: u32,
}

const FRACTION_BITS: u32 = 63;
/// The bits of a TAT.
pub(super) const TAT_BITS: u32 = 60;
/// The furthest that a TAT may be ahead of the clock: at least four and a half years.
const MAX_AHEAD: u64 = 1 << (TAT_BITS - 2);
/// Where the scaled clock stops, so that every TAT fits into its bits: after at least thirteen and
/// a half years.
const CLOCK_END: u64 = 3 * MAX_AHEAD - 1;
/// The longest delay of a wake-up that is made up for; see [`paced_start`](Gcra::paced_start).
const MAX_CATCH_UP_NANOS: u64 = 20_000_000;
/// A clock that was set back by less is not treated as such; see [`is_ahead`](Gcra::is_ahead). In
/// units, of which a nanosecond has 1 to 2: one to two seconds. Clocks read on several processors
/// may differ by some nanoseconds.
const MAX_CLOCK_SKEW: u64 = 2_000_000_000;

impl Gcra {
    pub(crate) const UNLIMITED: Self = Self { scale: 0, burst: 0, token_bits: 63 };
    /// Grants nothing. Used tokens stay used: no time passes.
    pub(crate) const NOTHING: Self = Self { scale: 0, burst: 0, token_bits: 24 };
    /// Grants nothing, because the quota of a key was out of range.
    pub(crate) const INVALID: Self = Self { token_bits: 25, ..Self::NOTHING };

    /// # Errors
    /// The quota is out of range.
    pub(crate) fn new(quota: &Quota) -> Result<Self, ConfigError> {
        let Some(rate) = quota.rate else { return Ok(Self::UNLIMITED) };
        let (count, period) = (u128::from(rate.count), rate.period.as_nanos());
        if period == 0 {
            return Err(ConfigError::new("period", rate.period, "longer than zero"));
        }
        if count == 0 {
            return Ok(Self::NOTHING);
        }
        if count > period {
            return Err(ConfigError::new("quota", quota, "at most one token per nanosecond"));
        }
        let burst = quota.burst.unwrap_or(rate.count);
        if burst == 0 {
            return Err(ConfigError::new("burst", burst, "at least 1 token"));
        }
        // The smallest power of two of units that is no shorter than the interval in nanoseconds.
        let token_bits = period.div_ceil(count).next_power_of_two().ilog2();
        let span = u128::from(burst).checked_mul(1 << token_bits.min(TAT_BITS));
        if token_bits >= TAT_BITS || span.is_none_or(|span| span > u128::from(MAX_AHEAD)) {
            let accepted = "a burst that is full again within four years";
            return Err(ConfigError::new("quota", quota, accepted));
        }
        // From 1 to below 2: a token is no shorter than the interval, and less than twice as long.
        let scale = fixed_point(count << token_bits, period);
        Ok(Self { scale, burst, token_bits })
    }

    pub(crate) const fn is_unlimited(&self) -> bool {
        self.token_bits == Self::UNLIMITED.token_bits
    }

    pub(crate) const fn is_invalid(&self) -> bool {
        self.scale == 0 && self.token_bits == Self::INVALID.token_bits
    }

    /// Whether `n` tokens are counted, and can be granted by a full limiter.
    #[inline(always)]
    pub(crate) const fn is_ordinary(&self, n: u32) -> bool {
        n.wrapping_sub(1) < self.burst
    }

    /// The tokens of a full limiter.
    pub(crate) const fn limit(&self) -> u32 {
        if self.is_unlimited() { u32::MAX } else { self.burst }
    }

    // The functions below may be called with a mixture of two quotas, whose result is discarded.
    // They may wrap, but must not panic.

    /// The scaled clock at `now`.
    #[inline(always)]
    pub(crate) const fn units(&self, now: Nanos) -> u64 {
        let units = (now.get() as u128 * self.scale as u128) >> FRACTION_BITS;
        if units > CLOCK_END as u128 { CLOCK_END } else { units as u64 }
    }

    /// The first nanosecond at which the scaled clock is at `units`; `None` if it never is.
    #[allow(clippy::manual_div_ceil)]
    pub(crate) const fn nanos(&self, units: u64) -> Option<Nanos> {
        if units == 0 {
            return Some(Nanos::new(0));
        }
        if self.scale == 0 || units > CLOCK_END {
            return None;
        }
        // Rounded up with one division. `div_ceil` makes two, and of this width they cost more than
        // the rest of a decision.
        let (scaled, scale) = ((units as u128) << FRACTION_BITS, self.scale as u128);
        Some(Nanos::new(((scaled + (scale - 1)) / scale) as u64))
    }

    #[inline(always)]
    pub(crate) const fn cost(&self, n: u32) -> u64 {
        (n as u64) << self.token_bits
    }

    /// The cost of `n` tokens, saturating.
    pub(crate) const fn large_cost(&self, n: u64) -> u64 {
        n.saturating_mul(1 << self.token_bits)
    }

    /// The time from which an ordinary request is counted: a token bucket that is full stays full.
    #[inline(always)]
    pub(crate) const fn start(tat: u64, now: u64) -> u64 {
        if tat > now { tat } else { now }
    }

    /// The time from which a waiter is counted that was queued until its tokens were available: its
    /// scheduled time, even if it was woken late.
    ///
    /// Otherwise each delay of a wake-up would be lost, and with a burst of 1 a limiter whose
    /// timers are a millisecond late would grant a fraction of its rate. A delay of up to 20 ms is
    /// made up for.
    pub(crate) const fn paced_start(&self, tat: u64, now: u64) -> u64 {
        let earliest = now.saturating_sub(self.units(Nanos::new(MAX_CATCH_UP_NANOS)));
        if tat > earliest { tat } else { earliest }
    }

    /// The time from which a request is counted that follows immediately on a late waiter: as for a
    /// waiter, but nothing is made up for after 20 ms without a request.
    pub(crate) const fn catch_up_start(&self, tat: u64, now: u64) -> u64 {
        if tat < now && self.paced_start(tat, now) == tat { tat } else { Self::start(tat, now) }
    }

    /// The TAT after `n` tokens that are counted from `start`, if they are available at `now`.
    #[inline(always)]
    pub(crate) const fn take(&self, start: u64, now: u64, n: u32) -> Option<u64> {
        let next = start.wrapping_add(self.cost(n));
        // Signed, because `start` may be earlier than `now`.
        if next.wrapping_sub(now) as i64 <= self.cost(self.burst) as i64 {
            Some(next)
        } else {
            None
        }
    }

    /// The TAT after `n` tokens that may be used as soon as they are available, unless that is too
    /// far ahead.
    pub(crate) const fn reserve(&self, start: u64, now: u64, n: u32) -> Option<u64> {
        let next = start.wrapping_add(self.cost(n));
        if next.wrapping_sub(now) as i64 <= MAX_AHEAD as i64 { Some(next) } else { None }
    }

    /// The TAT after `n` tokens were used, available or not. A debt of more than [`MAX_AHEAD`] is
    /// reduced to that, but a longer one that exists already is not.
    pub(crate) const fn debit(&self, tat: u64, now: u64, n: u32) -> u64 {
        if self.is_unlimited() {
            return tat;
        }
        let start = Self::start(tat, now);
        let max = now.saturating_add(MAX_AHEAD);
        let next = start.saturating_add(self.large_cost(n as u64));
        if next < max {
            next
        } else if start > max {
            start
        } else {
            max
        }
    }

    /// The TAT after `n` tokens were returned of a grant whose TAT was `granted_tat`, less what
    /// other refunds have taken off since.
    ///
    /// Tokens that have become available again with time are not returned once more. Proof that the
    /// limiter does not become fuller than if the tokens had never been taken: without them, the
    /// TAT would first be lower by the cost of `n`. Each later grant reduced this difference at
    /// most to the distance from its own `now` to the TAT, and that is no less than the distance
    /// from the present `now` to `granted_tat`.
    pub(crate) fn refund(&self, tat: u64, now: u64, granted_tat: u64, n: u32) -> u64 {
        let outstanding = granted_tat.saturating_sub(now);
        tat.saturating_sub(self.large_cost(n.into()).min(outstanding))
    }

    /// When `n` tokens are available after a TAT of `tat`.
    pub(crate) const fn due(&self, tat: u64, n: u32) -> u64 {
        tat.saturating_add(self.cost(n)).saturating_sub(self.cost(self.burst))
    }

    /// The whole tokens that are available.
    pub(crate) const fn remaining(&self, tat: u64, now: u64) -> u32 {
        if self.is_unlimited() {
            return u32::MAX;
        }
        let used = tat.saturating_sub(now);
        (self.cost(self.burst).saturating_sub(used) >> self.token_bits) as u32
    }

    /// How much further `tat` is ahead than grants alone put it: by debits and reservations.
    pub(crate) const fn debt(&self, tat: u64, now: u64) -> u64 {
        tat.saturating_sub(now).saturating_sub(self.cost(self.burst))
    }

    /// Whether `tat` is so far ahead of `now` that neither grants nor debits of up to `max_debt`
    /// explain it: it was computed while the clock was ahead, and the clock has been set back
    /// since.
    #[inline(always)]
    pub(crate) const fn is_ahead(&self, tat: u64, now: u64, max_debt: u64) -> bool {
        self.debt(tat, now) > max_debt.saturating_add(MAX_CLOCK_SKEW)
    }

    /// The TAT of a limiter that is empty at `now`.
    pub(crate) const fn empty(&self, now: u64) -> u64 {
        now.saturating_add(self.cost(self.burst))
    }

    /// The TAT by which this quota has as many tokens in use as `old` has by `tat`, rounded up to a
    /// unit.
    pub(crate) fn convert(&self, old: &Self, tat: u64, now: Nanos) -> u64 {
        if self.is_unlimited() || old.is_unlimited() {
            return self.units(now);
        }
        let used = u128::from(tat.saturating_sub(old.units(now)));
        let used = (used << self.token_bits).div_ceil(1 << old.token_bits);
        self.units(now) + u64::try_from(used).map_or(MAX_AHEAD, |used| used.min(MAX_AHEAD))
    }
}

/// `above / below` with [`FRACTION_BITS`] binary places, rounded up; `above` is less than twice
/// `below`.
const fn fixed_point(above: u128, below: u128) -> u64 {
    let (mut quotient, mut rest) = (0_u64, above);
    let mut place = 0;
    while place <= FRACTION_BITS {
        quotient <<= 1;
        if rest >= below {
            quotient |= 1;
            rest -= below;
        }
        rest <<= 1;
        place += 1;
    }
    if rest > 0 { quotient.saturating_add(1) } else { quotient }
}

impl Words<2> for Gcra {
    fn to_words(self) -> [u64; 2] {
        [self.scale, u64::from(self.burst) << 32 | u64::from(self.token_bits)]
    }

    #[inline(always)]
    fn from_words([scale, rest]: [u64; 2]) -> Self {
        Self { scale, burst: (rest >> 32) as u32, token_bits: rest as u32 & 63 }
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
#[path = "tests/gcra.rs"]
mod tests;
