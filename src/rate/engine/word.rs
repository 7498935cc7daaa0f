//! The state of a limiter in one 64-bit word: [`Word`].

use super::gcra::TAT_BITS;
use crate::sync::EpochWord;

/// The state word. Layout, from the most significant bit: `[TAT: 60 | epoch: 3 | slow: 1]`.
///
/// The epoch identifies the quota, and thereby the units of the TAT. The same pair of TAT and epoch
/// can recur only after eight changes of the quota, each of which moves a TAT in the past to the
/// current time. No decision takes that long, so a compare-and-swap does not succeed with an old
/// word (no ABA problem).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word(u64);

/// Set if a decision must also consider the state under the lock; see
/// [`Waiters`](super::wait_queue::Waiters).
pub(super) const SLOW: u64 = 1;
const EPOCH: u64 = 0b1110;

impl Word {
    pub(crate) const fn new(tat: u64, epoch: u64) -> Self {
        Self(tat << (u64::BITS - TAT_BITS) | (epoch << 1 & EPOCH))
    }

    pub(crate) const fn tat(self) -> u64 {
        self.0 >> (u64::BITS - TAT_BITS)
    }

    pub(crate) const fn with_tat(self, tat: u64) -> Self {
        Self(tat << (u64::BITS - TAT_BITS) | self.0 & (EPOCH | SLOW))
    }

    pub(crate) const fn is_slow(self) -> bool {
        self.0 & SLOW != 0
    }

    pub(crate) const fn with_slow(self, slow: bool) -> Self {
        Self(self.0 & !SLOW | slow as u64)
    }
}

impl EpochWord for Word {
    #[inline(always)]
    fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    #[inline(always)]
    fn to_bits(self) -> u64 {
        self.0
    }

    #[inline(always)]
    fn epoch(self) -> u64 {
        (self.0 & EPOCH) >> 1
    }
}
