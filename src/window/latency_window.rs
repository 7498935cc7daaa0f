//! A sliding window over call durations.

use super::LatencyHistogram;
use super::latency::BUCKETS;
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};
use crate::time::{Instant, nanos};
use std::ops::RangeInclusive;
use std::time::Duration;

/// A histogram of the durations of the latest calls.
///
/// The window slides in quarters. Each quarter has its own cells. A cell stores a count and the
/// *lap* of the count, which is the sequence number of its quarter. A cell of an earlier lap reads
/// as zero, so no cell is ever cleared. A call that is recorded while a quarter ends counts in this
/// quarter or the next.
///
/// Ordering: relaxed throughout. The cells are independent of each other.
#[derive(Debug)]
pub(crate) struct LatencyWindow {
    pace: Pace,
    /// The number of laps skipped by resets, plus the first round.
    skipped: AtomicU64,
    /// `[lap 32 | count 32]`, quarter by quarter.
    cells: Box<[AtomicU64]>,
}

/// The length of a quarter.
#[derive(Debug)]
enum Pace {
    /// In nanoseconds.
    Time { quarter: u64 },
    /// In calls; `recorded` counts them.
    Calls { quarter: u64, recorded: AtomicU64 },
}

#[cfg(not(mainstay_loom))]
const QUARTERS: u64 = 4;
#[cfg(mainstay_loom)]
const QUARTERS: u64 = 1;

/// The lap of a recording thread minus the lap of its cell, if the thread is late by at most one
/// round: the cell then has the lap of the thread, or a lap up to one round later.
const LATE: RangeInclusive<i32> = -(QUARTERS as i32)..=0;

impl LatencyWindow {
    pub(crate) fn over_time(span: Duration) -> Self {
        Self::new(Pace::Time { quarter: nanos(span).div_ceil(QUARTERS).max(1) })
    }

    pub(super) fn over_calls(calls: u32) -> Self {
        let quarter = u64::from(calls).div_ceil(QUARTERS).max(1);
        Self::new(Pace::Calls { quarter, recorded: AtomicU64::new(0) })
    }

    fn new(pace: Pace) -> Self {
        let cells = (0..QUARTERS as usize * BUCKETS.len()).map(|_| AtomicU64::new(0)).collect();
        // Laps begin after the first round, because cells that were never written are of lap zero.
        Self { pace, skipped: AtomicU64::new(QUARTERS), cells }
    }

    fn lap(&self, now: Instant) -> u64 {
        let passed = match &self.pace {
            Pace::Time { quarter } => now.as_nanos() / quarter,
            // The call that was recorded last belongs to the current quarter.
            Pace::Calls { quarter, recorded } => recorded.load(Relaxed).saturating_sub(1) / quarter,
        };
        passed + self.skipped.load(Relaxed)
    }

    pub(crate) fn record(&self, now: Instant, elapsed: Duration) {
        if let Pace::Calls { recorded, .. } = &self.pace {
            recorded.fetch_add(1, Relaxed);
        }
        let lap = self.lap(now);
        let quarter = (lap % QUARTERS) as usize;
        let cell = &self.cells[quarter * BUCKETS.len() + BUCKETS.of(elapsed)];
        let mut word = cell.load(Relaxed);
        loop {
            let behind = (lap as u32).wrapping_sub((word >> 32) as u32) as i32;
            if LATE.contains(&behind) {
                // The count would overflow after four billion calls in one quarter.
                cell.fetch_add(1, Relaxed);
                return;
            }
            // The cell is of an earlier lap. If its lap appears to be later, it is so old that its
            // 32 bits have wrapped, or the clock has been set back since.
            match cell.compare_exchange_weak(word, lap << 32 | 1, Relaxed, Relaxed) {
                Ok(_) => return,
                Err(now) => word = now,
            }
        }
    }

    pub(super) fn reset(&self) {
        self.skipped.fetch_add(QUARTERS, Relaxed);
    }

    pub(crate) fn histogram(&self, now: Instant) -> LatencyHistogram {
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
        LatencyHistogram::new(counts)
    }
}

#[cfg(all(test, not(mainstay_loom)))]
#[path = "tests/latency_window.rs"]
mod tests;
