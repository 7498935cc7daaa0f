//! The algorithm, and all unsafe code of the ring.
//!
//! Slots carry stamps after Dmitry Vyukov's bounded MPMC queue. For each position the life of its slot
//! is
//!
//! ```text
//! stamp = p          free for the item of position p
//!   | a pusher moves the tail from p to p + 1: it owns the slot, alone
//! stamp = p | FULL   holds the item of position p
//!   | a popper moves the head from p to p + 1: it owns the slot, alone
//! stamp = p + lap    free for the item one lap later
//! ```
//!
//! Invariants, on which the unsafe code rests:
//!
//! 1. A slot is owned by whoever moved the tail past its position (until it stores `p | FULL`) or the
//!    head past it (until it stores the next stamp). Tail and head move by read-modify-write from a
//!    position whose stamp was seen in the right state, and a stamp changes only by its owner's hand;
//!    so there is one owner at a time.
//! 2. The cell of a slot is initialised exactly while the stamp is `p | FULL` or a popper owns it and
//!    has not yet moved the item out.
//! 3. `head <= tail <= head + capacity`, as positions.
//!
//! The operations take effect when head or tail moves. An answer of "empty" or "full" is an
//! observation of both words at one instant: each only grows, so if the second read finds the
//! distance that the first one implies, the first has not moved in between.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::hint::unreachable_unchecked;
use std::mem::{self, MaybeUninit};
use std::ptr::NonNull;

use super::batch::Batch;
use super::error::{ForcePushError, PopError, PushError};
use super::position::{CLOSED, FREE, FULL, Geometry, Run, STEP, WAITING, position};
use crate::sync::CasBackoff;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{CachePadded, UnsafeCell};

pub(super) struct Core<T> {
    /// Position of the next push, with CLOSED, and WAITING for those who wait to pop.
    tail: CachePadded<AtomicU64>,
    /// Position of the next pop, with WAITING for those who wait to push.
    head: CachePadded<AtomicU64>,
    geometry: Geometry,
    slots: Slots<T>,
}

/// Slots that follow each other, owned between moving the tail and publishing items, or between moving
/// the head and releasing the slots. It must go on to `publish` or `take`: peers wait for it.
#[must_use]
#[derive(Debug)]
pub(super) struct Claim {
    position: u64,
    count: usize,
    /// Whether somebody waits for what the claim brings about; to be notified when that is done.
    pub(super) waited_for: bool,
}

impl Claim {
    #[inline]
    pub(super) fn count(&self) -> usize {
        self.count
    }
}

/// Whether somebody waits for items.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waited(pub(super) bool);

impl<T> Core<T> {
    pub(super) fn new(capacity: usize) -> Self {
        let geometry = Geometry::new(capacity);
        Self {
            tail: CachePadded::new(AtomicU64::new(0)),
            head: CachePadded::new(AtomicU64::new(0)),
            geometry,
            slots: Slots::new(geometry),
        }
    }

    /// Claims the slot at the tail.
    #[inline(always)]
    pub(super) fn claim_push(&self) -> Result<Claim, PushError<()>> {
        self.claim_free(|here| usize::from(self.has(here, FREE)))
    }

    /// Claims the slot at the head.
    #[inline(always)]
    pub(super) fn claim_pop(&self) -> Result<Claim, PopError> {
        self.claim_full(|here| usize::from(self.has(here, FULL)))
    }

    /// Claims up to `max` free slots that follow each other, at least one, with one step of the tail.
    /// `max` is at least 1.
    #[inline]
    pub(super) fn claim_push_batch(&self, max: usize) -> Result<Claim, PushError<()>> {
        self.claim_free(|here| self.count(here, max, FREE))
    }

    /// Claims up to `max` full slots that follow each other, at least one, with one step of the head.
    /// `max` is at least 1; `prepare` is told how many just before.
    #[inline]
    pub(super) fn claim_pop_batch(
        &self,
        max: usize,
        mut prepare: impl FnMut(usize),
    ) -> Result<Claim, PopError> {
        self.claim_full(|here| {
            let count = self.count(here, max, FULL);
            prepare(count);
            count
        })
    }

