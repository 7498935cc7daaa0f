//! The time window: the calls of the last N seconds.

use super::modulus::Modulus;
use super::{Sample, WindowCounts, WindowGeneration};
use crate::sync::CachePadded;
use crate::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed},
};
use crate::time::{Instant, nanos};
use std::time::Duration;

/// The calls of the last N seconds.
///
/// Time is divided into *epochs* as long as a bucket, and the buckets form a ring: the bucket of an
/// epoch is its number modulo the size of the ring. The counts of each bucket carry a *tag*, the
/// lap of the ring that they belong to. Counts of an earlier lap read as zero, and moving a bucket
/// to a new epoch is one compare-and-swap that neither loses a call nor counts it twice.
///
/// The tag has 16 bits, too few to distinguish all laps. Nevertheless, a tag never denotes two laps
/// at the same time:
/// - The front stores the latest epoch in full. The thread that advances it also empties the
///   buckets of all epochs in between, so that every bucket in the ring is of the current lap or
///   the one before.
/// - The lap in the front is a number of its own. After an idle time of at least the whole window,
///   no bucket counts any more, and the lap advances by two, however long the idle time was. An
///   idle time of 65,536 laps is therefore no special case.
/// - Emptying the whole window also advances the lap by two.
#[derive(Debug)]
pub(super) struct TimeWindow {
    front: CachePadded<Front>,
    buckets: Box<[Bucket]>,
    ring: Modulus,
    /// The length of an epoch in nanoseconds.
    width: u64,
}

/// Read by every recording thread, written once an epoch.
#[derive(Debug)]
struct Front {
    /// A [`Latest`].
    latest: AtomicU64,
    generation: AtomicU64,
}

/// The latest epoch and its lap: `[lap 16 | epoch 48]`. The shortest epoch is 1 ms, so 48 bits hold
/// every epoch.
#[derive(Clone, Copy, PartialEq)]
struct Latest(u64);

impl Latest {
    const EPOCH: u32 = 48;

    fn new(lap: u16, epoch: u64) -> Self {
        Self(u64::from(lap) << Self::EPOCH | epoch)
    }

    fn lap(self) -> u16 {
        (self.0 >> Self::EPOCH) as u16
    }

    fn epoch(self) -> u64 {
        self.0 & ((1 << Self::EPOCH) - 1)
    }
}

#[derive(Debug)]
struct Bucket {
    /// `[tag 16 | succeeded 24 | failed 24]`
    calls: AtomicU64,
    /// `[tag 16 | slow 48]`
    slow: AtomicU64,
}

const TAG: u32 = 48;
const FIELD: u32 = 24;
const FIELD_MASK: u64 = (1 << FIELD) - 1;
const FAILED: u64 = 1;
const SUCCEEDED: u64 = 1 << FIELD;
/// The counts of a bucket are halved when a field reaches this value, long before the field could
/// carry into its neighbor.
const HALF: u64 = 1 << (FIELD - 1);

/// The delay up to which a time behind the front is attributed to a thread that was suspended
/// between reading the clock and recording. If a time is further behind, and further than the whole
/// window, the clock was set back.
const SET_BACK: Duration = Duration::from_secs(60);

fn tag_of(word: u64) -> u16 {
    (word >> TAG) as u16
}

fn empty(tag: u16) -> u64 {
    u64::from(tag) << TAG
}

/// Returns whether `tag` is earlier than `lap`, by less than half of the range of tags.
fn is_before(tag: u16, lap: u16) -> bool {
    (lap.wrapping_sub(tag) as i16) > 0
}

impl TimeWindow {
    pub(super) fn new(span: Duration, buckets: u32) -> Self {
        let bucket = || Bucket { calls: AtomicU64::new(0), slow: AtomicU64::new(0) };
        Self {
            front: CachePadded::new(Front {
                // Two laps ahead of the buckets, which are empty and need no change.
                latest: AtomicU64::new(Latest::new(2, 0).0),
                generation: AtomicU64::new(WindowGeneration::FIRST.to_bits().into()),
            }),
            buckets: (0..buckets).map(|_| bucket()).collect(),
            ring: Modulus::new(buckets),
            width: nanos(span) / u64::from(buckets),
        }
    }

    pub(super) fn span(&self) -> Duration {
        Duration::from_nanos(self.width * self.ring.divisor())
    }

