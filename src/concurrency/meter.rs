//! The statistics of one window, recorded without a lock.

use super::controller::{LimitWindow, WindowRule};
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use crate::time::Instant;
use crate::window::LatencyBuckets;
use std::time::Duration;

/// The buckets, from about a microsecond to about 73 minutes.
#[cfg(not(mainstay_loom))]
const RANGE: LatencyBuckets = LatencyBuckets::powers(10, 42);
/// The buckets for loom, few enough for a model.
#[cfg(mainstay_loom)]
const RANGE: LatencyBuckets = LatencyBuckets::powers(10, 11);
const BUCKETS: usize = RANGE.len();

/// Counts finished calls until the window may be closed.
///
/// Recording adds to one bucket and reads a few words. A window is closed under the limiter's lock;
/// calls that are recorded meanwhile count in this window or in the next.
#[derive(Debug)]
pub(super) struct Meter {
    buckets: Box<[AtomicU32]>,
    dropped: AtomicU32,
    rejected: AtomicU32,
    peak: AtomicU32,
    /// The start of the window and the earliest time to close it, in nanoseconds.
    opened: AtomicU64,
    due: AtomicU64,
    /// Calls that began earlier are not counted: a probe must not see calls from before it.
    valid_from: AtomicU64,
}

impl Meter {
    pub(super) fn new(now: Instant, rule: WindowRule) -> Self {
        Self {
            buckets: (0..BUCKETS).map(|_| AtomicU32::new(0)).collect(),
            dropped: AtomicU32::new(0),
            rejected: AtomicU32::new(0),
            peak: AtomicU32::new(0),
            opened: AtomicU64::new(now.as_nanos()),
            due: AtomicU64::new((now + rule.min_duration).as_nanos()),
            valid_from: AtomicU64::new(0),
        }
    }

    /// Counts a call that took from `started` to `now`.
    #[inline]
    pub(super) fn succeeded(&self, started: Instant, now: Instant) {
        if started.as_nanos() >= self.valid_from.load(Relaxed) {
            self.buckets[RANGE.of(now.since(started))].fetch_add(1, Relaxed);
        }
    }

    /// Counts a call that ended in an overload.
    pub(super) fn overload(&self, started: Instant) {
        if started.as_nanos() >= self.valid_from.load(Relaxed) {
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Counts a call that was rejected or has to wait, because the limit was reached.
    pub(super) fn rejected(&self) {
        self.rejected.fetch_add(1, Relaxed);
    }

    /// Records the number of calls in flight, of which the peak is kept.
    #[inline]
    pub(super) fn under_way(&self, calls: u32) {
        // Written only when it grows, so that the cache line stays shared.
        if calls > self.peak.load(Relaxed) {
            self.peak.fetch_max(calls, Relaxed);
        }
    }

    /// Returns whether the window's minimum duration has passed, so that it may be closed.
    #[inline]
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now.as_nanos() >= self.due.load(Relaxed)
    }

    /// Closes the window if it holds enough calls, and opens the next. The caller holds the lock.
    ///
    /// The caller sets `overloaded`.
    pub(super) fn close(&self, now: Instant, rule: WindowRule) -> Option<LimitWindow> {
        if !self.is_due(now) {
            return None;
        }
        let dropped = u64::from(self.dropped.load(Relaxed));
        let mut counts = [0_u32; BUCKETS];
        for (count, bucket) in counts.iter_mut().zip(&self.buckets) {
            *count = bucket.load(Relaxed);
        }
        let succeeded: u64 = counts.iter().map(|count| u64::from(*count)).sum();
        let opened = Instant::from_nanos(self.opened.load(Relaxed));
        let figures = Figures { counts: &counts, total: succeeded };
        let min = figures.min();
        let long_enough = now.since(opened) >= min * rule.min_latencies;
        if dropped + succeeded < rule.min_calls.max(1) || !long_enough {
            return None;
        }
        for (count, bucket) in counts.iter().zip(&self.buckets) {
            bucket.fetch_sub(*count, Relaxed);
        }
        self.dropped.fetch_sub(dropped as u32, Relaxed);
        self.opened.store(now.as_nanos(), Relaxed);
        self.due.store((now + rule.min_duration).as_nanos(), Relaxed);
        Some(LimitWindow {
            duration: now.since(opened),
            succeeded,
            dropped,
            rejected: u64::from(self.rejected.swap(0, Relaxed)),
            peak_in_flight: self.peak.swap(0, Relaxed),
            min,
            mean: figures.mean(),
            p50: figures.quantile(0.5),
            p90: figures.quantile(0.9),
            p99: figures.quantile(0.99),
            overloaded: false,
        })
    }

    /// Ignores calls that began before `now`.
    pub(super) fn ignore_before(&self, now: Instant) {
        self.valid_from.store(now.as_nanos(), Relaxed);
    }
}

/// Statistics computed from the counts of the buckets.
struct Figures<'a> {
    counts: &'a [u32; BUCKETS],
    total: u64,
}

