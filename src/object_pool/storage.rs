//! Storage of idle objects: a cache for each thread, and shared shards. Runs no user code.
#![allow(unsafe_code)]

use super::shards::Shards;
use super::slots::{Cache, Slots};
use super::stats::Stats;
use super::{TakenObject, trim};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Counter, ThreadId, ThreadRegistry};
use std::time::Duration;

/// The idle objects of a pool: a cache for each thread, and the shards that all threads share.
///
/// The parameter `id` of a method is the number of the calling thread. It is `None` if the thread
/// has no number because its thread-locals are being destroyed.
#[derive(Debug)]
pub(super) struct Storage<T> {
    slots: Slots<T>,
    shards: Shards<T>,
    /// The largest number of objects in the cache of a thread.
    thread_cache: usize,
    /// The number of objects that a trim leaves in the shards.
    min_idle: usize,
    trimmed_at: AtomicU64,
    /// Counts of threads without a number, which have no slot.
    unnumbered: Stats,
    /// The number of objects that [`warm`](Self::warm) has added.
    pub(super) warmed: Counter,
    pub(super) trimmed: Counter,
}

impl<T> Storage<T> {
    pub(super) fn new(
        shards: usize,
        max_idle: usize,
        min_idle: usize,
        thread_cache: usize,
        now: u64,
    ) -> Self {
        Self {
            slots: Slots::new(),
            shards: Shards::new(shards, max_idle),
            thread_cache,
            min_idle,
            trimmed_at: AtomicU64::new(now),
            unnumbered: Stats::default(),
            warmed: Counter::default(),
            trimmed: Counter::default(),
        }
    }

    /// Takes an object from the thread's cache, if it has one. Uses no lock and no
    /// read-modify-write.
    #[inline]
    pub(super) fn take_private(&self, id: Option<&ThreadId>) -> Option<TakenObject<T>> {
        let slot = self.slots.get(id?)?;
        // SAFETY: the slot of our own id; this module runs no user code.
        let object = unsafe { slot.with(Vec::pop) }?;
        slot.stats.hits.increment();
        Some(object)
    }

    /// Takes an object from a shard, and moves more objects into the thread's cache.
    ///
    /// Tries the cache first: a thread that has just received its number may have inherited the
    /// cache of an earlier thread.
    pub(super) fn take_shared(&self, id: Option<&ThreadId>) -> Option<TakenObject<T>> {
        let Some(id) = id else {
            let object = self.shards.take(0, &mut Vec::new(), 0);
            let stats = &self.unnumbered;
            if object.is_some() { &stats.hits } else { &stats.misses }.add(1);
            return object;
        };
        let slot = self.slots.get_or_make(id);
        let refill = |cache: &mut Cache<T>| {
            cache.pop().or_else(|| self.shards.take(first_shard(id), cache, self.batch() - 1))
        };
        // SAFETY: the slot of our own id; this module runs no user code.
        let object = unsafe { slot.with(refill) };
        if object.is_some() { &slot.stats.hits } else { &slot.stats.misses }.increment();
        object
    }

    /// Puts an object into the thread's cache, if there is room. Uses no lock and no
    /// read-modify-write. Returns the number of objects that were put under this thread number so
    /// far.
    #[inline]
    pub(super) fn put_private(
        &self,
        id: Option<&ThreadId>,
        object: TakenObject<T>,
    ) -> Result<u64, TakenObject<T>> {
        let Some(slot) = id.and_then(|id| self.slots.get(id)) else { return Err(object) };
        // SAFETY: the slot of our own id; this module runs no user code.
        unsafe {
            slot.with(|cache| {
                // Ordering: relaxed; the word guards no data. The capacity is never below the
                // limit. The check of the capacity removes the code that grows the vector from
                // the fast path.
                let limit = slot.limit.load(Ordering::Relaxed);
                if cache.len() < limit && cache.len() < cache.capacity() {
                    cache.push(object);
                    Ok(slot.stats.recycled.increment())
                } else {
                    Err(object)
                }
            })
        }
    }

