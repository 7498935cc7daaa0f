//! Waiting a little before waiting for long.

use crate::sync::{hint, thread};

/// Spins in steps that double, then yields a few times, then advises to park.
///
/// On a machine with one core nothing can change during a spin, so there it yields from the start.
#[derive(Debug, Clone)]
pub(crate) struct Spin {
    step: u32,
}

/// Steps of 1, 2, 4 … 64 pauses.
const SPINS: u32 = 7;

impl Spin {
    #[inline]
    pub(crate) fn new() -> Self {
        Self { step: 0 }
    }

    /// The same without the shorter steps, for a wait on a buffer for `capacity` items.
    ///
    /// Who finds a large buffer empty, or full, and looks again at once, gets one item and waits again:
    /// both sides then work on the same slot, and every item costs them several misses in the cache. Who
    /// looks away for as long as it takes to pass on a part of the buffer (the square root of it, up to
    /// 32 pauses) finds a stretch of items and leaves the other side alone meanwhile.
    pub(crate) fn on_a_buffer(capacity: usize) -> Self {
        Self { step: (capacity.max(1).ilog2() / 2).min(SPINS - 2) }
    }

    /// False when enough was waited in this way.
    pub(crate) fn again(&mut self) -> bool {
        if self.step < SPINS && thread::spinning_helps() {
            for _ in 0..1u32 << self.step {
                hint::spin_loop();
            }
        } else if self.step < SPINS + thread::YIELDS {
            self.step = self.step.max(SPINS);
            thread::yield_now();
        } else {
            return false;
        }
        self.step += 1;
        true
    }
}

/// Steps aside after losing a race for a word, so that the winners can finish: in steps that double up
/// to a bound. Nothing is waited for.
#[derive(Debug)]
pub(crate) struct StepAside {
    step: u32,
}

impl StepAside {
    #[inline(always)]
    pub(crate) fn new() -> Self {
        Self { step: 0 }
    }

    #[inline(always)]
    pub(crate) fn lost(&mut self) {
        self.step = aside(self.step);
    }
}

/// By value, so that the step stays in a register of the caller, who hardly ever comes here.
#[cold]
#[inline(never)]
fn aside(step: u32) -> u32 {
    for _ in 0..1u32 << step {
        hint::spin_loop();
    }
    (step + 1).min(thread::ASIDE)
}
