//! The slots of a broadcast ring: each holds a state word, a sequence number and one item.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;

use crate::error::ConfigError;
use crate::ring::position::{Geometry, invalid_capacity};
use crate::sync::UnsafeCell;
use crate::sync::atomic::{AtomicU64, Ordering};

/// The slots of a broadcast ring.
///
/// The state word of a slot holds the lap (round of the ring) that the slot serves, its phase,
/// whether its cell is initialized, and the number of *pins*: readers that clone the item at this
/// moment.
///
/// ```text
/// FREE                         before the first lap
///   | a sender finds no pins       | a sender finds pins
/// CLAIMED, next lap            SKIPPED, next lap: the position has no item. The cell keeps the
///   | the sender stores the item        old item for its readers.
/// SENT                         ENDED, next lap: the ring is closed at this position
/// ```
///
/// # Invariants
///
/// 1. Senders own positions one after the other. The owner of a position is the sender that moved
///    the state of its slot to CLAIMED or SKIPPED in the lap of that position. It owns the position
///    until it advances the tail. Only the owner changes the lap or the phase, except that `end`
///    changes a slot whose position can no longer get an owner.
/// 2. While a slot is CLAIMED, only the owner accesses its cell. A slot becomes CLAIMED only while
///    it has no pins, and pins are added only to a slot that is SENT.
/// 3. In any other phase, the cell is initialized if and only if ITEM is set, and it is not
///    written.
/// 4. A reader accesses a cell only while it holds a pin, or while its cursor in the
///    [gate](super::gate::Gate) keeps senders from claiming the slot.
pub(super) struct Slots<T> {
    slots: Box<[Slot<T>]>,
    pub(super) geometry: Geometry,
    lap_shift: u32,
}

struct Slot<T> {
    state: AtomicU64,
    /// The number of items that were sent up to the position of this slot, including it.
    sequence: AtomicU64,
    item: UnsafeCell<MaybeUninit<T>>,
}

/// The number of readers that hold a pin.
const PINS: u64 = (1 << 12) - 1;
/// The cell is initialized.
const ITEM: u64 = 1 << 12;
const FREE: u64 = 0;
const CLAIMED: u64 = 1 << 13;
const SENT: u64 = 2 << 13;
const SKIPPED: u64 = 3 << 13;
const ENDED: u64 = 4 << 13;
const PHASE: u64 = 7 << 13;
/// The lowest bit of the lap. Lap numbers repeat after 2^48 laps.
const LAP_SHIFT: u32 = 16;

// SAFETY: several threads read an item at the same time (`T: Sync`), and the item is dropped by a
// thread other than the one that sent it (`T: Send`). The state words ensure that no thread writes
// a cell while another one accesses it: invariants 2 and 4.
unsafe impl<T: Send + Sync> Send for Slots<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Slots<T> {}

/// The result of an attempt to read the item of a position.
#[derive(Debug)]
pub(super) enum Read<R> {
    Item(R),
    /// The position has no item.
    Skipped,
    /// The item of the position has not been sent yet.
    NotSent,
    /// The ring was closed at this position.
    Ended,
    /// The slot serves a later position.
    Overwritten,
    /// The count of pins of the slot has reached its maximum.
    Busy,
}

/// The result of an attempt to own a position.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// The caller owns the position and must [fill](Slots::fill) its slot.
    Owned,
    /// The caller owns the position, which has no item: readers of the old item pin its slot.
    Skipped,
    /// Another sender owns the position or has owned it.
    Taken,
}

/// Releases the pin of a reader, even if cloning the item panics.
struct Pin<'a>(&'a AtomicU64);

impl Drop for Pin<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        // Ordering: release, with the acquire in `claim`: the access to the item is over.
        self.0.fetch_sub(1, Ordering::Release);
    }
}

impl<T> Slots<T> {
    pub(super) fn try_new(geometry: Geometry) -> Result<Self, ConfigError> {
        let count = geometry.capacity();
        let mut slots = Vec::new();
        slots.try_reserve_exact(count).map_err(|_| invalid_capacity(count - 1))?;
        slots.extend((0..count).map(|_| Slot {
            state: AtomicU64::new(FREE),
            sequence: AtomicU64::new(0),
            item: UnsafeCell::new(MaybeUninit::uninit()),
        }));
        let lap_shift = geometry.next_lap(0).trailing_zeros();
        Ok(Self { slots: slots.into_boxed_slice(), geometry, lap_shift })
    }

