//! The generic cell rate algorithm (ATM Forum, 1996), on a clock that is scaled to the quota. Pure: what is
//! decided follows from the arguments.
//!
//! One number is the whole state: the *arrival*, the instant at which the limiter is full again. It is
//! admitted what puts that instant off to no later than a full burst after now.
//!
//! An interval between tokens is seldom a whole number of nanoseconds, and rounding it makes a rate of
//! 99,999,989 a second 9 % too slow or 1 % too fast. So the clock is scaled, not the interval: a token is a
//! power of two of *units*, the least that makes a unit no longer than a nanosecond, and the clock is
//! multiplied by a fixed-point number between one and two. The product is rounded down to units; the factor
//! is rounded up, so that whole numbers come out whole, by less than one part in 2^63: in a limiter's whole
//! life, a thirtieth of a unit.

use super::Quota;
use crate::error::ConfigError;
use crate::sync::Words;

/// What a quota comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Units in a nanosecond, with [`FRACTION`] binary places. Zero: time stands still.
    scale: u64,
    /// Tokens that a full limiter has. Zero if nothing is counted, too: then no request is an ordinary one.
    burst: u32,
    /// A token is two to this power of units; [`UNLIMITED`](Self::UNLIMITED) says that nothing is counted.
    token: u32,
}

const FRACTION: u32 = 63;

/// Bits of an arrival.
pub(super) const BITS: u32 = 60;
/// No arrival is further away than this: four years and a half at least.
const SPAN: u64 = 1 << (BITS - 2);
/// Where the scaled clock stops: thirteen years and a half at least. So arrivals fit into their bits.
const LAST: u64 = 3 * SPAN - 1;

impl Plan {
    pub(super) const UNLIMITED: Self = Self { scale: 0, burst: 0, token: 63 };
    /// Nothing is admitted. What was used stays used: no time passes.
    pub(super) const NOTHING: Self = Self { scale: 0, burst: 0, token: 24 };

    /// The same, because the quota that was asked for is out of range.
    pub(super) const INVALID: Self = Self { token: Self::NOTHING.token + 1, ..Self::NOTHING };

    /// # Errors
    /// The quota is out of range.
    pub(super) fn new(quota: &Quota) -> Result<Self, ConfigError> {
        let Some(rate) = quota.rate else { return Ok(Self::UNLIMITED) };
        let (count, period) = (u128::from(rate.count), rate.period.as_nanos());
        let refuse = |accepted| Err(ConfigError::new("quota", quota, accepted));
        if period == 0 {
            return refuse("a period longer than nothing");
        }
        if count == 0 {
            return Ok(Self::NOTHING);
        }
        if count > period {
            return refuse("at most one a nanosecond, as the clock tells nothing finer");
        }
        let burst = quota.burst.unwrap_or(rate.count);
        if burst == 0 {
            return refuse("a burst of at least 1");
        }
        // The least power of two of units that is no shorter than the interval in nanoseconds.
        let token = period.div_ceil(count).next_power_of_two().ilog2();
        let span = u128::from(burst).checked_mul(1 << token.min(BITS));
        if token >= BITS || span.is_none_or(|span| span > u128::from(SPAN)) {
            return refuse("a burst that comes back within four years");
        }
        // From 1 to below 2: the token is no shorter than the interval and less than twice as long.
        let scale = fixed_point(count << token, period);
        Ok(Self { scale, burst, token })
    }

    pub(super) const fn is_unlimited(&self) -> bool {
        self.token == Self::UNLIMITED.token
    }

    pub(super) const fn is_invalid(&self) -> bool {
        self.scale == 0 && self.token == Self::INVALID.token
    }

    /// Whether `n` tokens are to be counted and can ever be had.
    #[inline(always)]
    pub(super) const fn is_ordinary(&self, n: u32) -> bool {
        n.wrapping_sub(1) < self.burst
    }

    /// How many tokens there can be at once.
    pub(super) const fn limit(&self) -> u32 {
        if self.is_unlimited() { u32::MAX } else { self.burst }
    }

    // What follows is also computed for a mixture of two plans, before it is thrown away: so it may wrap,
    // but not panic.

