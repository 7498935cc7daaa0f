//! The slots in memory: each holds a stamp and room for one item.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc};
use std::hint::unreachable_unchecked;
use std::mem::{self, MaybeUninit};
use std::ptr::NonNull;

use crate::error::ConfigError;
use crate::ring::batch_source::BatchSource;
use crate::ring::position::{FULL, Geometry, Run, STEP, invalid_capacity};
use crate::sync::UnsafeCell;
use crate::sync::atomic::{AtomicU64, Ordering};

/// The slots of a ring. The memory begins at a cache line: a slot of exactly one line never
/// straddles two.
pub(super) struct Slots<T> {
    first: NonNull<Slot<T>>,
    layout: Layout,
    count: usize,
}

struct Slot<T> {
    stamp: AtomicU64,
    item: UnsafeCell<MaybeUninit<T>>,
}

const CACHE_LINE: usize = 64;

// SAFETY: an item moves from the thread that pushes it to the thread that pops it (`T: Send`).
// Stamps pass it on, so that no two threads refer to it at the same time (invariant 1): `T: Sync`
// is not needed.
unsafe impl<T: Send> Send for Slots<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Slots<T> {}

impl<T> Slots<T> {
    pub(super) fn try_new(geometry: Geometry) -> Result<Self, ConfigError> {
        let count = geometry.capacity();
        let layout = Layout::array::<Slot<T>>(count)
            .and_then(|layout| layout.align_to(CACHE_LINE))
            .map_err(|_| invalid_capacity(count))?
            .pad_to_align();
        // SAFETY: the layout is not empty: there is at least one slot, and a stamp has a size.
        let memory = unsafe { alloc(layout) };
        let first =
            NonNull::new(memory.cast::<Slot<T>>()).ok_or_else(|| invalid_capacity(count))?;
        for index in 0..count {
            let slot = Slot {
                stamp: AtomicU64::new(geometry.advance(0, index)),
                item: UnsafeCell::new(MaybeUninit::uninit()),
            };
            // SAFETY: `index` is within the allocation, which no other thread can reach yet.
            unsafe { first.add(index).write(slot) };
        }
        Ok(Self { first, layout, count })
    }

    #[inline(always)]
    fn slot(&self, index: usize) -> &Slot<T> {
        debug_assert!(index < self.count);
        // SAFETY: every index comes from `Geometry`, which stays below the capacity; all slots were
        // initialized in `try_new`.
        unsafe { self.first.add(index).as_ref() }
    }

    #[inline(always)]
    pub(super) fn stamp(&self, index: usize) -> u64 {
        // Ordering: acquire, with the release of the previous owner: its work on the item is done.
        self.slot(index).stamp.load(Ordering::Acquire)
    }

    #[inline(always)]
    fn run(&self, run: Run) -> &[Slot<T>] {
        debug_assert!(run.index + run.count <= self.count);
        // SAFETY: as in `slot`; a run from `Geometry` ends at the last slot or before.
        unsafe { NonNull::slice_from_raw_parts(self.first.add(run.index), run.count).as_ref() }
    }

    /// Returns how many slots of the run, from its start, carry the stamp of their position in
    /// `state`.
    #[inline(always)]
    pub(super) fn count(&self, run: Run, state: u64) -> usize {
        let slots = self.run(run);
        let mut rest = slots;
        let mut expected = run.position | state;
        let found = |slot: &Slot<T>, expected| slot.stamp.load(Ordering::Acquire) == expected;
        // Four at a time: the loop itself costs more than the comparisons.
        while let [a, b, c, d, behind @ ..] = rest
            && found(a, expected)
            && found(b, expected + STEP)
            && found(c, expected + 2 * STEP)
            && found(d, expected + 3 * STEP)
        {
            rest = behind;
            expected += 4 * STEP;
        }
        while let [slot, behind @ ..] = rest
            && found(slot, expected)
        {
            rest = behind;
            expected += STEP;
        }
        slots.len() - rest.len()
    }

    /// Moves items from the front of `batch` into the slots of a run, which the caller owns, and
    /// publishes them.
    #[inline(always)]
    pub(super) fn fill_run(&self, run: Run, batch: &mut impl BatchSource<T>) {
        let slots = self.run(run);
        let front = batch.front();
        if front.len() < slots.len() {
            return self.fill_run_singly(run, batch);
        }
        for (slot, item) in slots.iter().zip(front) {
            // SAFETY: as in `fill`. The item is copied as bytes, and the slot owns it from now on:
            // the next loop removes it from the batch and forgets it, before a consumer can pop it.
            slot.item
                .with_mut(|place| unsafe { place.cast::<T>().copy_from_nonoverlapping(item, 1) });
        }
        for _ in slots {
            // SAFETY: `front` is at least as long as `slots`. With this hint, the compiler turns
            // the loop into one addition.
            mem::forget(batch.next().unwrap_or_else(|| unsafe { unreachable_unchecked() }));
        }
        let mut stamp = run.position | FULL;
        for slot in slots {
            // Ordering: as in `fill`.
            slot.stamp.store(stamp, Ordering::Release);
            stamp += STEP;
        }
    }

