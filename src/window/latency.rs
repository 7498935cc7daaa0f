use super::histogram::Buckets;
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};
use crate::time::{Instant, nanos};
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

/// How long the latest calls took: a histogram that slides.
///
/// *Log-linear*, as `HdrHistogram` (Tene): each power of two is cut into eight, so that a bucket is an
/// eighth of its lower bound wide at most, and its middle is off by no more than a sixteenth.
///
/// It slides as a time window does, in quarters: each quarter has cells of its own, and each cell says to
/// which *lap* of the quarter its count belongs. So nothing is ever cleared, and what is a round old reads
/// as nothing. A call that is recorded while a quarter turns over counts in the one or the other.
#[derive(Debug)]
pub(super) struct Latencies {
    pace: Pace,
    /// Laps that were skipped to empty it.
    skipped: AtomicU64,
    /// `[lap 32 | count 32]`, quarter by quarter.
    cells: Box<[AtomicU64]>,
}

#[derive(Debug)]
enum Pace {
    /// A quarter lasts for so many nanoseconds.
    Time { quarter: u64 },
    /// A quarter lasts for so many calls.
    Calls { quarter: u64, recorded: AtomicU64 },
}

#[cfg(not(mainstay_loom))]
const QUARTERS: u64 = 4;
#[cfg(mainstay_loom)]
const QUARTERS: u64 = 1;

/// How many laps a cell may be behind of whoever writes to it, who is then the one that is late.
const LATE: RangeInclusive<i32> = -(QUARTERS as i32)..=0;

/// From about a microsecond to about 73 minutes.
#[cfg(not(mainstay_loom))]
const BUCKETS: Buckets = Buckets::powers(10, 42);
/// Eight: few enough for a model.
#[cfg(mainstay_loom)]
const BUCKETS: Buckets = Buckets::powers(10, 11);

impl Latencies {
    pub(super) fn over_time(span: Duration) -> Self {
        Self::new(Pace::Time { quarter: nanos(span).div_ceil(QUARTERS).max(1) })
    }

    pub(super) fn over_calls(calls: u32) -> Self {
        let quarter = u64::from(calls).div_ceil(QUARTERS).max(1);
        Self::new(Pace::Calls { quarter, recorded: AtomicU64::new(0) })
    }

    fn new(pace: Pace) -> Self {
        let cells = (0..QUARTERS as usize * BUCKETS.len()).map(|_| AtomicU64::new(0)).collect();
        // From the first full round on: cells that were never written are of lap zero.
        Self { pace, skipped: AtomicU64::new(QUARTERS), cells }
    }

    fn lap(&self, now: Instant) -> u64 {
        let passed = match &self.pace {
            Pace::Time { quarter } => now.as_nanos() / quarter,
            // The last call that was recorded is within the present quarter.
            Pace::Calls { quarter, recorded } => recorded.load(Relaxed).saturating_sub(1) / quarter,
        };
        passed + self.skipped.load(Relaxed)
    }

    pub(super) fn record(&self, now: Instant, took: Duration) {
        if let Pace::Calls { recorded, .. } = &self.pace {
            recorded.fetch_add(1, Relaxed);
        }
        let lap = self.lap(now);
        let quarter = (lap % QUARTERS) as usize;
        let cell = &self.cells[quarter * BUCKETS.len() + BUCKETS.of(took)];
        // Ordering: relaxed throughout. A cell is a word by itself.
        let mut word = cell.load(Relaxed);
        loop {
            let behind = (lap as u32).wrapping_sub((word >> 32) as u32) as i32;
            if LATE.contains(&behind) {
                // Of our lap, or of the next round, for which we are late. Four billion calls in one quarter
                // would be needed to run over. Whatever seems to be of a later lap is of one so old that 32
                // bits do not tell, or of a clock that was set back since.
                cell.fetch_add(1, Relaxed);
                return;
            }
            match cell.compare_exchange_weak(word, lap << 32 | 1, Relaxed, Relaxed) {
                Ok(_) => return,
                Err(now) => word = now,
            }
        }
    }

    pub(super) fn reset(&self) {
        self.skipped.fetch_add(QUARTERS, Relaxed);
    }

    /// The histogram at `now`.
    pub(super) fn at(&self, now: Instant) -> LatencyHistogram {
        let lap = self.lap(now);
        let mut counts = [0; BUCKETS.len()];
        for back in 0..QUARTERS {
            let lap = lap - back;
            let first = (lap % QUARTERS) as usize * BUCKETS.len();
            for (sum, cell) in counts.iter_mut().zip(&self.cells[first..]) {
                let word = cell.load(Relaxed);
                if (word >> 32) as u32 == lap as u32 {
                    *sum += word & u64::from(u32::MAX);
                }
            }
        }
        LatencyHistogram { counts }
    }
}

