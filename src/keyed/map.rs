use super::config::{Settings, WhenFull};
use super::shard::{Hash, Shard, State};
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::sync::{CachePadded, Mutex};
use crate::time::Instant;
use std::borrow::Borrow;
use std::hash::BuildHasher;

/// States by key; see the [module](super).
pub(crate) struct Map<K, V, S> {
    shards: Box<[Locked<K, V>]>,
    room: CachePadded<Room>,
    when_full: WhenFull,
    hasher: S,
}

/// On a line of its own.
type Locked<K, V> = CachePadded<Mutex<Shard<K, V>>>;

/// How many keys there are, and may be.
#[derive(Debug)]
struct Room {
    /// Keys in the shards, on their way in, or on their way out: never more than `bound`.
    held: AtomicUsize,
    bound: usize,
    evicted: AtomicU64,
    refused: AtomicU64,
}

/// Room for one key, given back when dropped.
struct Place<'a>(&'a Room);

/// No room for another key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// Where a key belongs.
#[derive(Clone, Copy)]
struct Address {
    shard: usize,
    hash: Hash,
}

/// How many places a new key moves its shard's hand: if all keys are worth nothing soon after they came, one
/// place in eight is taken, few enough for the shard to become smaller.
const SWEEP: usize = 8;

/// How many places a new key looks at for room, at the bound.
const SEARCH: usize = 128;

impl<K, V, S> Map<K, V, S> {
    /// The settings have been validated.
    pub(crate) fn new(settings: &Settings, hasher: S) -> Self {
        let shard = |_| CachePadded::new(Mutex::new(Shard::new()));
        Self {
            shards: (0..settings.shards()).map(shard).collect(),
            room: CachePadded::new(Room {
                held: AtomicUsize::new(0),
                bound: settings.max_keys,
                evicted: AtomicU64::new(0),
                refused: AtomicU64::new(0),
            }),
            when_full: settings.when_full,
            hasher,
        }
    }

    /// How many keys there are, those included that are just coming in; never more than there may be.
    pub(crate) fn len(&self) -> usize {
        self.room.held.load(Ordering::Relaxed)
    }

    pub(crate) fn max_keys(&self) -> usize {
        self.room.bound
    }

    /// How many keys gave way to others at the bound.
    pub(crate) fn evicted(&self) -> u64 {
        self.room.evicted.load(Ordering::Relaxed)
    }

    /// How often a new key found no room.
    pub(crate) fn refused(&self) -> u64 {
        self.room.refused.load(Ordering::Relaxed)
    }

    /// Changes every state, one shard at a time; `act` runs under its lock.
    pub(crate) fn for_each(&self, mut act: impl FnMut(&mut V)) {
        self.shards.iter().for_each(|shard| shard.lock().for_each(&mut act));
    }

    /// Forgets every key.
    pub(crate) fn clear(&self) {
        for shard in &self.shards {
            let table = shard.lock().take();
            self.room.give_back(table.len());
        }
    }
}

#[cfg(test)]
impl<K, V, S> Map<K, V, S> {
    #[cfg(not(mainstay_loom))]
    pub(super) fn is_locked(&self) -> bool {
        self.shards.iter().any(|shard| shard.try_lock().is_none())
    }

    /// What is really there, and for how much there is memory.
    pub(super) fn len_and_capacity(&self) -> (usize, usize) {
        let add = |sum: (usize, usize), one: (usize, usize)| (sum.0 + one.0, sum.1 + one.1);
        self.shards.iter().map(|shard| shard.lock().len_and_capacity()).fold((0, 0), add)
    }
}

impl<K: Eq, V, S: BuildHasher> Map<K, V, S> {
    #[inline(always)]
    fn address<Q: std::hash::Hash + ?Sized>(&self, key: &Q) -> Address {
        let hash = self.hasher.hash_one(key);
        // The low half is the table's.
        Address { shard: (hash >> 32) as usize & (self.shards.len() - 1), hash: Hash::of(hash) }
    }

