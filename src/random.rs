//! Random numbers for jitter and sampling. They are not cryptographically secure.

use crate::sync::atomic::Ordering;
use crate::sync::{PlainArc, PlainAtomicU64};
use std::time::Duration;

/// A source of random numbers for jitter. It can be seeded, so that a test or a simulation is
/// repeatable.
///
/// ```
/// use mainstay::random::Random;
///
/// let (a, b) = (Random::seeded(7), Random::seeded(7));
/// assert_eq!(a.unit(), b.unit());
/// assert!((0.0..1.0).contains(&Random::system().unit()));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Random(Option<PlainArc<PlainAtomicU64>>);

impl Random {
    /// Returns a source with one generator per thread (wyrand, from `fastrand`), seeded by the
    /// operating system.
    #[must_use]
    pub const fn system() -> Self {
        Self(None)
    }

    /// Creates a source that returns the same sequence for the same seed. Clones draw from one
    /// sequence, in the order of their calls.
    ///
    /// ```
    /// use mainstay::random::Random;
    ///
    /// let (a, b) = (Random::seeded(7), Random::seeded(7));
    /// assert_eq!([a.unit(), a.unit()], [b.unit(), b.unit()]);
    /// ```
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Some(PlainArc::new(PlainAtomicU64::new(seed))))
    }

    /// Returns a number from 0 up to, but not including, 1, uniformly distributed.
    #[must_use]
    pub fn unit(&self) -> f64 {
        match &self.0 {
            None => fastrand::f64(),
            // One draw from a generator that is seeded with a counter. wyrand mixes its whole state
            // into every draw, so consecutive seeds give unrelated numbers, and no lock is needed.
            Some(next) => {
                // 2^64 / golden ratio: separates small seeds.
                const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
                // Ordering: relaxed; each counter value must be drawn only once.
                fastrand::Rng::with_seed(next.fetch_add(1, Ordering::Relaxed).wrapping_mul(ODD))
                    .f64()
            }
        }
    }

    /// Returns a duration from `low` up to, but not including, `high`; `low` if `high` is not
    /// greater.
    ///
    /// ```
    /// use mainstay::random::Random;
    /// use std::time::Duration;
    ///
    /// let (low, high) = (Duration::from_secs(1), Duration::from_secs(2));
    /// let jittered = Random::system().between(low, high);
    /// assert!((low..high).contains(&jittered));
    /// ```
    #[must_use]
    pub fn between(&self, low: Duration, high: Duration) -> Duration {
        scale(low, high, self.unit())
    }
}

/// Returns the number at `index` of the sequence with this seed, from 0 up to, but not including,
/// 1, uniformly distributed. Unlike a [`Random`], it needs no state.
pub(crate) fn unit_at(seed: u64, index: u64) -> f64 {
    // SplitMix64 (Steele, Lea, Flood, 2014): the output function is applied to a counter with an
    // odd increment. The seed is mixed first, so that neighboring seeds give unrelated sequences.
    const fn mix(mut bits: u64) -> u64 {
        bits = (bits ^ bits >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ bits >> 31
    }
    const INCREMENT: u64 = 0x9E37_79B9_7F4A_7C15;
    let bits = mix(mix(seed.wrapping_add(INCREMENT)).wrapping_add(index.wrapping_mul(INCREMENT)));
    // The 53 bits of an `f64`'s precision.
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// Returns the duration at `unit`, from 0 up to 1, of the way from `low` to `high`.
pub(crate) fn scale(low: Duration, high: Duration, unit: f64) -> Duration {
    let Some(last) = high.saturating_sub(low).checked_sub(Duration::from_nanos(1)) else {
        return low;
    };
    // The product is rounded to the nearest nanosecond, which may be `high`.
    low + high.saturating_sub(low).mul_f64(unit).min(last)
}

/// Returns true with probability 1/`n`, from the generator of this thread.
#[inline(always)]
pub(crate) fn one_in(n: u64) -> bool {
    fastrand::u64(..).is_multiple_of(n)
}

/// Returns a number from the generator of this thread.
pub(crate) fn number() -> u64 {
    fastrand::u64(..)
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

    #[test]
    fn the_upper_bound_of_a_duration_is_not_reached() {
        let ns = Duration::from_nanos;
        for (low, high, unit, expected) in [
            (ns(0), ns(1), 0.9, ns(0)),
            (ns(5), ns(7), 0.9, ns(6)),
            (ns(7), ns(7), 0.5, ns(7)),
            (ns(9), ns(7), 0.5, ns(9)),
            (ns(0), ns(10), 0.3, ns(3)),
            (Duration::from_secs(1), Duration::from_secs(2), 1.0 - f64::EPSILON, ns(1_999_999_999)),
        ] {
            assert_eq!(scale(low, high, unit), expected, "{low:?} to {high:?} at {unit}");
        }
    }

    #[test]
    fn seeded_draws_are_spread_over_the_range() {
        let random = Random::seeded(1);
        let mut tenths = [0_u32; 10];
        for _ in 0..10_000 {
            tenths[(random.unit() * 10.0) as usize] += 1;
        }
        assert!(tenths.iter().all(|n| (850..1150).contains(n)), "{tenths:?}");
    }

    #[test]
    fn numbers_by_index_are_spread_over_the_range_for_every_seed() {
        for seed in [0, 1, 2, u64::MAX] {
            let mut tenths = [0_u32; 10];
            for index in 0..10_000 {
                tenths[(unit_at(seed, index) * 10.0) as usize] += 1;
            }
            assert!(tenths.iter().all(|n| (850..1150).contains(n)), "{seed}: {tenths:?}");
        }
    }

    /// The values are part of the promise that the same seed gives the same run.
    #[test]
    fn numbers_by_index_stay_the_same() {
        let bits = |seed, index| (unit_at(seed, index) * (1_u64 << 53) as f64) as u64;
        assert_eq!(
            [bits(0, 0), bits(0, 1), bits(1, 0)],
            [2_537_880_150_861_722, 5_876_733_520_225_071, 7_771_917_260_970_010]
        );
        assert_ne!(unit_at(1, 2), unit_at(2, 1));
    }

    #[test]
    fn the_same_seed_gives_the_same_sequence() {
        let draws = |seed| {
            let random = Random::seeded(seed);
            [random.unit(), random.unit(), random.unit()]
        };
        assert_eq!(draws(7), draws(7));
        assert_ne!(draws(7), draws(8));
    }

    #[test]
    fn one_in_n_is_true_for_about_every_nth_call() {
        let hits = (0..10_000).filter(|_| one_in(10)).count();
        assert!((700..1300).contains(&hits), "{hits}");
        assert!((0..100).all(|_| one_in(1)));
    }

    #[test]
    fn extremes_are_defined() {
        let random = Random::seeded(1);
        let drawn = random.between(Duration::ZERO, Duration::MAX);
        assert!(drawn > Duration::ZERO);
        assert_eq!(random.between(Duration::MAX, Duration::ZERO), Duration::MAX);
    }
}
