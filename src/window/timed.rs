use super::modulus::Modulus;
use super::{Sample, WindowCounts, WindowGeneration};
use crate::sync::CachePadded;
use crate::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed},
};
use crate::time::{Instant, nanos};
use std::time::Duration;

/// The calls of the last so-many seconds.
///
/// Time is cut into *epochs* as long as a bucket, and the buckets form a ring: an epoch's bucket is its
/// number modulo the ring's size. Each bucket's counts carry a *tag*, the lap of the ring they belong
/// to, so that counts of a lap that is over read as nothing, and turning a bucket over to a new epoch
/// is one compare-and-swap that neither loses a call nor counts it twice.
///
/// The tag has 16 bits, too few to tell laps apart for ever, and yet a tag never means two laps at once:
/// - The front says in full which epoch is the latest. Whoever moves it on also empties the buckets of
///   all epochs that were passed over, so that every bucket in the ring is of this lap or the last.
/// - The lap in the front is a running number of its own. After an idle gap of at least the whole
///   window nothing in the ring counts any more, and the lap goes on by two, however long the gap was.
///   So a gap of exactly 65,536 laps is as good as any other.
/// - Emptying the whole window is the same step: two laps on.
#[derive(Debug)]
pub(super) struct TimeWindow {
    front: CachePadded<Front>,
    buckets: Box<[Bucket]>,
    ring: Modulus,
    width: u64,
}

/// Read by all, written once a bucket's width.
#[derive(Debug)]
struct Front {
    /// [`Latest`]
    latest: AtomicU64,
    generation: AtomicU64,
}

/// Where the front stands: `[lap 16 | epoch 48]`. The shortest bucket is 1 ms, so 48 bits hold every
/// epoch there is.
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
const LANE: u32 = 24;
const LANE_MASK: u64 = (1 << LANE) - 1;
const FAILED: u64 = 1;
const SUCCEEDED: u64 = 1 << LANE;
/// From here on a lane is halved, long before it could run into its neighbour.
const HALF: u64 = 1 << (LANE - 1);

fn tag_of(word: u64) -> u16 {
    (word >> TAG) as u16
}

fn empty(tag: u16) -> u64 {
    u64::from(tag) << TAG
}

/// Whether `tag` is of an earlier lap than `lap`, taking the shorter way around.
fn is_before(tag: u16, lap: u16) -> bool {
    (lap.wrapping_sub(tag) as i16) > 0
}

