//! Where idle objects are: in the slot of a thread, or on a shelf. Knows nothing of factories, guards or
//! clocks, and never runs code of the pool's user.
#![allow(unsafe_code)]

use super::shelves::Shelves;
use super::slots::{Cache, Slots};
use super::tally::Tally;
use super::{Object, trim};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Counter, Registry, ThreadId};
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Depot<T> {
    slots: Slots<T>,
    shelves: Shelves<T>,
    /// How many objects a thread keeps for itself.
    thread_cache: usize,
    /// How many objects a trim leaves on the shelves.
    floor: usize,
    trimmed_at: AtomicU64,
    /// Counts for threads on their way out, which have no slot any more.
    leaving: Tally,
    /// Objects that came without having been taken.
    pub(super) warmed: Counter,
    pub(super) trimmed: Counter,
}

impl<T> Depot<T> {
    pub(super) fn new(
        shelves: usize,
        max_idle: usize,
        min_idle: usize,
        thread_cache: usize,
        now: u64,
    ) -> Self {
        Self {
            slots: Slots::new(),
            shelves: Shelves::new(shelves, max_idle),
            thread_cache,
            floor: min_idle,
            trimmed_at: AtomicU64::new(now),
            leaving: Tally::default(),
            warmed: Counter::default(),
            trimmed: Counter::default(),
        }
    }

    /// From the thread's own cache, if there is anything in it: no lock, no read-modify-write.
    #[inline]
    pub(super) fn take_private(&self, id: Option<&ThreadId>) -> Option<Object<T>> {
        let slot = self.slots.get(id?)?;
        // SAFETY: the slot of our own id; a depot runs no user code.
        let object = unsafe { slot.with(Vec::pop) }?;
        slot.tally.hits.increment();
        Some(object)
    }

    /// From a shelf, and some more for the thread's cache. A thread that has just got its id looks into
    /// the cache first: it may have inherited one.
    pub(super) fn take_shared(&self, id: Option<&ThreadId>) -> Option<Object<T>> {
        let Some(id) = id else {
            let object = self.shelves.take(0, &mut Vec::new(), 0);
            if object.is_some() { &self.leaving.hits } else { &self.leaving.misses }.add(1);
            return object;
        };
        let slot = self.slots.get_or_make(id);
        let refill = |cache: &mut Cache<T>| {
            cache.pop().or_else(|| self.shelves.take(home(id), cache, self.batch() - 1))
        };
        // SAFETY: the slot of our own id; a depot runs no user code.
        let object = unsafe { slot.with(refill) };
        if object.is_some() { &slot.tally.hits } else { &slot.tally.misses }.increment();
        object
    }

    /// Into the thread's own cache, if there is room: no lock, no read-modify-write. Says how many objects
    /// came back in the name of this id so far.
    #[inline]
    pub(super) fn put_private(
        &self,
        id: Option<&ThreadId>,
        object: Object<T>,
    ) -> Result<u64, Object<T>> {
        let Some(slot) = id.and_then(|id| self.slots.get(id)) else { return Err(object) };
        // SAFETY: the slot of our own id; a depot runs no user code.
        unsafe {
            slot.with(|cache| {
                // Ordering: relaxed; the word guards no data. The capacity is never below the room; to ask
                // for it too spares the fast path the code that would grow the vector.
                if cache.len() < slot.room.load(Ordering::Relaxed) && cache.len() < cache.capacity()
                {
                    cache.push(object);
                    Ok(slot.tally.recycled.increment())
                } else {
                    Err(object)
                }
            })
        }
    }

    /// Into the thread's cache, after making room there, or on a shelf. Returns the object when there is no
    /// room for it anywhere.
    pub(super) fn put_shared(
        &self,
        id: Option<&ThreadId>,
        object: Object<T>,
    ) -> Result<u64, Object<T>> {
        let Some(id) = id else {
            return self.shelves.put_one(0, object).map(|()| self.leaving.recycled.add(1));
        };
        let slot = self.slots.get_or_make(id);
        let make_room = |cache: &mut Cache<T>| {
            let room = slot.room.load(Ordering::Relaxed);
            if room == 0 {
                // New, or called back: all of it goes. On the shelves one rule finds out what is idle, and
                // what is not comes back.
                self.shelves.put(home(id), cache, cache.len());
                cache.reserve_exact(self.thread_cache - cache.len());
                // Ordering: relaxed, as where it is read. If a trim calls back again just now, it is
                // obeyed already.
                slot.room.store(self.thread_cache, Ordering::Relaxed);
            } else if cache.len() >= room {
                self.shelves.put(home(id), cache, self.batch());
            }
            if cache.len() < self.thread_cache {
                cache.push(object);
                Ok(())
            } else {
                self.shelves.put_one(home(id), object)
            }
        };
        // SAFETY: the slot of our own id; a depot runs no user code.
        unsafe { slot.with(make_room) }.map(|()| slot.tally.recycled.increment())
    }

    /// How many objects go to or from a shelf at once: half a cache, so that a thread that stands at
    /// either brink can do as much again before it meets a lock.
    fn batch(&self) -> usize {
        (self.thread_cache / 2).max(1)
    }

    /// Puts an object that was never taken on a shelf, or returns it when there is no room.
    pub(super) fn warm(&self, object: Object<T>) -> Result<(), Object<T>> {
        self.shelves.put_one(0, object)?;
        self.warmed.add(1);
        Ok(())
    }

    /// Whether it is time for a trim; says so to one caller an interval.
    pub(super) fn claim_trim(&self, interval: Duration, now: u64) -> bool {
        // Ordering: relaxed. The word guards nothing: a trim takes the locks it needs.
        let last = self.trimmed_at.load(Ordering::Relaxed);
        trim::due(last, interval, now)
            && self
                .trimmed_at
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Takes away what stayed idle since the last trim. The caller drops it where user code may run.
    #[must_use]
    pub(super) fn trim(&self, registry: Option<&Registry>) -> Vec<Object<T>> {
        let mut let_go = Vec::new();
        for slot in self.slots.all() {
            // Ordering: relaxed, as where it is read.
            slot.room.store(0, Ordering::Relaxed);
        }
        if let Some(registry) = registry {
            // A slot that nobody owns now would never obey by itself.
            registry.for_each_free(|id| {
                let Some(slot) = self.slots.get(id) else { return };
                // SAFETY: the registry lends us the id; a depot runs no user code.
                unsafe {
                    slot.with(|cache| {
                        self.shelves.put(home(id), cache, cache.len());
                        let_go.append(cache);
                    });
                }
            });
        }
        self.shelves.trim(self.floor, &mut let_go);
        self.trimmed.add(let_go.len() as u64);
        let_go
    }

    /// Counts one more in the name of `id`.
    pub(super) fn count(&self, id: Option<&ThreadId>, of: fn(&Tally) -> &Counter) -> u64 {
        match id {
            Some(id) => of(&self.slots.get_or_make(id).tally).increment(),
            None => of(&self.leaving).add(1),
        }
    }

    /// The sum over all threads.
    pub(super) fn total(&self, of: fn(&Tally) -> &Counter) -> u64 {
        self.slots
            .all()
            .map(|slot| &slot.tally)
            .chain([&self.leaving])
            .map(|tally| of(tally).get())
            .sum()
    }
}

fn home(id: &ThreadId) -> usize {
    id.number() as usize
}
