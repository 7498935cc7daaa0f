//! Ramping up: how large a share of the calls passes, and which ones.

use std::time::Duration;

/// A ramp begins here: as many calls pass as there were probes, if there are ten times as many callers.
const FIRST_SHARE: f64 = 0.1;

/// The share that passes when `elapsed` of `length` is over; `None` at the end of the ramp.
pub(super) fn share(elapsed: Duration, length: Duration) -> Option<f64> {
    let progress = || elapsed.as_secs_f64() / length.as_secs_f64();
    (elapsed < length).then(|| FIRST_SHARE + (1.0 - FIRST_SHARE) * progress())
}

/// Whether the `n`th call passes when a share of `share` does.
///
/// No dice: the multiples of the golden ratio fall into any share of the unit interval as evenly as points
/// can (Weyl, Steinhaus), so that of any few calls about the share passes, and the same calls pass each
/// time.
pub(super) fn passes(n: u32, share: f64) -> bool {
    const GOLDEN: u32 = 0x9E37_79B9; // 2^32 / golden ratio
    f64::from(n.wrapping_mul(GOLDEN)) < share * 2_f64.powi(32)
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

    #[test]
    fn the_share_grows_in_a_line() {
        let second = Duration::from_secs(1);
        let shares = [0, 2, 5, 9, 10, 11].map(|at| share(at * second, 10 * second));
        let rounded = shares.map(|share| share.map(|share| (share * 100.0).round()));
        assert_eq!(rounded, [Some(10.0), Some(28.0), Some(55.0), Some(91.0), None, None]);
        assert_eq!(share(Duration::ZERO, Duration::ZERO), None);
    }

    #[test]
    fn of_any_few_calls_about_the_share_passes() {
        for share in [0.1, 0.25, 0.5, 0.9] {
            for first in [0, 1, 77, u32::MAX - 50] {
                for many in [20_u32, 100, 1000] {
                    let passed =
                        (0..many).filter(|n| passes(first.wrapping_add(*n), share)).count();
                    let expected = f64::from(many) * share;
                    assert!(
                        (passed as f64 - expected).abs() <= 2.5,
                        "{share} of {many} from {first}: {passed}"
                    );
                }
            }
        }
    }
}
