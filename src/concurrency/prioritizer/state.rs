//! The decisions of a prioritizer as pure functions: the share of calls to reject, and which calls
//! to reject.

use crate::policy::Priority;

/// The measurements since the last update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Interval {
    /// The calls that were offered, including those that were rejected.
    pub(super) offered: u64,
    /// The admitted calls that ended after their operation had run.
    pub(super) completed: u64,
    /// The share of the limiters' permits that was free at the end, from 0 to 1.
    pub(super) free_share: f64,
    /// The admitted calls that waited for a permit of a limiter at the end.
    pub(super) waiting: f64,
}

/// At least one call in twenty is admitted, so that completed calls can lower the rate again.
const MAX_RATE: f64 = 0.95;
/// Lower rates are replaced by zero: they are within the noise of the counts.
const MIN_RATE: f64 = 0.01;

impl Interval {
    /// Returns the share of the calls to reject from now on. `before` is the share until now.
    ///
    /// In the next interval, the server can complete as many calls as in the last one, and more in
    /// proportion to the free permits. It serves the waiting calls first, so their number is
    /// subtracted. The target is the share of the offered calls beyond this number. The rate moves
    /// half of the way to the target, so that it neither follows the noise of one interval nor
    /// overshoots.
    pub(super) fn rejection_rate(self, before: f64) -> f64 {
        if self.offered == 0 {
            return 0.0;
        }
        let sustainable = (self.completed as f64 * (1.0 + self.free_share) - self.waiting).max(0.0);
        let target = 1.0 - sustainable / self.offered as f64;
        let rate = (before + (target - before) / 2.0).clamp(0.0, MAX_RATE);
        if rate < MIN_RATE { 0.0 } else { rate }
    }
}

/// The calls to reject: all below a priority, and a share of those of that priority.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Threshold {
    /// The index of the priority.
    pub(super) index: u16,
    /// The share of the calls of this priority that is rejected.
    pub(super) share: f32,
}

impl Threshold {
    /// The threshold that rejects no call.
    pub(super) const NONE: Self = Self { index: 0, share: 0.0 };

    /// Returns the threshold that rejects the share `rate` of calls whose priorities are
    /// distributed as in `counts`.
    pub(super) fn of(rate: f64, counts: &[u32]) -> Self {
        let total: f64 = counts.iter().map(|count| f64::from(*count)).sum();
        let mut left = rate * total;
        for (index, count) in counts.iter().enumerate() {
            let count = f64::from(*count);
            if count > left {
                // There are fewer than 2^16 priorities.
                return Self { index: index as u16, share: (left / count) as f32 };
            }
            left -= count;
        }
        Self::NONE
    }

    /// Returns whether a call is rejected. `draw` returns a random number from 0 to 1.
    pub(super) fn rejects(self, priority: Priority, draw: impl FnOnce() -> f64) -> bool {
        let index = priority.index() as u16;
        index < self.index || (index == self.index && draw() < f64::from(self.share))
    }

    /// Packs the threshold into a word, which is 0 if no call is rejected.
    pub(super) fn to_bits(self) -> u64 {
        u64::from(self.index) << 32 | u64::from(self.share.to_bits())
    }

    pub(super) fn from_bits(bits: u64) -> Self {
        Self { index: (bits >> 32) as u16, share: f32::from_bits(bits as u32) }
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;
    use crate::policy::PriorityClass;

    fn interval(offered: u64, completed: u64, free_share: f64, waiting: f64) -> Interval {
        Interval { offered, completed, free_share, waiting }
    }

    #[test]
    fn the_rate_moves_half_of_the_way_to_the_excess() {
        for (before, counted, expected) in [
            (0.0, interval(0, 0, 0.0, 0.0), 0.0),
            (0.9, interval(0, 0, 1.0, 0.0), 0.0), // no calls
            (0.0, interval(100, 100, 0.5, 0.0), 0.0),
            (0.0, interval(1000, 500, 0.0, 0.0), 0.25),
            (0.25, interval(1000, 500, 0.0, 0.0), 0.375),
            (0.5, interval(1000, 500, 0.0, 0.0), 0.5), // the right rate
            (0.5, interval(1000, 500, 0.2, 0.0), 0.45), // free permits
            (0.5, interval(1000, 500, 0.0, 100.0), 0.55), // a queue to drain
            (0.5, interval(1000, 1000, 0.0, 0.0), 0.25), // the overload has ended
            (0.0, interval(1000, 0, 0.0, 9000.0), 0.5),
            (0.95, interval(1000, 0, 0.0, 9000.0), 0.95),
            (0.01, interval(1000, 1000, 0.0, 0.0), 0.0),
            (0.02, interval(1000, 1000, 0.0, 0.0), 0.01),
        ] {
            let rate = counted.rejection_rate(before);
            assert!((rate - expected).abs() < 1e-9, "{before}, {counted:?}: {rate}");
        }
    }

    #[test]
    fn the_threshold_rejects_the_least_important_calls() {
        let counts = [10, 0, 20, 30, 40];
        for (rate, index, share) in [
            (0.0, 0, 0.0),
            (0.05, 0, 0.5),
            (0.1, 2, 0.0),
            (0.2, 2, 0.5),
            (0.6, 4, 0.0),
            (0.95, 4, 0.875),
        ] {
            assert_eq!(Threshold::of(rate, &counts), Threshold { index, share }, "{rate}");
        }
        assert_eq!(Threshold::of(0.5, &[]), Threshold::NONE);
        assert_eq!(Threshold::of(0.5, &[0, 0]), Threshold::NONE);
    }

    #[test]
    fn calls_at_the_threshold_are_rejected_by_chance() {
        let low = Priority::new(PriorityClass::Low, 7);
        let threshold = Threshold { index: low.index() as u16, share: 0.25 };
        let never = || panic!("no draw is necessary");
        assert!(threshold.rejects(Priority::new(PriorityClass::Low, 6), never));
        assert!(!threshold.rejects(Priority::new(PriorityClass::Low, 8), never));
        assert!(threshold.rejects(low, || 0.24));
        assert!(!threshold.rejects(low, || 0.25));
        assert_eq!(Threshold::from_bits(threshold.to_bits()), threshold);
        assert_eq!(Threshold::NONE.to_bits(), 0);
    }
}