    /// Puts an object into the thread's cache, after making room there, or into a shard. Returns
    /// the object if there is no room anywhere.
    pub(super) fn put_shared(
        &self,
        id: Option<&ThreadId>,
        object: TakenObject<T>,
    ) -> Result<u64, TakenObject<T>> {
        let Some(id) = id else {
            return self.shards.put_one(0, object).map(|()| self.unnumbered.recycled.add(1));
        };
        let slot = self.slots.get_or_make(id);
        let make_room = |cache: &mut Cache<T>| {
            let limit = slot.limit.load(Ordering::Relaxed);
            if limit == 0 {
                // The cache is new or was recalled: all of it moves to the shards. The trim of
                // the shards removes the idle objects; the others can be taken again.
                self.shards.put(first_shard(id), cache, cache.len());
                cache.reserve_exact(self.thread_cache - cache.len());
                // Ordering: relaxed; the word guards no data. This store may overwrite the recall
                // of a concurrent trim. That is harmless, because the objects have just moved to
                // the shards.
                slot.limit.store(self.thread_cache, Ordering::Relaxed);
            } else if cache.len() >= limit {
                self.shards.put(first_shard(id), cache, self.batch());
            }
            if cache.len() < self.thread_cache {
                cache.push(object);
                Ok(())
            } else {
                self.shards.put_one(first_shard(id), object)
            }
        };
        // SAFETY: the slot of our own id; this module runs no user code.
        unsafe { slot.with(make_room) }.map(|()| slot.stats.recycled.increment())
    }

    /// Returns the number of objects that move to or from a shard together: half a cache. The
    /// thread can then take or put half a cache of objects before it needs a lock again.
    fn batch(&self) -> usize {
        (self.thread_cache / 2).max(1)
    }

    /// Puts an object that was never taken into a shard, or returns it if there is no room.
    pub(super) fn warm(&self, object: TakenObject<T>) -> Result<(), TakenObject<T>> {
        self.shards.put_one(0, object)?;
        self.warmed.add(1);
        Ok(())
    }

    /// Returns true to one caller per interval, which must then trim.
    pub(super) fn claim_trim(&self, interval: Duration, now: u64) -> bool {
        // Ordering: relaxed. The word guards nothing: a trim takes the locks it needs.
        let last = self.trimmed_at.load(Ordering::Relaxed);
        trim::is_due(last, interval, now)
            && self
                .trimmed_at
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Removes idle objects from the shards and recalls the caches. The caller must drop the
    /// objects, because their destructors are user code.
    #[must_use]
    pub(super) fn trim(&self, registry: Option<&ThreadRegistry>) -> Vec<TakenObject<T>> {
        let mut removed = Vec::new();
        for slot in self.slots.all() {
            // Ordering: relaxed; the word guards no data.
            slot.limit.store(0, Ordering::Relaxed);
        }
        if let Some(registry) = registry {
            // No thread puts into the caches of free thread numbers, so the trim moves their
            // objects.
            registry.for_each_free(|id| {
                let Some(slot) = self.slots.get(id) else { return };
                // SAFETY: no thread uses the id meanwhile; this module runs no user code.
                unsafe {
                    slot.with(|cache| {
                        self.shards.put(first_shard(id), cache, cache.len());
                        removed.append(cache);
                    });
                }
            });
        }
        self.shards.trim(self.min_idle, &mut removed);
        self.trimmed.add(removed.len() as u64);
        removed
    }

    /// Adds one to a counter of the thread number, and returns the new value.
    pub(super) fn count(&self, id: Option<&ThreadId>, of: fn(&Stats) -> &Counter) -> u64 {
        match id {
            Some(id) => of(&self.slots.get_or_make(id).stats).increment(),
            None => of(&self.unnumbered).add(1),
        }
    }

    /// Returns the sum of a counter over all threads.
    pub(super) fn total(&self, of: fn(&Stats) -> &Counter) -> u64 {
        self.slots
            .all()
            .map(|slot| &slot.stats)
            .chain([&self.unnumbered])
            .map(|stats| of(stats).get())
            .sum()
    }
}

/// Returns the shard at which a thread's search begins, modulo the number of shards.
fn first_shard(id: &ThreadId) -> usize {
    id.number() as usize
}
