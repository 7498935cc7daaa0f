//! When submitters that wait for a free slot are woken.

use crate::sync::PlainAtomicU64;
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::Relaxed;

/// Decides which freed slots wake submitters.
///
/// Waking a thread costs several microseconds, and a submitter that is woken for one slot waits
/// again after one job. Submitters are therefore woken in batches: when half of the queue has been
/// freed, or when no submitter has been woken for [`MAX_DELAY_NANOS`]. If jobs take longer than
/// that, each freed slot wakes a submitter.
///
/// No submitter waits forever. Consider the sum of three numbers: the queued jobs, the woken
/// submitters that have not submitted yet, and the freed slots for which no submitter has been
/// woken. A submitter begins to wait only if the queue is full, so the sum is then at least the
/// capacity. It does not fall below the capacity while submitters wait, because a woken submitter
/// submits a job, passes the wake-up on, or finds that others have filled the queue again. If no
/// job were queued and no woken submitter were left, the third number alone would be at least the
/// capacity. This is impossible, because after every [`slots`](Self::slots) freed slots, half of
/// the capacity, submitters are woken for all of them.
pub(crate) struct WakeBatch {
    /// The number of freed slots, since the creation of the queue, for which submitters have been
    /// woken.
    woken_for: AtomicU64,
    /// When submitters were last woken, in nanoseconds. 0 if never.
    woken_at: PlainAtomicU64,
    /// The clock is read once per this number of freed slots.
    clock_interval: PlainAtomicU64,
    /// The size of a batch: after this number of freed slots, submitters are woken regardless of
    /// the time.
    slots: u64,
}

/// The time since the last wake-up after which a freed slot wakes submitters. With jobs of 2 µs on
/// two workers, 250 slots are freed in this time. For a waiting submitter, the delay is negligible.
const MAX_DELAY_NANOS: u64 = 250_000;
/// The number of slots per wake-up from which jobs count as short: reading the clock for each freed
/// slot would then reduce the throughput.
const SHORT_JOBS: u64 = 16;
const CLOCK_INTERVAL_OF_SHORT_JOBS: u64 = 4;

impl WakeBatch {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            woken_for: AtomicU64::new(0),
            woken_at: PlainAtomicU64::new(0),
            clock_interval: PlainAtomicU64::new(1),
            slots: (capacity as u64 / 2).max(1),
        }
    }

    /// Returns the number of submitters to wake for a slot that was freed while submitters wait.
    /// `before` slots were freed before it. `now` returns the time in nanoseconds, which is above
    /// 0.
    pub(crate) fn slot_freed(&self, before: u64, now: impl FnOnce() -> u64) -> usize {
        let freed = before + 1;
        let ends_batch = freed.is_multiple_of(self.slots);
        if !ends_batch && !freed.is_multiple_of(self.clock_interval.load(Relaxed)) {
            return 0;
        }
        let (now, woken_at) = (now(), self.woken_at.load(Relaxed));
        let woken_recently = woken_at != 0 && now.saturating_sub(woken_at) < MAX_DELAY_NANOS;
        if !ends_batch && woken_recently {
            return 0;
        }
        // Ordering: relaxed; the number protects no other memory. `fetch_max` counts each freed
        // slot once, so each slot wakes one submitter.
        let woken = freed.saturating_sub(self.woken_for.fetch_max(freed, Relaxed));
        let interval = if woken >= SHORT_JOBS { CLOCK_INTERVAL_OF_SHORT_JOBS } else { 1 };
        self.clock_interval.store(interval, Relaxed);
        self.woken_at.store(now, Relaxed);
        usize::try_from(woken).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

    const MICRO: u64 = 1_000;
    /// Long after the creation of a batch.
    const START: u64 = 1_000_000_000;

    /// Frees `n` slots after the first `before`, one every `interval` nanoseconds. Returns the
    /// number of submitters that each slot wakes.
    fn free(batch: &WakeBatch, before: u64, n: u64, start: u64, interval: u64) -> Vec<usize> {
        (0..n).map(|i| batch.slot_freed(before + i, || start + i * interval)).collect()
    }

    #[test]
    fn each_slot_freed_by_a_long_job_wakes_one_submitter() {
        let batch = WakeBatch::new(1024);
        assert_eq!(free(&batch, 0, 5, START, MAX_DELAY_NANOS), [1; 5]);
    }

    #[test]
    fn the_first_freed_slot_wakes_a_submitter() {
        assert_eq!(WakeBatch::new(1024).slot_freed(0, || 1), 1);
    }

    #[test]
    fn short_jobs_wake_submitters_when_half_of_the_queue_is_free() {
        for (capacity, half) in [(1, 1), (2, 1), (3, 1), (16, 8), (17, 8), (64, 32)] {
            let batch = WakeBatch::new(capacity);
            let woken = free(&batch, 0, 4 * half as u64, START, MICRO);
            assert_eq!(woken.iter().sum::<usize>(), 4 * half, "capacity {capacity}");
            let later = &woken[half..];
            assert!(later.iter().all(|n| [0, half].contains(n)), "capacity {capacity}: {later:?}");
        }
    }

    #[test]
    fn jobs_of_medium_length_wake_submitters_after_the_maximum_delay() {
        let batch = WakeBatch::new(1024);
        assert_eq!(batch.slot_freed(0, || START), 1);
        let woken = free(&batch, 1, 13, START + 20 * MICRO, 20 * MICRO);
        // The delay ends 12.5 jobs after the first slot.
        assert_eq!((woken.iter().sum::<usize>(), woken[12]), (13, 13));
    }

    #[test]
    fn jobs_that_become_long_delay_submitters_by_three_jobs_at_most() {
        let batch = WakeBatch::new(256);
        // A wake-up for half of the queue.
        assert_eq!(free(&batch, 0, 128, START, MICRO)[127], 127);
        let long = 1_000_000 * MICRO;
        assert_eq!(free(&batch, 128, 6, START + long, long), [0, 0, 0, 4, 1, 1]);
    }

    #[test]
    fn a_slot_that_is_reported_late_wakes_no_second_submitter() {
        let batch = WakeBatch::new(1024);
        assert_eq!(batch.slot_freed(7, || START), 8);
        assert_eq!(batch.slot_freed(5, || START + MAX_DELAY_NANOS), 0);
        assert_eq!(batch.slot_freed(8, || START + 2 * MAX_DELAY_NANOS), 1);
    }

    #[test]
    fn time_that_goes_backwards_does_not_wake_early_or_panic() {
        let batch = WakeBatch::new(1024);
        batch.slot_freed(0, || START);
        assert_eq!(free(&batch, 1, 9, 1, MICRO).iter().sum::<usize>(), 0);
    }
}
