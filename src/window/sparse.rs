use super::count::CountWindow;
use super::{Sample, WindowCounts, WindowGeneration};
use crate::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use crate::sync::{Mutex, OnceLock};

/// The last N calls, in a few words for as long as all of them are successes: for very many windows, most of
/// which never see anything else.
///
/// Of a *calm* window it is enough to know how many successes it holds. The first other sample makes it a
/// [`CountWindow`], filled with as many; the next generation is calm again, and keeps the memory.
///
/// Making it is the one step that takes a lock, once a generation; meanwhile other recorders wait for it. A
/// window that is calm, or has been made, is lock-free as a [`CountWindow`] is.
#[derive(Debug)]
pub(super) struct SparseWindow {
    /// `[state 8 | generation 24 | successes 32]`
    calm: AtomicU64,
    made: OnceLock<Box<CountWindow>>,
    /// Held to change the state.
    making: Mutex<()>,
    calls: u32,
}

const STATE: u32 = 56;
/// The count of successes is all there is.
const CALM: u64 = 0;
/// It was: the window is being filled with them.
const MAKING: u64 = 1;
/// The window says what there is.
const MADE: u64 = 2;

fn generation_of(calm: u64) -> WindowGeneration {
    WindowGeneration::from_bits((calm >> 32) as u32)
}

fn successes_of(calm: u64) -> u32 {
    calm as u32
}

fn calm_of(generation: WindowGeneration) -> u64 {
    CALM << STATE | u64::from(generation.to_bits()) << 32
}

impl SparseWindow {
    pub(super) fn new(calls: u32) -> Self {
        Self {
            calm: AtomicU64::new(calm_of(WindowGeneration::FIRST)),
            made: OnceLock::new(),
            making: Mutex::new(()),
            calls,
        }
    }

    pub(super) const fn size(&self) -> u32 {
        self.calls
    }

    #[inline]
    pub(super) fn record(&self, generation: WindowGeneration, sample: Sample) -> bool {
        let full = calm_of(generation) | u64::from(self.calls);
        // Ordering: acquire, with the release in `make`: who finds it made finds it filled.
        let calm = self.calm.load(Acquire);
        calm == full && sample == Sample::OK || self.record_in(calm, generation, sample)
    }

    #[inline(never)]
    fn record_in(&self, mut calm: u64, generation: WindowGeneration, sample: Sample) -> bool {
        loop {
            if generation_of(calm) != generation {
                return false;
            }
            match calm >> STATE {
                CALM if sample == Sample::OK => {
                    if successes_of(calm) == self.calls {
                        return true;
                    }
                    match self.calm.compare_exchange_weak(calm, calm + 1, Relaxed, Acquire) {
                        Ok(_) => return true,
                        Err(now) => calm = now,
                    }
                }
                MADE => {
                    return self.made.get().is_some_and(|window| window.record(generation, sample));
                }
                _ => {
                    self.make(generation);
                    calm = self.calm.load(Acquire);
                }
            }
        }
    }

    /// Makes the window of a calm `generation`, or waits until another thread has.
    #[cold]
    fn make(&self, generation: WindowGeneration) {
        let _making = self.making.lock();
        let mut calm = self.calm.load(Relaxed);
        while calm >> STATE == CALM && generation_of(calm) == generation {
            // From here on successes are no longer counted here, so none is lost.
            let making = calm | MAKING << STATE;
            match self.calm.compare_exchange_weak(calm, making, Relaxed, Relaxed) {
                Ok(_) => {
                    let window = self.made.get_or_init(|| Box::new(CountWindow::new(self.calls)));
                    window.begin(generation, successes_of(calm));
                    // A swap rather than a store, for loom lets a store be straddled.
                    self.calm.swap(calm | MADE << STATE, Release);
                    return;
                }
                Err(now) => calm = now,
            }
        }
    }

    pub(super) fn counts(&self) -> WindowCounts {
        let calm = self.calm.load(Acquire);
        match (calm >> STATE, self.made.get()) {
            (MADE, Some(window)) => window.counts(),
            _ => WindowCounts { total: successes_of(calm).into(), failed: 0, slow: 0 },
        }
    }

    pub(super) fn reset(&self, generation: WindowGeneration) {
        let _making = self.making.lock();
        self.calm.swap(calm_of(generation), Release);
    }

    #[cfg(all(test, mainstay_loom))]
    pub(super) fn recount(&self, generation: WindowGeneration) -> WindowCounts {
        self.made.get().map_or_else(|| self.counts(), |window| window.recount(generation))
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever happens, it holds what a window that was made at once holds.
        #[test]
        fn is_a_count_window(
            calls in 1_u32..12,
            steps in prop::collection::vec((0_u8..40, prop::sample::select(vec![0_u8, 0, 0, 0, 0, 1, 2])), 0..300),
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
                    let sample = [Sample::OK, Sample::FAILED, Sample::SLOW][usize::from(kind)];
                    prop_assert!(sparse.record(generation, sample));
                    prop_assert!(dense.record(generation, sample));
                }
                prop_assert_eq!(sparse.counts(), dense.counts());
            }
        }
    }
}
