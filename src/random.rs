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
        low.saturating_add(high.saturating_sub(low).mul_f64(self.unit()))
    }
}

/// Returns true with probability 1/`n`, from the generator of this thread.
#[inline(always)]
pub(crate) fn one_in(n: u64) -> bool {
    fastrand::u64(..).is_multiple_of(n)
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

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
    fn extremes_are_defined() {
        let random = Random::seeded(1);
        let drawn = random.between(Duration::ZERO, Duration::MAX);
        assert!(drawn > Duration::ZERO);
        assert_eq!(random.between(Duration::MAX, Duration::ZERO), Duration::MAX);
    }
}
