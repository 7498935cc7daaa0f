//! The map: shards, the bound on the number of keys, lookup and insertion.

use super::config::{KeyOverflowRule, KeyedConfig};
use super::shard::{Hash, KeyState, Shard};
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::sync::{CachePadded, Mutex, keep_panic};
use std::borrow::Borrow;
use std::hash::BuildHasher;
use std::panic::resume_unwind;

/// States by key; see the [module](super).
pub(crate) struct Map<K, V, S> {
    shards: Box<[Locked<K, V>]>,
    capacity: CachePadded<Capacity>,
    when_full: KeyOverflowRule,
    hasher: S,
}

/// On a cache line of its own.
type Locked<K, V> = CachePadded<Mutex<Shard<K, V>>>;

/// How many keys are stored, and how many may be.
#[derive(Debug)]
struct Capacity {
    /// The number of keys that are in the shards, being inserted or being removed. Never exceeds
    /// `max`.
    used: AtomicUsize,
    max: usize,
    evicted: AtomicU64,
    rejected: AtomicU64,
}

/// Capacity for one key, released when dropped.
struct SlotReservation<'a>(&'a Capacity);

/// The map is full, and no key could be evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// The shard of a key, and its hash within the shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) shard: usize,
    pub(super) hash: Hash,
}

/// The number of buckets that the insertion of a key sweeps. If every key becomes disposable soon
/// after its insertion, one bucket in eight stays occupied, few enough for the shard to shrink.
const SWEEP: usize = 8;

/// The number of buckets that an insertion into a full map searches for an entry to replace.
const SEARCH: usize = 128;

/// Distributes the information of `hash` over all 64 bits, by one multiplication whose halves are
/// combined (the "folded multiply" of wyhash and foldhash). The shard and the bucket are selected
/// by different bits, and a fast hasher may leave either set of bits constant: an identity hash of
/// small numbers leaves the high half zero.
#[inline(always)]
const fn mix(hash: u64) -> u64 {
    // The first digits of pi: the bits have no pattern, about half of them are set, and the
    // multiplier is odd.
    const OFFSET: u64 = 0x243f_6a88_85a3_08d3;
    const MULTIPLIER: u64 = 0x1319_8a2e_0370_7345;
    let product = (hash ^ OFFSET) as u128 * MULTIPLIER as u128;
    product as u64 ^ (product >> 64) as u64
}

impl<K, V, S> Map<K, V, S> {
    /// Creates a map from a configuration that has been validated.
    pub(crate) fn new(config: KeyedConfig<S>) -> Self {
        let shard = |_| CachePadded::new(Mutex::new(Shard::new()));
        Self {
            shards: (0..config.shard_count()).map(shard).collect(),
            capacity: CachePadded::new(Capacity {
                used: AtomicUsize::new(0),
                max: config.max_keys,
                evicted: AtomicU64::new(0),
                rejected: AtomicU64::new(0),
            }),
            when_full: config.when_full,
            hasher: config.hasher,
        }
    }

    /// Returns the number of keys, including those being inserted. Never exceeds
    /// [`max_keys`](Self::max_keys).
    pub(crate) fn len(&self) -> usize {
        self.capacity.used.load(Ordering::Relaxed)
    }

    pub(crate) fn max_keys(&self) -> usize {
        self.capacity.max
    }

    /// Returns how many keys were removed to make room for others.
    pub(crate) fn evicted(&self) -> u64 {
        self.capacity.evicted.load(Ordering::Relaxed)
    }

    /// Returns how many times a new key was rejected.
    pub(crate) fn rejected(&self) -> u64 {
        self.capacity.rejected.load(Ordering::Relaxed)
    }

    /// Calls `act` with every state, one shard at a time, under its lock.
    pub(crate) fn for_each(&self, mut act: impl FnMut(&mut V)) {
        self.shards.iter().for_each(|shard| shard.lock().for_each(&mut act));
    }

