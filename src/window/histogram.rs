//! Bucket arithmetic of log-linear histograms, and quantiles of their counts.

use super::LatencySummary;
use crate::share;
use crate::time::nanos;
use std::time::Duration;

/// A range of durations that is divided into buckets.
///
/// The buckets are *log-linear*, as in `HdrHistogram` (Tene): each power of two is divided into
/// eight. The width of a bucket is at most an eighth of its lower bound. Its middle differs from
/// any duration in it by at most a sixteenth. Durations below 16 ns have a bucket for each
/// nanosecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Buckets {
    /// The index of the first bucket; the bucket with index 0 begins at zero. Shorter durations
    /// are counted in the first bucket.
    first: usize,
    /// The number of buckets. Longer durations are counted in the last bucket.
    len: usize,
}

/// The binary logarithm of [`EIGHTHS`].
const SPLIT: u32 = 3;
/// The number of buckets into which each power of two is divided.
const EIGHTHS: u64 = 1 << SPLIT;

impl Buckets {
    /// The buckets of all durations up to 584 years: 496 buckets.
    pub(crate) const ALL: Self = Self { first: 0, len: index_of(u64::MAX) + 1 };

    /// Returns the buckets from 2^`min` to 2^`max` ns.
    pub(crate) const fn powers(min: u32, max: u32) -> Self {
        let first = index_of(1 << min);
        Self { first, len: index_of(1 << max) - first }
    }

    pub(crate) const fn len(self) -> usize {
        self.len
    }

    /// Returns the bucket of a duration.
    pub(crate) fn of(self, duration: Duration) -> usize {
        index_of(nanos(duration)).saturating_sub(self.first).min(self.len - 1)
    }

    /// Returns the start of a bucket in nanoseconds. For the number of buckets, returns the end of
    /// the last bucket.
    pub(crate) const fn lower_bound(self, bucket: usize) -> u64 {
        lower_bound(self.first + bucket)
    }

    /// Returns the middle of a bucket.
    pub(crate) const fn middle(self, bucket: usize) -> Duration {
        let index = self.first + bucket;
        Duration::from_nanos(lower_bound(index) + width(index) / 2)
    }

    /// Returns the middle of the bucket that contains the `quantile` (from 0 to 1) of the counted
    /// durations. Returns `None` if all counts are zero or `quantile` is out of range.
    pub(crate) fn quantile(self, counts: &[u64], quantile: f64) -> Option<Duration> {
        let total = counts.iter().sum();
        if total == 0 || !(0.0..=1.0).contains(&quantile) {
            return None;
        }
        let rank = share::at_least(quantile, total).max(1);
        let mut seen = 0;
        let reaches = |count: &u64| {
            seen += count;
            seen >= rank
        };
        counts.iter().position(reaches).map(|bucket| self.middle(bucket))
    }

    /// Returns the summary of the counted durations, or `None` if all counts are zero.
    pub(crate) fn summary(self, counts: &[u64]) -> Option<LatencySummary> {
        Some(LatencySummary {
            count: counts.iter().sum(),
            p50: self.quantile(counts, 0.5)?,
            p90: self.quantile(counts, 0.9)?,
            p99: self.quantile(counts, 0.99)?,
        })
    }
}

/// Returns the index of the bucket of `nanos`; the bucket with index 0 begins at zero. Below 8 the
/// index is the number itself. From 8 on it consists of the power of two and the three bits after
/// the highest.
const fn index_of(nanos: u64) -> usize {
    if nanos < EIGHTHS {
        return nanos as usize;
    }
    let power = nanos.ilog2();
    let eighth = (nanos >> (power - SPLIT)) & (EIGHTHS - 1);
    (((power - SPLIT + 1) as u64) << SPLIT | eighth) as usize
}

/// Returns the start of a bucket in nanoseconds.
const fn lower_bound(index: usize) -> u64 {
    let (power, eighth) = (index as u64 >> SPLIT, index as u64 & (EIGHTHS - 1));
    match power {
        0 => eighth,
        _ => (EIGHTHS | eighth) << (power - 1),
    }
}

const fn width(index: usize) -> u64 {
    1 << (index as u64 >> SPLIT).saturating_sub(1)
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buckets_are_adjacent() {
        let all = Buckets::ALL;
        for bucket in 0..all.len() {
            let (lower, width) = (lower_bound(bucket), width(bucket));
            assert_eq!((index_of(lower), index_of(lower + (width - 1))), (bucket, bucket));
            if bucket + 1 < all.len() {
                assert_eq!(lower_bound(bucket + 1), lower + width);
            }
        }
        assert_eq!((all.len(), index_of(0), index_of(u64::MAX)), (496, 0, 495));
        assert_eq!(all.of(Duration::MAX), 495);
    }

    #[test]
    fn durations_outside_of_a_range_are_counted_in_its_first_and_last_bucket() {
        let buckets = Buckets::powers(10, 42);
        assert_eq!(buckets.len(), 256);
        for (nanos, bucket) in [
            (0, 0),
            (1023, 0),
            (1024, 0),
            (1151, 0),
            (1152, 1),
            ((1 << 42) - 1, 255),
            (1 << 42, 255),
        ] {
            assert_eq!(buckets.of(Duration::from_nanos(nanos)), bucket, "{nanos}");
        }
        assert_eq!(buckets.middle(0), Duration::from_nanos(1024 + 64));
    }

    proptest! {
        #[test]
        fn the_middle_is_within_a_sixteenth(bits in 0_u32..64, nanos in any::<u64>()) {
            let nanos = nanos >> bits;
            let buckets = Buckets::ALL;
            let middle = buckets.middle(buckets.of(Duration::from_nanos(nanos))).as_nanos() as u64;
            prop_assert!(middle.abs_diff(nanos) <= nanos / 16, "{nanos}: {middle}");
        }
    }

    #[test]
    fn quantiles_are_those_of_the_ranks() {
        let buckets = Buckets::ALL;
        let mut counts = vec![0; buckets.len()];
        assert_eq!((buckets.quantile(&counts, 0.5), buckets.summary(&counts)), (None, None));
        // A hundred durations, in ten buckets of one nanosecond each.
        counts[..10].fill(10);
        let nanos = |quantile| Some(buckets.quantile(&counts, quantile)?.as_nanos());
        for (quantile, expected) in [
            (0.0, Some(0)),
            (0.1, Some(0)),
            (0.11, Some(1)),
            (0.7, Some(6)),
            (0.71, Some(7)),
            (1.0, Some(9)),
            (1.1, None),
            (-0.1, None),
            (f64::NAN, None),
        ] {
            assert_eq!(nanos(quantile), expected, "{quantile}");
        }
        let summary = buckets.summary(&counts).unwrap();
        let figures = [summary.p50, summary.p90, summary.p99].map(|p| p.as_nanos());
        assert_eq!((summary.count, figures), (100, [4, 8, 9]));
    }
}
