//! The generic cell rate algorithm (GCRA). All functions are pure: a decision depends only on the
//! arguments.
//!
//! The algorithm is the "virtual scheduling" form of ITU-T Recommendation I.371; J. Turner
//! described it in 1986 as the leaky bucket ("New directions in communications"). Its state is one
//! number, the *theoretical arrival time* (TAT): the time at which the limiter is full again. For
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
//! `T` is seldom a whole number of nanoseconds. Rounding it would make a rate of 99,999,989 per
//! second 9 % too slow or 1 % too fast. The clock is therefore scaled instead of `T`. One token
//! costs `2^k` *units*, where `k` is the smallest exponent for which a unit is no longer than a
//! nanosecond. The clock is multiplied by a fixed-point factor in the range from 1 (inclusive) to 2
//! (exclusive). The product is rounded down. The factor is rounded up, by less than one part in
//! 2^63, so that a time span of a whole number of tokens is not rounded down to less. Over the life
//! of a limiter the error is at most a thirtieth of a unit.

use crate::error::ConfigError;
use crate::rate::Quota;
use crate::rate::timeline::Nanos;
use crate::sync::Words;

/// The parameters of the algorithm for one quota, with the functions that decide.
///
/// Arguments and results such as `tat` and `now` are in units, unless their type is [`Nanos`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gcra {
    /// Units per nanosecond, as a fixed-point number with [`FRACTION_BITS`] binary places. Zero
    /// means that no tokens become available.
    scale: u64,
    /// The number of tokens of a full limiter. It is also zero if there is no limit, so that no
    /// request is [ordinary](Self::is_ordinary).
    burst: u32,
    /// The binary logarithm of the cost of a token in units. The value of
    /// [`UNLIMITED`](Self::UNLIMITED) means that there is no limit.
    token_bits: u32,
}

const FRACTION_BITS: u32 = 63;
/// The number of bits of a TAT.
pub(super) const TAT_BITS: u32 = 60;
/// The maximum distance of a TAT from the clock, in units: at least four and a half years.
const MAX_AHEAD: u64 = 1 << (TAT_BITS - 2);
/// The last value of the scaled clock, reached after at least thirteen and a half years. The clock
/// stops there, so that every TAT fits into [`TAT_BITS`].
const CLOCK_END: u64 = 3 * MAX_AHEAD - 1;
/// The maximum wake-up delay that is compensated; see [`paced_start`](Gcra::paced_start).
const MAX_CATCH_UP_NANOS: u64 = 20_000_000;
/// The amount, in units, by which a clock may go back without being treated as set back; see
/// [`is_ahead`](Gcra::is_ahead). A nanosecond has 1 to 2 units, so this is one to two seconds.
/// Clock readings of different processors may differ by some nanoseconds.
const MAX_CLOCK_SKEW: u64 = 2_000_000_000;

impl Gcra {
    pub(crate) const UNLIMITED: Self = Self { scale: 0, burst: 0, token_bits: 63 };
    /// Grants nothing. No time passes, so used tokens stay used.
    pub(crate) const NOTHING: Self = Self { scale: 0, burst: 0, token_bits: 24 };
    /// Grants nothing. Used for a key whose quota is out of range.
    pub(crate) const INVALID: Self = Self { token_bits: 25, ..Self::NOTHING };