    /// Claims as many slots from the tail on as `count_free` says there are.
    #[inline(always)]
    fn claim_free(&self, mut count_free: impl FnMut(u64) -> usize) -> Result<Claim, PushError<()>> {
        // Ordering: acquire, with the release of the step that wrote it. Who sees the tail here also
        // sees that the head is at most one lap behind: invariant 3.
        let mut tail = self.tail.load(Ordering::Acquire);
        let mut race = CasBackoff::new();
        loop {
            if tail & CLOSED != 0 {
                return Err(PushError::Closed(()));
            }
            let here = position(tail);
            let count = count_free(here);
            if count > 0 {
                match self.step(&self.tail, tail, count) {
                    Ok(_) => {
                        return Ok(Claim {
                            position: here,
                            count,
                            waited_for: tail & WAITING != 0,
                        });
                    }
                    Err(_) => {
                        race.spin();
                        tail = self.tail.load(Ordering::Acquire);
                    }
                }
                continue;
            }
            // Ordering: acquire, for invariant 3.
            let head = position(self.head.load(Ordering::Acquire));
            if self.geometry.next_lap(head) == here {
                return Err(PushError::Full(()));
            }
            let now = self.tail.load(Ordering::Acquire);
            if now == tail {
                // The slot belongs to a popper that has not released it yet.
                return Err(PushError::Busy(()));
            }
            tail = now;
        }
    }

    /// Claims as many slots from the head on as `count_full` says there are.
    #[inline(always)]
    fn claim_full(&self, mut count_full: impl FnMut(u64) -> usize) -> Result<Claim, PopError> {
        // Ordering: acquire, with the release of the step that wrote it; that stepper had seen the item
        // published, so the tail is seen not to be behind: invariant 3.
        let mut head = self.head.load(Ordering::Acquire);
        let mut race = CasBackoff::new();
        loop {
            let here = position(head);
            let count = count_full(here);
            if count > 0 {
                match self.step(&self.head, head, count) {
                    Ok(_) => {
                        return Ok(Claim {
                            position: here,
                            count,
                            waited_for: head & WAITING != 0,
                        });
                    }
                    Err(_) => {
                        race.spin();
                        head = self.head.load(Ordering::Acquire);
                    }
                }
                continue;
            }
            // A free stamp says that the slot waits for the item of this very position; any other that a
            // peer is at work in it.
            if self.has(here, FREE) {
                // Ordering: acquire, for invariant 3, and with the release of `close`.
                let tail = self.tail.load(Ordering::Acquire);
                if position(tail) == here {
                    return Err(if tail & CLOSED == 0 {
                        PopError::Empty
                    } else {
                        PopError::Closed
                    });
                }
            }
            let now = self.head.load(Ordering::Acquire);
            if now == head {
                return Err(PopError::Busy);
            }
            head = now;
        }
    }

    /// How many of the slots from `from` on, `max` at most, carry the stamp of their position in this
    /// `state`.
    #[inline(always)]
    fn count(&self, from: u64, max: usize, state: u64) -> usize {
        let run = self.geometry.run(from, max);
        let count = self.slots.count(run, state);
        if count < run.count || count == max {
            count
        } else {
            self.count_on(from, count, max, state)
        }
    }

    /// Goes on counting at the first slot.
    #[cold]
    #[inline(never)]
    fn count_on(&self, from: u64, count: usize, max: usize, state: u64) -> usize {
        let left = max.min(self.capacity()) - count;
        count + self.slots.count(self.geometry.run(self.geometry.advance(from, count), left), state)
    }

    #[inline(always)]
    fn has(&self, at: u64, state: u64) -> bool {
        self.slots.stamp(self.geometry.index(at)) == at | state
    }

    #[inline(always)]
    fn step(&self, word: &AtomicU64, from: u64, count: usize) -> Result<u64, u64> {
        let to =
            if count == 1 { self.geometry.next(from) } else { self.geometry.advance(from, count) };
        // Ordering: release, with the acquire loads of this word, for invariant 3.
        word.compare_exchange_weak(from, to, Ordering::AcqRel, Ordering::Relaxed)
    }

    /// Fills the claimed slot.
    #[inline(always)]
    pub(super) fn publish(&self, claim: &Claim, value: T) {
        self.slots.fill(self.geometry.index(claim.position), claim.position, value);
    }

    /// Fills the claimed slots, in order.
    #[inline]
    pub(super) fn publish_batch(&self, claim: &Claim, batch: &mut impl Batch<T>) {
        let run = self.geometry.run(claim.position, claim.count);
        self.slots.fill_run(run, batch);
        if run.count < claim.count {
            self.publish_rest(self.rest(claim, run), batch);
        }
    }

    #[cold]
    #[inline(never)]
    fn publish_rest(&self, rest: Run, batch: &mut impl Batch<T>) {
        self.slots.fill_run(rest, batch);
    }

    /// Those of the claimed slots that do not stand before the end.
    fn rest(&self, claim: &Claim, run: Run) -> Run {
        self.geometry.run(self.geometry.advance(claim.position, run.count), claim.count - run.count)
    }

