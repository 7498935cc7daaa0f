//! The arithmetic of positions: indices, laps and flags.

use crate::error::ConfigError;

/// The shape of a ring: how positions map to slots.
///
/// The two hot words of the ring hold a position and, in their low bits, flags. A slot's stamp
/// holds a position and whether the slot is full. A position counts the items pushed before it, in
/// laps whose length is a power of two: the index is then a mask and not a division. If the
/// capacity is not a power of two, each lap skips the remaining numbers.
///
/// Positions are never reused. With two bits for flags, and up to half of the remaining numbers
/// skipped, there are positions for 2^61 items. At one item per nanosecond, they last for 73 years.
#[derive(Debug, Clone, Copy)]
pub(super) struct Geometry {
    /// The index of the last slot.
    last: u64,
    /// The bits of a position that hold the index: the length of a lap minus one, in units of
    /// `STEP`.
    mask: u64,
    /// The distance from the position of the last slot to the position of the first slot one lap
    /// later.
    turn: u64,
}

/// Consecutive slots in memory, and the position that the first of them serves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) index: usize,
    pub(super) position: u64,
    pub(super) count: usize,
}

/// Flag of head and tail: a peer waits for the word to move.
pub(super) const WAITING: u64 = 0b01;
/// Flag of the tail: the ring is closed for pushes.
pub(super) const CLOSED: u64 = 0b10;
/// Flag of a stamp: the slot is free for the item of its position.
pub(super) const FREE: u64 = 0;
/// Flag of a stamp: the slot holds the item of its position.
pub(super) const FULL: u64 = 0b01;

const FLAGS: u64 = 0b11;
/// The distance from one position to the next within a lap.
pub(super) const STEP: u64 = 0b100;

/// Returns a word without its flags.
#[inline(always)]
pub(super) const fn position_of(word: u64) -> u64 {
    word & !FLAGS
}

#[cold]
pub(super) fn invalid_capacity(capacity: usize) -> ConfigError {
    ConfigError::new("capacity", capacity, "at least 1, and no more items than fit into memory")
}

impl Geometry {
    pub(super) fn new(capacity: usize) -> Result<Self, ConfigError> {
        // 2^56 items are more than fit into the memory of any machine.
        if capacity == 0 || capacity as u64 > 1 << 56 {
            return Err(invalid_capacity(capacity));
        }
        let capacity = capacity as u64;
        let lap = capacity.next_power_of_two();
        Ok(Self { last: capacity - 1, mask: (lap - 1) * STEP, turn: (lap - capacity + 1) * STEP })
    }

    #[inline(always)]
    pub(super) const fn capacity(self) -> usize {
        self.last as usize + 1
    }

    /// Returns the index of the slot that serves the position of `word`; less than the capacity.
    #[inline(always)]
    pub(super) const fn index(self, word: u64) -> usize {
        ((word & self.mask) / STEP) as usize
    }

    /// Returns `word` moved on by one item, with its flags.
    ///
    /// The next position is on the critical path of every operation. A branch at the end of a lap,
    /// which the processor predicts, is faster than branchless arithmetic.
    #[inline(always)]
    pub(super) fn next(self, word: u64) -> u64 {
        #[cold]
        #[inline(never)]
        fn turn(word: u64, turn: u64) -> u64 {
            word + turn
        }
        if self.index(word) as u64 == self.last { turn(word, self.turn) } else { word + STEP }
    }

    /// Returns the position before `position`, which is not the first.
    #[inline(always)]
    pub(super) const fn previous(self, position: u64) -> u64 {
        position - if self.index(position) == 0 { self.turn } else { STEP }
    }

    /// Returns `word` moved on by `count` items, at most the capacity, with its flags.
    #[inline(always)]
    pub(super) const fn advance(self, word: u64, count: usize) -> u64 {
        debug_assert!(count <= self.capacity());
        let turns = self.index(word) + count > self.last as usize;
        word + count as u64 * STEP + if turns { self.turn - STEP } else { 0 }
    }

    /// Returns `count` slots from `position` on, or fewer if the last slot comes earlier.
    #[inline(always)]
    pub(super) fn run(self, position: u64, count: usize) -> Run {
        let index = self.index(position);
        Run { index, position, count: count.min(self.capacity() - index) }
    }

    /// Returns the position that the same slot serves one lap later.
    #[inline(always)]
    pub(super) const fn next_lap(self, position: u64) -> u64 {
        position + self.mask + STEP
    }

    /// Returns the number of items before the position of `word`.
    #[inline]
    pub(super) fn items_before(self, word: u64) -> u64 {
        word / (self.mask + STEP) * self.capacity() as u64 + self.index(word) as u64
    }

    /// Returns the number of items between two positions, or 0 if `to` is behind `from`.
    #[inline]
    pub(super) fn distance(self, from: u64, to: u64) -> usize {
        self.items_before(to).saturating_sub(self.items_before(from)) as usize
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::{CLOSED, Geometry, WAITING, position_of};

    #[test]
    fn positions_visit_all_slots_in_order_at_any_capacity() {
        for capacity in 1..=40 {
            let geometry = Geometry::new(capacity).unwrap();
            let mut word = WAITING | CLOSED;
            for count in 0..4 * capacity {
                assert_eq!(geometry.index(word), count % capacity);
                assert_eq!(geometry.distance(0, word), count);
                for ahead in 0..=capacity {
                    let there = geometry.advance(word, ahead);
                    assert_eq!(geometry.index(there), (count + ahead) % capacity);
                    assert_eq!(geometry.distance(word, there), ahead);
                    assert_eq!(geometry.distance(there, word), 0);
                    let run = geometry.run(position_of(word), ahead);
                    let until_end = capacity - count % capacity;
                    assert_eq!((run.index, run.count), (count % capacity, ahead.min(until_end)));
                    assert_eq!(run.position, position_of(word));
                }
                let full_lap = position_of(geometry.advance(word, capacity));
                assert_eq!(full_lap, geometry.next_lap(position_of(word)));
                assert_eq!(geometry.next(word), geometry.advance(word, 1));
                assert_eq!(geometry.previous(geometry.next(word)), word);
                word = geometry.next(word);
                assert_eq!(word & (WAITING | CLOSED), WAITING | CLOSED, "the flags are kept");
            }
        }
    }

    #[test]
    fn a_capacity_of_zero_or_beyond_the_maximum_is_rejected() {
        for capacity in [0, (1 << 56) + 1, usize::MAX] {
            assert_eq!(Geometry::new(capacity).unwrap_err().field(), "capacity");
        }
    }
}