    /// Computes the parameters for `quota`.
    ///
    /// # Errors
    /// Returns an error if the quota is out of range.
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
        // The smallest power of two that is at least the interval in nanoseconds.
        let token_bits = period.div_ceil(count).next_power_of_two().ilog2();
        let span = u128::from(burst).checked_mul(1 << token_bits.min(TAT_BITS));
        if token_bits >= TAT_BITS || span.is_none_or(|span| span > u128::from(MAX_AHEAD)) {
            let accepted = "a burst that is full again within four years";
            return Err(ConfigError::new("quota", quota, accepted));
        }
        // In the range from 1 to below 2, because the token in units is at least the interval in
        // nanoseconds and less than twice as large.
        let scale = fixed_point(count << token_bits, period);
        Ok(Self { scale, burst, token_bits })
    }

    #[inline]
    pub(crate) const fn is_unlimited(&self) -> bool {
        self.token_bits == Self::UNLIMITED.token_bits
    }

    pub(crate) const fn is_invalid(&self) -> bool {
        self.scale == 0 && self.token_bits == Self::INVALID.token_bits
    }

    /// Returns whether a request for `n` tokens is counted and could be granted by a full limiter.
    #[inline(always)]
    pub(crate) const fn is_ordinary(&self, n: u32) -> bool {
        n.wrapping_sub(1) < self.burst
    }

    /// Returns the number of tokens of a full limiter.
    #[inline]
    pub(crate) const fn limit(&self) -> u32 {
        if self.is_unlimited() { u32::MAX } else { self.burst }
    }

    // The functions below may be called on a torn read, which mixes two quotas. The result is then
    // discarded. They may wrap, but must not panic.

    /// Returns the scaled clock at `now`.
    #[inline(always)]
    pub(crate) const fn units(&self, now: Nanos) -> u64 {
        let units = (now.get() as u128 * self.scale as u128) >> FRACTION_BITS;
        if units > CLOCK_END as u128 { CLOCK_END } else { units as u64 }
    }

    /// Returns the first nanosecond at which the scaled clock has reached `units`, or `None` if it
    /// never does.
    #[allow(clippy::manual_div_ceil)]
    pub(crate) const fn nanos(&self, units: u64) -> Option<Nanos> {
        if units == 0 {
            return Some(Nanos::new(0));
        }
        if self.scale == 0 || units > CLOCK_END {
            return None;
        }
        // Rounds up with one division. `div_ceil` needs two, and two 128-bit divisions cost more
        // than the rest of a decision.
        let (scaled, scale) = ((units as u128) << FRACTION_BITS, self.scale as u128);
        Some(Nanos::new(((scaled + (scale - 1)) / scale) as u64))
    }

    #[inline(always)]
    pub(crate) const fn cost(&self, n: u32) -> u64 {
        (n as u64) << self.token_bits
    }

    /// Returns the cost of `n` tokens in units, saturating at `u64::MAX`.
    pub(crate) const fn large_cost(&self, n: u64) -> u64 {
        n.saturating_mul(1 << self.token_bits)
    }

    /// Returns the time from which an ordinary request is counted: `now` if the limiter is full,
    /// because a full limiter does not accumulate more tokens, and otherwise `tat`.
    #[inline(always)]
    pub(crate) const fn start(tat: u64, now: u64) -> u64 {
        if tat > now { tat } else { now }
    }

    /// Returns the time from which the first queued waiter is counted: the time at which its tokens
    /// became available, even if the waiter was woken later.
    ///
    /// If the waiter were counted from `now`, each wake-up delay would reduce the rate. A limiter
    /// with a burst of 1 whose timers are a millisecond late would grant a fraction of its rate. A
    /// delay of up to 20 ms is compensated.
    pub(crate) const fn paced_start(&self, tat: u64, now: u64) -> u64 {
        let earliest = now.saturating_sub(self.units(Nanos::new(MAX_CATCH_UP_NANOS)));
        if tat > earliest { tat } else { earliest }
    }

    /// Returns the time from which a request is counted that follows a waiter that was woken late.
    /// It is the same as for a waiter, except that the delay is no longer compensated if the TAT is
    /// more than 20 ms in the past.
    pub(crate) const fn catch_up_start(&self, tat: u64, now: u64) -> u64 {
        if tat < now && self.paced_start(tat, now) == tat { tat } else { Self::start(tat, now) }
    }

    /// Returns the TAT after a grant of `n` tokens counted from `start`, or `None` if they are not
    /// available at `now`.
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

    /// Returns the TAT after a reservation of `n` tokens, or `None` if it would be more than
    /// [`MAX_AHEAD`] ahead of `now`.
    pub(crate) const fn reserve(&self, start: u64, now: u64, n: u32) -> Option<u64> {
        let next = start.wrapping_add(self.cost(n));
        if next.wrapping_sub(now) as i64 <= MAX_AHEAD as i64 { Some(next) } else { None }
    }

    /// Returns the TAT after `n` tokens were used, whether they were available or not. The debit
    /// moves the TAT to at most [`MAX_AHEAD`] ahead of `now`. A TAT that is already further ahead
    /// is not changed.
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

    /// Returns the TAT after a refund of `n` tokens of a grant. `granted_tat` is the TAT after that
    /// grant, minus the units of all later refunds.
    ///
    /// Tokens that have become available again over time are not returned a second time. The
    /// limiter never becomes fuller than if the tokens had not been taken. Proof: without the
    /// tokens, the TAT would at first be lower by the cost of `n`. A later grant reduced this
    /// difference at most to the distance from its own `now` to the TAT. That distance is no less
    /// than the distance from the current `now` to `granted_tat`.
    pub(crate) fn refund(&self, tat: u64, now: u64, granted_tat: u64, n: u32) -> u64 {
        let outstanding = granted_tat.saturating_sub(now);
        tat.saturating_sub(self.large_cost(n.into()).min(outstanding))
    }

    /// Returns the time at which `n` tokens are available if the TAT is `tat`.
    pub(crate) const fn due(&self, tat: u64, n: u32) -> u64 {
        tat.saturating_add(self.cost(n)).saturating_sub(self.cost(self.burst))
    }

    /// Returns the number of whole tokens that are available.
    #[inline]
    pub(crate) const fn remaining(&self, tat: u64, now: u64) -> u32 {
        if self.is_unlimited() {
            return u32::MAX;
        }
        let used = tat.saturating_sub(now);
        (self.cost(self.burst).saturating_sub(used) >> self.token_bits) as u32
    }

    /// Returns the debt in units: how far `tat` exceeds one burst ahead of `now`. Only debits and
    /// reservations cause a debt.
    pub(crate) const fn debt(&self, tat: u64, now: u64) -> u64 {
        tat.saturating_sub(now).saturating_sub(self.cost(self.burst))
    }

    /// Returns whether the clock has been set back since `tat` was computed: `tat` is further ahead
    /// of `now` than a burst, a debt of `max_debt` and the [`MAX_CLOCK_SKEW`] allow.
    #[inline(always)]
    pub(crate) const fn is_ahead(&self, tat: u64, now: u64, max_debt: u64) -> bool {
        self.debt(tat, now) > max_debt.saturating_add(MAX_CLOCK_SKEW)
    }

    /// Returns the TAT of a limiter that is empty at `now`.
    pub(crate) const fn empty(&self, now: u64) -> u64 {
        now.saturating_add(self.cost(self.burst))
    }

    /// Converts `tat` from the quota `old` to this quota, such that the same number of tokens is in
    /// use. The result is rounded up to a unit.
    pub(crate) fn convert(&self, old: &Self, tat: u64, now: Nanos) -> u64 {
        if self.is_unlimited() || old.is_unlimited() {
            return self.units(now);
        }
        let used = u128::from(tat.saturating_sub(old.units(now)));
        let used = (used << self.token_bits).div_ceil(1 << old.token_bits);
        self.units(now) + u64::try_from(used).map_or(MAX_AHEAD, |used| used.min(MAX_AHEAD))
    }
}

/// Returns `above / below` with [`FRACTION_BITS`] binary places, rounded up. `above` must be less
/// than twice `below`.
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
