//! The idle objects that all threads share: a few stacks, each behind a lock that no thread waits
//! for.

use super::{TakenObject, trim};
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{CachePadded, Mutex};

#[derive(Debug)]
pub(super) struct Shards<T> {
    shards: Box<[CachePadded<Shard<T>>]>,
}

#[derive(Debug)]
struct Shard<T> {
    /// The number of objects, written under the lock, so that a shard that is empty or full is
    /// skipped without touching the lock.
    len: AtomicUsize,
    /// How many objects it may hold.
    capacity: usize,
    idle: Mutex<Idle<T>>,
}

#[derive(Debug)]
struct Idle<T> {
    /// Newest last.
    objects: Vec<TakenObject<T>>,
    /// The smallest number of objects since the last trim.
    min_len: usize,
}

impl<T> Shards<T> {
    /// At most `count` shards, for `capacity` objects together.
    pub(super) fn new(count: usize, capacity: usize) -> Self {
        let count = count.clamp(1, capacity.max(1));
        let shard = |i| Shard {
            len: AtomicUsize::new(0),
            capacity: capacity / count + usize::from(i < capacity % count),
            idle: Mutex::new(Idle { objects: Vec::new(), min_len: 0 }),
        };
        Self { shards: (0..count).map(|i| CachePadded::new(shard(i))).collect() }
    }

    /// Takes one object for the caller, and up to `more` of the newest into `cache`, all from one
    /// shard.
    pub(super) fn take(
        &self,
        first: usize,
        cache: &mut Vec<TakenObject<T>>,
        more: usize,
    ) -> Option<TakenObject<T>> {
        self.from(first).find_map(|shard| {
            shard.try_with(
                |len| len > 0,
                |idle| {
                    let object = idle.objects.pop()?;
                    let rest = idle.objects.len().saturating_sub(more);
                    cache.extend(idle.objects.drain(rest..));
                    idle.min_len = idle.min_len.min(idle.objects.len());
                    Some(object)
                },
            )?
        })
    }

    /// Moves up to `count` of the oldest of `objects` to the shards, as many as there is room for.
    pub(super) fn put(&self, first: usize, objects: &mut Vec<TakenObject<T>>, mut count: usize) {
        for shard in self.from(first) {
            if count == 0 {
                break;
            }
            shard.try_with(
                |len| len < shard.capacity,
                |idle| {
                    let moved = count.min(shard.capacity.saturating_sub(idle.objects.len()));
                    idle.objects.extend(objects.drain(..moved));
                    count -= moved;
                },
            );
        }
    }

    /// Puts `object` into the first shard that has room, or returns it.
    pub(super) fn put_one(
        &self,
        first: usize,
        object: TakenObject<T>,
    ) -> Result<(), TakenObject<T>> {
        let mut object = Some(object);
        for shard in self.from(first) {
            shard.try_with(
                |len| len < shard.capacity,
                |idle| {
                    if idle.objects.len() < shard.capacity {
                        idle.objects.extend(object.take());
                    }
                },
            );
            if object.is_none() {
                break;
            }
        }
        object.map_or(Ok(()), Err)
    }

    /// Removes the objects that were idle since the last call, by the rule in `trim`, and leaves
    /// `min_idle`.
    ///
    /// A shard that is in use at this moment is not idle: it is left for the next call.
    pub(super) fn trim(&self, min_idle: usize, removed: &mut Vec<TakenObject<T>>) {
        // Ordering: relaxed; an estimate. Each length is read again under its lock.
        let len: usize = self.shards.iter().map(|shard| shard.len.load(Ordering::Relaxed)).sum();
        let mut droppable = len.saturating_sub(min_idle);
        for shard in &self.shards {
            shard.try_with(
                |_| true,
                |idle| {
                    let surplus = trim::surplus(idle.min_len, droppable);
                    droppable -= surplus;
                    // The oldest are at the front.
                    removed.extend(idle.objects.drain(..surplus));
                    idle.min_len = idle.objects.len();
                    if surplus > 0 {
                        idle.objects.shrink_to(2 * idle.min_len);
                    }
                },
            );
        }
    }

    /// Each shard once, beginning with the caller's.
    fn from(&self, first: usize) -> impl Iterator<Item = &Shard<T>> {
        let (before, after) = self.shards.split_at(first % self.shards.len());
        after.iter().chain(before).map(|shard| &**shard)
    }
}

impl<T> Shard<T> {
    /// Calls `f` if the length passes `is_useful` and the lock is free. `f` runs under the lock: it
    /// moves objects and runs no user code.
    fn try_with<R>(
        &self,
        is_useful: impl FnOnce(usize) -> bool,
        f: impl FnOnce(&mut Idle<T>) -> R,
    ) -> Option<R> {
        // Ordering: relaxed; a hint. The lock orders the objects themselves.
        if !is_useful(self.len.load(Ordering::Relaxed)) {
            return None;
        }
        let mut idle = self.idle.try_lock()?;
        let result = f(&mut idle);
        self.len.store(idle.objects.len(), Ordering::Relaxed);
        Some(result)
    }
}
