//! One shard: a hash table, and the hand of the CLOCK algorithm that moves through its buckets.

use hashbrown::HashTable;

/// The state stored for a key.
pub(crate) trait KeyState {
    /// The representation of the current time that [`retention`](Self::retention) receives.
    type Now: Copy;

    /// Returns whether the state may be removed at `now`. It is called under the lock of a shard,
    /// so it must not call user code.
    fn retention(&self, now: Self::Now) -> Retention;
}

/// Whether a state may be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retention {
    /// It equals a new state: it may be removed at any time.
    Disposable,
    /// It may be evicted when the map is full.
    Evictable,
    /// It must be kept.
    Required,
}

#[derive(Debug)]
pub(super) struct Shard<K, V> {
    table: HashTable<Entry<K, V>>,
    /// The index of the next bucket to examine.
    hand: usize,
}

#[derive(Debug)]
pub(super) struct Entry<K, V> {
    key: K,
    state: V,
    /// 31 bits of the key's hash, and [`USED`]. The hash is kept because a table that grows must
    /// not hash the keys again: that would call user code in the middle of a move.
    mark: u32,
}

/// Set by a lookup, cleared by the hand.
const USED: u32 = 1;

/// The part of a hash that selects a bucket. hashbrown uses the low bits for the bucket and the
/// seven highest as a tag, so the kept bits are copied to both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hash(u32);

impl Hash {
    pub(super) const fn of(hash: u64) -> Self {
        Self((hash as u32) & !USED)
    }

    #[inline]
    pub(super) const fn spread(self) -> u64 {
        let bits = self.0 as u64;
        bits >> 1 | bits << 32
    }
}

impl<K, V> Entry<K, V> {
    fn hash(&self) -> u64 {
        Hash(self.mark & !USED).spread()
    }
}

impl<K, V> Shard<K, V> {
    pub(super) const fn new() -> Self {
        Self { table: HashTable::new(), hand: 0 }
    }

    /// Returns the state of the key that `eq` accepts, and marks its entry as used.
    #[inline(always)]
    pub(super) fn get(&mut self, hash: Hash, eq: impl Fn(&K) -> bool) -> Option<&mut V> {
        let entry = self.table.find_mut(hash.spread(), |entry| eq(&entry.key))?;
        // Written only if it changes, so that a mere lookup does not invalidate the cache line in
        // other processors.
        if entry.mark & USED == 0 {
            entry.mark |= USED;
        }
        Some(&mut entry.state)
    }

    /// Inserts a key that the caller has found to be absent under this lock.
    pub(super) fn insert(&mut self, hash: Hash, key: K, state: V) -> &mut V {
        // Not marked as used: a key that is used once is evicted before keys that are used again.
        let entry = Entry { key, state, mark: hash.0 };
        &mut self.table.insert_unique(hash.spread(), entry, Entry::hash).into_mut().state
    }

    pub(super) fn remove(&mut self, hash: Hash, eq: impl Fn(&K) -> bool) -> Option<Entry<K, V>> {
        let found = self.table.find_entry(hash.spread(), |entry| eq(&entry.key)).ok()?;
        Some(found.remove().0)
    }

    pub(super) fn for_each(&mut self, mut act: impl FnMut(&mut V)) {
        self.table.iter_mut().for_each(|entry| act(&mut entry.state));
    }

    /// Takes all entries out, for the caller to drop outside the lock.
    pub(super) fn take(&mut self) -> HashTable<Entry<K, V>> {
        self.hand = 0;
        std::mem::take(&mut self.table)
    }

    #[cfg(all(test, not(mainstay_loom)))]
    pub(super) fn buckets(&self) -> usize {
        self.table.num_buckets()
    }

    #[cfg(test)]
    pub(super) fn len_and_capacity(&self) -> (usize, usize) {
        (self.table.len(), self.table.capacity())
    }

    /// Returns the bucket under the hand and moves the hand to the next.
    fn step(&mut self) -> usize {
        let bucket = self.hand;
        self.hand = match bucket + 1 {
            next if next < self.table.num_buckets() => next,
            _ => 0,
        };
        bucket
    }
}

impl<K, V: KeyState> Shard<K, V> {
    /// Moves the hand by `N` buckets, and moves the disposable entries in them to `removed`. The
    /// caller drops these outside the lock.
    pub(super) fn sweep<const N: usize>(
        &mut self,
        now: V::Now,
        removed: &mut [Option<Entry<K, V>>; N],
    ) {
        for slot in removed {
            let bucket = self.step();
            if self.retention(bucket, now) == Some(Retention::Disposable) {
                *slot = self.take_out(bucket);
            }
            if self.hand == 0 {
                self.shrink_if_sparse();
            }
        }
    }

    /// Takes out a disposable entry or, if `evict` is set, one that is evictable and not marked as
    /// used. Examines each bucket at most once and at most `buckets` of them, and subtracts the
    /// number examined from `buckets`. If all evictable entries are marked, takes out the first of
    /// them.
    pub(super) fn search(
        &mut self,
        now: V::Now,
        buckets: &mut usize,
        evict: bool,
    ) -> Option<Entry<K, V>> {
        let mut second_best = None;
        for _ in 0..self.table.num_buckets().min(*buckets) {
            *buckets -= 1;
            let bucket = self.step();
            match self.retention(bucket, now) {
                Some(Retention::Disposable) => return self.take_out(bucket),
                Some(Retention::Evictable) if evict => {
                    let entry = self.table.get_bucket_mut(bucket)?;
                    if entry.mark & USED == 0 {
                        return self.take_out(bucket);
                    }
                    entry.mark &= !USED;
                    second_best.get_or_insert(bucket);
                }
                _ => {}
            }
        }
        self.take_out(second_best?)
    }

    fn retention(&self, bucket: usize, now: V::Now) -> Option<Retention> {
        self.table.get_bucket(bucket).map(|entry| entry.state.retention(now))
    }

    fn take_out(&mut self, bucket: usize) -> Option<Entry<K, V>> {
        self.table.get_bucket_entry(bucket).ok().map(|entry| entry.remove().0)
    }

    /// Shrinks a table that is less than a quarter full to at most half its size.
    fn shrink_if_sparse(&mut self) {
        const SPARSE: usize = 4;
        const SMALL: usize = 64;
        // Not `capacity()`, which is lower by one after each removal that leaves a tombstone.
        let capacity = self.table.num_buckets() / 8 * 7;
        if capacity > SMALL && self.table.len() * SPARSE < capacity {
            self.table.shrink_to(self.table.len() * 2, Entry::hash);
            self.hand = 0;
        }
    }
}