    /// Removes every key. If drops panic, all keys are removed before the first panic is resumed.
    pub(crate) fn clear(&self) {
        let mut panic = None;
        for shard in &self.shards {
            let table = shard.lock().take();
            self.capacity.release(table.len());
            table.into_iter().for_each(|entry| keep_panic(&mut panic, || drop(entry)));
        }
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

#[cfg(test)]
impl<K, V, S> Map<K, V, S> {
    #[cfg(not(mainstay_loom))]
    pub(super) fn is_locked(&self) -> bool {
        self.shards.iter().any(|shard| shard.try_lock().is_none())
    }

    /// The number of entries in the tables, and the number for which there is memory.
    pub(super) fn len_and_capacity(&self) -> (usize, usize) {
        let add = |sum: (usize, usize), one: (usize, usize)| (sum.0 + one.0, sum.1 + one.1);
        self.shards.iter().map(|shard| shard.lock().len_and_capacity()).fold((0, 0), add)
    }
}

impl<K: Eq, V, S: BuildHasher> Map<K, V, S> {
    #[inline(always)]
    pub(super) fn address<Q: std::hash::Hash + ?Sized>(&self, key: &Q) -> Address {
        let hash = mix(self.hasher.hash_one(key));
        // The table uses the low half.
        Address { shard: (hash >> 32) as usize & (self.shards.len() - 1), hash: Hash::of(hash) }
    }

    /// Calls `read` with the state of `key`, under the lock; returns `None` if the key is unknown.
    pub(crate) fn get<Q, R>(&self, key: &Q, read: impl FnOnce(&mut V) -> R) -> Option<R>
    where
        K: Borrow<Q>,
        Q: std::hash::Hash + Eq + ?Sized,
    {
        let at = self.address(key);
        self.shards[at.shard].lock().get(at.hash, |known| known.borrow() == key).map(read)
    }

    /// Calls `read` with the state of `key`, under the lock. An unknown key is inserted first:
    /// `make` returns the key and its state. `make` and `now` are called only for an unknown key,
    /// and under no lock.
    ///
    /// # Errors
    /// The map is full, and no key could be evicted.
    #[inline(always)]
    pub(crate) fn get_or_insert<Q, R>(
        &self,
        key: &Q,
        now: impl FnOnce() -> V::Now,
        make: impl FnOnce() -> (K, V),
        read: impl FnOnce(&mut V) -> R,
    ) -> Result<R, Full>
    where
        K: Borrow<Q>,
        Q: std::hash::Hash + Eq + ?Sized,
        V: KeyState,
    {
        let at = self.address(key);
        if let Some(state) =
            self.shards[at.shard].lock().get(at.hash, |known| known.borrow() == key)
        {
            return Ok(read(state));
        }
        self.insert(key, at, now(), make, read)
    }

    #[cold]
    #[inline(never)]
    fn insert<Q, R>(
        &self,
        key: &Q,
        at: Address,
        now: V::Now,
        make: impl FnOnce() -> (K, V),
        read: impl FnOnce(&mut V) -> R,
    ) -> Result<R, Full>
    where
        K: Borrow<Q>,
        Q: std::hash::Hash + Eq + ?Sized,
        V: KeyState,
    {
        // The order of declaration matters for the drops at the end: first the lock is released,
        // then keys and states are dropped (user code), and unused capacity is released last.
        let free = self.capacity.reserve();
        let sweep = free.is_some();
        let slot = free.map_or_else(|| self.make_room(at, now), Ok)?;
        let made = make();
        let mut removed = [const { None }; SWEEP];
        let mut shard = self.shards[at.shard].lock();
        // When the map is full, `make_room` has already moved the hand. Moving it twice per new key
        // would clear marks so early that entries lose their second chance.
        if sweep {
            shard.sweep(now, &mut removed);
            self.capacity.release(removed.iter().flatten().count());
        }
        if let Some(state) = shard.get(at.hash, |known| known.borrow() == key) {
            return Ok(read(state)); // another thread inserted it first
        }
        let state = shard.insert(at.hash, made.0, made.1);
        slot.keep();
        Ok(read(state))
    }

    /// Removes another key and reserves its slot.
    fn make_room(&self, at: Address, now: V::Now) -> Result<SlotReservation<'_>, Full>
    where
        V: KeyState,
    {
        let evict = self.when_full == KeyOverflowRule::EvictLeastRecentlyUsed;
        let mut buckets = SEARCH;
        for i in 0..self.shards.len() {
            let shard = &self.shards[(at.shard + i) & (self.shards.len() - 1)];
            // One lock at a time.
            let evicted = shard.lock().search(now, &mut buckets, evict);
            if let Some(entry) = evicted {
                // Reserved before the entry is dropped, because the drop may panic.
                let slot = SlotReservation(&self.capacity);
                self.capacity.evicted.fetch_add(1, Ordering::Relaxed);
                drop(entry);
                return Ok(slot);
            }
            if buckets == 0 {
                break;
            }
        }
        self.capacity.rejected.fetch_add(1, Ordering::Relaxed);
        Err(Full)
    }

    /// Removes `key`; returns whether it was known.
    pub(crate) fn remove<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: std::hash::Hash + Eq + ?Sized,
    {
        self.remove_if(key, |_| true)
    }

    /// Removes `key` if `select` returns true for its state, under the lock; returns whether it was
    /// removed.
    pub(crate) fn remove_if<Q>(&self, key: &Q, select: impl Fn(&V) -> bool) -> bool
    where
        K: Borrow<Q>,
        Q: std::hash::Hash + Eq + ?Sized,
    {
        let at = self.address(key);
        let mut shard = self.shards[at.shard].lock();
        let is_key = |known: &K| known.borrow() == key;
        let removed = match shard.get(at.hash, is_key) {
            Some(state) if select(state) => shard.remove(at.hash, is_key),
            _ => None,
        };
        drop(shard);
        self.capacity.release(usize::from(removed.is_some()));
        removed.is_some()
    }
}

impl Capacity {
    fn reserve(&self) -> Option<SlotReservation<'_>> {
        // Ordering: relaxed here and below; the count publishes nothing. All threads agree on the
        // order of its modifications, which makes the bound exact.
        let more = |used| (used < self.max).then(|| used + 1);
        let reserved = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        reserved.ok().map(|_| SlotReservation(self))
    }

    fn release(&self, keys: usize) {
        if keys > 0 {
            self.used.fetch_sub(keys, Ordering::Relaxed);
        }
    }
}

impl SlotReservation<'_> {
    /// Leaves the slot to a key that is now stored.
    fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for SlotReservation<'_> {
    fn drop(&mut self) {
        self.0.release(1);
    }
}