    /// The scaled clock `nanos` after the limiter's origin.
    #[inline(always)]
    pub(super) const fn units(&self, nanos: u64) -> u64 {
        let units = (nanos as u128 * self.scale as u128) >> FRACTION;
        if units > LAST as u128 { LAST } else { units as u64 }
    }

    /// When the scaled clock gets to `units`; never, if it does not.
    #[allow(clippy::manual_div_ceil)]
    pub(super) const fn nanos(&self, units: u64) -> Option<u64> {
        if units == 0 {
            return Some(0);
        }
        if self.scale == 0 || units > LAST {
            return None;
        }
        // Rounded up, by one division: `div_ceil` makes two, of this width dearer than all else in a decision.
        let (scaled, scale) = ((units as u128) << FRACTION, self.scale as u128);
        Some(((scaled + (scale - 1)) / scale) as u64)
    }

    #[inline(always)]
    pub(super) const fn cost(&self, n: u32) -> u64 {
        (n as u64) << self.token
    }

    /// What `n` tokens cost, or as much as there can be.
    pub(super) const fn large_cost(&self, n: u64) -> u64 {
        n.saturating_mul(1 << self.token)
    }

    /// The arrival after `n` tokens were taken at `now`, if they are there.
    #[inline(always)]
    pub(super) const fn take(&self, arrival: u64, now: u64, n: u32) -> Option<u64> {
        let next = self.charge(arrival, now, n);
        if next.wrapping_sub(now) <= self.cost(self.burst) { Some(next) } else { None }
    }

    /// The same, whether or not they are there.
    #[inline(always)]
    const fn charge(&self, arrival: u64, now: u64, n: u32) -> u64 {
        let from = if arrival > now { arrival } else { now };
        from.wrapping_add(self.cost(n))
    }

    /// The arrival after `n` tokens were promised for as soon as they are there, unless that is too far off.
    pub(super) const fn promise(&self, arrival: u64, now: u64, n: u32) -> Option<u64> {
        let next = self.charge(arrival, now, n);
        if next.wrapping_sub(now) <= SPAN { Some(next) } else { None }
    }

    /// The arrival after `n` tokens were used, come what may; a debt ends where an arrival must.
    pub(super) const fn debit(&self, arrival: u64, now: u64, n: u32) -> u64 {
        if self.is_unlimited() {
            return arrival;
        }
        let from = if arrival > now { arrival } else { now };
        let (cost, most) = (self.large_cost(n as u64), now.saturating_add(SPAN));
        let next = from.saturating_add(cost);
        if next < most {
            next
        } else if from > most {
            from
        } else {
            most
        }
    }

    /// The arrival after `n` tokens came back of a taking that had put it off to `then`; `then` less what
    /// other refunds have taken off since.
    ///
    /// What time has given back cannot be given back again. Had they never been taken, the arrival would be
    /// behind by `n` tokens at first; each taker since has made the distance smaller at most to what lay
    /// between the arrival and his own `now`, and that is no less than what lies between `then` and this
    /// `now`. So the limiter does not become fuller than it would be.
    pub(super) fn refund(&self, arrival: u64, now: u64, then: u64, n: u32) -> u64 {
        let outstanding = then.saturating_sub(now);
        arrival.saturating_sub(self.large_cost(n.into()).min(outstanding))
    }

    /// When `n` tokens can be had after what puts the arrival off to `ahead`.
    pub(super) const fn due(&self, ahead: u64, n: u32) -> u64 {
        ahead.saturating_add(self.cost(n)).saturating_sub(self.cost(self.burst))
    }

    /// Whole tokens that are there.
    pub(super) const fn remaining(&self, ahead: u64, now: u64) -> u32 {
        if self.is_unlimited() {
            return u32::MAX;
        }
        let used = ahead.saturating_sub(now);
        (self.cost(self.burst).saturating_sub(used) >> self.token) as u32
    }

    /// The arrival that says by `self` what `arrival` says by `old`: so many tokens used, rounded up.
    pub(super) fn carry(&self, old: &Self, arrival: u64, nanos: u64) -> u64 {
        if self.is_unlimited() || old.is_unlimited() {
            return self.units(nanos);
        }
        let used = u128::from(arrival.saturating_sub(old.units(nanos)));
        let used = (used << self.token).div_ceil(1 << old.token);
        self.units(nanos) + u64::try_from(used).map_or(SPAN, |used| used.min(SPAN))
    }
}