    /// Empties the claimed slot.
    #[inline(always)]
    pub(super) fn take(&self, claim: &Claim) -> T {
        let next = self.geometry.next_lap(claim.position);
        self.slots.empty(self.geometry.index(claim.position), next)
    }

    /// Empties the claimed slots, in order, into memory reserved before.
    #[inline]
    pub(super) fn take_batch(&self, claim: &Claim, into: &mut Vec<T>) {
        let run = self.geometry.run(claim.position, claim.count);
        let room = into.spare_capacity_mut();
        // Before anything is taken: a panic here would stall the peers, one later lose items.
        assert!(claim.count <= room.len(), "room was made before the claim");
        let (room, room_for_rest) = room.split_at_mut(run.count);
        self.slots.empty_run(run, self.geometry, room);
        if run.count < claim.count {
            self.take_rest(self.rest(claim, run), room_for_rest);
        }
        // SAFETY: so many places behind the end were filled.
        unsafe { into.set_len(into.len() + claim.count) };
    }

    #[cold]
    #[inline(never)]
    fn take_rest(&self, rest: Run, room: &mut [MaybeUninit<T>]) {
        self.slots.empty_run(rest, self.geometry, &mut room[..rest.count]);
    }

    /// Pushes, in place of the oldest item if the ring is full.
    pub(super) fn force_push(&self, value: T) -> Result<(Option<T>, Waited), ForcePushError<T>> {
        loop {
            match self.claim_push() {
                Ok(claim) => {
                    self.publish(&claim, value);
                    return Ok((None, Waited(claim.waited_for)));
                }
                Err(PushError::Full(())) => {}
                Err(PushError::Busy(())) => return Err(ForcePushError::Busy(value)),
                Err(PushError::Closed(())) => return Err(ForcePushError::Closed(value)),
            }
            // Ordering: as in `claim_pop` and `claim_push`.
            let head = self.head.load(Ordering::Acquire);
            let oldest = position(head);
            let index = self.geometry.index(oldest);
            let stamp = self.slots.stamp(index);
            let tail = self.tail.load(Ordering::Acquire);
            let newest = self.geometry.next_lap(oldest);
            if position(tail) != newest || tail & CLOSED != 0 {
                continue;
            }
            if stamp != oldest | FULL {
                if self.head.load(Ordering::Acquire) == head {
                    // The oldest item's pusher has not published it yet.
                    return Err(ForcePushError::Busy(value));
                }
                continue;
            }
            if self.step(&self.head, head, 1).is_err() {
                continue;
            }
            // The ring was full when the head moved, so the slot just claimed is also the one at the
            // tail; and as long as its stamp is the old one nobody else can move the tail. Poppers that
            // get here meanwhile see that stamp too, and do not take the ring to be drained.
            let step = self.geometry.next(newest) - newest;
            let tail = self.tail.fetch_add(step, Ordering::AcqRel);
            debug_assert_eq!(position(tail), newest);
            let evicted = self.slots.replace(index, newest, value);
            return Ok((Some(evicted), Waited(tail & WAITING != 0)));
        }
    }

    /// True if it was open.
    pub(super) fn close(&self) -> bool {
        // Ordering: release, so that who learns of the end also sees what went before it.
        self.tail.fetch_or(CLOSED, Ordering::AcqRel) & CLOSED == 0
    }

    pub(super) fn is_closed(&self) -> bool {
        self.tail.load(Ordering::Acquire) & CLOSED != 0
    }

    pub(super) fn capacity(&self) -> usize {
        self.geometry.capacity()
    }

    pub(super) fn len(&self) -> usize {
        // Head first: the tail is then not behind it.
        let head = self.head.load(Ordering::Acquire);
        let tail = self.tail.load(Ordering::Acquire);
        self.geometry.distance(head, tail).min(self.capacity())
    }

    pub(super) fn is_empty(&self) -> bool {
        let head = self.head.load(Ordering::Acquire);
        position(self.tail.load(Ordering::Acquire)) == position(head)
    }

    pub(super) fn is_full(&self) -> bool {
        let tail = self.tail.load(Ordering::Acquire);
        let head = position(self.head.load(Ordering::Acquire));
        self.geometry.next_lap(head) == position(tail)
    }

    /// Raises the flag for a wait for items; false if the ring is not empty, or closed.
    pub(super) fn wait_for_items(&self) -> bool {
        let head = self.head.load(Ordering::Acquire);
        let tail = self.tail.load(Ordering::Acquire);
        // If the exchange succeeds the tail is where it was, and so is the head, which cannot pass it:
        // the ring was empty when the flag went up, and the next push will see it.
        position(head) == position(tail) && tail & CLOSED == 0 && raise(&self.tail, tail)
    }