    /// Does the same as `fill_run`, for a batch whose items are not contiguous in memory.
    fn fill_run_singly(&self, run: Run, batch: &mut impl BatchSource<T>) {
        let mut position = run.position;
        for index in run.index..run.index + run.count {
            let Some(value) = batch.next() else { unreachable!("the length of a batch is exact") };
            self.fill(index, position, value);
            position += STEP;
        }
    }

    /// Moves the items of a run, which the caller owns, to `free`, and releases the slots. `free`
    /// is as long as the run.
    #[inline(always)]
    pub(super) fn empty_run(&self, run: Run, geometry: Geometry, free: &mut [MaybeUninit<T>]) {
        let mut next = geometry.next_lap(run.position);
        for (slot, free) in self.run(run).iter().zip(free) {
            // SAFETY: as in `empty`.
            slot.item
                .with(|item| unsafe { free.as_mut_ptr().copy_from_nonoverlapping(item.cast(), 1) });
            // Ordering: as in `empty`.
            slot.stamp.store(next, Ordering::Release);
            next += STEP;
        }
    }

    /// Writes the item of `position` into its slot, which the caller owns, and publishes it.
    #[inline(always)]
    pub(super) fn fill(&self, index: usize, position: u64, value: T) {
        let slot = self.slot(index);
        // SAFETY: the caller owns the slot (invariant 1), and it is empty (invariant 2).
        slot.item.with_mut(|item| unsafe { item.cast::<T>().write(value) });
        // Ordering: release, with the acquire in `stamp` of the consumer.
        slot.stamp.store(position | FULL, Ordering::Release);
    }

    /// Moves the item out of a slot, which the caller owns, and releases the slot for position
    /// `next`.
    #[inline(always)]
    pub(super) fn empty(&self, index: usize, next: u64) -> T {
        /// Releases the slot on return, so that the item is copied once, straight to the caller.
        struct Release<'a>(&'a AtomicU64, u64);
        impl Drop for Release<'_> {
            #[inline(always)]
            fn drop(&mut self) {
                // Ordering: release, with the acquire in `stamp` of the next producer.
                self.0.store(self.1, Ordering::Release);
            }
        }
        let slot = self.slot(index);
        let _release = Release(&slot.stamp, next);
        // SAFETY: the caller owns the slot (invariant 1), which holds the item (invariant 2). It is
        // read once: the next stamp says that it is gone.
        slot.item.with(|item| unsafe { item.cast::<T>().read() })
    }

    /// Calls `inspect` with the item of a slot, which the caller owns.
    pub(super) fn inspect<R>(&self, index: usize, inspect: impl FnOnce(&T) -> R) -> R {
        // SAFETY: the caller owns the slot (invariant 1), which holds the item (invariant 2).
        self.slot(index).item.with(|item| inspect(unsafe { &*item.cast::<T>() }))
    }

    /// Moves the item out of a slot. The caller owns the slot and keeps it.
    pub(super) fn move_out(&self, index: usize) -> T {
        // SAFETY: as in `empty`; the caller does not publish the slot before it has put an item in.
        self.slot(index).item.with(|item| unsafe { item.cast::<T>().read() })
    }

    /// Moves an item into an empty slot. The caller owns the slot and keeps it.
    pub(super) fn move_in(&self, index: usize, value: T) {
        // SAFETY: as in `fill`.
        self.slot(index).item.with_mut(|item| unsafe { item.cast::<T>().write(value) });
    }

    /// Ends the ownership of a slot, with the stamp of its next position and state.
    pub(super) fn release(&self, index: usize, stamp: u64) {
        // Ordering: release, with the acquire in `stamp` of the next owner.
        self.slot(index).stamp.store(stamp, Ordering::Release);
    }

    /// Replaces the item of a slot by that of position `newest`, one lap later. The caller owns the
    /// slot for both positions.
    pub(super) fn replace(&self, index: usize, newest: u64, value: T) -> T {
        let slot = self.slot(index);
        // SAFETY: as in `empty` and in `fill`.
        let evicted = slot.item.with_mut(|item| unsafe { item.cast::<T>().replace(value) });
        // Ordering: as in `fill`.
        slot.stamp.store(newest | FULL, Ordering::Release);
        evicted
    }
}

impl<T> Drop for Slots<T> {
    fn drop(&mut self) {
        for index in 0..self.count {
            // SAFETY: initialized in `try_new`, and dropped only here. Items are not dropped with
            // their slots: `Core` has popped them.
            unsafe { self.first.add(index).drop_in_place() };
        }
        // SAFETY: allocated in `try_new` with this layout.
        unsafe { dealloc(self.first.as_ptr().cast(), self.layout) };
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::{CACHE_LINE, Geometry, Slot, Slots};

    #[test]
    fn an_item_and_its_stamp_share_a_cache_line() {
        assert_eq!(size_of::<Slot<u64>>(), 16);
        assert_eq!(size_of::<Slot<[u64; 7]>>(), CACHE_LINE);
        let slots = Slots::<[u64; 7]>::try_new(Geometry::new(3).unwrap()).unwrap();
        assert_eq!(slots.first.addr().get() % CACHE_LINE, 0);
    }
}