/// `above / below` with [`FRACTION`] binary places, rounded up; `above` is less than twice `below`.
const fn fixed_point(above: u128, below: u128) -> u64 {
    let (mut quotient, mut rest) = (0_u64, above);
    let mut place = 0;
    while place <= FRACTION {
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

impl Words<2> for Plan {
    fn to_words(self) -> [u64; 2] {
        [self.scale, u64::from(self.burst) << 32 | u64::from(self.token)]
    }

    #[inline(always)]
    fn from_words([scale, rest]: [u64; 2]) -> Self {
        Self { scale, burst: (rest >> 32) as u32, token: rest as u32 & 63 }
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn quota(count: u32, period: u64, burst: u32) -> Quota {
        Quota::per(count, Duration::from_nanos(period)).burst(burst)
    }

    /// Any that is accepted.
    fn quotas() -> impl Strategy<Value = (Quota, Plan)> {
        let count = prop_oneof![1_u32..100, 1_u32..1_000_000_000];
        let period = prop_oneof![1_u64..1000, Just(1_000_000_000), 1_u64..100_000_000_000_000];
        let burst = prop_oneof![1_u32..20, any::<u32>()];
        (count, period, burst).prop_filter_map("out of range", |(count, period, burst)| {
            let quota = quota(count, period, burst);
            Plan::new(&quota).ok().filter(|plan| plan.burst > 0).map(|plan| (quota, plan))
        })
    }

    #[test]
    fn quotas_are_checked() {
        let year = Duration::from_secs(365 * 24 * 3600);
        let table = [
            (Quota::per_second(1), true),
            (Quota::per_second(0), true),
            (Quota::unlimited(), true),
            (Quota::per_second(1_000_000_000), true),
            (Quota::per_second(1_000_000_001), false),
            (Quota::per_second(u32::MAX), false),
            (Quota::per_minute(u32::MAX), true),
            (Quota::per_second(10).burst(0), false),
            (Quota::per_second(10).burst(u32::MAX), false),
            (Quota::per_second(1_000).burst(u32::MAX), true),
            (Quota::per(1, Duration::ZERO), false),
            (Quota::with_period(4 * year), true),
            (Quota::with_period(10 * year), false),
            (Quota::with_period(Duration::MAX), false),
            (Quota::per_hour(1).burst(36_500), true),
            (Quota::per_hour(1).burst(u32::MAX), false),
        ];
        for (quota, accepted) in table {
            assert_eq!(Plan::new(&quota).is_ok(), accepted, "{quota:?}");
        }
        let error = Plan::new(&Quota::per_second(10).burst(0)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "quota is 10 per 1s, burst 0; accepted: a burst of at least 1"
        );
    }

    /// An interval of 10.0000011 ns, which whole nanoseconds make 9 % too slow.
    #[test]
    fn no_interval_is_rounded() {
        // With a burst to make up for the clock's own tick.
        let plan = Plan::new(&Quota::per_second(99_999_989).burst(2)).unwrap();
        let start = 1_000_000_000;
        let (mut arrival, mut granted) = (plan.units(start) + plan.cost(2), 0_u64);
        for nanos in start..=start + 5_000_000 {
            if let Some(next) = plan.take(arrival, plan.units(nanos), 1) {
                (arrival, granted) = (next, granted + 1);
            }
        }
        assert_eq!(granted, 499_999);
    }

    #[test]
    fn a_plan_survives_its_words() {
        for quota in [Quota::per_minute(7).burst(3), Quota::unlimited(), Quota::per_second(0)] {
            let plan = Plan::new(&quota).unwrap();
            assert_eq!(Plan::from_words(plan.to_words()), plan);
        }
        assert!(
            Plan::INVALID.is_invalid()
                && !Plan::NOTHING.is_invalid()
                && !Plan::UNLIMITED.is_invalid()
        );
    }

    proptest! {
        #[test]
        fn the_clock_is_scaled_to_the_unit((quota, plan) in quotas(), nanos in 0_u64..1 << 58) {
            let rate = quota.rate.unwrap();
            let (count, period) = (u128::from(rate.count), rate.period.as_nanos());
            // Rounded up, by less than the last place.
            let scaled = count << (plan.token + FRACTION);
            let exact = u128::from(plan.scale) * period;
            prop_assert!(exact >= scaled && exact - scaled < period);
            prop_assert!(plan.scale >= 1 << FRACTION);
            // When the clock gets there is the first nanosecond at which it is there.
            let units = plan.units(nanos);
            let first = plan.nanos(units).unwrap();
            prop_assert!(first <= nanos && plan.units(first) == units);
            prop_assert!(first == 0 || plan.units(first - 1) < units);
        }

        /// In any window by the clock that was read, whichever way that clock went.
        #[test]
        fn no_window_holds_too_much(
            (quota, plan) in quotas(),
            steps in proptest::collection::vec((-20_i64..40, 1_u32..6), 1..120),
            grain in 0_u32..40,
        ) {
            let rate = quota.rate.unwrap();
            let (count, period) = (u128::from(rate.count), rate.period.as_nanos());
            let mut nanos = 1_u64 << 50;
            let mut arrival = 0;
            let mut granted: Vec<(u64, u128)> = Vec::new();
            for (step, n) in steps {
                nanos = nanos.saturating_add_signed(step << grain >> 4);
                let n = n.saturating_mul((plan.burst / 4).max(1));
                if !plan.is_ordinary(n) {
                    continue;
                }
                if let Some(next) = plan.take(arrival, plan.units(nanos), n) {
                    prop_assert!(next > arrival, "went back");
                    arrival = next;
                    granted.push((nanos, n.into()));
                }
            }
            for from in granted.iter().map(|(at, _)| *at) {
                for to in granted.iter().map(|(at, _)| *at).filter(|to| *to >= from) {
                    let within = granted.iter().filter(|(at, _)| (from..=to).contains(at));
                    let sum: u128 = within.map(|(_, n)| n).sum();
                    let bound = u128::from(plan.burst) * period + count * u128::from(to - from + 1);
                    prop_assert!(sum * period <= bound, "{} from {} to {}", sum, from, to);
                }
            }
        }

        /// Against one who never took what is given back: the limiter is at most as full.
        #[test]
        fn a_refund_gives_nothing_away(
            steps in proptest::collection::vec((0_u64..30, 1_u32..6, any::<bool>(), 0_usize..8, 1_u32..6), 1..60),
        ) {
            let plan = Plan::new(&quota(1, 16, 8)).unwrap();
            let mut now = 0;
            let (mut arrival, mut refunded) = (0, 0);
            // What was granted: (when, n), and what an answer remembers.
            let mut history: Vec<(u64, u32)> = Vec::new();
            let mut answers: Vec<(u64, u64)> = Vec::new();
            for (step, n, refund, which, back) in steps {
                now += step;
                if !refund {
                    if let Some(next) = plan.take(arrival, now, n) {
                        answers.push((next, refunded));
                        history.push((now, n));
                        arrival = next;
                    }
                } else if let Some(which) = answers.len().checked_sub(1 + which) {
                    let (then, before) = answers[which];
                    let back = back.min(history[which].1);
                    let next = plan.refund(arrival, now, then.saturating_sub(refunded - before), back);
                    refunded += arrival - next;
                    arrival = next;
                    history[which].1 -= back; // as if never taken
                }
                let never = history.iter().fold(0, |at, (when, n)| match n {
                    0 => at,
                    n => plan.charge(at, *when, *n),
                });
                prop_assert!(arrival.max(now) >= never.max(now), "{} is fuller than {}", arrival, never);
            }
        }

        #[test]
        fn what_is_used_stays_used(
            (_, old) in quotas(), (_, new) in quotas(), nanos in 1_u64 << 40..1 << 50, used in 0_u32..50,
        ) {
            let used = used.min(old.burst).min(new.burst);
            let arrival = old.charge(0, old.units(nanos), used);
            let carried = new.carry(&old, arrival, nanos);
            prop_assert_eq!(carried, new.units(nanos) + new.cost(used));
            prop_assert_eq!(new.remaining(carried, new.units(nanos)), new.burst - used);
        }
    }
}