    #[inline(always)]
    fn slot(&self, position: u64) -> &Slot<T> {
        &self.slots[self.geometry.index(position)]
    }

    /// Returns the lap of `position` as the bits of a state word.
    #[inline(always)]
    fn lap(&self, position: u64) -> u64 {
        position >> self.lap_shift << LAP_SHIFT
    }

    /// Calls `read` with the item of `position`, and pins the slot during the call. The pin is not
    /// a lock: a sender that needs the slot skips it.
    #[inline(always)]
    pub(super) fn read_pinned<R>(&self, position: u64, read: impl FnOnce(&T) -> R) -> Read<R> {
        let slot = self.slot(position);
        let sent = self.lap(position) | SENT | ITEM;
        // Ordering: acquire, with the release in `fill`.
        let mut state = slot.state.load(Ordering::Acquire);
        while state & !PINS == sent {
            if state & PINS == PINS {
                return Read::Busy;
            }
            let pinned = slot.state.compare_exchange_weak(
                state,
                state + 1,
                Ordering::Acquire,
                Ordering::Acquire,
            );
            match pinned {
                Ok(_) => {
                    let _pin = Pin(&slot.state);
                    // SAFETY: the slot is pinned (invariant 4), and it is SENT, so the cell is
                    // initialized (invariant 3).
                    return Read::Item(
                        slot.item.with(|item| read(unsafe { (*item).assume_init_ref() })),
                    );
                }
                Err(now) => state = now,
            }
        }
        self.unsuccessful(position, state)
    }

    /// Calls `read` with the item of `position`. The cursor of the caller must keep senders from
    /// claiming the slot until `read` has returned.
    #[inline(always)]
    pub(super) fn read_gated<R>(&self, position: u64, read: impl FnOnce(&T) -> R) -> Read<R> {
        let slot = self.slot(position);
        let state = slot.state.load(Ordering::Acquire);
        if state & !PINS == self.lap(position) | SENT | ITEM {
            // SAFETY: the gate keeps senders away (invariant 4), and the slot is SENT, so the cell
            // is initialized (invariant 3).
            return Read::Item(slot.item.with(|item| read(unsafe { (*item).assume_init_ref() })));
        }
        self.unsuccessful(position, state)
    }

    /// Returns why there is no item of `position` in a slot in `state`.
    #[inline]
    fn unsuccessful<R>(&self, position: u64, state: u64) -> Read<R> {
        // Laps are compared as the sign of their difference, so that they may wrap.
        let ahead = (state >> LAP_SHIFT << LAP_SHIFT).wrapping_sub(self.lap(position));
        match (ahead.cast_signed(), state & PHASE) {
            (..0, _) | (0, CLAIMED) => Read::NotSent,
            (0, SKIPPED) => Read::Skipped,
            (0, ENDED) => Read::Ended,
            _ => Read::Overwritten,
        }
    }

    /// Tries to make the caller the owner of `position`, which it has read from the tail.
    #[inline(always)]
    pub(super) fn claim(&self, position: u64) -> Claim {
        let slot = self.slot(position);
        let lap = self.lap(position);
        let mut state = slot.state.load(Ordering::Acquire);
        loop {
            let ahead = (state >> LAP_SHIFT << LAP_SHIFT).wrapping_sub(lap);
            if ahead.cast_signed() >= 0 {
                return Claim::Taken;
            }
            let (phase, claim) = match state & PINS {
                0 => (CLAIMED, Claim::Owned),
                _ => (SKIPPED, Claim::Skipped),
            };
            let next = lap | phase | state & (ITEM | PINS);
            // Ordering: acquire, with the release of the last pin: no reader accesses the item.
            match slot.state.compare_exchange_weak(state, next, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return claim,
                Err(now) => state = now,
            }
        }
    }

    /// Stores the item of `position`, which the caller owns and which is CLAIMED. Returns the item
    /// that was in the slot before.
    #[inline(always)]
    pub(super) fn fill(&self, position: u64, value: T) -> Option<T> {
        let slot = self.slot(position);
        // Ordering: relaxed; only the owner changes the word.
        let had_item = slot.state.load(Ordering::Relaxed) & ITEM != 0;
        let evicted = slot.item.with_mut(|item| {
            // SAFETY: the slot is CLAIMED by the caller (invariant 2), and ITEM says whether the
            // cell is initialized (invariant 3).
            unsafe {
                let evicted = had_item.then(|| (*item).assume_init_read());
                (*item).write(value);
                evicted
            }
        });
        self.count(position, 1);
        // Ordering: release, with the acquire of readers.
        slot.state.store(self.lap(position) | SENT | ITEM, Ordering::Release);
        evicted
    }

