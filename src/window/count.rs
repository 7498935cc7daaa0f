use super::modulus::Modulus;
use super::{Sample, WindowCounts, WindowGeneration};
use crate::sync::CachePadded;
use crate::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

/// The last N calls.
///
/// A cursor deals out places; each place is a slot that holds its sample; the counts are the sum of
/// the slots. Only a change of a slot touches the counts, so that a success in the place of a success
/// costs the cursor's addition and a look at the slot.
///
/// And in a window full of nothing but successes, which is what a healthy dependency has, one more success
/// changes nothing at all: the sequence of N successes is the same before and after. Then it costs one
/// load, of a word that nobody writes, and threads that share the window do not get in each other's way.
///
/// Every word says to which generation it belongs, so that emptying the window is two stores.
///
/// Ordering: relaxed, but for slots. No word publishes another: each slot's changes form one order, each
/// change adds its own difference to the counts, and a sum does not depend on order. A new generation is
/// published by whoever hands it out, after `reset`.
#[derive(Debug)]
pub(super) struct CountWindow {
    /// `[generation 32 | next place 32]`
    cursor: CachePadded<AtomicU64>,
    /// [`Lanes`]
    counts: CachePadded<AtomicU64>,
    slots: Box<[AtomicU32]>,
    size: Modulus,
    /// The lanes of a window full of successes.
    all_well: u64,
}

/// Places run up to here and are then set back by a multiple of the size, so that they never reach the
/// generation.
const HALF: u64 = 1 << 31;

impl CountWindow {
    pub(super) fn new(calls: u32) -> Self {
        let generation = WindowGeneration::FIRST;
        Self {
            cursor: CachePadded::new(AtomicU64::new(first_place(generation))),
            counts: CachePadded::new(AtomicU64::new(Lanes::empty(generation).0)),
            slots: (0..calls).map(|_| AtomicU32::new(Slot::NEVER.0)).collect(),
            size: Modulus::new(calls),
            all_well: u64::from(calls) << Lanes::TOTAL,
        }
    }

    pub(super) const fn size(&self) -> u32 {
        self.size.divisor() as u32
    }

    #[inline]
    pub(super) fn record(&self, generation: WindowGeneration, sample: Sample) -> bool {
        if sample == Sample::OK
            && self.counts.load(Relaxed) == Lanes::empty(generation).0.wrapping_add(self.all_well)
        {
            return true;
        }
        self.place(generation, sample)
    }

    #[inline]
    fn place(&self, generation: WindowGeneration, sample: Sample) -> bool {
        let dealt = self.cursor.fetch_add(1, Relaxed);
        let place = dealt & u64::from(u32::MAX);
        if place >= HALF {
            self.set_back();
        }
        if generation_of(dealt) != generation {
            return false; // the place is skipped: what was there stays for a round more
        }
        let slot = &self.slots[self.size.of(place)];
        let new = Slot::new(generation, sample);
        if slot.load(Relaxed) == new.0 {
            return true;
        }
        self.replace(slot, generation, new)
    }

    #[cold]
    #[inline(never)]
    fn replace(&self, slot: &AtomicU32, generation: WindowGeneration, new: Slot) -> bool {
        // Ordering: acquire, with the release of whoever wrote the slot: having seen a sample of a
        // later generation, we see the cursor of that generation too.
        let mut old = Slot(slot.load(Acquire));
        loop {
            // Suspended until the window went on to another generation? Then its slots are not ours.
            if old.generation() != generation && self.generation() != generation {
                return false;
            }
            match slot.compare_exchange_weak(old.0, new.0, Release, Acquire) {
                Ok(_) => break,
                Err(now) => old = Slot(now),
            }
        }
        let gone = if old.generation() == generation { old.lanes() } else { 0 };
        let difference = new.lanes().wrapping_sub(gone);
        let mut counts = Lanes(self.counts.load(Relaxed));
        loop {
            if !counts.are_of(generation) {
                return false;
            }
            let sum = counts.0.wrapping_add(difference);
            match self.counts.compare_exchange_weak(counts.0, sum, Relaxed, Relaxed) {
                Ok(_) => return true,
                Err(now) => counts = Lanes(now),
            }
        }
    }

