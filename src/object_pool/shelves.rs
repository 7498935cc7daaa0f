//! What the threads share: a few short stacks, each behind a lock that nobody waits for.

use super::{Object, trim};
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{CachePadded, Mutex};

#[derive(Debug)]
pub(super) struct Shelves<T> {
    shelves: Box<[CachePadded<Shelf<T>>]>,
}

#[derive(Debug)]
struct Shelf<T> {
    /// The length of the stock, written under its lock, so that a shelf that cannot serve is passed by
    /// without touching the lock.
    len: AtomicUsize,
    /// How many objects it may hold.
    room: usize,
    stock: Mutex<Stock<T>>,
}

#[derive(Debug)]
struct Stock<T> {
    /// Newest last.
    objects: Vec<Object<T>>,
    /// The least that was here since the last trim.
    low: usize,
}

impl<T> Shelves<T> {
    /// At most `count` shelves, for `room` objects in all.
    pub(super) fn new(count: usize, room: usize) -> Self {
        let count = count.clamp(1, room.max(1));
        let shelf = |i| Shelf {
            len: AtomicUsize::new(0),
            room: room / count + usize::from(i < room % count),
            stock: Mutex::new(Stock { objects: Vec::new(), low: 0 }),
        };
        Self { shelves: (0..count).map(|i| CachePadded::new(shelf(i))).collect() }
    }

    /// One object for the caller, and up to `more` of the newest into `spare`, all from one shelf.
    pub(super) fn take(
        &self,
        home: usize,
        spare: &mut Vec<Object<T>>,
        more: usize,
    ) -> Option<Object<T>> {
        self.from(home).find_map(|shelf| {
            shelf.visit(
                |len| len > 0,
                |stock| {
                    let object = stock.objects.pop()?;
                    let rest = stock.objects.len().saturating_sub(more);
                    spare.extend(stock.objects.drain(rest..));
                    stock.low = stock.low.min(stock.objects.len());
                    Some(object)
                },
            )?
        })
    }

    /// Moves up to `count` of the oldest of `objects` to the shelves, as many as there is room for.
    pub(super) fn put(&self, home: usize, objects: &mut Vec<Object<T>>, mut count: usize) {
        for shelf in self.from(home) {
            if count == 0 {
                break;
            }
            shelf.visit(
                |len| len < shelf.room,
                |stock| {
                    let moved = count.min(shelf.room.saturating_sub(stock.objects.len()));
                    stock.objects.extend(objects.drain(..moved));
                    count -= moved;
                },
            );
        }
    }

    /// Puts `object` on the first shelf that has room, or returns it.
    pub(super) fn put_one(&self, home: usize, object: Object<T>) -> Result<(), Object<T>> {
        let mut object = Some(object);
        for shelf in self.from(home) {
            shelf.visit(
                |len| len < shelf.room,
                |stock| {
                    if stock.objects.len() < shelf.room {
                        stock.objects.extend(object.take());
                    }
                },
            );
            if object.is_none() {
                break;
            }
        }
        object.map_or(Ok(()), Err)
    }

    /// Takes away what stayed idle since the last call, as the rule in `trim` says, and leaves `floor`.
    ///
    /// A shelf that is busy just now is not idle: its turn comes with the next call.
    pub(super) fn trim(&self, floor: usize, let_go: &mut Vec<Object<T>>) {
        // Ordering: relaxed; an estimate. What counts is looked at again under each lock.
        let len: usize = self.shelves.iter().map(|shelf| shelf.len.load(Ordering::Relaxed)).sum();
        let mut spare = len.saturating_sub(floor);
        for shelf in &self.shelves {
            shelf.visit(
                |_| true,
                |stock| {
                    let surplus = trim::surplus(stock.low, spare);
                    spare -= surplus;
                    // The oldest lie at the bottom.
                    let_go.extend(stock.objects.drain(..surplus));
                    stock.low = stock.objects.len();
                    if surplus > 0 {
                        stock.objects.shrink_to(2 * stock.low);
                    }
                },
            );
        }
    }

    /// Every shelf once, beginning with the caller's.
    fn from(&self, home: usize) -> impl Iterator<Item = &Shelf<T>> {
        let (before, after) = self.shelves.split_at(home % self.shelves.len());
        after.iter().chain(before).map(|shelf| &**shelf)
    }
}

impl<T> Shelf<T> {
    /// Works on the stock if its length looks promising and nobody else has it. `f` runs under the lock:
    /// it moves objects and runs no code of theirs.
    fn visit<R>(
        &self,
        promising: impl FnOnce(usize) -> bool,
        f: impl FnOnce(&mut Stock<T>) -> R,
    ) -> Option<R> {
        // Ordering: relaxed; a hint. The lock orders the objects themselves.
        if !promising(self.len.load(Ordering::Relaxed)) {
            return None;
        }
        let mut stock = self.stock.try_lock()?;
        let result = f(&mut stock);
        self.len.store(stock.objects.len(), Ordering::Relaxed);
        Some(result)
    }
}
