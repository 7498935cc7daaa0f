//! Calls in flight, counted by their start, so that overdue calls are known before they end.

use super::word::Word;
use crate::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use crate::sync::{CachePadded, EpochWord};
use crate::time::{Instant, nanos};
use std::time::Duration;

/// Counts the calls in flight that are *overdue*: that have taken as long as a slow call already.
///
/// Time is divided into steps of an eighth of the slow threshold. Each bucket counts the calls in
/// flight that started in one step. When a bucket is needed for a later step, the calls that are
/// left in it are overdue, and move to a common count. A call that ends finds its bucket by the
/// time of its start; if the bucket belongs to a later step by now, the call is among the overdue
/// ones.
///
/// If the clock is set back, some buckets belong to steps in the future. They are reused, and the
/// calls in them are no longer counted.
///
/// A call becomes overdue when the whole step in which it started does: never before the threshold,
/// and at most two eighths of it later.
///
/// All counts belong to an *era*, named by the generation and the configuration epoch of the
/// breaker's word. When either changes, the calls in flight are forgotten here; they are still
/// recorded when they end. Eras are told apart by a few bits (the *tag*), so all buckets are
/// emptied before a tag is used again.
#[derive(Debug)]
pub(crate) struct InFlight {
    /// `[tag 8 | era 29]`
    era: AtomicU64,
    /// `[tag 8 | count + BIAS]`. The bias is needed because a call that ends may be subtracted
    /// before the rest of its bucket is added.
    overdue: CachePadded<AtomicU64>,
    /// `[tag 8 | step 36 | count 20]`
    buckets: [CachePadded<AtomicU64>; BUCKETS],
}

/// Steps within the slow threshold.
const STEPS: u64 = 8;
/// One for each step up to the threshold, one that becomes overdue, one that is being filled.
const BUCKETS: usize = STEPS as usize + 2;
/// The shortest step, in nanoseconds. 36 bits of such steps are two years.
const MIN_STEP: u64 = 1_000_000;

const TAG: u32 = 56;
const STEP: u32 = 20;
const STEP_MASK: u64 = (1 << 36) - 1;
const COUNT_MASK: u64 = (1 << STEP) - 1;
const ERA_MASK: u64 = (1 << TAG) - 1;
const BIAS: u64 = 1 << 40;

/// The part of a call's ticket that identifies its bucket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    pub(crate) admitted: Word,
    pub(crate) at: Instant,
    pub(crate) slow_after: Duration,
}

/// The result of [`InFlight::enter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Entered {
    /// The call is the first of its step, so that earlier calls may have become overdue.
    FirstOfStep,
    /// Another call of the same step has entered before, or the call is not counted.
    InPresentStep,
    /// The call is not counted yet, because its bucket belongs to a later step: to be entered by
    /// [`enter_behind`](InFlight::enter_behind).
    BehindBucket,
}

impl Start {
    fn step(&self) -> u64 {
        step_of(self.at, self.slow_after)
    }
}

fn step_of(now: Instant, slow_after: Duration) -> u64 {
    let width = nanos(slow_after).div_ceil(STEPS).max(MIN_STEP);
    (now.as_nanos() / width) & STEP_MASK
}

/// Returns the number of steps from `earlier` to `later`; negative if `later` is before `earlier`.
fn steps_between(earlier: u64, later: u64) -> i64 {
    ((later.wrapping_sub(earlier) << (64 - 36)) as i64) >> (64 - 36)
}

fn era_of(word: Word) -> u64 {
    u64::from(word.generation().to_bits()) << 5 | word.epoch()
}

impl InFlight {
    pub(crate) fn new(word: Word) -> Self {
        Self {
            era: AtomicU64::new(1 << TAG | era_of(word)),
            overdue: CachePadded::new(AtomicU64::new(1 << TAG | BIAS)),
            buckets: std::array::from_fn(|_| CachePadded::new(AtomicU64::new(0))),
        }
    }

    /// Returns the tag of the era of `word`, if that is the present era.
    fn tag(&self, word: Word) -> Option<u64> {
        // Ordering: acquire, with the release in `begin_era`.
        let era = self.era.load(Acquire);
        (era & ERA_MASK == era_of(word)).then_some(era >> TAG)
    }

    /// Counts a call that starts.
    pub(crate) fn enter(&self, start: &Start) -> Entered {
        let Some(tag) = self.tag(start.admitted) else { return Entered::InPresentStep };
        let step = start.step();
        let bucket = &self.buckets[(step % BUCKETS as u64) as usize];
        let first = tag << TAG | step << STEP | 1;
        // Ordering: acquire, with the release below: a thread that reads a bucket of a later era
        // also reads that era.
        let mut word = bucket.load(Acquire);
        loop {
            let age = steps_between(word >> STEP & STEP_MASK, step);
            let (next, left) = if word >> TAG != tag {
                if self.tag(start.admitted) != Some(tag) {
                    return Entered::InPresentStep; // the bucket belongs to a later era
                }
                (first, 0)
            } else if age > 0 {
                (first, word & COUNT_MASK)
            } else if age == 0 {
                // A bucket holds a million calls. More are not counted, and `leave` stops at zero.
                (if word & COUNT_MASK == COUNT_MASK { word } else { word + 1 }, 0)
            } else {
                return Entered::BehindBucket;
            };
            match bucket.compare_exchange_weak(word, next, AcqRel, Acquire) {
                Ok(_) => {
                    if left > 0 {
                        self.add_overdue(tag, left);
                    }
                    return if next == first {
                        Entered::FirstOfStep
                    } else {
                        Entered::InPresentStep
                    };
                }
                Err(now) => word = now,
            }
        }
    }