    pub(super) fn counts(&self) -> WindowCounts {
        Lanes(self.counts.load(Relaxed)).counts()
    }

    pub(super) fn reset(&self, generation: WindowGeneration) {
        // Swaps rather than stores: loom would let a late recorder's read-modify-write straddle a store.
        self.counts.swap(Lanes::empty(generation).0, Relaxed);
        self.cursor.swap(first_place(generation), Relaxed);
    }

    /// As [`reset`](Self::reset), with so many successes in it, at most as many as it holds. Nobody records in
    /// `generation` yet.
    pub(super) fn begin(&self, generation: WindowGeneration, successes: u32) {
        // The counts and the cursor first: with them late recorders of other generations find out that the
        // slots are not theirs, before or after a slot is written here.
        self.counts
            .swap(Lanes::empty(generation).0 + (u64::from(successes) << Lanes::TOTAL), Relaxed);
        self.cursor.swap(first_place(generation) | u64::from(successes), Relaxed);
        for slot in &self.slots[..successes as usize] {
            // Ordering: as in `replace`; and a swap, so that it comes after what a late recorder put there.
            slot.swap(Slot::new(generation, Sample::OK).0, Release);
        }
    }

    fn generation(&self) -> WindowGeneration {
        generation_of(self.cursor.load(Relaxed))
    }

    #[cold]
    fn set_back(&self) {
        let now = self.cursor.load(Relaxed);
        if now & u64::from(u32::MAX) >= HALF {
            // Whole rounds, so that the order of the slots stays. If it fails, somebody else came
            // between and will try; two billion more calls would have to fail to make it matter.
            let rounds = HALF - HALF % self.size.divisor();
            let _ = self.cursor.compare_exchange(now, now - rounds, Relaxed, Relaxed);
        }
    }

    #[cfg(test)]
    pub(super) fn recount(&self, generation: WindowGeneration) -> WindowCounts {
        let sum = self
            .slots
            .iter()
            .map(|slot| Slot(slot.load(Relaxed)))
            .filter(|slot| slot.generation() == generation)
            .fold(Lanes::empty(generation).0, |sum, slot| sum.wrapping_add(slot.lanes()));
        Lanes(sum).counts()
    }

    #[cfg(all(test, not(mainstay_loom)))]
    pub(super) fn set_next_place(&self, generation: WindowGeneration, place: u32) {
        self.cursor.store(first_place(generation) | u64::from(place), Relaxed);
    }
}

fn first_place(generation: WindowGeneration) -> u64 {
    u64::from(generation.to_bits()) << 32
}

fn generation_of(cursor: u64) -> WindowGeneration {
    WindowGeneration::from_bits((cursor >> 32) as u32)
}

/// `[generation 24 | slow | failed]`
#[derive(Clone, Copy, PartialEq)]
struct Slot(u32);

impl Slot {
    const NEVER: Self = Self(0);

    fn new(generation: WindowGeneration, sample: Sample) -> Self {
        Self(generation.to_bits() << 2 | u32::from(sample.slow) << 1 | u32::from(sample.failed))
    }

    fn generation(self) -> WindowGeneration {
        WindowGeneration::from_bits(self.0 >> 2)
    }

    /// What this slot adds to the counts.
    fn lanes(self) -> u64 {
        let failed = u64::from(self.0 & 1);
        let slow = u64::from(self.0 >> 1 & 1);
        1 << Lanes::TOTAL | failed << Lanes::FAILED | slow << Lanes::SLOW
    }
}

/// Three counts and a tag in one word: `[tag 13 | total 17 | failed 17 | slow 17]`.
///
/// The counts are *signed* and added up as one number. A sample is in its slot before it is in the
/// counts, so when it is replaced within that moment, its departure is booked before its arrival and a
/// lane stands at −1 for a while. Then it has borrowed from its neighbour, and reading from the right,
/// each lane taken as signed and deducted from the rest, gives the borrow back.
#[derive(Clone, Copy)]
struct Lanes(u64);

impl Lanes {
    const WIDTH: u32 = 17;
    const SLOW: u32 = 0;
    const FAILED: u32 = Self::WIDTH;
    const TOTAL: u32 = 2 * Self::WIDTH;
    const TAG: u32 = 3 * Self::WIDTH;