/// The durations of the calls in a window, counted in buckets.
///
/// A copy of the counts at one moment, about 2 KiB. A figure read from it is the middle of a bucket: at
/// most a sixteenth (6.25 %) off, between about 1 µs and 73 minutes. Shorter and longer durations are
/// counted in the first and the last bucket.
///
/// ```
/// use mainstay::time::Clock;
/// use mainstay::window::Window;
/// use std::time::Duration;
///
/// let clock = Clock::system();
/// let window = Window::count(100)?.with_latency();
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
    /// Returns the number of calls.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns the duration within which the share `quantile` (from 0 to 1) of the calls ended; `None`
    /// if there are no calls, or `quantile` is not from 0 to 1.
    ///
    /// ```
    /// # let window = mainstay::window::Window::count(100)?.with_latency();
    /// # let histogram = window.latency(mainstay::time::Clock::system().now()).unwrap();
    /// let median = histogram.quantile(0.5);
    /// # assert_eq!(median, None);
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        BUCKETS.quantile(&self.counts, quantile)
    }

    /// Returns the usual figures; `None` if there are no calls.
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

/// How long calls took, or jobs waited: the figures that a dashboard shows.
///
/// Each figure is the middle of the histogram bucket that it lies in, and so at most a sixteenth
/// (6.25 %) off. The snapshot that contains a summary says over which calls, and between which
/// durations, it is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LatencySummary {
    /// How many durations the figures are taken from; never 0.
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
/// A hedge can take its delay from it, and a timeout its limit, whichever policy measures. A
/// [`CircuitBreaker`](crate::breaker::CircuitBreaker) that records latencies is one.
pub trait LatencyQuantiles: Send + Sync {
    /// Returns the duration within which the share `quantile` (from 0 to 1) of the latest calls ended;
    /// `None` if that is not known.
    fn quantile(&self, quantile: f64) -> Option<Duration>;
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    proptest! {
        /// Every quantile of random latencies against the sorted list of them.
        #[test]
        fn a_quantile_is_a_sixteenth_off_at_most(
            mut took in prop::collection::vec(1024_u64..1 << 42, 1..200),
            quantile in 0.0_f64..=1.0,
        ) {
            let latencies = Latencies::over_time(1000 * MS);
            for nanos in &took {
                latencies.record(at(0), Duration::from_nanos(*nanos));
            }
            took.sort_unstable();
            let rank = ((quantile * took.len() as f64).ceil() as usize).clamp(1, took.len());
            let exact = took[rank - 1] as f64;
            let told = latencies.at(at(0)).quantile(quantile).unwrap().as_nanos() as f64;
            prop_assert!((told - exact).abs() <= exact / 16.0 + 1.0, "{told} for {exact}");
        }

        /// Of any schedule it holds what a list of (time, call) holds, to the quarter.
        #[test]
        fn it_slides_by_quarters(steps in prop::collection::vec((0_u64..40, 0_u8..30), 0..100)) {
            let latencies = Latencies::over_time(40 * MS);
            let (mut seen, mut now) = (Vec::new(), 1000);
            for (pause, dice) in steps {
                now += pause;
                if dice == 0 {
                    latencies.reset();
                    seen.clear();
                } else {
                    latencies.record(at(now), MS);
                    seen.push(now);
                }
                let begin = (now / 10 - 3) * 10;
                let expected = seen.iter().filter(|at| **at >= begin).count() as u64;
                prop_assert_eq!(latencies.at(at(now)).count(), expected);
            }
        }

        /// The same by calls: never more than the window holds, and never a quarter less.
        #[test]
        fn it_slides_by_calls(size in 1_u32..40, calls in 0_u64..200) {
            let latencies = Latencies::over_calls(size);
            for _ in 0..calls {
                latencies.record(at(0), MS);
            }
            let quarter = u64::from(size.div_ceil(4));
            let held = latencies.at(at(0)).count();
            prop_assert!(held <= calls.min(4 * quarter));
            prop_assert!(held + quarter > calls.min(4 * quarter), "{held} of {calls}");
        }
    }

    /// A latency that was last seen very long ago: its cell's lap looks like one that is yet to come.
    #[test]
    fn a_cell_of_two_billion_laps_ago_is_used_again() {
        let latencies = Latencies::over_calls(100);
        let Pace::Calls { quarter, recorded } = &latencies.pace else { unreachable!() };
        for laps in [1 << 31, (1 << 31) + 10, (1 << 32) - 8] {
            recorded.store(quarter * laps, Relaxed);
            for _ in 0..100 {
                latencies.record(at(0), MS);
            }
            assert_eq!(latencies.at(at(0)).count(), 100, "{laps} laps");
            latencies.reset();
        }
    }

    #[test]
    fn who_is_late_by_a_round_counts_into_the_next() {
        let latencies = Latencies::over_time(4 * MS);
        latencies.record(at(8), MS);
        latencies.record(at(4), MS);
        assert_eq!(latencies.at(at(8)).count(), 2);
    }

    #[test]
    fn what_is_not_there_has_no_quantiles() {
        let latencies = Latencies::over_calls(4);
        assert_eq!(latencies.at(at(0)).quantile(0.5), None);
        latencies.record(at(0), 10 * MS);
        let latency = latencies.at(at(0));
        assert_eq!([f64::NAN, -0.1, 1.1].map(|q| latency.quantile(q)), [None; 3]);
        assert_eq!(latency.quantile(0.0), latency.quantile(1.0));
    }

    #[test]
    fn a_clock_that_goes_far_back_and_ahead_is_survived() {
        let latencies = Latencies::over_time(4 * MS);
        for now in [at(1000), at(0), Instant::FAR_FUTURE, at(1000)] {
            latencies.record(now, MS);
            let _ = latencies.at(now).quantile(0.5);
        }
    }
}
