//! Calls under way, counted by when they began: so that one sees how many are overdue before any of them
//! comes back.

use super::word::Word;
use crate::sync::CachePadded;
use crate::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use crate::time::{Instant, nanos};
use std::time::Duration;

/// Time is cut into steps of an eighth of the slow threshold, and each bucket counts the calls under way
/// that began in one step. When a bucket is needed for a later step, what is left in it is overdue, and
/// goes to a common count. A call that ends finds its bucket by when it began; if the bucket is of another
/// step by now, the call is among the overdue.
///
/// A call is *overdue* when the whole step in which it began is: never before the threshold, and at most
/// two eighths of it later.
///
/// Everything belongs to an *era*, named by the generation and the epoch of settings of the breaker's word:
/// with another of either, calls under way are forgotten, and count when they end, if they still do. Eras
/// are told apart in a few bits (the *tag*), so all buckets are emptied before a tag comes around.
#[derive(Debug)]
pub(super) struct InFlight {
    /// `[tag 8 | era 29]`
    era: AtomicU64,
    /// `[tag 8 | count + BIAS]`: a call that ends may be deducted before its bucket's rest is added.
    overdue: CachePadded<AtomicU64>,
    /// `[tag 8 | step 36 | count 20]`
    buckets: [CachePadded<AtomicU64>; BUCKETS],
}

/// Steps within the slow threshold.
const STEPS: u64 = 8;
/// One for each step up to the threshold, one that is becoming overdue, one that is being filled.
const BUCKETS: usize = STEPS as usize + 2;
/// Short enough for every threshold that can be met, and 36 bits of them are two years.
const SHORTEST_STEP: u64 = 1_000_000;

const TAG: u32 = 56;
const STEP: u32 = 20;
const STEP_MASK: u64 = (1 << 36) - 1;
const COUNT_MASK: u64 = (1 << STEP) - 1;
const ERA_MASK: u64 = (1 << TAG) - 1;
const BIAS: u64 = 1 << 40;

/// What a call under way has to remember to be found again: which it does anyway.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    pub(super) admitted: Word,
    pub(super) at: Instant,
    pub(super) slow_after: Duration,
}

impl Start {
    fn step(&self) -> u64 {
        step_of(self.at, self.slow_after)
    }
}

fn step_of(now: Instant, slow_after: Duration) -> u64 {
    let width = nanos(slow_after).div_ceil(STEPS).max(SHORTEST_STEP);
    (now.as_nanos() / width) & STEP_MASK
}

/// How many steps `later` is after `earlier`; negative if it is before.
fn steps_between(earlier: u64, later: u64) -> i64 {
    ((later.wrapping_sub(earlier) << (64 - 36)) as i64) >> (64 - 36)
}

fn era_of(word: Word) -> u64 {
    u64::from(word.generation().to_bits()) << 5 | word.epoch()
}

impl InFlight {
    pub(super) fn new(word: Word) -> Self {
        Self {
            era: AtomicU64::new(1 << TAG | era_of(word)),
            overdue: CachePadded::new(AtomicU64::new(1 << TAG | BIAS)),
            buckets: std::array::from_fn(|_| CachePadded::new(AtomicU64::new(0))),
        }
    }

    /// The tag of the era of `word`, unless that is not the present one.
    fn tag(&self, word: Word) -> Option<u64> {
        // Ordering: acquire, with the release in `begin_era`.
        let era = self.era.load(Acquire);
        (era & ERA_MASK == era_of(word)).then_some(era >> TAG)
    }

    /// A call begins. True if it is the first of its step, so that others may have become overdue.
    pub(super) fn enter(&self, start: &Start) -> bool {
        let Some(tag) = self.tag(start.admitted) else { return false };
        let step = start.step();
        let bucket = &self.buckets[(step % BUCKETS as u64) as usize];
        let first = tag << TAG | step << STEP | 1;
        // Ordering: acquire, with the release below: who sees a bucket of a later era sees that era.
        let mut word = bucket.load(Acquire);
        loop {
            let age = steps_between(word >> STEP & STEP_MASK, step);
            let (next, left) = if word >> TAG != tag {
                if self.tag(start.admitted) != Some(tag) {
                    return false; // it is of a later era, which we do not belong to
                }
                (first, 0)
            } else if age > 0 {
                (first, word & COUNT_MASK)
            } else if age == 0 {
                // A million calls in one bucket: the rest goes uncounted, and `leave` stops at none.
                (if word & COUNT_MASK == COUNT_MASK { word } else { word + 1 }, 0)
            } else {
                self.add_overdue(tag, 1); // we were suspended for longer than it takes
                return true;
            };
            match bucket.compare_exchange_weak(word, next, AcqRel, Acquire) {
                Ok(_) => {
                    if left > 0 {
                        self.add_overdue(tag, left);
                    }
                    return next == first;
                }
                Err(now) => word = now,
            }
        }
    }

