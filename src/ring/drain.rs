//! The iterator of `Ring::drain`.

use super::Ring;

/// An iterator that pops items; see [`Ring::drain`].
///
/// When it is dropped, the items that it has not returned stay in the ring.
#[derive(Debug)]
pub struct RingDrain<'a, T> {
    ring: &'a Ring<T>,
    remaining: usize,
}

impl<'a, T> RingDrain<'a, T> {
    pub(super) fn new(ring: &'a Ring<T>) -> Self {
        Self { ring, remaining: ring.capacity() }
    }
}

impl<T> Iterator for RingDrain<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.remaining = self.remaining.checked_sub(1)?;
        self.ring.try_pop().ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.remaining))
    }
}
