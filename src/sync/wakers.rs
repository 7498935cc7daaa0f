//! A batch of wakers, collected under a lock and called outside it.

use super::keep_panic;
use std::any::Any;
use std::panic::resume_unwind;
use std::task::Waker;

/// Wakers taken out of a queue under its lock, to be called after the lock is released.
///
/// The batch has a fixed size and lives on the stack: waking never allocates, whatever the number
/// of waiters.
pub(crate) struct Wakers {
    taken: [Option<Waker>; Self::CAPACITY],
    count: usize,
    panic: Option<Box<dyn Any + Send>>,
}

impl Wakers {
    const CAPACITY: usize = 16;

    pub(crate) const fn new() -> Self {
        Self { taken: [const { None }; Self::CAPACITY], count: 0, panic: None }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.count == Self::CAPACITY
    }

    /// Adds a waker to a batch that is not full.
    pub(crate) fn push(&mut self, waker: Waker) {
        self.taken[self.count] = Some(waker);
        self.count += 1;
    }

    /// Wakes and removes all wakers of the batch. If one panics, the others are woken nevertheless,
    /// and the first panic is kept until [`finish`](Self::finish).
    pub(crate) fn wake_all(&mut self) {
        for waker in self.taken[..self.count].iter_mut().filter_map(Option::take) {
            keep_panic(&mut self.panic, || waker.wake());
        }
        self.count = 0;
    }

    /// Wakes the remaining wakers, then resumes the first panic. The caller finishes its own work
    /// first, because this may unwind.
    pub(crate) fn finish(mut self) {
        self.wake_all();
        if let Some(panic) = self.panic {
            resume_unwind(panic);
        }
    }
}