    /// Counts a call that starts, whose bucket belongs to a later step. `now` has just been read.
    ///
    /// Either this thread was suspended since it read the start of the call, which is overdue then;
    /// or the clock was set back. Then the calls in the bucket, which started by the clock as it
    /// was before, are no longer counted as in flight.
    #[cold]
    pub(crate) fn enter_behind(&self, start: &Start, now: Instant) -> Entered {
        let step = start.step();
        let bucket = &self.buckets[(step % BUCKETS as u64) as usize];
        let mut word = bucket.load(Acquire);
        loop {
            let Some(tag) = self.tag(start.admitted) else { return Entered::InPresentStep };
            let bucket_step = word >> STEP & STEP_MASK;
            if word >> TAG != tag || steps_between(bucket_step, step) >= 0 {
                return self.enter(start); // changed in the meantime
            }
            // Clocks of two processors may differ by less than a step.
            if steps_between(step_of(now, start.slow_after), bucket_step) <= 1 {
                self.add_overdue(tag, 1);
                return Entered::FirstOfStep;
            }
            let first = tag << TAG | step << STEP | 1;
            match bucket.compare_exchange_weak(word, first, AcqRel, Acquire) {
                Ok(_) => return Entered::FirstOfStep,
                Err(now) => word = now,
            }
        }
    }

    /// Counts the end of a call that entered, whatever its outcome.
    pub(crate) fn leave(&self, start: &Start) {
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
        // In a bucket of an earlier step, `enter_behind` has taken the place of this call.
        if word >> TAG != tag || steps_between(word >> STEP & STEP_MASK, step) < 0 {
            self.add_overdue(tag, u64::MAX); // minus one
        }
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

    /// Returns the number of calls admitted under `word` that are overdue at `now`.
    pub(crate) fn overdue(&self, word: Word, now: Instant, slow_after: Duration) -> u64 {
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

    /// Forgets all calls in flight; from here on, calls that `word` admits are counted. Called by
    /// one thread at a time, before `word` is published.
    pub(crate) fn begin_era(&self, word: Word) {
        let tag = (self.era.load(Relaxed) >> TAG).wrapping_add(1) & 0xff;
        if tag.is_multiple_of(128) {
            // No bucket keeps a tag for longer than half the range of tags.
            for bucket in &self.buckets {
                bucket.swap(tag.wrapping_sub(1) << TAG, Relaxed);
            }
        }
        self.overdue.swap(tag << TAG | BIAS, Relaxed);
        // Ordering: release, with the acquire in `tag`. A swap, because loom lets the
        // read-modify-write of another thread straddle a plain store.
        self.era.swap(tag << TAG | era_of(word), AcqRel);
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::super::word::Phase;
    use super::*;
    use crate::breaker::CircuitBreakerBuilder;
    use proptest::prelude::*;

    const THRESHOLD: Duration = Duration::from_millis(800);

    fn word() -> Word {
        let builder = CircuitBreakerBuilder::default().slow_calls(THRESHOLD, 0.5);
        Word::new(&builder.validated().unwrap(), Default::default())
    }

    fn start(ms: u64) -> Start {
        Start { admitted: word(), at: at(ms), slow_after: THRESHOLD }
    }

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// In every schedule, each call that is two steps over the threshold is counted, and none
        /// below it.
        #[test]
        fn agrees_with_a_list(
            steps in prop::collection::vec((prop_oneof![8 => 0_u64..60, 1 => 0_u64..3000], any::<u8>()), 0..120),
        ) {
            let in_flight = InFlight::new(word());
            let (mut running, mut now) = (Vec::new(), 5000);
            for (pause, dice) in steps {
                now += pause;
                if dice < 128 || running.is_empty() {
                    let _ = in_flight.enter(&start(now));
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
    fn a_new_era_forgets_all_calls_and_a_late_end_changes_nothing() {
        let in_flight = InFlight::new(word());
        let old = start(0);
        let mut word = word();
        // Twice around the tags.
        for _ in 0..600 {
            assert_eq!(in_flight.enter(&Start { admitted: word, ..old }), Entered::FirstOfStep);
            let before = word;
            word = word.next_generation(Phase::CLOSED);
            in_flight.begin_era(word);
            in_flight.leave(&Start { admitted: before, ..old });
            assert_eq!(in_flight.overdue(word, at(100_000), THRESHOLD), 0);
            let late = in_flight.enter(&Start { admitted: before, ..old });
            assert_eq!(late, Entered::InPresentStep, "the call belongs to an earlier era");
        }
    }

    #[test]
    fn the_first_call_of_each_step_is_reported() {
        let in_flight = InFlight::new(word());
        let first: Vec<_> = [0, 1, 99, 100, 150, 2000, 2001]
            .map(|ms| in_flight.enter(&start(ms)) == Entered::FirstOfStep)
            .into();
        assert_eq!(first, [true, false, false, true, false, true, false]);
    }
}
