//! The idle objects that all threads share: a few stacks, each behind a try-lock, so that no thread
//! waits.

use super::{TakenObject, trim};
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{CachePadded, Mutex};

#[derive(Debug)]
pub(super) struct Shards<T> {
    shards: Box<[CachePadded<Shard<T>>]>,
}

#[derive(Debug)]
struct Shard<T> {
    /// The number of objects. It is written under the lock and read without it, so that an empty or
    /// full shard is skipped without touching the lock.
    len: AtomicUsize,
    /// The maximum number of objects.
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
    /// Creates at most `count` shards, with room for `capacity` objects in total.
    pub(super) fn new(count: usize, capacity: usize) -> Self {
        let count = count.clamp(1, capacity.max(1));
        let shard = |i| Shard {
            len: AtomicUsize::new(0),
            capacity: capacity / count + usize::from(i < capacity % count),
            idle: Mutex::new(Idle { objects: Vec::new(), min_len: 0 }),
        };
        Self { shards: (0..count).map(|i| CachePadded::new(shard(i))).collect() }
    }

    /// Takes and returns one object, and moves up to `more` of the newest others into `cache`, all
    /// from one shard. The search begins at shard `first`.
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

    /// Moves up to `count` of the oldest `objects` to the shards, if there is room for them.
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

    /// Moves idle objects to `removed`, as many of each shard as [`trim::surplus`] returns. Leaves
    /// at least `min_idle` objects.
    ///
    /// Skips a shard that another thread has locked: that shard is in use.
    pub(super) fn trim(&self, min_idle: usize, removed: &mut Vec<TakenObject<T>>) {
        // Ordering: relaxed; the sum is an estimate. Each shard's length is exact under its lock.
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

    /// Returns each shard once, beginning with shard `first`, modulo the number of shards.
    fn from(&self, first: usize) -> impl Iterator<Item = &Shard<T>> {
        let (before, after) = self.shards.split_at(first % self.shards.len());
        after.iter().chain(before).map(|shard| &**shard)
    }
}

impl<T> Shard<T> {
    /// Calls `f` if `is_useful` returns true for the length and the lock is free. `f` runs under
    /// the lock, so it must not run user code.
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
