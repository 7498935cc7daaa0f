//! One shard: a table, and the hand that goes around it.

use crate::time::Instant;
use hashbrown::HashTable;

/// What stands beside a key.
pub(crate) trait State {
    /// What forgetting this state would cost at `now`. Asked under the lock of a shard: no user code.
    fn worth(&self, now: Instant) -> Worth;
}

/// The worth of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Worth {
    /// A new one in its place would be the same.
    Nothing,
    /// It says something, but may go when room is short.
    Little,
    /// It must stay.
    #[allow(dead_code)] // as a breaker must that is open
    Everything,
}

#[derive(Debug)]
pub(super) struct Shard<K, V> {
    table: HashTable<Entry<K, V>>,
    /// The place to be looked at next.
    hand: usize,
}

#[derive(Debug)]
pub(super) struct Entry<K, V> {
    key: K,
    state: V,
    /// 31 bits of the key's hash, and whether it was used since the hand came by. Kept, so that a table
    /// that grows need not ask the key again: that would be the user's code, in the middle of a move.
    mark: u32,
}

const USED: u32 = 1;

/// What a table sees of a hash. The places use its low bits and the tags its high ones, so the kept bits
/// stand at both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hash(u32);

impl Hash {
    pub(super) const fn of(hash: u64) -> Self {
        Self((hash as u32) & !USED)
    }

    #[inline]
    const fn spread(self) -> u64 {
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

    /// The state of the key that `eq` accepts.
    #[inline(always)]
    pub(super) fn get(&mut self, hash: Hash, eq: impl Fn(&K) -> bool) -> Option<&mut V> {
        let entry = self.table.find_mut(hash.spread(), |entry| eq(&entry.key))?;
        // A write only where it changes something: the line may be shared with other keys' readers.
        if entry.mark & USED == 0 {
            entry.mark |= USED;
        }
        Some(&mut entry.state)
    }

    /// The caller has found under this lock that the key is not there.
    pub(super) fn insert(&mut self, hash: Hash, key: K, state: V) -> &mut V {
        // Not used yet: what is seen once makes room for what is seen again.
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

    pub(super) fn take(&mut self) -> HashTable<Entry<K, V>> {
        self.hand = 0;
        std::mem::take(&mut self.table)
    }

    #[cfg(test)]
    pub(super) fn len_and_capacity(&self) -> (usize, usize) {
        (self.table.len(), self.table.capacity())
    }

    /// The next place.
    fn step(&mut self) -> usize {
        let place = self.hand;
        self.hand = match place + 1 {
            next if next < self.table.num_buckets() => next,
            _ => 0,
        };
        place
    }
}

impl<K, V: State> Shard<K, V> {
    /// Goes on by as many places as there is room in `swept`, and takes out what is worth nothing. The
    /// caller drops it outside the lock.
    pub(super) fn sweep<const N: usize>(
        &mut self,
        now: Instant,
        swept: &mut [Option<Entry<K, V>>; N],
    ) {
        for slot in swept {
            let place = self.step();
            if self.worth(place, now) == Some(Worth::Nothing) {
                *slot = self.take_out(place);
            }
            if self.hand == 0 {
                self.give_back();
            }
        }
    }

    /// Looks for somebody to give way: once around at most, and at no more than `places`. `evict` says that
    /// what is worth little may go.
    pub(super) fn search(
        &mut self,
        now: Instant,
        places: &mut usize,
        evict: bool,
    ) -> Option<Entry<K, V>> {
        let mut second_best = None;
        for _ in 0..self.table.num_buckets().min(*places) {
            *places -= 1;
            let place = self.step();
            match self.worth(place, now) {
                Some(Worth::Nothing) => return self.take_out(place),
                Some(Worth::Little) if evict => {
                    let entry = self.table.get_bucket_mut(place)?;
                    if entry.mark & USED == 0 {
                        return self.take_out(place);
                    }
                    entry.mark &= !USED;
                    second_best.get_or_insert(place);
                }
                _ => {}
            }
        }
        self.take_out(second_best?)
    }

    fn worth(&self, place: usize, now: Instant) -> Option<Worth> {
        self.table.get_bucket(place).map(|entry| entry.state.worth(now))
    }

    fn take_out(&mut self, place: usize) -> Option<Entry<K, V>> {
        self.table.get_bucket_entry(place).ok().map(|entry| entry.remove().0)
    }

    /// A table that is nearly empty becomes smaller.
    fn give_back(&mut self) {
        const SPARSE: usize = 4;
        const SMALL: usize = 64;
        if self.table.capacity() > SMALL && self.table.len() * SPARSE < self.table.capacity() {
            self.table.shrink_to(self.table.len() * 2, Entry::hash);
            self.hand = 0;
        }
    }
}