    fn empty(generation: WindowGeneration) -> Self {
        Self(u64::from(generation.to_bits()) << Self::TAG)
    }

    fn split(self) -> (u64, [i64; 3]) {
        let mut rest = self.0;
        let lanes = [0; 3].map(|_: i64| {
            let lane = (rest as i64) << (64 - Self::WIDTH) >> (64 - Self::WIDTH);
            rest = (rest.wrapping_sub(lane as u64) as i64 >> Self::WIDTH) as u64;
            lane
        });
        (rest & (u64::MAX >> Self::TAG), lanes)
    }

    fn are_of(self, generation: WindowGeneration) -> bool {
        self.split().0 == Self::empty(generation).0 >> Self::TAG
    }

    fn counts(self) -> WindowCounts {
        let [slow, failed, total] = self.split().1.map(|lane| lane.max(0) as u64);
        WindowCounts { total, failed, slow }
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    pub(crate) fn any_sample() -> impl Strategy<Value = Sample> {
        (any::<bool>(), any::<bool>()).prop_map(|(failed, slow)| Sample { failed, slow })
    }

    fn count<'a>(samples: impl Iterator<Item = &'a Sample>) -> WindowCounts {
        samples.fold(WindowCounts::default(), |sum, sample| WindowCounts {
            total: sum.total + 1,
            failed: sum.failed + u64::from(sample.failed),
            slow: sum.slow + u64::from(sample.slow),
        })
    }

    #[derive(Clone, Debug)]
    enum Step {
        Record(Sample),
        Reset,
        /// The cursor is about to pass half its range, or the whole of it.
        Near(u32),
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            40 => any_sample().prop_map(Step::Record),
            1 => Just(Step::Reset),
            1 => Just(Step::Near(HALF as u32)),
            1 => Just(Step::Near(u32::MAX)),
        ]
    }

    proptest! {
        #[test]
        fn is_the_last_n_samples(calls in 1_u32..40, steps in prop::collection::vec(any_step(), 0..400)) {
            let window = CountWindow::new(calls);
            let mut generation = WindowGeneration::FIRST;
            let mut model = VecDeque::new();
            for step in steps {
                match step {
                    Step::Record(sample) => {
                        prop_assert!(window.record(generation, sample));
                        model.push_back(sample);
                        if model.len() > calls as usize {
                            model.pop_front();
                        }
                    }
                    Step::Reset => {
                        generation = generation.next();
                        window.reset(generation);
                        model.clear();
                    }
                    Step::Near(end) => {
                        let place = window.cursor.load(Relaxed) as u32;
                        let rounds = (end - 2 * calls) / calls * calls;
                        if place < calls {
                            window.set_next_place(generation, place + rounds);
                        }
                    }
                }
                prop_assert_eq!(window.counts(), count(model.iter()));
                prop_assert_eq!(window.recount(generation), window.counts());
            }
        }

        #[test]
        fn lanes_survive_borrowing(total in 0_i64..32768, failed in -64_i64..32768, slow in -64_i64..32768,
                                   generation in 1_u32..1 << 24) {
            let generation = WindowGeneration::from_bits(generation);
            let word = [(total, Lanes::TOTAL), (failed, Lanes::FAILED), (slow, Lanes::SLOW)]
                .iter()
                .fold(Lanes::empty(generation).0, |sum, (n, shift)| sum.wrapping_add((*n as u64) << shift));
            prop_assert_eq!(Lanes(word).split().1, [slow, failed, total]);
            prop_assert!(Lanes(word).are_of(generation));
            prop_assert!(!Lanes(word).are_of(generation.next()));
        }
    }

    #[test]
    fn a_late_sample_changes_no_count() {
        let window = CountWindow::new(4);
        let old = WindowGeneration::FIRST;
        let new = old.next();
        window.record(old, Sample::FAILED);
        window.reset(new);
        assert!(!window.record(old, Sample::FAILED));
        assert!(window.record(new, Sample::SLOW));
        assert_eq!(window.counts(), WindowCounts { total: 1, failed: 0, slow: 1 });
        // Suspended between taking its place and writing it, and back after the change:
        assert!(!window.replace(&window.slots[1], old, Slot::new(old, Sample::FAILED)));
        assert_eq!(window.counts(), window.recount(new));
    }
}
