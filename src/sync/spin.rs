//! Bounded spinning: before a thread parks, and after a lost compare-and-swap.

use super::{hint, thread};

/// The short active phase of a blocking wait: spins in steps that double, yields the processor
/// once, then advises to park.
///
/// It takes a few microseconds, less than parking and waking a thread. A longer phase would take
/// the processor from threads that have work to do, perhaps from the thread that the caller waits
/// for. On a machine with one core nothing can change during a spin, so the wait only yields.
#[derive(Clone, Debug)]
pub(crate) struct SpinWait {
    step: u32,
}

/// The number of spin steps: eight of one pause, then 2, 4, …, 64 pauses. With a quarter of this
/// time, a thread that waits for the result of a short job parks before the result is there, which
/// costs three times the round trip.
const SPIN_STEPS: u32 = SINGLE_STEPS + 6;
/// The number of steps of one pause. An answer from another core comes within this time; steps that
/// double from the start would return up to half of it too late.
const SINGLE_STEPS: u32 = 8;
/// The largest step that [`SpinWait::for_capacity`] begins with: 32 pauses.
const MAX_FIRST_STEP: u32 = SPIN_STEPS - 2;

impl SpinWait {
    #[inline]
    pub(crate) fn new() -> Self {
        Self { step: 0 }
    }

    /// Advises to park immediately, for a wait that usually takes longer than a spin.
    pub(crate) fn none() -> Self {
        Self { step: u32::MAX }
    }

    /// Skips the shorter steps, for a wait on a buffer of `capacity` items.
    ///
    /// A consumer that finds a large buffer empty and tries again immediately gets one item and
    /// waits again. Both sides then work on the same slot, and every item costs several cache
    /// misses. A consumer that pauses for as long as it takes to fill a part of the buffer (the
    /// square root of it, up to 32 pauses) finds several items and leaves the producer alone
    /// meanwhile. The same holds for a producer that finds the buffer full.
    pub(crate) fn for_capacity(capacity: usize) -> Self {
        match capacity.max(1).ilog2() / 2 {
            0 => Self::new(),
            doublings => Self { step: (SINGLE_STEPS - 1 + doublings).min(MAX_FIRST_STEP) },
        }
    }

    /// Returns whether it is time to park.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.step >= SPIN_STEPS + thread::YIELDS
    }

    /// Spins or yields once. Returns `false` without doing either when it is time to park.
    pub(crate) fn spin(&mut self) -> bool {
        if self.step < SPIN_STEPS && thread::spinning_helps() {
            for _ in 0..1u32 << self.step.saturating_sub(SINGLE_STEPS - 1) {
                hint::spin_loop();
            }
        } else if self.step < SPIN_STEPS + thread::YIELDS {
            self.step = self.step.max(SPIN_STEPS);
            thread::yield_now();
        } else {
            return false;
        }
        self.step += 1;
        true
    }
}

/// A pause after a lost compare-and-swap, which lets the winners finish. Its length doubles up to a
/// bound.
#[derive(Debug)]
pub(crate) struct CasBackoff {
    step: u32,
}

impl CasBackoff {
    #[inline(always)]
    pub(crate) fn new() -> Self {
        Self { step: 0 }
    }

    /// Pauses after a lost race.
    #[inline(always)]
    pub(crate) fn spin(&mut self) {
        self.step = spin_after_loss(self.step);
    }
}

/// Takes and returns the step by value, so that it stays in a register of the caller: the call is
/// rare.
#[cold]
#[inline(never)]
fn spin_after_loss(step: u32) -> u32 {
    for _ in 0..1u32 << step {
        hint::spin_loop();
    }
    (step + 1).min(thread::MAX_BACKOFF_STEP)
}
