//! Conversion of a share of a number, such as a failure rate, into a count.
//!
//! A share is a floating-point number from 0 to 1, and most decimals are not exact: `0.29 * 100.0`
//! is slightly below 29, `0.07 * 100.0` slightly above 7. Rounding the first down gives 28,
//! rounding the second up gives 8. A product that differs from an integer only by the error of a
//! few operations is therefore rounded to that integer first.

/// The largest error of a share from the arithmetic that computed it, such as `1.0 - 0.9`.
const ERROR: f64 = 8.0 * f64::EPSILON;

/// Returns the largest count that is at most `share` of `of`. A share that is not a number counts
/// as 0.
pub(crate) fn at_most(share: f64, of: u64) -> u64 {
    count(share, of, f64::floor)
}

/// Returns the smallest count that is at least `share` of `of`. A share that is not a number counts
/// as 0.
pub(crate) fn at_least(share: f64, of: u64) -> u64 {
    count(share, of, f64::ceil)
}

/// Returns whether `part` of `of` is at least `share`. Returns false if `of` is 0, or if the share
/// is above 1 or not a number.
pub(crate) fn reaches(part: u64, of: u64, share: f64) -> bool {
    // `part` is an integer, so the comparison needs no rounding, which is a library call on many
    // processors: no integer lies between the product less the error and the count of `at_least`.
    let total = of as f64;
    of > 0 && share <= 1.0 && part as f64 >= share * total - ERROR * total
}

fn count(share: f64, of: u64, round: fn(f64) -> f64) -> u64 {
    if share >= 1.0 {
        return of;
    }
    if share.is_nan() || share <= 0.0 {
        return 0;
    }
    let product = share * of as f64;
    let nearest = product.round();
    let is_exact = (product - nearest).abs() <= ERROR * of as f64;
    // The cast saturates. The product with a large `of` may be rounded to more than `of`.
    (if is_exact { nearest } else { round(product) } as u64).min(of)
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_decimal_share_of_a_power_of_ten_is_exact() {
        for of in [10_u64, 100, 1000, 10_000] {
            for count in 0..=of {
                let share = count as f64 / of as f64;
                assert_eq!((at_most(share, of), at_least(share, of)), (count, count), "{share}");
                assert!(reaches(count, of, share));
                assert!(count == 0 || !reaches(count - 1, of, share));
            }
        }
    }

    #[test]
    fn the_error_of_computed_shares_is_ignored() {
        for (share, of, expected) in [
            (0.29, 100, 29),
            (0.07, 100, 7),
            (0.1 + 0.2, 10, 3),
            (1.0 - 0.9, 10, 1),
            (1.0 - 0.9999, 10_000, 1),
            (0.1 * 3.0, 1_000_000, 300_000),
        ] {
            assert_eq!((at_most(share, of), at_least(share, of)), (expected, expected), "{share}");
        }
    }

    #[test]
    fn a_share_between_two_counts_is_rounded_down_or_up() {
        assert_eq!((at_most(0.5, 3), at_least(0.5, 3)), (1, 2));
        assert_eq!((at_most(0.001, 100), at_least(0.001, 100)), (0, 1));
        assert!(reaches(2, 3, 0.5) && !reaches(1, 3, 0.5));
    }

    #[test]
    fn shares_outside_of_the_range_and_nan_have_defined_counts() {
        for of in [0, 1, 7, u64::from(u32::MAX), u64::MAX] {
            for none in [0.0, -1.0, f64::NEG_INFINITY, f64::NAN] {
                assert_eq!((at_most(none, of), at_least(none, of)), (0, 0), "{none} of {of}");
            }
            for all in [1.0, 2.0, f64::INFINITY] {
                assert_eq!((at_most(all, of), at_least(all, of)), (of, of), "{all} of {of}");
            }
        }
        for (part, of, share) in [(0, 0, 0.5), (5, 5, 1.5), (5, 5, f64::INFINITY)] {
            assert!(!reaches(part, of, share), "{part} of {of}, {share}");
        }
        assert!(!reaches(5, 5, f64::NAN));
        assert!(reaches(5, 5, 1.0));
        assert!(at_least(f64::MIN_POSITIVE, 10) <= 1);
    }

    proptest! {
        #[test]
        fn a_part_reaches_a_share_from_the_smallest_count_on(
            share in 0.0..=1.0, of in 1_u64..1 << 32, part in 0_u64..1 << 32,
        ) {
            let least = at_least(share, of);
            prop_assert_eq!(reaches(part, of, share), part >= least);
            prop_assert!(reaches(least, of, share));
            prop_assert!(least == 0 || !reaches(least - 1, of, share));
        }

        #[test]
        fn both_are_within_one_of_the_product(share in 0.0..=1.0, of in 0_u64..1 << 32) {
            let (low, high) = (at_most(share, of), at_least(share, of));
            prop_assert!(low <= high && high <= low + 1 && high <= of);
            let product = share * of as f64;
            prop_assert!((low as f64 - product).abs() < 1.0 && (high as f64 - product).abs() < 1.0);
        }
    }
}
