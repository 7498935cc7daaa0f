//! Where in the endless sequence of items we are: arithmetic only.

/// The ring's two hot words hold a position and, in their low bits, flags; a slot's stamp holds a
/// position and whether the slot is full. A position counts the items that went before it, except that
/// every lap around the ring is taken to be a power of two long, so that an index is a mask and not a
/// division: if the capacity is not one, each lap skips the numbers in between.
///
/// Positions are never reused. With two bits for flags and up to half of the rest skipped, 2^61 items
/// fit through: at one a nanosecond, 73 years.
#[derive(Debug, Clone, Copy)]
pub(super) struct Geometry {
    capacity: u64,
    /// The capacity rounded up to a power of two, in steps.
    lap: u64,
}

/// Head or tail: somebody waits for it to move.
pub(super) const WAITING: u64 = 0b01;
/// Tail: no more pushes.
pub(super) const CLOSED: u64 = 0b10;
/// Stamp: the slot is free for the item of this position.
pub(super) const FREE: u64 = 0;
/// Stamp: the slot holds the item of this position.
pub(super) const FULL: u64 = 0b01;

const FLAGS: u64 = 0b11;
const STEP: u64 = 0b100;

/// A word without its flags.
#[inline(always)]
pub(super) const fn position(word: u64) -> u64 {
    word & !FLAGS
}

impl Geometry {
    /// Panics if `capacity` is 0 or above 2^56, more than any machine's memory.
    pub(super) const fn new(capacity: usize) -> Self {
        assert!(capacity > 0, "a ring needs a capacity of at least 1");
        let capacity = capacity as u64;
        assert!(capacity <= 1 << 56, "capacity overflow");
        Self { capacity, lap: capacity.next_power_of_two() * STEP }
    }

    #[inline(always)]
    pub(super) const fn capacity(self) -> usize {
        self.capacity as usize
    }

    /// The slot that serves the position of `word`; less than the capacity.
    #[inline(always)]
    pub(super) const fn index(self, word: u64) -> usize {
        ((word & (self.lap - 1)) / STEP) as usize
    }

    /// `word` moved on by `count` items, at most the capacity; flags stay.
    #[inline(always)]
    pub(super) const fn advance(self, word: u64, count: usize) -> u64 {
        debug_assert!(count <= self.capacity());
        let end = (self.index(word) + count) as u64;
        let skipped = if end >= self.capacity { self.lap / STEP - self.capacity } else { 0 };
        word + (count as u64 + skipped) * STEP
    }

    /// The slots and positions from `position` on, `count` of them, or one lap if that is less.
    #[inline(always)]
    pub(super) fn walk(self, position: u64, count: usize) -> impl Iterator<Item = (usize, u64)> {
        let first = self.index(position);
        let until_end = (self.capacity() - first).min(count);
        let from_start = (count - until_end).min(first);
        let wrapped = self.advance(position, until_end);
        let run =
            |index: usize, at: u64, count: usize| (0..count).map(move |i| (index + i, at + i as u64 * STEP));
        run(first, position, until_end).chain(run(0, wrapped, from_start))
    }

    /// The position that the same slot serves one lap later.
    #[inline(always)]
    pub(super) const fn next_lap(self, position: u64) -> u64 {
        position + self.lap
    }

    /// How many items lie between two positions; 0 if `to` is behind `from`.
    #[inline]
    pub(super) fn distance(self, from: u64, to: u64) -> usize {
        let count = |word: u64| word / self.lap * self.capacity + self.index(word) as u64;
        count(to).saturating_sub(count(from)) as usize
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::{CLOSED, Geometry, WAITING, position};

    #[test]
    fn positions_visit_every_slot_in_turn_at_any_capacity() {
        for capacity in 1..=40 {
            let geometry = Geometry::new(capacity);
            let mut word = WAITING | CLOSED;
            for count in 0..4 * capacity {
                assert_eq!(geometry.index(word), count % capacity);
                assert_eq!(geometry.distance(0, word), count);
                for ahead in 0..=capacity {
                    let there = geometry.advance(word, ahead);
                    assert_eq!(geometry.index(there), (count + ahead) % capacity);
                    assert_eq!(geometry.distance(word, there), ahead);
                    assert_eq!(geometry.distance(there, word), 0);
                }
                let full_lap = position(geometry.advance(word, capacity));
                assert_eq!(full_lap, geometry.next_lap(position(word)));
                word = geometry.advance(word, 1);
                assert_eq!(word & (WAITING | CLOSED), WAITING | CLOSED, "flags stay");
            }
        }
    }

    #[test]
    #[should_panic = "at least 1"]
    fn nothing_fits_into_nothing() {
        Geometry::new(0);
    }
}
