//! How long jobs wait in the queue: quantiles out of samples.

use crate::sync::atomic::{AtomicU32, Ordering};
use crate::time::nanos;
use std::time::Duration;

/// Stats in buckets, four to each doubling, so that a quantile is right to within a fifth.
///
/// It forgets: each time [`LIMIT`] samples have come, all counts are halved. Threads that record meanwhile
/// may lose or keep a sample too many.
#[derive(Debug)]
pub(crate) struct QueueWait {
    buckets: Box<[AtomicU32]>,
    samples: AtomicU32,
}

const PER_DOUBLING: u32 = 4;
const BUCKETS: usize = (64 * PER_DOUBLING) as usize;
/// Enough for a 99th percentile of a few dozen.
const LIMIT: u32 = 4096;

/// How long jobs waited between entering the queue and being taken out, over the last few thousand samples.
///
/// A sample is one in 64 jobs. The older half of the samples counts half as much as the newer. Each figure is
/// right to within a fifth of itself.
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
            buckets: (0..BUCKETS).map(|_| AtomicU32::new(0)).collect(),
            samples: AtomicU32::new(0),
        }
    }

    pub(crate) fn record(&self, waited: Duration) {
        // Ordering: relaxed throughout: figures, which guard nothing.
        self.buckets[bucket(nanos(waited))].fetch_add(1, Ordering::Relaxed);
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
        let total: u64 = counts.iter().sum();
        let quantile = |percent: u64| {
            let rank = (total * percent).div_ceil(100);
            let mut seen = 0;
            let at = counts.iter().position(|count| {
                seen += count;
                seen >= rank
            });
            Duration::from_nanos(middle(at.unwrap_or_default()))
        };
        (total > 0).then(|| QueueWaits { p50: quantile(50), p90: quantile(90), p99: quantile(99) })
    }
}

/// The bucket of `nanos`: its highest bit, and the two bits behind it.
fn bucket(nanos: u64) -> usize {
    if nanos < PER_DOUBLING.into() {
        return nanos as usize;
    }
    let high = nanos.ilog2();
    ((high - 1) * PER_DOUBLING) as usize + (nanos >> (high - 2) & 3) as usize
}

/// The middle of a bucket.
fn middle(bucket: usize) -> u64 {
    let (doubling, quarter) = (bucket as u64 / 4, bucket as u64 % 4);
    match doubling {
        0 => quarter,
        _ => {
            let width = 1 << (doubling - 1);
            (4 + quarter) * width + width / 2
        }
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_right_to_within_a_fifth() {
        let mut last = 0;
        for nanos in (0..2_000)
            .chain((11..64).flat_map(|bits| [(1 << bits) - 1, 1 << bits, 5 << (bits - 2)]))
        {
            let at = bucket(nanos);
            assert!(at < BUCKETS && at + 1 >= last, "{nanos}");
            last = at;
            assert!(middle(at).abs_diff(nanos) <= nanos / 5, "{nanos}: {}", middle(at));
        }
        assert!(bucket(u64::MAX) < BUCKETS);
    }

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
