//! The ramp after a breaker has closed: the share of admitted calls, and the choice of calls.

use std::time::Duration;

/// The share at the start of a ramp. If ten calls arrive for each probe, it admits as many calls as
/// there were probes.
const FIRST_SHARE: f64 = 0.1;

/// Returns the share of calls to admit after `elapsed` of `duration`, or `None` after the ramp.
pub(super) fn share(elapsed: Duration, duration: Duration) -> Option<f64> {
    let progress = || elapsed.as_secs_f64() / duration.as_secs_f64();
    (elapsed < duration).then(|| FIRST_SHARE + (1.0 - FIRST_SHARE) * progress())
}

/// Returns true if the `n`th call is admitted when `share` of all calls is to be admitted.
///
/// The choice is deterministic. Successive multiples of the golden ratio are spread as evenly as
/// possible over the unit interval (Weyl, Steinhaus), so that even a short run of calls is admitted
/// in about the given share.
pub(super) fn admits(n: u32, share: f64) -> bool {
    const GOLDEN: u32 = 0x9E37_79B9; // 2^32 / golden ratio
    f64::from(n.wrapping_mul(GOLDEN)) < share * 2_f64.powi(32)
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

    #[test]
    fn the_share_grows_linearly() {
        let second = Duration::from_secs(1);
        let shares = [0, 2, 5, 9, 10, 11].map(|at| share(at * second, 10 * second));
        let rounded = shares.map(|share| share.map(|share| (share * 100.0).round()));
        assert_eq!(rounded, [Some(10.0), Some(28.0), Some(55.0), Some(91.0), None, None]);
        assert_eq!(share(Duration::ZERO, Duration::ZERO), None);
    }

    #[test]
    fn a_share_of_zero_admits_no_call() {
        assert!(!admits(0, 0.0) && admits(0, f64::EPSILON));
    }

    #[test]
    fn a_short_run_of_calls_is_admitted_in_about_the_share() {
        for share in [0.1, 0.25, 0.5, 0.9] {
            for first in [0, 1, 77, u32::MAX - 50] {
                for calls in [20_u32, 100, 1000] {
                    let admitted =
                        (0..calls).filter(|n| admits(first.wrapping_add(*n), share)).count();
                    let expected = f64::from(calls) * share;
                    assert!(
                        (admitted as f64 - expected).abs() <= 2.5,
                        "{share} of {calls} from {first}: {admitted}"
                    );
                }
            }
        }
    }
}
