//! The timers of one shard: a binary heap whose entries can be removed by their slot.

use crate::time::Instant;
use std::task::Waker;

/// Timers ordered by their instants.
///
/// Each timer has a slot, whose index stays the same until the slot is freed, and while the timer
/// is armed, a position in the heap. When the timer fires, it leaves the heap but keeps its slot,
/// so that its owner can find out that it has fired.
///
/// Inserting the latest timer, or removing one of the latest, takes a constant number of steps.
/// Most timers are of this kind: they belong to timeouts that are equally long and are removed
/// before they fire.
#[derive(Debug)]
pub(super) struct TimerHeap {
    /// The slots in heap order: the timer at index `i` is not later than those at
    /// `2 * i + 1` and `2 * i + 2`.
    order: Vec<u32>,
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot {
    at: Instant,
    /// `None` after the timer has fired.
    position: Option<u32>,
    waker: Option<Waker>,
}

/// The largest number of slots whose memory is kept when all of them are free.
const KEPT: usize = 256;

impl TimerHeap {
    pub(super) const fn new() -> Self {
        Self { order: Vec::new(), slots: Vec::new(), free: Vec::new() }
    }

    /// Returns the instant of the earliest armed timer.
    pub(super) fn next(&self) -> Option<Instant> {
        self.order.first().map(|slot| self.slots[*slot as usize].at)
    }

    /// Arms a timer, and returns its slot.
    pub(super) fn insert(&mut self, at: Instant, waker: Waker) -> u32 {
        let position = self.order.len();
        let timer = Slot { at, position: Some(position as u32), waker: Some(waker) };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = timer;
                slot
            }
            None => {
                self.slots.push(timer);
                u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 timers fit in memory")
            }
        };
        self.order.push(slot);
        self.move_up(position);
        slot
    }

    /// Returns the waker of a timer, which the owner may replace, or `None` after the timer has
    /// fired.
    pub(super) fn waker_mut(&mut self, slot: u32) -> Option<&mut Waker> {
        self.slots[slot as usize].waker.as_mut()
    }

    /// Frees a slot. Returns the waker if the timer has not fired.
    pub(super) fn remove(&mut self, slot: u32) -> Option<Waker> {
        let waker = self.slots[slot as usize].waker.take();
        if let Some(position) = self.slots[slot as usize].position {
            self.take(position as usize);
        }
        self.free.push(slot);
        if self.free.len() == self.slots.len() && self.slots.len() > KEPT {
            *self = Self::new();
        }
        waker
    }

    /// Fires the earliest timer if it is due at `now`, and returns its waker.
    pub(super) fn fire(&mut self, now: Instant) -> Option<Waker> {
        let first = *self.order.first()?;
        if self.slots[first as usize].at > now {
            return None;
        }
        self.take(0);
        self.slots[first as usize].waker.take()
    }

    /// Removes the timer at `position` from the heap. It keeps its slot.
    fn take(&mut self, position: usize) {
        let slot = self.order.swap_remove(position);
        self.slots[slot as usize].position = None;
        // The last timer has moved to this position. It can be earlier than its parent, because
        // it can come from another branch.
        if position < self.order.len() {
            self.set_position(position);
            self.move_up(position);
            self.move_down(position);
        }
    }

    fn move_up(&mut self, mut position: usize) {
        while position > 0 {
            let parent = (position - 1) / 2;
            if self.at(parent) <= self.at(position) {
                return;
            }
            self.swap(position, parent);
            position = parent;
        }
    }

    fn move_down(&mut self, mut position: usize) {
        loop {
            let left = 2 * position + 1;
            let Some(child) = [left, left + 1]
                .into_iter()
                .filter(|child| *child < self.order.len())
                .min_by_key(|child| self.at(*child))
            else {
                return;
            };
            if self.at(position) <= self.at(child) {
                return;
            }
            self.swap(position, child);
            position = child;
        }
    }

    fn at(&self, position: usize) -> Instant {
        self.slots[self.order[position] as usize].at
    }

    fn swap(&mut self, one: usize, other: usize) {
        self.order.swap(one, other);
        self.set_position(one);
        self.set_position(other);
    }

    fn set_position(&mut self, position: usize) {
        let slot = self.order[position];
        self.slots[slot as usize].position = Some(position as u32);
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Insert(u64),
        /// Removes one of the timers that have a slot.
        Remove(usize),
        Fire(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (0..50_u64).prop_map(Step::Insert),
            2 => any::<usize>().prop_map(Step::Remove),
            1 => (0..50_u64).prop_map(Step::Fire),
        ];
        proptest::collection::vec(step, 0..200)
    }

    proptest! {
        #[test]
        fn the_earliest_timer_fires_first_and_no_removed_timer_fires(steps in steps()) {
            let mut heap = TimerHeap::new();
            // Slot, instant, and whether the timer is armed.
            let mut model: Vec<(u32, u64, bool)> = Vec::new();
            for step in steps {
                match step {
                    Step::Insert(at) => {
                        let slot = heap.insert(Instant::from_nanos(at), Waker::noop().clone());
                        prop_assert!(model.iter().all(|timer| timer.0 != slot), "in use");
                        model.push((slot, at, true));
                    }
                    Step::Remove(index) if !model.is_empty() => {
                        let (slot, _, armed) = model.swap_remove(index % model.len());
                        prop_assert_eq!(heap.remove(slot).is_some(), armed);
                    }
                    Step::Remove(_) => {}
                    Step::Fire(now) => {
                        let armed = model.iter_mut().filter(|timer| timer.2);
                        let expected = armed.min_by_key(|timer| timer.1).filter(|t| t.1 <= now);
                        prop_assert_eq!(
                            heap.fire(Instant::from_nanos(now)).is_some(),
                            expected.is_some()
                        );
                        if let Some((_, at, _)) = expected {
                            // Of several timers of this instant, any may have fired.
                            let at = *at;
                            let fired = model
                                .iter_mut()
                                .find(|t| t.2 && t.1 == at && heap.waker_mut(t.0).is_none());
                            fired.expect("a timer of the earliest instant has fired").2 = false;
                        }
                    }
                }
                let next = model.iter().filter(|timer| timer.2).map(|timer| timer.1).min();
                prop_assert_eq!(heap.next(), next.map(Instant::from_nanos));
                for (slot, _, armed) in &model {
                    prop_assert_eq!(heap.waker_mut(*slot).is_some(), *armed);
                }
            }
        }
    }

    #[test]
    fn the_memory_of_many_timers_is_released_with_the_last_one() {
        for (timers, released) in [(KEPT, false), (KEPT + 1, true), (2 * KEPT, true)] {
            let mut heap = TimerHeap::new();
            let slots: Vec<_> = (0..timers as u64)
                .map(|at| heap.insert(Instant::from_nanos(at), Waker::noop().clone()))
                .collect();
            for slot in slots {
                assert_ne!(heap.slots.capacity(), 0);
                heap.remove(slot);
            }
            assert_eq!(heap.slots.capacity() == 0, released, "{timers}");
        }
    }
}
