//! The count window: counts over the last N calls.

use super::modulus::Modulus;
use super::{Sample, WindowCounts, WindowGeneration};
use crate::sync::CachePadded;
use crate::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

/// A window over the last N calls.
///
/// A cursor assigns positions; each position belongs to a slot, which holds one sample; the counts
/// are the sum over the slots. The counts are updated only when a slot changes, so a success that
/// replaces a success costs the increment of the cursor and a read of the slot.
///
/// In a window that holds only fast successes, as it does for a healthy dependency, another fast
/// success changes nothing: the sequence of N successes is the same before and after. Recording it
/// costs one load of a word that no thread writes, so threads that share the window do not contend.
///
/// Every word carries the generation that it belongs to, so emptying the window takes two swaps.
///
/// Ordering: relaxed, except for slots. No word publishes another. The modifications of each slot
/// have one total order, each modification adds its own difference to the counts, and a sum does
/// not depend on order. The caller of `reset` publishes the new generation afterwards.
#[derive(Debug)]
pub(super) struct CountWindow {
    /// `[generation 32 | next position 32]`
    cursor: CachePadded<AtomicU64>,
    /// [`PackedCounts`]
    counts: CachePadded<AtomicU64>,
    slots: Box<[AtomicU32]>,
    size: Modulus,
    /// The packed counts of a window full of successes, without a generation.
    all_successes: u64,
}

/// The position from which the cursor is set back by a multiple of the size, so that it never
/// overflows into the generation.
const HALF: u64 = 1 << 31;

impl CountWindow {
    pub(super) fn new(calls: u32) -> Self {
        let generation = WindowGeneration::FIRST;
        Self {
            cursor: CachePadded::new(AtomicU64::new(first_position(generation))),
            counts: CachePadded::new(AtomicU64::new(PackedCounts::empty(generation).0)),
            slots: (0..calls).map(|_| AtomicU32::new(Slot::NEVER_WRITTEN.0)).collect(),
            size: Modulus::new(calls),
            all_successes: u64::from(calls) << PackedCounts::TOTAL,
        }
    }

    pub(super) const fn size(&self) -> u32 {
        self.size.divisor() as u32
    }

    #[inline]
    pub(super) fn record(&self, generation: WindowGeneration, sample: Sample) -> bool {
        let full = PackedCounts::empty(generation).0.wrapping_add(self.all_successes);
        if sample == Sample::SUCCESS && self.counts.load(Relaxed) == full {
            return true;
        }
        self.record_in_slot(generation, sample)
    }

    #[inline]
    fn record_in_slot(&self, generation: WindowGeneration, sample: Sample) -> bool {
        let cursor = self.cursor.fetch_add(1, Relaxed);
        let position = cursor & u64::from(u32::MAX);
        if position >= HALF {
            self.set_cursor_back();
        }
        if generation_of(cursor) != generation {
            return false; // the position is skipped: its slot keeps its sample for another round
        }
        let slot = &self.slots[self.size.of(position)];
        let new = Slot::new(generation, sample);
        if slot.load(Relaxed) == new.0 {
            return true;
        }
        self.replace(slot, generation, new)
    }

    #[cold]
    #[inline(never)]
    fn replace(&self, slot: &AtomicU32, generation: WindowGeneration, new: Slot) -> bool {
        // Ordering: acquire, pairs with the release of the thread that wrote the slot: a thread
        // that reads a sample of a later generation also reads the cursor of that generation.
        let mut old = Slot(slot.load(Acquire));
        loop {
            // If this thread was suspended until the window moved to another generation, it must
            // not write the slot.
            if old.generation() != generation && self.generation() != generation {
                return false;
            }
            match slot.compare_exchange_weak(old.0, new.0, Release, Acquire) {
                Ok(_) => break,
                Err(now) => old = Slot(now),
            }
        }
        let removed = if old.generation() == generation { old.counts() } else { 0 };
        let difference = new.counts().wrapping_sub(removed);
        let mut counts = PackedCounts(self.counts.load(Relaxed));
        loop {
            if !counts.are_of(generation) {
                return false;
            }
            let sum = counts.0.wrapping_add(difference);
            match self.counts.compare_exchange_weak(counts.0, sum, Relaxed, Relaxed) {
                Ok(_) => return true,
                Err(now) => counts = PackedCounts(now),
            }
        }
    }

    pub(super) fn counts(&self) -> WindowCounts {
        PackedCounts(self.counts.load(Relaxed)).unpack()
    }

    pub(super) fn reset(&self, generation: WindowGeneration) {
        // Swaps instead of stores, because loom allows a store to fall between the read and the
        // write of another thread's read-modify-write.
        self.counts.swap(PackedCounts::empty(generation).0, Relaxed);
        self.cursor.swap(first_position(generation), Relaxed);
    }

