//! Statistics of call durations: a histogram, a summary, and a trait for sources of quantiles.

use super::histogram::Buckets;
use std::fmt;
use std::time::Duration;

/// From about a microsecond to about 73 minutes.
#[cfg(not(mainstay_loom))]
pub(super) const BUCKETS: Buckets = Buckets::powers(10, 42);
/// Fewer buckets, to keep loom models small.
#[cfg(mainstay_loom)]
pub(super) const BUCKETS: Buckets = Buckets::powers(10, 11);

/// A histogram of the durations of the calls in a window.
///
/// The histogram is a copy of the counts at one moment, about 2 KiB. Each duration that it returns
/// is the middle of a bucket, and at most a sixteenth (6.25 %) off, between about 1 µs and 73
/// minutes. Shorter and longer durations are counted in the first and the last bucket.
///
/// ```
/// use mainstay::time::Clock;
/// use mainstay::window::Window;
/// use std::time::Duration;
///
/// let clock = Clock::system();
/// let window = Window::count_window(100)?.with_latency();
/// for millis in 1..=100 {
///     window.record_latency(clock.now(), Duration::from_millis(millis));
/// }
/// let histogram = window.latency(clock.now()).unwrap();
/// assert_eq!(histogram.count(), 100);
/// let p95 = histogram.quantile(0.95).unwrap();
/// assert!(p95.abs_diff(Duration::from_millis(95)) < Duration::from_millis(6));
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct LatencyHistogram {
    counts: [u64; BUCKETS.len()],
}

impl LatencyHistogram {
    pub(super) const fn new(counts: [u64; BUCKETS.len()]) -> Self {
        Self { counts }
    }

    /// Returns the number of calls.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns the duration that the fraction `quantile` of the calls did not exceed; `None` if
    /// there are no calls, or if `quantile` is not from 0 to 1.
    ///
    /// ```
    /// # let window = mainstay::window::Window::count_window(100)?.with_latency();
    /// # let histogram = window.latency(mainstay::time::Clock::system().now()).unwrap();
    /// let median = histogram.quantile(0.5);
    /// # assert_eq!(median, None);
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        BUCKETS.quantile(&self.counts, quantile)
    }

    /// Returns the `quantile` of durations of which some are only known to be longer than what was
    /// measured: this histogram holds those that were measured in full, `censored` the others.
    /// Returns `None` if the quantile exceeds all that is known.
    ///
    /// This is the product-limit estimator (Kaplan and Meier, 1958). A censored duration counts as
    /// at risk in each bucket up to its own.
    pub(crate) fn quantile_with_censored(
        &self,
        censored: &Self,
        quantile: f64,
    ) -> Option<Duration> {
        let mut at_risk = self.count() + censored.count();
        let mut surviving = 1.0;
        for (bucket, (ended, censored)) in self.counts.iter().zip(censored.counts).enumerate() {
            if *ended > 0 {
                surviving *= 1.0 - *ended as f64 / at_risk as f64;
                // The product of many fractions is not exact.
                if surviving <= 1.0 - quantile + 1e-9 {
                    return Some(BUCKETS.middle(bucket));
                }
            }
            at_risk -= ended + censored;
        }
        None
    }

    /// Returns the count, the median, and the 90th and 99th percentiles; `None` if there are no
    /// calls.
    #[must_use]
    pub fn summary(&self) -> Option<LatencySummary> {
        BUCKETS.summary(&self.counts)
    }
}

impl fmt::Debug for LatencyHistogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LatencyHistogram")
            .field("count", &self.count())
            .field("p50", &self.quantile(0.5))
            .field("p99", &self.quantile(0.99))
            .finish_non_exhaustive()
    }
}

/// A summary of durations, such as those of calls or queue waits: count, median and percentiles.
///
/// Each duration is the middle of its histogram bucket, and so at most a sixteenth (6.25 %) off.
/// The snapshot that contains a summary documents which calls and which range of durations it
/// covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LatencySummary {
    /// The number of durations; never 0.
    pub count: u64,
    /// The median: half of the durations are at most this long.
    pub p50: Duration,
    /// 90 of 100 durations are at most this long.
    pub p90: Duration,
    /// 99 of 100 durations are at most this long.
    pub p99: Duration,
}

/// A source of the quantiles of call durations.
///
/// A hedge can derive its delay from a source, and a timeout its limit. A
/// [`CircuitBreaker`](crate::breaker::CircuitBreaker) that records latencies is a source.
pub trait LatencyQuantiles: Send + Sync {
    /// Returns the duration that the fraction `quantile` (from 0 to 1) of the latest calls did not
    /// exceed; `None` if it is not known.
    fn quantile(&self, quantile: f64) -> Option<Duration>;
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

    /// A histogram of calls of so many milliseconds.
    fn histogram(millis: impl IntoIterator<Item = u64>) -> LatencyHistogram {
        let mut counts = [0; BUCKETS.len()];
        for millis in millis {
            counts[BUCKETS.of(Duration::from_millis(millis))] += 1;
        }
        LatencyHistogram::new(counts)
    }

    #[test]
    fn debug_of_a_histogram_shows_its_count_and_quantiles() {
        let shown = format!("{:?}", histogram([10; 7]));
        assert!(shown.starts_with("LatencyHistogram { count: 7, p50: Some("), "{shown}");
    }

    #[test]
    fn censored_durations_raise_the_quantile_instead_of_lowering_it() {
        let bucket = |millis| BUCKETS.middle(BUCKETS.of(Duration::from_millis(millis)));
        let none = || histogram([]);
        //     measured, censored, quantile, expected
        let table = [
            // Without censored durations, it is the plain quantile.
            (histogram(1..=100), none(), 0.95, Some(bucket(95))),
            (histogram(1..=100), none(), 0.5, Some(bucket(50))),
            (histogram([10; 3]), none(), 0.0, Some(bucket(10))),
            (none(), none(), 0.95, None),
            // Nothing is known above what was measured.
            (none(), histogram([10; 100]), 0.95, None),
            (histogram([10; 90]), histogram([20; 10]), 0.95, None),
            (histogram([10; 96]), histogram([20; 4]), 0.95, Some(bucket(10))),
            // Half of the calls were cut off at 10 ms; of the others, all that took longer than
            // that took 50 ms.
            (
                histogram([vec![5; 40], vec![50; 10]].concat()),
                histogram([10; 50]),
                0.95,
                Some(bucket(50)),
            ),
            // Ignoring the ones that were cut off, the quantile would be 5 ms.
            (
                histogram([vec![5; 96], vec![50; 4]].concat()),
                histogram([10; 50]),
                0.95,
                Some(bucket(50)),
            ),
        ];
        for (i, (measured, censored, quantile, expected)) in table.into_iter().enumerate() {
            assert_eq!(measured.quantile_with_censored(&censored, quantile), expected, "row {i}");
        }
    }
}