    /// Shows the state of `key` to `see`, under the lock; `None` if it is not known.
    pub(crate) fn get<Q, R>(&self, key: &Q, see: impl FnOnce(&mut V) -> R) -> Option<R>
    where
        K: Borrow<Q>,
        Q: std::hash::Hash + Eq + ?Sized,
    {
        let at = self.address(key);
        self.shards[at.shard].lock().get(at.hash, |known| known.borrow() == key).map(see)
    }

    /// As [`get`](Self::get); a key that is not known yet is put in with what `make` makes of it, outside
    /// the lock; only then `now` is asked.
    ///
    /// # Errors
    /// There is no room, and nobody gives way.
    #[inline(always)]
    pub(crate) fn get_or_insert<Q, R>(
        &self,
        key: &Q,
        now: impl FnOnce() -> Instant,
        make: impl FnOnce() -> (K, V),
        see: impl FnOnce(&mut V) -> R,
    ) -> Result<R, Full>
    where
        K: Borrow<Q>,
        Q: std::hash::Hash + Eq + ?Sized,
        V: State,
    {
        let at = self.address(key);
        if let Some(state) =
            self.shards[at.shard].lock().get(at.hash, |known| known.borrow() == key)
        {
            return Ok(see(state));
        }
        self.insert(key, at, now(), make, see)
    }

    #[cold]
    #[inline(never)]
    fn insert<Q, R>(
        &self,
        key: &Q,
        at: Address,
        now: Instant,
        make: impl FnOnce() -> (K, V),
        see: impl FnOnce(&mut V) -> R,
    ) -> Result<R, Full>
    where
        K: Borrow<Q>,
        Q: std::hash::Hash + Eq + ?Sized,
        V: State,
    {
        // What is dropped at the end, in reverse: first the lock, then whatever is the user's, and the room
        // that was not used last of all.
        let free = self.room.take();
        let sweep = free.is_some();
        let place = free.map_or_else(|| self.make_room(at, now), Ok)?;
        let made = make();
        let mut swept = [const { None }; SWEEP];
        let mut shard = self.shards[at.shard].lock();
        // At the bound the search has moved the hand. It must not come by more often than that, or there
        // would be no second chance.
        if sweep {
            shard.sweep(now, &mut swept);
            self.room.give_back(swept.iter().flatten().count());
        }
        if let Some(state) = shard.get(at.hash, |known| known.borrow() == key) {
            return Ok(see(state)); // somebody else was first
        }
        let state = shard.insert(at.hash, made.0, made.1);
        place.keep();
        Ok(see(state))
    }

    /// Room for one more key, at the cost of another.
    fn make_room(&self, at: Address, now: Instant) -> Result<Place<'_>, Full>
    where
        V: State,
    {
        let evict = self.when_full == WhenFull::EvictOldest;
        let mut places = SEARCH;
        for i in 0..self.shards.len() {
            let shard = &self.shards[(at.shard + i) & (self.shards.len() - 1)];
            // One lock at a time.
            let evicted = shard.lock().search(now, &mut places, evict);
            if let Some(entry) = evicted {
                // Its room is ours, before its `Drop` can panic.
                let place = Place(&self.room);
                self.room.evicted.fetch_add(1, Ordering::Relaxed);
                drop(entry);
                return Ok(place);
            }
            if places == 0 {
                break;
            }
        }
        self.room.refused.fetch_add(1, Ordering::Relaxed);
        Err(Full)
    }

    /// Forgets `key`; says whether it was known.
    pub(crate) fn remove<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: std::hash::Hash + Eq + ?Sized,
    {
        let at = self.address(key);
        let removed = self.shards[at.shard].lock().remove(at.hash, |known| known.borrow() == key);
        self.room.give_back(usize::from(removed.is_some()));
        removed.is_some()
    }
}

impl Room {
    fn take(&self) -> Option<Place<'_>> {
        // Ordering: relaxed here and below; it counts and hands nothing over. One word has one order of
        // modifications, which makes the bound exact.
        let more = |held| (held < self.bound).then(|| held + 1);
        self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok().map(|_| Place(self))
    }

    fn give_back(&self, keys: usize) {
        if keys > 0 {
            self.held.fetch_sub(keys, Ordering::Relaxed);
        }
    }
}

impl Place<'_> {
    /// The key has taken it.
    fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.give_back(1);
    }
}