    /// Raises the flag for a wait for room; false if the ring is not full, or closed.
    pub(super) fn wait_for_room(&self) -> bool {
        let tail = self.tail.load(Ordering::Acquire);
        let head = self.head.load(Ordering::Acquire);
        let full = self.geometry.next_lap(position(head)) == position(tail);
        full && tail & CLOSED == 0 && raise(&self.head, head)
    }

    pub(super) fn nobody_waits_for_items(&self) {
        self.tail.fetch_and(!WAITING, Ordering::AcqRel);
    }

    pub(super) fn nobody_waits_for_room(&self) {
        self.head.fetch_and(!WAITING, Ordering::AcqRel);
    }
}

impl<T> Core<T> {
    fn drop_items(&self) {
        while let Ok(claim) = self.claim_pop() {
            drop(self.take(&claim));
        }
    }
}

fn raise(word: &AtomicU64, seen: u64) -> bool {
    word.compare_exchange(seen, seen | WAITING, Ordering::AcqRel, Ordering::Relaxed).is_ok()
}

impl<T> Drop for Core<T> {
    fn drop(&mut self) {
        /// Goes on with the rest when dropping one item panics.
        struct Rest<'a, T>(&'a Core<T>);
        impl<T> Drop for Rest<'_, T> {
            fn drop(&mut self) {
                self.0.drop_items();
            }
        }
        Rest(self).0.drop_items();
    }
}

/// The slots in memory. It begins at a cache line, so that a slot that fills one never straddles two.
struct Slots<T> {
    first: NonNull<Slot<T>>,
    layout: Layout,
    count: usize,
}

struct Slot<T> {
    stamp: AtomicU64,
    item: UnsafeCell<MaybeUninit<T>>,
}

const CACHE_LINE: usize = 64;

// SAFETY: an item moves from the thread that pushes it to the one that pops it (`T: Send`); stamps hand
// it over, so that no two threads refer to one at the same time (invariant 1), and `T: Sync` is not
// needed.
unsafe impl<T: Send> Send for Slots<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Slots<T> {}

impl<T> Slots<T> {
    fn new(geometry: Geometry) -> Self {
        let count = geometry.capacity();
        let layout = Layout::array::<Slot<T>>(count).and_then(|layout| layout.align_to(CACHE_LINE));
        let layout = layout.expect("capacity overflow").pad_to_align();
        // SAFETY: the layout is not empty: there is at least one slot, and its stamp has a size.
        let memory = unsafe { alloc(layout) };
        let Some(first) = NonNull::new(memory.cast::<Slot<T>>()) else {
            handle_alloc_error(layout)
        };
        for index in 0..count {
            let slot = Slot {
                stamp: AtomicU64::new(geometry.advance(0, index)),
                item: UnsafeCell::new(MaybeUninit::uninit()),
            };
            // SAFETY: `index` is within the allocation, which nobody else knows yet.
            unsafe { first.add(index).write(slot) };
        }
        Self { first, layout, count }
    }

    #[inline(always)]
    fn slot(&self, index: usize) -> &Slot<T> {
        debug_assert!(index < self.count);
        // SAFETY: every index here comes from `Geometry`, which gives none beyond the capacity; and all
        // slots were initialised in `new`.
        unsafe { self.first.add(index).as_ref() }
    }

    #[inline(always)]
    fn stamp(&self, index: usize) -> u64 {
        // Ordering: acquire, with the release of the owner before: what it did to the item is done.
        self.slot(index).stamp.load(Ordering::Acquire)
    }

    #[inline(always)]
    fn run(&self, run: Run) -> &[Slot<T>] {
        debug_assert!(run.index + run.count <= self.count);
        // SAFETY: as in `slot`; a run from `Geometry` ends before the capacity does.
        unsafe { NonNull::slice_from_raw_parts(self.first.add(run.index), run.count).as_ref() }
    }

