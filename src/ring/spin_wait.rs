//! The pauses of a loop that polls a ring: [`SpinWait`].

use crate::sync::{self, thread};

/// The pauses between the attempts of a loop that polls a [`Ring`](super::Ring).
///
/// A loop that tries again immediately reads the cache lines that the other side writes, and so
/// delays it. Two threads that stream items through a ring of 1,024 slots take three to four times
/// as long with one [`spin_loop`](std::hint::spin_loop) between attempts as with a `SpinWait`.
///
/// [`wait`](Self::wait) pauses for a time that grows from one call to the next, up to about a
/// microsecond, and later yields the processor. It never parks the thread: use a
/// [`channel`](super::channel()) to wait without using the processor.
///
/// # Examples
///
/// ```
/// use mainstay::ring::{PopError, Ring};
///
/// let ring = Ring::new(1024);
/// std::thread::scope(|scope| {
///     scope.spawn(|| {
///         for number in 1..=10_000_u64 {
///             let mut spin_wait = ring.spin_wait();
///             while ring.try_push(number).is_err() {
///                 spin_wait.wait();
///             }
///         }
///         ring.close();
///     });
///     let mut sum = 0;
///     let mut spin_wait = ring.spin_wait();
///     loop {
///         match ring.try_pop() {
///             Ok(number) => {
///                 sum += number;
///                 spin_wait = ring.spin_wait();
///             }
///             Err(PopError::Closed) => break,
///             Err(_) => spin_wait.wait(),
///         }
///     }
///     assert_eq!(sum, 50_005_000);
/// });
/// ```
#[derive(Debug, Clone)]
pub struct SpinWait(sync::SpinWait);

impl SpinWait {
    /// Creates a `SpinWait` that begins with the shortest pause, for a loop that waits for one
    /// item. A loop that moves a stream of items begins with
    /// [`Ring::spin_wait`](super::Ring::spin_wait).
    #[must_use]
    pub fn new() -> Self {
        Self(sync::SpinWait::new())
    }

    pub(super) fn for_capacity(capacity: usize) -> Self {
        Self(sync::SpinWait::for_capacity(capacity))
    }

    /// Pauses or yields the processor once, after an attempt that failed.
    pub fn wait(&mut self) {
        if !self.0.spin() {
            thread::yield_now();
        }
    }

    /// Returns whether the pauses are over, so that [`wait`](Self::wait) only yields from now on: a
    /// caller that can block should do so. They take a few microseconds.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.0.is_exhausted()
    }
}

impl Default for SpinWait {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::SpinWait;

    #[test]
    fn the_pauses_are_over_after_a_bounded_number_of_attempts() {
        for mut spin_wait in [SpinWait::new(), SpinWait::for_capacity(1 << 20)] {
            let waits = (0..).take_while(|_| {
                let is_waiting = !spin_wait.is_exhausted();
                spin_wait.wait();
                is_waiting
            });
            assert!((2..100).contains(&waits.count()));
            assert!(spin_wait.is_exhausted());
        }
    }
}
