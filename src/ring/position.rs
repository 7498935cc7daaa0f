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
    /// The last index.
    last: u64,
    /// Selects the index of a position, in steps: one less than the capacity rounded up to a power of
    /// two.
    mask: u64,
    /// From the position of the last slot to the next one, that of the first slot a lap later.
    turn: u64,
}

/// Slots that lie next to each other, and the position that the first of them serves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) index: usize,
    pub(super) position: u64,
    pub(super) count: usize,
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
/// From one position to the next, within a lap.
pub(super) const STEP: u64 = 0b100;

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
        let lap = capacity.next_power_of_two();
        Self { last: capacity - 1, mask: (lap - 1) * STEP, turn: (lap - capacity + 1) * STEP }
    }

    #[inline(always)]
    pub(super) const fn capacity(self) -> usize {
        self.last as usize + 1
    }

    /// The slot that serves the position of `word`; less than the capacity.
    #[inline(always)]
    pub(super) const fn index(self, word: u64) -> usize {
        ((word & self.mask) / STEP) as usize
    }

    /// `word` moved on by one item; flags stay.
    ///
    /// Every operation waits for this sum. So the turn at the end of a lap is a branch that the processor
    /// foresees, and no arithmetic.
    #[inline(always)]
    pub(super) fn next(self, word: u64) -> u64 {
        #[cold]
        #[inline(never)]
        fn turn(word: u64, turn: u64) -> u64 {
            word + turn
        }
        if self.index(word) as u64 == self.last { turn(word, self.turn) } else { word + STEP }
    }

    /// `word` moved on by `count` items, at most the capacity; flags stay.
    #[inline(always)]
    pub(super) const fn advance(self, word: u64, count: usize) -> u64 {
        debug_assert!(count <= self.capacity());
        let turns = self.index(word) + count > self.last as usize;
        word + count as u64 * STEP + if turns { self.turn - STEP } else { 0 }
    }

    /// The slots from `position` on, `count` of them, or those up to the last one if that is less.
    #[inline(always)]
    pub(super) fn run(self, position: u64, count: usize) -> Run {
        let index = self.index(position);
        Run { index, position, count: count.min(self.capacity() - index) }
    }

    /// The position that the same slot serves one lap later.
    #[inline(always)]
    pub(super) const fn next_lap(self, position: u64) -> u64 {
        position + self.mask + STEP
    }

    /// How many items lie between two positions; 0 if `to` is behind `from`.
    #[inline]
    pub(super) fn distance(self, from: u64, to: u64) -> usize {
        let laps = |word: u64| word / (self.mask + STEP);
        let count = |word: u64| laps(word) * self.capacity() as u64 + self.index(word) as u64;
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
                    let run = geometry.run(position(word), ahead);
                    let until_end = capacity - count % capacity;
                    assert_eq!((run.index, run.count), (count % capacity, ahead.min(until_end)));
                    assert_eq!(run.position, position(word));
                }
                let full_lap = position(geometry.advance(word, capacity));
                assert_eq!(full_lap, geometry.next_lap(position(word)));
                assert_eq!(geometry.next(word), geometry.advance(word, 1));
                word = geometry.next(word);
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