    #[inline]
    pub(super) fn record(
        &self,
        generation: WindowGeneration,
        now: Instant,
        sample: Sample,
    ) -> bool {
        loop {
            // Ordering: acquire, pairs with the release in `restart`, before which `reset` changes
            // the generation: a thread that reads the front of a reset also reads its generation.
            let latest = Latest(self.front.latest.load(Acquire));
            if self.front.generation.load(Relaxed) != u64::from(generation.to_bits()) {
                return false;
            }
            // One comparison, and no division, for a time within the latest epoch.
            let since = now.as_nanos().wrapping_sub(latest.epoch() * self.width);
            if since >= self.width && self.move_front(latest, now) {
                continue;
            }
            let bucket = &self.buckets[self.ring.of(latest.epoch())];
            let recorded = if sample.failed {
                bucket.add_failure(latest.lap())
            } else {
                bucket.add_success(latest.lap())
            };
            if recorded {
                if sample.slow {
                    bucket.add_slow(latest.lap());
                }
                return true;
            }
            // The bucket is a lap ahead of the front that this thread read: read the front again.
        }
    }

    /// Moves the front to the epoch of `now`, which is not the latest. Returns false if the front
    /// does not move: the call is then counted in the latest epoch.
    #[cold]
    #[inline(never)]
    fn move_front(&self, latest: Latest, now: Instant) -> bool {
        let epoch = now.as_nanos() / self.width;
        if epoch > latest.epoch() {
            self.advance(latest, epoch);
            return true;
        }
        let behind = latest.epoch() - epoch;
        let is_set_back = behind > self.ring.divisor().max(nanos(SET_BACK) / self.width);
        if is_set_back {
            let _ = self.restart(latest, epoch);
        }
        is_set_back
    }

    /// Advances the front to `epoch` and empties the buckets in between.
    fn advance(&self, latest: Latest, epoch: u64) {
        let size = self.ring.divisor();
        let lap = self.lap_at(latest, epoch);
        // Ordering: release, so that a thread that reads this front also reads the generation that
        // this thread has read; acquired by the load of `latest` in `record`.
        let moved = self.front.latest.compare_exchange(
            latest.0,
            Latest::new(lap, epoch).0,
            AcqRel,
            Acquire,
        );
        if moved.is_ok() {
            // If this thread is suspended here, the tag of each bucket still shows that its counts
            // are outside the window. The next thread that records in the bucket moves it, or the
            // thread that passes it one lap later empties it.
            let first = (latest.epoch() + 1).max((epoch + 1).saturating_sub(size));
            for passed in first..=epoch {
                let index = self.ring.of(passed);
                self.buckets[index].empty(self.tag_at(Latest::new(lap, epoch), index));
            }
        }
    }

    /// The lap of `epoch`, which comes after `latest`.
    fn lap_at(&self, latest: Latest, epoch: u64) -> u16 {
        let size = self.ring.divisor();
        let passed = epoch - latest.epoch();
        let laps = if passed >= size {
            2
        } else if self.ring.of(latest.epoch()) as u64 + passed >= size {
            1
        } else {
            0
        };
        latest.lap().wrapping_add(laps)
    }

    /// The tag of a bucket whose counts are within the window that ends at `latest`.
    fn tag_at(&self, latest: Latest, index: usize) -> u16 {
        let this_lap = index <= self.ring.of(latest.epoch());
        latest.lap().wrapping_sub(u16::from(!this_lap))
    }

    pub(super) fn counts(&self, now: Instant) -> WindowCounts {
        let latest = Latest(self.front.latest.load(Acquire));
        let size = self.ring.divisor();
        // For each epoch that has passed since the front, one of the oldest buckets left the
        // window.
        let passed = (now.as_nanos() / self.width).saturating_sub(latest.epoch());
        let mut counts = WindowCounts::default();
        for back in 0..size.saturating_sub(passed).min(latest.epoch() + 1) {
            let index = self.ring.of(latest.epoch() - back);
            let tag = self.tag_at(latest, index);
            let calls = self.buckets[index].calls.load(Relaxed);
            if tag_of(calls) == tag {
                counts.failed += calls & FIELD_MASK;
                counts.total += (calls & FIELD_MASK) + (calls >> FIELD & FIELD_MASK);
            }
            let slow = self.buckets[index].slow.load(Relaxed);
            if tag_of(slow) == tag {
                counts.slow += slow - empty(tag);
            }
        }
        // A slow call is counted in two words, and this thread may have read between the two
        // writes.
        counts.slow = counts.slow.min(counts.total);
        counts
    }

    pub(super) fn reset(&self, generation: WindowGeneration, now: Instant) {
        self.front.generation.store(generation.to_bits().into(), Relaxed);
        let epoch = now.as_nanos() / self.width;
        let mut latest = Latest(self.front.latest.load(Acquire));
        while let Err(now) = self.restart(latest, epoch) {
            latest = now;
        }
    }

