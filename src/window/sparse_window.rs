//! The sparse count window: a few words until the first failed or slow call.

use super::count_window::CountWindow;
use super::{Sample, WindowCounts, WindowGeneration};
use crate::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use crate::sync::{Mutex, OnceLock};

/// A window of the last N calls that occupies a few words while all of them are fast successes. It
/// is made for large numbers of windows, most of which never record any other sample.
///
/// While the window is *sparse*, it stores only the number of successes. The first failed or slow
/// sample creates a [`CountWindow`] with the same number of successes. A reset makes the window
/// sparse again, and keeps the `CountWindow` for reuse.
///
/// Two steps take a lock: a reset, and the change to the `CountWindow`, which other recording
/// threads wait for. All other recording is lock-free.
#[derive(Debug)]
pub(super) struct SparseWindow {
    /// `[state 8 | generation 24 | successes 32]`
    word: AtomicU64,
    full: OnceLock<Box<CountWindow>>,
    /// Held to change the state.
    changing: Mutex<()>,
    calls: u32,
}

const STATE: u32 = 56;
/// Only the number of successes is stored.
const SPARSE: u64 = 0;
/// The successes are being moved to the `CountWindow`.
const FILLING: u64 = 1;
/// The `CountWindow` holds the samples.
const FULL: u64 = 2;

fn generation_of(word: u64) -> WindowGeneration {
    WindowGeneration::from_bits((word >> 32) as u32)
}

fn successes_of(word: u64) -> u32 {
    word as u32
}

fn sparse_of(generation: WindowGeneration) -> u64 {
    SPARSE << STATE | u64::from(generation.to_bits()) << 32
}

impl SparseWindow {
    pub(super) fn new(calls: u32) -> Self {
        Self {
            word: AtomicU64::new(sparse_of(WindowGeneration::FIRST)),
            full: OnceLock::new(),
            changing: Mutex::new(()),
            calls,
        }
    }

    pub(super) const fn size(&self) -> u32 {
        self.calls
    }

    #[inline]
    pub(super) fn record(&self, generation: WindowGeneration, sample: Sample) -> bool {
        let all_successes = sparse_of(generation) | u64::from(self.calls);
        // Ordering: acquire, pairs with the release in `fill`: a thread that reads FULL also reads
        // the window as it was filled.
        let word = self.word.load(Acquire);
        word == all_successes && sample == Sample::SUCCESS
            || self.record_in(word, generation, sample)
    }

    #[inline(never)]
    fn record_in(&self, mut word: u64, generation: WindowGeneration, sample: Sample) -> bool {
        loop {
            if generation_of(word) != generation {
                return false;
            }
            match word >> STATE {
                SPARSE if sample == Sample::SUCCESS => {
                    if successes_of(word) == self.calls {
                        return true;
                    }
                    match self.word.compare_exchange_weak(word, word + 1, Relaxed, Acquire) {
                        Ok(_) => return true,
                        Err(now) => word = now,
                    }
                }
                FULL => {
                    return self.full.get().is_some_and(|window| window.record(generation, sample));
                }
                _ => {
                    self.fill(generation);
                    word = self.word.load(Acquire);
                }
            }
        }
    }

    /// Changes a sparse `generation` to the `CountWindow`, or waits for the thread that does.
    #[cold]
    fn fill(&self, generation: WindowGeneration) {
        let _changing = self.changing.lock();
        let mut word = self.word.load(Relaxed);
        while word >> STATE == SPARSE && generation_of(word) == generation {
            // From here on no thread counts successes in the word, so none is lost.
            let filling = word | FILLING << STATE;
            match self.word.compare_exchange_weak(word, filling, Relaxed, Relaxed) {
                Ok(_) => {
                    let window = self.full.get_or_init(|| Box::new(CountWindow::new(self.calls)));
                    window.reset_to_successes(generation, successes_of(word));
                    // A swap, not a store: loom lets a store fall between the read and the write of
                    // another thread's read-modify-write.
                    self.word.swap(word | FULL << STATE, Release);
                    return;
                }
                Err(now) => word = now,
            }
        }
    }

    pub(super) fn counts(&self) -> WindowCounts {
        let word = self.word.load(Acquire);
        match (word >> STATE, self.full.get()) {
            (FULL, Some(window)) => window.counts(),
            _ => WindowCounts { total: successes_of(word).into(), failed: 0, slow: 0 },
        }
    }

    pub(super) fn reset(&self, generation: WindowGeneration) {
        let _changing = self.changing.lock();
        self.word.swap(sparse_of(generation), Release);
    }

    #[cfg(all(test, mainstay_loom))]
    pub(super) fn recount(&self, generation: WindowGeneration) -> WindowCounts {
        self.full.get().map_or_else(|| self.counts(), |window| window.recount(generation))
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_window_of_successes_never_allocates_its_slots() {
        let window = SparseWindow::new(3);
        for _ in 0..10 {
            assert!(window.record(WindowGeneration::FIRST, Sample::SUCCESS));
        }
        assert!(window.full.get().is_none());
        assert_eq!(window.size(), 3);
        window.record(WindowGeneration::FIRST, Sample::SLOW);
        assert!(window.full.get().is_some());
    }

    proptest! {
        /// A sparse window always has the counts of a count window with the same samples.
        #[test]
        fn has_the_counts_of_a_count_window(
            calls in 1_u32..12,
            steps in prop::collection::vec(
                (0_u8..40, prop::sample::select(vec![0_u8, 0, 0, 0, 0, 1, 2])),
                0..300,
            ),
        ) {
            let (sparse, dense) = (SparseWindow::new(calls), CountWindow::new(calls));
            let mut generation = WindowGeneration::FIRST;
            for (dice, kind) in steps {
                if dice == 0 {
                    let late = generation;
                    generation = generation.next();
                    sparse.reset(generation);
                    dense.reset(generation);
                    prop_assert!(!sparse.record(late, Sample::FAILED));
                } else {
                    let sample = [Sample::SUCCESS, Sample::FAILED, Sample::SLOW][usize::from(kind)];
                    prop_assert!(sparse.record(generation, sample));
                    prop_assert!(dense.record(generation, sample));
                }
                prop_assert_eq!(sparse.counts(), dense.counts());
            }
        }
    }
}