    /// Moves the window to `generation` and fills it with `successes`, at most its size. No thread
    /// records in `generation` yet.
    pub(super) fn reset_to_successes(&self, generation: WindowGeneration, successes: u32) {
        // The counts and the cursor are written first. A late thread of another generation detects
        // from them that its sample must not be counted, before or after its slot is written here.
        self.counts.swap(
            PackedCounts::empty(generation).0 + (u64::from(successes) << PackedCounts::TOTAL),
            Relaxed,
        );
        self.cursor.swap(first_position(generation) | u64::from(successes), Relaxed);
        for slot in &self.slots[..successes as usize] {
            // Ordering: release, as in `replace`; a swap, so that it is ordered after the write of
            // a late thread.
            slot.swap(Slot::new(generation, Sample::SUCCESS).0, Release);
        }
    }

    fn generation(&self) -> WindowGeneration {
        generation_of(self.cursor.load(Relaxed))
    }

    #[cold]
    fn set_cursor_back(&self) {
        let now = self.cursor.load(Relaxed);
        if now & u64::from(u32::MAX) >= HALF {
            // Subtracts whole rounds, so that the order of the slots is preserved. If the exchange
            // fails, another thread has moved the cursor, and a later call tries again. An overflow
            // would take two billion failures in a row.
            let rounds = HALF - HALF % self.size.divisor();
            let _ = self.cursor.compare_exchange(now, now - rounds, Relaxed, Relaxed);
        }
    }

    /// Computes the counts as the sum over the slots.
    #[cfg(test)]
    pub(super) fn recount(&self, generation: WindowGeneration) -> WindowCounts {
        let sum = self
            .slots
            .iter()
            .map(|slot| Slot(slot.load(Relaxed)))
            .filter(|slot| slot.generation() == generation)
            .fold(PackedCounts::empty(generation).0, |sum, slot| sum.wrapping_add(slot.counts()));
        PackedCounts(sum).unpack()
    }

    #[cfg(all(test, not(mainstay_loom)))]
    pub(super) fn set_next_position(&self, generation: WindowGeneration, position: u32) {
        self.cursor.store(first_position(generation) | u64::from(position), Relaxed);
    }
}

fn first_position(generation: WindowGeneration) -> u64 {
    u64::from(generation.to_bits()) << 32
}

fn generation_of(cursor: u64) -> WindowGeneration {
    WindowGeneration::from_bits((cursor >> 32) as u32)
}

/// `[generation 24 | slow | failed]`
#[derive(Clone, Copy, PartialEq)]
struct Slot(u32);

impl Slot {
    const NEVER_WRITTEN: Self = Self(0);

    fn new(generation: WindowGeneration, sample: Sample) -> Self {
        Self(generation.to_bits() << 2 | u32::from(sample.slow) << 1 | u32::from(sample.failed))
    }

    fn generation(self) -> WindowGeneration {
        WindowGeneration::from_bits(self.0 >> 2)
    }

    /// Returns the contribution of this slot to the packed counts.
    fn counts(self) -> u64 {
        let failed = u64::from(self.0 & 1);
        let slow = u64::from(self.0 >> 1 & 1);
        1 << PackedCounts::TOTAL | failed << PackedCounts::FAILED | slow << PackedCounts::SLOW
    }
}

/// Three counts and a tag in one word: `[tag 13 | total 17 | failed 17 | slow 17]`. The tag is the
/// low 13 bits of the generation.
///
/// The counts are *signed* fields, added as one number. A sample is written to its slot before it
/// is added to the counts. If another sample replaces it in between, it is subtracted before it is
/// added. A field can then be negative for a moment, and borrows from the next field. `split`
/// undoes the borrow: from the right, it takes each field as signed and subtracts it from the rest.
#[derive(Clone, Copy)]
struct PackedCounts(u64);

impl PackedCounts {
    const WIDTH: u32 = 17;
    const SLOW: u32 = 0;
    const FAILED: u32 = Self::WIDTH;
    const TOTAL: u32 = 2 * Self::WIDTH;
    const TAG: u32 = 3 * Self::WIDTH;

    fn empty(generation: WindowGeneration) -> Self {
        Self(u64::from(generation.to_bits()) << Self::TAG)
    }

    /// Splits the word into the tag and the slow, failed and total counts.
    fn split(self) -> (u64, [i64; 3]) {
        let mut rest = self.0;
        let fields = [0; 3].map(|_: i64| {
            let field = (rest as i64) << (64 - Self::WIDTH) >> (64 - Self::WIDTH);
            rest = (rest.wrapping_sub(field as u64) as i64 >> Self::WIDTH) as u64;
            field
        });
        (rest & (u64::MAX >> Self::TAG), fields)
    }

    fn are_of(self, generation: WindowGeneration) -> bool {
        self.split().0 == Self::empty(generation).0 >> Self::TAG
    }

    fn unpack(self) -> WindowCounts {
        let [slow, failed, total] = self.split().1.map(|field| field.max(0) as u64);
        WindowCounts { total, failed, slow }
    }
}

#[cfg(all(test, not(mainstay_loom)))]
#[path = "tests/count_window.rs"]
mod tests;
