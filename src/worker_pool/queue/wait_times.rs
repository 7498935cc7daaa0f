//! How long jobs wait in the queue: quantiles out of samples.

use crate::sync::atomic::{AtomicU32, Ordering};
use crate::window::LatencyBuckets;
use std::time::Duration;

/// Counts in buckets, of which the middle is at most a sixteenth off.
///
/// It forgets: each time [`LIMIT`] samples have come, all counts are halved. Threads that record meanwhile
/// may lose or keep a sample too many.
#[derive(Debug)]
pub(crate) struct QueueWait {
    buckets: Box<[AtomicU32]>,
    samples: AtomicU32,
}

const BUCKETS: LatencyBuckets = LatencyBuckets::ALL;
/// Enough for a 99th percentile of a few dozen.
const LIMIT: u32 = 4096;

/// How long jobs waited between entering the queue and being taken out, over the last few thousand samples.
///
/// A sample is one in 64 jobs. The older half of the samples counts half as much as the newer. Each figure is
/// right to within a sixteenth of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueWaits {
    /// Half of the jobs waited for at most so long.
    pub p50: Duration,
    /// Nine in ten did.
    pub p90: Duration,
    /// Ninety-nine in a hundred did.
    pub p99: Duration,
}

impl QueueWait {
    pub(crate) fn new() -> Self {
        Self {
            buckets: (0..BUCKETS.len()).map(|_| AtomicU32::new(0)).collect(),
            samples: AtomicU32::new(0),
        }
    }

    pub(crate) fn record(&self, waited: Duration) {
        // Ordering: relaxed throughout: figures, which guard nothing.
        self.buckets[BUCKETS.of(waited)].fetch_add(1, Ordering::Relaxed);
        if self.samples.fetch_add(1, Ordering::Relaxed) + 1 == LIMIT {
            for bucket in &self.buckets {
                let count = bucket.load(Ordering::Relaxed);
                if count > 0 {
                    bucket.fetch_sub(count.div_ceil(2), Ordering::Relaxed);
                }
            }
            self.samples.fetch_sub(LIMIT / 2, Ordering::Relaxed);
        }
    }

    /// `None` before the first sample.
    pub(crate) fn quantiles(&self) -> Option<QueueWaits> {
        let counts: Vec<u64> =
            self.buckets.iter().map(|count| count.load(Ordering::Relaxed).into()).collect();
        let summary = BUCKETS.summary(&counts)?;
        Some(QueueWaits { p50: summary.p50, p90: summary.p90, p99: summary.p99 })
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_what_came_lately() {
        let waits = QueueWait::new();
        assert_eq!(waits.quantiles(), None);
        for _ in 0..10_000 {
            waits.record(Duration::from_secs(1));
        }
        for micros in 0..50_000 {
            waits.record(Duration::from_micros(micros % 1000));
        }
        let quantiles = waits.quantiles().unwrap();
        let near = |is: Duration, micros: u64| {
            is.as_micros().abs_diff(micros.into()) <= u128::from(micros / 5)
        };
        assert!(
            near(quantiles.p50, 500) && near(quantiles.p90, 900) && near(quantiles.p99, 990),
            "{quantiles:?}"
        );
    }
}