impl Figures<'_> {
    fn min(&self) -> Duration {
        let first = self.counts.iter().position(|count| *count > 0);
        first.map_or(Duration::ZERO, |bucket| Duration::from_nanos(RANGE.lower_bound(bucket)))
    }

    fn mean(&self) -> Duration {
        let sum = |(bucket, count): (usize, &u32)| {
            f64::from(*count) * RANGE.middle(bucket).as_nanos() as f64
        };
        let sum: f64 = self.counts.iter().enumerate().map(sum).sum();
        Duration::from_nanos((sum / (self.total.max(1)) as f64) as u64)
    }

    /// Returns the quantile, interpolated within its bucket: a controller compares ratios of a few
    /// per cent, and the middles of buckets are 12 % apart.
    fn quantile(&self, quantile: f64) -> Duration {
        let rank = quantile * self.total as f64;
        let mut below = 0.0;
        for (bucket, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let count = f64::from(*count);
            if below + count >= rank {
                let share = ((rank - below) / count).clamp(0.0, 1.0);
                let (low, high) =
                    (RANGE.lower_bound(bucket) as f64, RANGE.lower_bound(bucket + 1) as f64);
                return Duration::from_nanos((low + share * (high - low)) as u64);
            }
            below += count;
        }
        Duration::ZERO
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

    const RULE: WindowRule =
        WindowRule { min_duration: Duration::from_millis(100), min_calls: 3, min_latencies: 2 };

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn a_window_is_closed_after_both_its_time_and_its_calls() {
        let meter = Meter::new(at(0), RULE);
        meter.succeeded(at(0), at(10));
        meter.succeeded(at(0), at(10));
        assert!(!meter.is_due(at(99)) && meter.close(at(99), RULE).is_none());
        assert!(meter.is_due(at(100)) && meter.close(at(100), RULE).is_none(), "two calls");
        meter.overload(at(0));
        let window = meter.close(at(120), RULE).unwrap();
        assert_eq!((window.succeeded, window.dropped, window.duration), (2, 1, at(120) - at(0)));
        assert!(meter.close(at(300), RULE).is_none(), "the next one is empty");
        (0..3).for_each(|_| meter.overload(at(200)));
        assert!(!meter.is_due(at(219)) && meter.is_due(at(220)), "from the end of the last one");
        assert_eq!(meter.close(at(220), RULE).unwrap().dropped, 3);
    }

    #[test]
    fn a_window_lasts_twice_its_shortest_latency() {
        let meter = Meter::new(at(0), RULE);
        for _ in 0..3 {
            meter.succeeded(at(0), at(90));
        }
        assert!(meter.close(at(150), RULE).is_none());
        assert!(meter.close(at(200), RULE).is_some());
    }

    #[test]
    fn figures_are_close_to_those_of_the_calls() {
        let meter = Meter::new(at(0), RULE);
        for millis in 1..=1000 {
            meter.succeeded(at(0), at(millis));
        }
        let window = meter.close(at(5000), RULE).unwrap();
        let near = |figure: Duration, millis: f64| {
            (figure.as_secs_f64() * 1000.0 / millis - 1.0).abs() < 0.01
        };
        assert!(near(window.mean, 500.5), "{:?}", window.mean);
        assert!(near(window.p50, 500.0), "{:?}", window.p50);
        assert!(near(window.p90, 900.0), "{:?}", window.p90);
        assert!(near(window.p99, 990.0), "{:?}", window.p99);
        assert!(window.min <= Duration::from_millis(1));
    }

    #[test]
    fn calls_from_before_a_probe_are_ignored() {
        let meter = Meter::new(at(0), RULE);
        meter.ignore_before(at(50));
        meter.succeeded(at(49), at(60));
        meter.overload(at(49));
        for _ in 0..3 {
            meter.succeeded(at(50), at(60));
        }
        let window = meter.close(at(100), RULE).unwrap();
        assert_eq!((window.succeeded, window.dropped), (3, 0));
    }

    /// A clock that goes backwards closes no window, and a call never has a negative latency.
    #[test]
    fn a_clock_that_goes_backwards_is_harmless() {
        let meter = Meter::new(at(1000), RULE);
        for _ in 0..5 {
            meter.succeeded(at(500), at(400));
        }
        assert!(meter.close(at(900), RULE).is_none());
        let window = meter.close(at(1100), RULE).unwrap();
        assert!(window.p99 < Duration::from_micros(2), "{:?}", window.p99);
    }
}
