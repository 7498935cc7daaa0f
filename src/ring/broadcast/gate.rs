//! The gate, which keeps senders from overwriting items that a subscriber has not received.

use crate::ring::position::{Geometry, WAITING, position_of};
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Arc, CachePadded, Mutex};

/// The positions of the subscribers that senders wait for.
///
/// A sender may own a position only if all cursors are less than one capacity behind it. Cursors
/// only move forward, so a position that the slowest cursor once had is a safe bound. The gate
/// stores such a bound, and scans the cursors only when the ring is full according to the bound.
pub(super) struct Gate {
    /// No cursor is behind this position. It never decreases.
    bound: CachePadded<AtomicU64>,
    cursors: Mutex<Cursors>,
}

struct Cursors {
    all: Vec<Arc<Cursor>>,
    /// The index of the cursor that was the slowest in the last scan.
    slowest: usize,
}

/// The position of one subscriber: that of the next item it receives.
pub(super) struct Cursor {
    /// The position, and the flag WAITING if a sender waits for the subscriber to advance. The
    /// subscriber writes the word; senders only set the flag.
    word: CachePadded<AtomicU64>,
    /// The index in `Cursors::all`, changed under the lock.
    index: AtomicUsize,
}

impl Cursor {
    /// Moves the cursor to `position`. Returns whether senders wait for it.
    #[inline(always)]
    pub(super) fn move_to(&self, position: u64) -> bool {
        // Ordering: release, with the acquire in `refresh`: the subscriber has read the item. A
        // swap, not a store, so that it returns the flag of every sender that found the cursor at
        // its old position.
        self.word.swap(position, Ordering::AcqRel) & WAITING != 0
    }
}

impl Gate {
    /// Creates a gate without cursors for a ring that begins at `start`.
    pub(super) fn new(start: u64) -> Self {
        Self {
            bound: CachePadded::new(AtomicU64::new(start)),
            cursors: Mutex::new(Cursors { all: Vec::new(), slowest: 0 }),
        }
    }

    /// Returns whether a sender may own `position`, which it has read from the tail.
    #[inline(always)]
    pub(super) fn admits(&self, geometry: Geometry, position: u64) -> bool {
        // Ordering: acquire, with the release in `refresh`: the items before the bound are no
        // longer read.
        !is_full(geometry, position, self.bound.load(Ordering::Acquire))
            || self.refresh(&mut self.cursors.lock(), geometry, position)
    }

    /// Advances the bound. Returns whether a sender may own `position` now.
    fn refresh(&self, cursors: &mut Cursors, geometry: Geometry, position: u64) -> bool {
        let bound = self.bound.load(Ordering::Acquire);
        if !is_full(geometry, position, bound) {
            return true;
        }
        if cursors.all.get(cursors.slowest).is_some_and(|cursor| cursor.position() == bound) {
            return false;
        }
        // Of equally slow cursors the last one is taken: subscribers are usually woken in the order
        // in which they were added, so the others have moved on when this one does. Each cursor is
        // read only once, because it may move past the others during the scan.
        let positions = cursors.all.iter().map(|cursor| cursor.position()).enumerate();
        let next = match positions.rev().min_by_key(|(_, position)| *position) {
            Some((index, position)) => {
                cursors.slowest = index;
                position
            }
            // Without subscribers, the oldest item may be overwritten.
            None => geometry.next(bound),
        };
        // Ordering: release, with the acquire in `admits` of other senders.
        self.bound.store(next, Ordering::Release);
        !is_full(geometry, position, next)
    }

    /// Sets the flag of a waiting sender on the slowest cursor. Returns `false` if a sender may own
    /// `position` now.
    pub(super) fn flag_waiting_sender(&self, geometry: Geometry, position: u64) -> bool {
        let mut cursors = self.cursors.lock();
        while !self.refresh(&mut cursors, geometry, position) {
            let bound = self.bound.load(Ordering::Acquire);
            if cursors.all[cursors.slowest].flag(bound) {
                return true;
            }
        }
        false
    }

    /// Adds the cursor of a subscriber at the position that `select` returns, or at the bound if
    /// that is later: items before the bound may be overwritten at any moment. Returns the cursor
    /// and its position. `select` is called under the lock.
    pub(super) fn add(&self, select: impl FnOnce() -> u64) -> (Arc<Cursor>, u64) {
        let mut cursors = self.cursors.lock();
        let position = select().max(self.bound.load(Ordering::Acquire));
        let cursor = Arc::new(Cursor {
            word: CachePadded::new(AtomicU64::new(position)),
            index: AtomicUsize::new(cursors.all.len()),
        });
        cursors.all.push(Arc::clone(&cursor));
        (cursor, position)
    }

    /// Removes a cursor. Returns whether senders wait for it.
    pub(super) fn remove(&self, cursor: &Cursor) -> bool {
        let mut cursors = self.cursors.lock();
        let index = cursor.index.load(Ordering::Relaxed);
        cursors.all.swap_remove(index);
        if let Some(moved) = cursors.all.get(index) {
            moved.index.store(index, Ordering::Relaxed);
        }
        // An index out of range makes the next `refresh` scan all cursors.
        cursors.slowest = usize::MAX;
        cursor.word.load(Ordering::Acquire) & WAITING != 0
    }
}

/// Returns whether the items from `bound` up to `position` fill the ring. One slot is always left
/// for the mark of the end.
#[inline(always)]
fn is_full(geometry: Geometry, position: u64, bound: u64) -> bool {
    geometry.next(position) == geometry.next_lap(bound)
}

impl Cursor {
    fn position(&self) -> u64 {
        position_of(self.word.load(Ordering::Acquire))
    }

    /// Sets the flag if the cursor is still at `position`, and returns whether it is.
    fn flag(&self, position: u64) -> bool {
        let flagged = position | WAITING;
        let result =
            self.word.compare_exchange(position, flagged, Ordering::AcqRel, Ordering::Acquire);
        result.is_ok() || result == Err(flagged)
    }
}
