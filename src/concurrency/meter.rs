//! The figures of one window, gathered without a lock.

use super::controller::{LimitWindow, WindowRule};
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use crate::time::{Instant, nanos};
use std::time::Duration;

/// Each power of two is cut into eight.
const SPLIT: u32 = 3;
const LEAST: u32 = 10;
const MOST: u32 = 42;
#[cfg(not(mainstay_loom))]
const BUCKETS: usize = ((MOST - LEAST) << SPLIT) as usize;
#[cfg(mainstay_loom)]
const BUCKETS: usize = 2;

fn bucket_of(nanos: u64) -> usize {
    let nanos = nanos.clamp(1 << LEAST, (1 << MOST) - 1);
    let power = nanos.ilog2();
    let eighth = nanos >> (power - SPLIT) & ((1 << SPLIT) - 1);
    ((u64::from(power - LEAST) << SPLIT | eighth) as usize).min(BUCKETS - 1)
}

fn lower_bound(bucket: usize) -> f64 {
    let (power, eighth) = (bucket as u32 >> SPLIT, bucket as u64 & ((1 << SPLIT) - 1));
    ((1 << SPLIT | eighth) << (power + LEAST - SPLIT)) as f64
}

/// Counts finished calls until the window may be closed.
///
/// Recording adds to one bucket and reads a few words. Whoever closes a window does so under the
/// limiter's lock; what others record meanwhile counts in this window or in the next.
#[derive(Debug)]
pub(super) struct Meter {
    buckets: Box<[AtomicU32]>,
    dropped: AtomicU32,
    rejected: AtomicU32,
    peak: AtomicU32,
    /// When the window began, and when it may be closed at the soonest, in nanoseconds.
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
            let bucket = bucket_of(nanos(now.since(started)));
            self.buckets[bucket].fetch_add(1, Relaxed);
        }
    }

    /// Counts a call that met an overload.
    pub(super) fn dropped(&self, started: Instant) {
        if started.as_nanos() >= self.valid_from.load(Relaxed) {
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Counts a call that found the limit used up.
    pub(super) fn rejected(&self) {
        self.rejected.fetch_add(1, Relaxed);
    }

    /// Notes how many calls are under way.
    #[inline]
    pub(super) fn under_way(&self, calls: u32) {
        // Written only when it grows, so that the cache line stays shared.
        if calls > self.peak.load(Relaxed) {
            self.peak.fetch_max(calls, Relaxed);
        }
    }

    /// Returns whether the time of the window is over, so that it is worth counting its calls.
    #[inline]
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now.as_nanos() >= self.due.load(Relaxed)
    }

    /// Closes the window if it holds enough calls, and opens the next. Callers hold the lock.
    pub(super) fn close(
        &self,
        now: Instant,
        rule: WindowRule,
        overloaded: bool,
    ) -> Option<LimitWindow> {
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
            overloaded,
        })
    }

    /// Ignores calls that began before `now`.
    pub(super) fn ignore_before(&self, now: Instant) {
        self.valid_from.store(now.as_nanos(), Relaxed);
    }
}

/// Figures from counts by bucket.
struct Figures<'a> {
    counts: &'a [u32; BUCKETS],
    total: u64,
}

impl Figures<'_> {
    fn min(&self) -> Duration {
        let first = self.counts.iter().position(|count| *count > 0);
        first.map_or(Duration::ZERO, |bucket| Duration::from_nanos(lower_bound(bucket) as u64))
    }

    fn mean(&self) -> Duration {
        let sum = |(bucket, count): (usize, &u32)| {
            f64::from(*count) * (lower_bound(bucket) + lower_bound(bucket + 1)) / 2.0
        };
        let sum: f64 = self.counts.iter().enumerate().map(sum).sum();
        Duration::from_nanos((sum / (self.total.max(1)) as f64) as u64)
    }

    /// The quantile, interpolated within its bucket: a controller compares ratios of a few per cent,
    /// and the middles of buckets are 12 % apart.
    fn quantile(&self, quantile: f64) -> Duration {
        let rank = quantile * self.total as f64;
        let mut below = 0.0;
        for (bucket, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let count = f64::from(*count);
            if below + count >= rank {
                let share = ((rank - below) / count).clamp(0.0, 1.0);
                let (low, high) = (lower_bound(bucket), lower_bound(bucket + 1));
                return Duration::from_nanos((low + share * (high - low)) as u64);
            }
            below += count;
        }
        Duration::ZERO
    }
}
