//! Waking, which runs the code of others.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::task::Waker;

/// Wakers taken out of a queue under its lock, to be called outside it.
///
/// A few at a time, on the stack: waking never allocates, however many wait.
pub(super) struct Wakers {
    taken: [Option<Waker>; Self::ROOM],
    count: usize,
    panic: Option<Box<dyn Any + Send>>,
}

impl Wakers {
    const ROOM: usize = 16;

    pub(super) const fn new() -> Self {
        Self { taken: [const { None }; Self::ROOM], count: 0, panic: None }
    }

    pub(super) fn is_full(&self) -> bool {
        self.count == Self::ROOM
    }

    /// The caller has seen that there is room.
    pub(super) fn take(&mut self, waker: Waker) {
        self.taken[self.count] = Some(waker);
        self.count += 1;
    }

    /// Wakes all that were taken. One that panics keeps none of the others asleep: its panic waits
    /// until [`finish`](Self::finish).
    pub(super) fn wake(&mut self) {
        for waker in self.taken[..self.count].iter_mut().filter_map(Option::take) {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
                self.panic.get_or_insert(panic);
            }
        }
        self.count = 0;
    }

    /// To be called when nothing is left to be done.
    pub(super) fn finish(mut self) {
        self.wake();
        if let Some(panic) = self.panic {
            resume_unwind(panic);
        }
    }
}