    /// Records that `position`, which the caller owns, has no item.
    pub(super) fn skip(&self, position: u64) {
        self.count(position, 0);
    }

    #[inline(always)]
    fn count(&self, position: u64, items: u64) {
        let previous = self.slot(self.geometry.previous(position));
        // Ordering: relaxed. The acquire load of the tail made the number visible, and the previous
        // slot cannot be claimed again before the tail has passed this position.
        let sequence = previous.sequence.load(Ordering::Relaxed) + items;
        // Ordering: release: a reader that loads this number then finds the changed state.
        self.slot(position).sequence.store(sequence, Ordering::Release);
    }

    /// Returns the number of items that were sent up to `position`, including it, or `None` if the
    /// slot serves another position now. The tail must have passed `position`.
    pub(super) fn sequence_through(&self, position: u64) -> Option<u64> {
        self.sequence(position).map(|(sequence, _)| sequence)
    }

    /// Returns the number of items that were sent before `position`, or `None` if the slot serves
    /// another position now. The tail must have passed `position`.
    pub(super) fn sequence_before(&self, position: u64) -> Option<u64> {
        self.sequence(position).map(|(sequence, phase)| sequence - u64::from(phase == SENT))
    }

    fn sequence(&self, position: u64) -> Option<(u64, u64)> {
        let slot = self.slot(position);
        let is_current = |state: u64| {
            state >> LAP_SHIFT << LAP_SHIFT == self.lap(position) && state & PHASE != CLAIMED
        };
        // Ordering: acquire. If the number belongs to a later position, the second load finds the
        // state changed, because the number was stored after that change.
        let before = slot.state.load(Ordering::Acquire);
        let sequence = slot.sequence.load(Ordering::Acquire);
        let after = slot.state.load(Ordering::Acquire);
        (is_current(before) && is_current(after)).then_some((sequence, after & PHASE))
    }

    /// Marks `position` as the end of the ring, unless a sender owns the position. The tail must be
    /// closed, so that no other sender claims it.
    pub(super) fn end(&self, position: u64) {
        let slot = self.slot(position);
        let lap = self.lap(position);
        let mut state = slot.state.load(Ordering::Acquire);
        while (state >> LAP_SHIFT << LAP_SHIFT).wrapping_sub(lap).cast_signed() < 0 {
            let ended = lap | ENDED | state & (ITEM | PINS);
            match slot.state.compare_exchange_weak(
                state,
                ended,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return,
                Err(now) => state = now,
            }
        }
    }

    /// Returns whether the item of `position` is in its slot.
    pub(super) fn is_sent(&self, position: u64) -> bool {
        let state = self.slot(position).state.load(Ordering::Acquire);
        state & !PINS == self.lap(position) | SENT | ITEM
    }

    /// Returns whether the ring was closed at `position`.
    pub(super) fn is_ended(&self, position: u64) -> bool {
        let state = self.slot(position).state.load(Ordering::Acquire);
        state & !(PINS | ITEM) == self.lap(position) | ENDED
    }
}

impl<T> Drop for Slots<T> {
    fn drop(&mut self) {
        /// Drops the remaining items even if the destructor of one panics.
        struct Rest<'a, T>(std::slice::IterMut<'a, Slot<T>>);
        impl<T> Rest<'_, T> {
            fn drop_items(&mut self) {
                for slot in self.0.by_ref() {
                    // Ordering: relaxed; no other thread has a reference.
                    if slot.state.load(Ordering::Relaxed) & ITEM != 0 {
                        // SAFETY: ITEM says that the cell is initialized (invariant 3). The item is
                        // dropped once, because the iterator has passed the slot.
                        slot.item.with_mut(|item| unsafe { (*item).assume_init_drop() });
                    }
                }
            }
        }
        impl<T> Drop for Rest<'_, T> {
            fn drop(&mut self) {
                self.drop_items();
            }
        }
        if std::mem::needs_drop::<T>() {
            Rest(self.slots.iter_mut()).drop_items();
        }
    }
}