    /// Moves the front to `epoch`, which may be earlier than `latest`, with all buckets empty. If
    /// the front is not `latest`, returns the current front.
    fn restart(&self, latest: Latest, epoch: u64) -> Result<(), Latest> {
        // Two laps, for any epoch.
        let next = Latest::new(latest.lap().wrapping_add(2), epoch);
        // Ordering: release of the generation, to the acquire load in `record`.
        self.front.latest.compare_exchange(latest.0, next.0, AcqRel, Acquire).map_err(Latest)?;
        // Buckets in which no thread records keep their tag, while restarts alone advance the lap.
        // Every 2,048 restarts, long before a tag could repeat, their tags are updated: amortized
        // constant time.
        const INTERVAL: u16 = 1 << 12;
        if latest.lap() / INTERVAL != next.lap() / INTERVAL {
            for (index, bucket) in self.buckets.iter().enumerate() {
                bucket.empty(self.tag_at(next, index));
            }
        }
        Ok(())
    }

    #[cfg(all(test, not(mainstay_loom)))]
    pub(super) fn preload(&self, succeeded: u64, failed: u64) {
        let latest = Latest(self.front.latest.load(Relaxed));
        let word = empty(latest.lap()) + succeeded * SUCCEEDED + failed * FAILED;
        self.buckets[self.ring.of(latest.epoch())].calls.store(word, Relaxed);
    }
}

/// Ordering: acquire and release, among the threads that add. The thread that moved a bucket to a
/// later lap had read the front of that lap; a thread that finds the bucket moved reads that front
/// too when it tries again, and does not try with the old one.
impl Bucket {
    /// Returns false if the bucket is of a later lap than `lap`.
    #[inline]
    fn add_success(&self, lap: u16) -> bool {
        let before = self.calls.fetch_add(SUCCEEDED, AcqRel);
        if tag_of(before) == lap {
            if before >> FIELD & FIELD_MASK >= HALF {
                self.halve(lap);
            }
            return true;
        }
        self.take_back_success(before, lap)
    }

    /// Subtracts a success that was added to a bucket of another lap, and adds it to `lap`.
    #[cold]
    fn take_back_success(&self, before: u64, lap: u16) -> bool {
        let mut word = before + SUCCEEDED;
        // Once the tag has changed, the success has been erased with the rest of its lap.
        while tag_of(word) == tag_of(before) {
            match self.calls.compare_exchange_weak(word, word - SUCCEEDED, Relaxed, Relaxed) {
                Ok(_) => break,
                Err(now) => word = now,
            }
        }
        self.add(&self.calls, lap, SUCCEEDED)
    }

    /// Returns false if the bucket is of a later lap than `lap`.
    ///
    /// Unlike a success, a failure is never added and then subtracted: a reader could see it in
    /// between and open a breaker.
    fn add_failure(&self, lap: u16) -> bool {
        let added = self.add(&self.calls, lap, FAILED);
        if added && self.calls.load(Relaxed) & FIELD_MASK >= HALF {
            self.halve(lap);
        }
        added
    }

    fn add_slow(&self, lap: u16) {
        // If a lap has passed since the call itself was counted, both counts are outside the
        // window.
        self.add(&self.slow, lap, 1);
    }

    /// Adds to a word of `lap`, after moving it to `lap` if it is of an earlier one.
    fn add(&self, word: &AtomicU64, lap: u16, amount: u64) -> bool {
        let mut now = word.load(Acquire);
        loop {
            let base = match tag_of(now) {
                tag if tag == lap => now,
                tag if is_before(tag, lap) => empty(lap),
                _ => return false,
            };
            match word.compare_exchange_weak(now, base + amount, AcqRel, Acquire) {
                Ok(_) => return true,
                Err(other) => now = other,
            }
        }
    }

    /// Moves the bucket to `lap`, empty, unless another thread has done so.
    fn empty(&self, lap: u16) {
        self.add(&self.calls, lap, 0);
        self.add(&self.slow, lap, 0);
    }

    /// Halves the counts of `lap`, which keeps the rates and prevents an overflow of the fields.
    #[cold]
    fn halve(&self, lap: u16) {
        let mut word = self.calls.load(Relaxed);
        loop {
            let (succeeded, failed) = (word >> FIELD & FIELD_MASK, word & FIELD_MASK);
            if tag_of(word) != lap || succeeded.max(failed) < HALF {
                return;
            }
            let halved = empty(lap) + succeeded / 2 * SUCCEEDED + failed / 2 * FAILED;
            match self.calls.compare_exchange_weak(word, halved, Relaxed, Relaxed) {
                Ok(_) => break,
                Err(now) => word = now,
            }
        }
        let mut slow = self.slow.load(Relaxed);
        while tag_of(slow) == lap {
            let halved = empty(lap) + (slow - empty(lap)) / 2;
            match self.slow.compare_exchange_weak(slow, halved, Relaxed, Relaxed) {
                Ok(_) => break,
                Err(now) => slow = now,
            }
        }
    }
}

#[cfg(all(test, not(mainstay_loom)))]
#[path = "tests/time_window.rs"]
mod tests;