    /// How many slots of the run, from its start, carry the stamp of their position in this `state`.
    #[inline(always)]
    fn count(&self, run: Run, state: u64) -> usize {
        let slots = self.run(run);
        let mut rest = slots;
        let mut expected = run.position | state;
        let found = |slot: &Slot<T>, expected| slot.stamp.load(Ordering::Acquire) == expected;
        // Four at a time: counting costs more than looking.
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

    /// Fills the slots of a run, which the caller claimed, from the front of `batch`.
    #[inline(always)]
    fn fill_run(&self, run: Run, batch: &mut impl Batch<T>) {
        let slots = self.run(run);
        let front = batch.front();
        if front.len() < slots.len() {
            return self.fill_run_singly(run, batch);
        }
        for (slot, item) in slots.iter().zip(front) {
            // SAFETY: as in `fill`. The item is copied as bytes, whose owner is from now on the slot: the
            // next loop takes it from the batch without looking at it, before anybody can pop it.
            slot.item
                .with_mut(|place| unsafe { place.cast::<T>().copy_from_nonoverlapping(item, 1) });
        }
        for _ in slots {
            // SAFETY: `front` told that there are as many. Said to the compiler, it makes one addition of
            // the loop.
            mem::forget(batch.next().unwrap_or_else(|| unsafe { unreachable_unchecked() }));
        }
        let mut stamp = run.position | FULL;
        for slot in slots {
            // Ordering: as in `fill`.
            slot.stamp.store(stamp, Ordering::Release);
            stamp += STEP;
        }
    }

    /// From a batch whose items do not stand in one piece.
    fn fill_run_singly(&self, run: Run, batch: &mut impl Batch<T>) {
        let mut at = run.position;
        for index in run.index..run.index + run.count {
            let Some(value) = batch.next() else { unreachable!("a batch is as long as it says") };
            self.fill(index, at, value);
            at += STEP;
        }
    }

    /// Moves the items of a run, which the caller claimed, to `room`, which is as long, and releases the
    /// slots.
    #[inline(always)]
    fn empty_run(&self, run: Run, geometry: Geometry, room: &mut [MaybeUninit<T>]) {
        let mut next = geometry.next_lap(run.position);
        for (slot, room) in self.run(run).iter().zip(room) {
            // SAFETY: as in `empty`.
            slot.item
                .with(|item| unsafe { room.as_mut_ptr().copy_from_nonoverlapping(item.cast(), 1) });
            // Ordering: as in `empty`.
            slot.stamp.store(next, Ordering::Release);
            next += STEP;
        }
    }

    /// Puts the item of position `at` into its slot, which the caller claimed, and publishes it.
    #[inline(always)]
    fn fill(&self, index: usize, at: u64, value: T) {
        let slot = self.slot(index);
        // SAFETY: the caller owns the slot (invariant 1), and it is empty (invariant 2).
        slot.item.with_mut(|item| unsafe { item.cast::<T>().write(value) });
        // Ordering: release, with the acquire in `stamp` of whoever pops it.
        slot.stamp.store(at | FULL, Ordering::Release);
    }

    /// Takes the item out of a slot, which the caller claimed, and releases it for position `next`.
    #[inline(always)]
    fn empty(&self, index: usize, next: u64) -> T {
        /// Released on return, so that the item is copied once, straight to where it is returned.
        struct Release<'a>(&'a AtomicU64, u64);
        impl Drop for Release<'_> {
            #[inline(always)]
            fn drop(&mut self) {
                // Ordering: release, with the acquire in `stamp` of whoever fills the slot next.
                self.0.store(self.1, Ordering::Release);
            }
        }
        let slot = self.slot(index);
        let _release = Release(&slot.stamp, next);
        // SAFETY: the caller owns the slot (invariant 1), and it holds the item (invariant 2), which is
        // read once, for the next stamp says that it is gone.
        slot.item.with(|item| unsafe { item.cast::<T>().read() })
    }

    /// Takes the item out of a slot and puts that of position `newest`, one lap later, in; the caller
    /// claimed both.
    fn replace(&self, index: usize, newest: u64, value: T) -> T {
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
            // SAFETY: initialised in `new`, and dropped here only. Items are not dropped with their
            // slots: `Core` has popped them.
            unsafe { self.first.add(index).drop_in_place() };
        }
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.first.as_ptr().cast(), self.layout) };
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::{CACHE_LINE, Core, Slot};

    #[test]
    fn an_item_and_its_stamp_share_a_line() {
        assert_eq!(size_of::<Slot<u64>>(), 16);
        assert_eq!(size_of::<Slot<[u64; 7]>>(), CACHE_LINE);
        assert_eq!(Core::<[u64; 7]>::new(3).slots.first.addr().get() % CACHE_LINE, 0);
        #[cfg(target_arch = "x86_64")] // elsewhere lines are padded to other sizes
        assert_eq!(
            std::mem::offset_of!(Core<u64>, head).abs_diff(std::mem::offset_of!(Core<u64>, tail)),
            128
        );
    }
}
