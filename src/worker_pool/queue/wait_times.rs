//! A histogram of how long jobs wait in the queue, over recent samples.

use crate::sync::atomic::{AtomicU32, Ordering};
use crate::window::{LatencyBuckets, LatencySummary};
use std::time::Duration;

/// The queue waits of the last few thousand samples.
///
/// When [`MAX_SAMPLES`] have been counted, all counts are halved. If threads record at the same
/// time, a count may be off by a sample.
#[derive(Debug)]
pub(crate) struct WaitTimes {
    counts: Box<[AtomicU32]>,
    samples: AtomicU32,
}

const BUCKETS: LatencyBuckets = LatencyBuckets::ALL;
/// Enough that a few dozen samples lie above the 99th percentile.
const MAX_SAMPLES: u32 = 4096;

impl WaitTimes {
    pub(crate) fn new() -> Self {
        Self {
            counts: (0..BUCKETS.len()).map(|_| AtomicU32::new(0)).collect(),
            samples: AtomicU32::new(0),
        }
    }

    pub(crate) fn record(&self, waited: Duration) {
        // Ordering: relaxed throughout. The counts guard no other memory.
        self.counts[BUCKETS.of(waited)].fetch_add(1, Ordering::Relaxed);
        if self.samples.fetch_add(1, Ordering::Relaxed) + 1 == MAX_SAMPLES {
            for count in &self.counts {
                let seen = count.load(Ordering::Relaxed);
                if seen > 0 {
                    count.fetch_sub(seen.div_ceil(2), Ordering::Relaxed);
                }
            }
            self.samples.fetch_sub(MAX_SAMPLES / 2, Ordering::Relaxed);
        }
    }

    /// Returns the summary of recent samples; `None` before the first sample.
    pub(crate) fn summary(&self) -> Option<LatencySummary> {
        let counts: Vec<u64> =
            self.counts.iter().map(|count| count.load(Ordering::Relaxed).into()).collect();
        BUCKETS.summary(&counts)
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

    #[test]
    fn the_counts_are_halved_with_the_last_sample_that_fits() {
        let waits = WaitTimes::new();
        for expected in [MAX_SAMPLES - 1, MAX_SAMPLES / 2] {
            while waits.samples.load(Ordering::Relaxed) != expected {
                waits.record(Duration::from_millis(1));
            }
            assert_eq!(waits.summary().map(|s| s.count), Some(expected.into()));
        }
    }

    #[test]
    fn the_summary_is_that_of_recent_samples() {
        let waits = WaitTimes::new();
        assert_eq!(waits.summary(), None);
        for _ in 0..10_000 {
            waits.record(Duration::from_secs(1));
        }
        for micros in 0..50_000 {
            waits.record(Duration::from_micros(micros % 1000));
        }
        let summary = waits.summary().unwrap();
        assert!((1..=u64::from(MAX_SAMPLES)).contains(&summary.count));
        for (figure, micros) in [(summary.p50, 500), (summary.p90, 900), (summary.p99, 990)] {
            let off = figure.abs_diff(Duration::from_micros(micros));
            assert!(off <= Duration::from_micros(micros / 5), "{summary:?}");
        }
    }
}
