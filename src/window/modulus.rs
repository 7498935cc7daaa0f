//! Remainders without a division.

/// A divisor with a precomputed reciprocal, so that a remainder takes two multiplications (Lemire,
/// Kaser, Kurz, *Faster remainder by direct computation*, 2019). The result is exact if the number
/// and the divisor together have at most 64 bits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Modulus {
    divisor: u64,
    /// 2^64 / divisor, rounded up; zero for divisor 1, which also gives the correct remainder.
    reciprocal: u64,
}

impl Modulus {
    pub(super) const fn new(divisor: u32) -> Self {
        Self { divisor: divisor as u64, reciprocal: (u64::MAX / divisor as u64).wrapping_add(1) }
    }

    /// Returns `number % divisor`.
    #[inline]
    pub(super) const fn of(self, number: u64) -> usize {
        debug_assert!(number.leading_zeros() + self.divisor.leading_zeros() >= 64);
        let fraction = self.reciprocal.wrapping_mul(number);
        ((fraction as u128 * self.divisor as u128) >> 64) as usize
    }

    pub(super) const fn divisor(self) -> u64 {
        self.divisor
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::Modulus;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_remainder_matches_the_operator(divisor in 1_u32..=1 << 15, number in 0_u64..1 << 48) {
            prop_assert_eq!(Modulus::new(divisor).of(number), (number % u64::from(divisor)) as usize);
        }
    }
}