impl TimeWindow {
    pub(super) fn new(span: Duration, buckets: u32) -> Self {
        let bucket = || Bucket { calls: AtomicU64::new(0), slow: AtomicU64::new(0) };
        Self {
            front: CachePadded::new(Front {
                // Two laps ahead of the buckets: they are empty, and nothing needs to be turned.
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
            // Ordering: acquire, with the release in `reset`, which changes the generation first: from
            // a front that is past a reset we do not go on with the generation before it.
            let latest = Latest(self.front.latest.load(Acquire));
            if self.front.generation.load(Relaxed) != u64::from(generation.to_bits()) {
                return false;
            }
            // An earlier `now` than somebody else's counts as theirs. No division on the usual path.
            if now.as_nanos().saturating_sub(latest.epoch() * self.width) >= self.width {
                self.advance(latest, now.as_nanos() / self.width);
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
            // The bucket is a lap ahead of the front we read: read it again.
        }
    }

    /// Moves the front on to `epoch` and empties the buckets that it passes over.
    #[cold]
    #[inline(never)]
    fn advance(&self, latest: Latest, epoch: u64) {
        let size = self.ring.divisor();
        let lap = self.lap_at(latest, epoch);
        // Ordering: release, so that whoever reads this front sees the generation we read under the
        // one before it; acquire is the load's that came before.
        let moved = self.front.latest.compare_exchange(
            latest.0,
            Latest::new(lap, epoch).0,
            AcqRel,
            Acquire,
        );
        if moved.is_ok() {
            // If we are suspended here, each bucket still has a tag that says it is over, and is
            // turned by its next recorder, or emptied by whoever comes by one lap later.
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
        let gap = epoch - latest.epoch();
        let laps = if gap >= size {
            2
        } else if self.ring.of(latest.epoch()) as u64 + gap >= size {
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
        // How many epochs have passed since the front: so many of the oldest buckets are over.
        let passed = (now.as_nanos() / self.width).saturating_sub(latest.epoch());
        let mut counts = WindowCounts::default();
        for back in 0..size.saturating_sub(passed).min(latest.epoch() + 1) {
            let index = self.ring.of(latest.epoch() - back);
            let tag = self.tag_at(latest, index);
            let calls = self.buckets[index].calls.load(Relaxed);
            if tag_of(calls) == tag {
                counts.failed += calls & LANE_MASK;
                counts.total += (calls & LANE_MASK) + (calls >> LANE & LANE_MASK);
            }
            let slow = self.buckets[index].slow.load(Relaxed);
            if tag_of(slow) == tag {
                counts.slow += slow - empty(tag);
            }
        }
        // A slow call is in two words, and a reader may come between them.
        counts.slow = counts.slow.min(counts.total);
        counts
    }

    pub(super) fn reset(&self, generation: WindowGeneration, now: Instant) {
        self.front.generation.store(generation.to_bits().into(), Relaxed);
        let epoch = now.as_nanos() / self.width;
        let mut latest = Latest(self.front.latest.load(Acquire));
        let next = loop {
            // Two laps on, whatever the epoch: also if a clock had run ahead and was set right.
            let next = Latest::new(latest.lap().wrapping_add(2), epoch);
            // Ordering: release of the generation, to the acquire load in `record`.
            match self.front.latest.compare_exchange_weak(latest.0, next.0, AcqRel, Acquire) {
                Ok(_) => break next,
                Err(now) => latest = Latest(now),
            }
        };
        // Buckets that nobody turns keep their tag, while resets alone move the lap. Every so often
        // they are brought up to date, long before a tag could come around: constant time on average.
        const OFTEN: u16 = 1 << 12;
        if latest.lap() / OFTEN != next.lap() / OFTEN {
            for (index, bucket) in self.buckets.iter().enumerate() {
                bucket.empty(self.tag_at(next, index));
            }
        }
    }

    #[cfg(all(test, not(mainstay_loom)))]
    pub(super) fn preload(&self, succeeded: u64, failed: u64) {
        let latest = Latest(self.front.latest.load(Relaxed));
        let word = empty(latest.lap()) + succeeded * SUCCEEDED + failed * FAILED;
        self.buckets[self.ring.of(latest.epoch())].calls.store(word, Relaxed);
    }
}

/// Ordering: acquire and release, among those who add. Whoever turned a bucket over to a later lap had
/// read the front of that lap; who then finds the bucket turned reads that front too when it looks again,
/// and does not come back with the old one.
impl Bucket {
    /// False if the bucket is of a later lap than `lap`.
    #[inline]
    fn add_success(&self, lap: u16) -> bool {
        let before = self.calls.fetch_add(SUCCEEDED, AcqRel);
        if tag_of(before) == lap {
            if before >> LANE & LANE_MASK >= HALF {
                self.halve(lap);
            }
            return true;
        }
        self.take_back_success(before, lap)
    }

    /// The bucket turned out to be of another lap: take the success back, and count it where it belongs.
    #[cold]
    fn take_back_success(&self, before: u64, lap: u16) -> bool {
        let mut word = before + SUCCEEDED;
        // Once the tag has changed, our success has been wiped out with the rest of its lap.
        while tag_of(word) == tag_of(before) {
            match self.calls.compare_exchange_weak(word, word - SUCCEEDED, Relaxed, Relaxed) {
                Ok(_) => break,
                Err(now) => word = now,
            }
        }
        self.add(&self.calls, lap, SUCCEEDED)
    }

    /// As [`add_success`](Self::add_success). A failure is never booked and taken back: somebody could
    /// see it in between and trip.
    fn add_failure(&self, lap: u16) -> bool {
        let added = self.add(&self.calls, lap, FAILED);
        if added && self.calls.load(Relaxed) & LANE_MASK >= HALF {
            self.halve(lap);
        }
        added
    }

    fn add_slow(&self, lap: u16) {
        // If a lap has passed since the call itself was counted, both are out of the window.
        self.add(&self.slow, lap, 1);
    }

    /// Adds to a word of `lap`, turning it over to `lap` first if it is of an earlier one.
    fn add(&self, word: &AtomicU64, lap: u16, what: u64) -> bool {
        let mut now = word.load(Acquire);
        loop {
            let base = match tag_of(now) {
                tag if tag == lap => now,
                tag if is_before(tag, lap) => empty(lap),
                _ => return false,
            };
            match word.compare_exchange_weak(now, base + what, AcqRel, Acquire) {
                Ok(_) => return true,
                Err(other) => now = other,
            }
        }
    }

    /// Turns the bucket over to `lap`, with nothing in it, unless somebody has already.
    fn empty(&self, lap: u16) {
        self.add(&self.calls, lap, 0);
        self.add(&self.slow, lap, 0);
    }

    /// Halves what has been counted in `lap`: rates stay as they are, and no lane ever overflows.
    #[cold]
    fn halve(&self, lap: u16) {
        let mut word = self.calls.load(Relaxed);
        loop {
            let (succeeded, failed) = (word >> LANE & LANE_MASK, word & LANE_MASK);
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

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * MS)
    }

    fn window(span_ms: u64, buckets: u32) -> TimeWindow {
        TimeWindow::new(Duration::from_millis(span_ms), buckets)
    }

    /// Every sample with its time; counts by looking at all of them.
    #[derive(Default)]
    struct Model(Vec<(u64, Sample)>);

    impl Model {
        fn counts(&self, from_ms: u64) -> WindowCounts {
            self.0.iter().filter(|(at, _)| *at >= from_ms).fold(
                WindowCounts::default(),
                |sum, (_, sample)| WindowCounts {
                    total: sum.total + 1,
                    failed: sum.failed + u64::from(sample.failed),
                    slow: sum.slow + u64::from(sample.slow),
                },
            )
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// Random schedules with bursts, pauses, idle gaps of whole laps, resets.
        #[test]
        fn agrees_with_a_model_to_the_bucket(
            buckets in 1_u32..9,
            width in 1_u64..20,
            steps in prop::collection::vec(
                (prop_oneof![8 => 0_u64..3, 4 => 0_u64..40, 1 => 0_u64..5000], any::<(bool, bool)>(), 0_u8..40),
                0..120,
            ),
        ) {
            let span = width * u64::from(buckets);
            let window = window(span, buckets);
            let mut model = Model::default();
            let mut generation = WindowGeneration::FIRST;
            let mut now = span;
            for (pause, (failed, slow), dice) in steps {
                now += pause;
                if dice == 0 {
                    generation = generation.next();
                    window.reset(generation, at(now));
                    model.0.clear();
                } else {
                    let sample = Sample { failed, slow };
                    prop_assert!(window.record(generation, at(now), sample));
                    model.0.push((now, sample));
                }
                // The window begins with the epoch that lies span - width before the present one.
                let begin = (now / width + 1).saturating_sub(u64::from(buckets)) * width;
                prop_assert_eq!(window.counts(at(now)), model.counts(begin), "at {}", now);
                // … which is within one bucket of the exact answer.
                prop_assert!(begin + span > now && begin + span <= now + width);
            }
        }
    }

    #[test]
    fn an_idle_gap_of_any_length_leaves_nothing() {
        for buckets in [1, 2, 10] {
            let lap = u64::from(buckets);
            for gap in [
                lap,
                lap + 1,
                2 * lap,
                3 * lap,
                65_535 * lap,
                65_536 * lap,
                65_537 * lap,
                131_072 * lap,
            ] {
                let window = window(lap, buckets);
                for ms in 0..lap {
                    window.record(
                        WindowGeneration::FIRST,
                        at(1000 * lap + ms),
                        Sample::SLOW_AND_FAILED,
                    );
                }
                let later = at(1000 * lap + lap - 1 + gap);
                assert_eq!(
                    window.counts(later),
                    WindowCounts::default(),
                    "before, {buckets} buckets, gap {gap}"
                );
                window.record(WindowGeneration::FIRST, later, Sample::OK);
                let one = WindowCounts { total: 1, failed: 0, slow: 0 };
                assert_eq!(window.counts(later), one, "after, {buckets} buckets, gap {gap}");
            }
        }
    }

    #[test]
    fn a_bucket_that_nobody_records_in_stays_empty_while_the_tags_come_around() {
        for buckets in [2, 3, 10] {
            let size = u64::from(buckets);
            let window = window(size, buckets);
            window.record(WindowGeneration::FIRST, at(size - 1), Sample::SLOW_AND_FAILED);
            // Only the first bucket is ever recorded in, lap after lap. At some lap the tag of the last
            // one would be right again.
            for lap in 1..=70_000 {
                window.record(WindowGeneration::FIRST, at(size * lap), Sample::OK);
                // The window reaches back to just after the first bucket of the lap before.
                let failed = u64::from(lap == 1);
                let counts = WindowCounts { total: 1 + failed, failed, slow: failed };
                assert_eq!(window.counts(at(size * lap)), counts, "{buckets} buckets, lap {lap}");
            }
        }
    }

    #[test]
    fn resets_alone_do_not_bring_old_counts_back() {
        let window = window(10, 10);
        let mut generation = WindowGeneration::FIRST;
        window.record(generation, at(5), Sample::FAILED);
        for _ in 0..70_000 {
            generation = generation.next();
            window.reset(generation, at(5));
            assert_eq!(window.counts(at(5)), WindowCounts::default());
        }
    }

    #[test]
    fn time_that_goes_back_goes_nowhere() {
        let window = window(10, 10);
        window.record(WindowGeneration::FIRST, at(100), Sample::OK);
        window.record(WindowGeneration::FIRST, at(3), Sample::FAILED);
        assert_eq!(window.counts(at(100)), WindowCounts { total: 2, failed: 1, slow: 0 });
        assert_eq!(window.counts(at(3)), WindowCounts { total: 2, failed: 1, slow: 0 });
        assert!(window.record(WindowGeneration::FIRST, Instant::FAR_FUTURE, Sample::OK));
        assert_eq!(
            window.counts(Instant::FAR_FUTURE),
            WindowCounts { total: 1, failed: 0, slow: 0 }
        );
    }

    #[test]
    fn a_reset_forgets_that_a_clock_ran_ahead() {
        let window = window(10, 10);
        window.record(WindowGeneration::FIRST, Instant::FAR_FUTURE, Sample::FAILED);
        let new = WindowGeneration::FIRST.next();
        window.reset(new, at(100));
        window.record(new, at(100), Sample::OK);
        assert_eq!(window.counts(at(100)).total, 1);
        assert_eq!(window.counts(at(110)).total, 0, "it slides again");
    }

    #[test]
    fn a_full_bucket_is_halved() {
        let window = window(10, 10);
        let record = |sample| window.record(WindowGeneration::FIRST, at(0), sample);
        record(Sample::SLOW);
        record(Sample::SLOW);
        window.preload(HALF, HALF / 2);
        record(Sample::OK);
        let counts = window.counts(at(0));
        assert_eq!((counts.total, counts.failed, counts.slow), (HALF * 3 / 4, HALF / 4, 1));
        window.preload(0, HALF - 1);
        record(Sample::FAILED);
        assert_eq!(window.counts(at(0)).failed, HALF / 2);
    }

    #[test]
    fn a_reader_between_the_two_words_of_a_slow_call_sees_no_more_slow_calls_than_calls() {
        let window = window(10, 10);
        window.record(WindowGeneration::FIRST, at(0), Sample::SLOW);
        window.preload(0, 0);
        assert_eq!(window.counts(at(0)), WindowCounts::default());
    }

    #[test]
    fn a_late_generation_changes_nothing() {
        let window = window(10, 10);
        let old = WindowGeneration::FIRST;
        window.record(old, at(0), Sample::FAILED);
        window.reset(old.next(), at(0));
        assert!(!window.record(old, at(1), Sample::FAILED));
        assert_eq!(window.counts(at(1)), WindowCounts::default());
    }
}