    /// A call that entered has ended, one way or another.
    pub(super) fn leave(&self, start: &Start) {
        let Some(tag) = self.tag(start.admitted) else { return };
        let step = start.step();
        let bucket = &self.buckets[(step % BUCKETS as u64) as usize];
        let mut word = bucket.load(Relaxed);
        while word >> STEP == tag << 36 | step {
            if word & COUNT_MASK == 0 {
                return;
            }
            match bucket.compare_exchange_weak(word, word - 1, Release, Relaxed) {
                Ok(_) => return,
                Err(now) => word = now,
            }
        }
        self.add_overdue(tag, u64::MAX); // minus one
    }

    fn add_overdue(&self, tag: u64, difference: u64) {
        let mut word = self.overdue.load(Relaxed);
        while word >> TAG == tag {
            let next = word.wrapping_add(difference);
            match self.overdue.compare_exchange_weak(word, next, Relaxed, Relaxed) {
                Ok(_) => return,
                Err(now) => word = now,
            }
        }
    }

    /// How many of the calls that `word` admitted are overdue at `now`.
    pub(super) fn overdue(&self, word: Word, now: Instant, slow_after: Duration) -> u64 {
        let Some(tag) = self.tag(word) else { return 0 };
        let step = step_of(now, slow_after);
        let common = self.overdue.load(Relaxed);
        let common =
            if common >> TAG == tag { (common & ERA_MASK).saturating_sub(BIAS) } else { 0 };
        let late = |word: u64| {
            let is_late =
                word >> TAG == tag && steps_between(word >> STEP & STEP_MASK, step) > STEPS as i64;
            if is_late { word & COUNT_MASK } else { 0 }
        };
        common + self.buckets.iter().map(|bucket| late(bucket.load(Relaxed))).sum::<u64>()
    }

    /// Forgets all calls under way: from here on those count that `word` will admit. One caller at a time,
    /// before `word` is published.
    pub(super) fn begin_era(&self, word: Word) {
        let tag = (self.era.load(Relaxed) >> TAG).wrapping_add(1) & 0xff;
        if tag.is_multiple_of(128) {
            // No bucket keeps a tag for longer than half the range of tags.
            for bucket in &self.buckets {
                bucket.swap(tag.wrapping_sub(1) << TAG, Relaxed);
            }
        }
        self.overdue.swap(tag << TAG | BIAS, Relaxed);
        // Ordering: release, to the acquire in `tag`. A swap, for loom lets a store be straddled.
        self.era.swap(tag << TAG | era_of(word), AcqRel);
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::super::CircuitBreakerBuilder;
    use super::*;
    use proptest::prelude::*;

    const THRESHOLD: Duration = Duration::from_millis(800);

    fn word() -> Word {
        let settings =
            CircuitBreakerBuilder::default().slow_calls(THRESHOLD, 0.5).settings().unwrap();
        Word::new(&settings, Default::default())
    }

    fn start(ms: u64) -> Start {
        Start { admitted: word(), at: at(ms), slow_after: THRESHOLD }
    }

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// Of any schedule: every call that is two steps over the threshold is counted, none that is below it.
        #[test]
        fn agrees_with_a_list(
            steps in prop::collection::vec((prop_oneof![8 => 0_u64..60, 1 => 0_u64..3000], any::<u8>()), 0..120),
        ) {
            let in_flight = InFlight::new(word());
            let (mut running, mut now) = (Vec::new(), 5000);
            for (pause, dice) in steps {
                now += pause;
                if dice < 128 || running.is_empty() {
                    in_flight.enter(&start(now));
                    running.push(now);
                } else {
                    let ended = running.swap_remove(usize::from(dice) % running.len());
                    in_flight.leave(&start(ended));
                }
                let older = |than: u64| running.iter().filter(|began| now - **began >= than).count() as u64;
                let overdue = in_flight.overdue(word(), at(now), THRESHOLD);
                prop_assert!((older(1000)..=older(800)).contains(&overdue), "{overdue} of {running:?} at {now}");
            }
            for began in running {
                in_flight.leave(&start(began));
            }
            prop_assert_eq!(in_flight.overdue(word(), Instant::FAR_FUTURE, THRESHOLD), 0);
        }
    }

    #[test]
    fn another_era_forgets_and_a_late_end_changes_nothing() {
        let in_flight = InFlight::new(word());
        let old = start(0);
        let mut word = word();
        // Twice around the tags.
        for _ in 0..600 {
            assert!(in_flight.enter(&Start { admitted: word, ..old }));
            let before = word;
            word = word.moved_to(super::super::word::Phase::CLOSED);
            in_flight.begin_era(word);
            in_flight.leave(&Start { admitted: before, ..old });
            assert_eq!(in_flight.overdue(word, at(100_000), THRESHOLD), 0);
            assert!(!in_flight.enter(&Start { admitted: before, ..old }), "of an era that is over");
        }
    }

    #[test]
    fn the_first_of_each_step_is_told_apart() {
        let in_flight = InFlight::new(word());
        let first: Vec<_> =
            [0, 1, 99, 100, 150, 2000, 2001].map(|ms| in_flight.enter(&start(ms))).into();
        assert_eq!(first, [true, false, false, true, false, true, false]);
    }
}
