//! A hash table whose entries stand in the order of their hashes.
//!
//! Linear probing with ordered entries (Amble and Knuth, *Ordered hash tables*, 1974), known today as Robin
//! Hood hashing: each entry stands at its home or behind it, with no vacancy in between, and none before
//! one of a smaller hash. The home follows from a hash by a multiplication that keeps the order. So
//!
//! * a look-up touches one stretch of memory: no separate tags, which would be another line far away;
//! * a table can have any size, not only a power of two, and grows by a part instead of doubling;
//! * moving to another size is one pass through both, which asks no key for its hash.

use std::num::NonZeroU32;

/// What is kept of a key's hash: the upper 30 bits. The rest is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hash(NonZeroU32);

/// In an entry: it was used since the hand came by.
const USED: u32 = 1 << 1;
const BESIDE: NonZeroU32 = NonZeroU32::new(USED | 1).unwrap();

impl Hash {
    pub(super) const fn of(hash: u64) -> Self {
        let low = hash as u32;
        Self(match NonZeroU32::new(low | BESIDE.get()) {
            Some(hash) => hash,
            None => BESIDE,
        })
    }
}

/// What stands at a place.
#[derive(Debug)]
pub(super) struct Entry<K, V> {
    key: K,
    pub(super) state: V,
    /// The key's hash, and whether it was used. Never zero, so that a vacant place takes no more than this.
    mark: NonZeroU32,
}

impl<K, V> Entry<K, V> {
    #[inline(always)]
    fn hash(&self) -> Hash {
        Hash(self.mark | BESIDE)
    }

    #[inline(always)]
    pub(super) fn mark_used(&mut self) {
        self.mark |= USED;
    }

    /// Whether it was used since it was asked this.
    pub(super) fn spare(&mut self) -> bool {
        let used = self.mark.get() & USED != 0;
        self.mark = NonZeroU32::MIN | (self.mark.get() & !USED);
        used
    }
}

#[derive(Debug)]
pub(super) struct Table<K, V> {
    /// The homes, and behind them whoever found no room in front of it.
    places: Vec<Option<Entry<K, V>>>,
    homes: usize,
    len: usize,
    /// The place to be looked at next. Goes along when entries move, so that it comes by each of them once.
    hand: usize,
}

/// A table grows when there are fewer than so many homes for each so many keys: a look-up then goes by two
/// other keys, on average.
const FULL: (usize, usize) = (5, 4);

/// By this part a table grows, so that few places are vacant and the entries move some eight times in all.
const GROWTH: usize = 8;

/// So many places are looked at together.
const NEAR: usize = 4;

/// The homes of the smallest table, and the least number of places behind the homes of any.
const SMALL: usize = 8;

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V> Table<K, V> {
    pub(super) const fn new() -> Self {
        Self { places: Vec::new(), homes: 0, len: 0, hand: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// How many places there are, taken or vacant.
    pub(super) fn places(&self) -> usize {
        self.places.len()
    }

    /// Moves the hand on; the place it was at.
    pub(super) fn step(&mut self) -> usize {
        let place = self.hand;
        self.hand = match place + 1 {
            next if next < self.places.len() => next,
            _ => 0,
        };
        place
    }

    pub(super) fn at(&self, place: usize) -> Option<&Entry<K, V>> {
        self.places.get(place)?.as_ref()
    }

    pub(super) fn at_mut(&mut self, place: usize) -> Option<&mut Entry<K, V>> {
        self.places.get_mut(place)?.as_mut()
    }

    pub(super) fn entries_mut(&mut self) -> impl Iterator<Item = &mut Entry<K, V>> {
        self.places.iter_mut().flatten()
    }

    /// Where whoever has this hash would like to stand.
    #[inline(always)]
    fn home(&self, hash: Hash) -> usize {
        (u64::from(hash.0.get()) * self.homes as u64 >> u32::BITS) as usize
    }

    /// The entry of the key that `eq` accepts.
    #[inline(always)]
    pub(super) fn find(&mut self, hash: Hash, eq: impl Fn(&K) -> bool) -> Option<&mut Entry<K, V>> {
        let home = self.home(hash);
        // Most stand at the first few places. At which of them no processor guesses: so all are compared,
        // a bit for each, and one that says that it was none.
        let near = self.places.get(home..)?.first_chunk::<NEAR>()?;
        let is = |place: &Option<Entry<K, V>>| {
            let mark = place.as_ref().map_or(0, |entry| entry.mark.get());
            u32::from(mark | BESIDE.get() == hash.0.get())
        };
        let all = near.iter().rev().fold(1, |all, place| all << 1 | is(place));
        let nearest = all.trailing_zeros() as usize;
        // The first with this hash: as good as always the only one.
        if nearest < NEAR && near[nearest].as_ref().is_some_and(|entry| eq(&entry.key)) {
            return self.at_mut(home + nearest);
        }
        self.find_further(hash, eq)
    }

    #[cold]
    #[inline(never)]
    fn find_further(&mut self, hash: Hash, eq: impl Fn(&K) -> bool) -> Option<&mut Entry<K, V>> {
        let place = self.place_of(hash, eq)?;
        self.at_mut(place)
    }

    /// The place of the key that `eq` accepts.
    pub(super) fn place_of(&self, hash: Hash, eq: impl Fn(&K) -> bool) -> Option<usize> {
        (self.home(hash)..)
            .map_while(|place| Some((place, self.at(place).filter(|entry| entry.hash() <= hash)?)))
            .find(|(_, entry)| entry.hash() == hash && eq(&entry.key))
            .map(|(place, _)| place)
    }

    /// The caller knows that the key is not there.
    pub(super) fn insert(&mut self, hash: Hash, key: K, state: V) -> &mut Entry<K, V> {
        if self.homes * FULL.1 <= self.len * FULL.0 {
            self.resize(self.homes + (self.homes / GROWTH).max(SMALL));
        }
        let stays = |place| self.at(place).is_some_and(|entry| entry.hash() <= hash);
        let place = first_not(self.home(hash), stays);
        let vacant = first_not(place, |place| self.at(place).is_some());
        if vacant == self.places.len() {
            self.push(None);
        }
        self.places[place..=vacant].rotate_right(1);
        self.hand += usize::from(place < self.hand && self.hand <= vacant);
        self.len += 1;
        let mark = NonZeroU32::MIN | (hash.0.get() & !USED);
        self.places[place].insert(Entry { key, state, mark })
    }

    /// Makes a place vacant; those behind it that are not at home move up.
    pub(super) fn take_out(&mut self, place: usize) -> Option<(K, V)> {
        let entry = self.places.get_mut(place)?.take()?;
        let moves = |place| self.at(place).is_some_and(|entry| self.home(entry.hash()) < place);
        let end = first_not(place + 1, moves);
        self.places[place..end].rotate_left(1);
        self.hand -= usize::from(place < self.hand && self.hand < end);
        self.len -= 1;
        Some((entry.key, entry.state))
    }

    /// A table that is nearly empty becomes smaller.
    pub(super) fn give_back(&mut self) {
        const SPARSE: usize = 4;
        if self.homes > 8 * SMALL && self.len * SPARSE < self.homes {
            self.resize(self.len * 2);
        }
    }

    /// Everybody moves, in order.
    fn resize(&mut self, homes: usize) {
        // Some in the last homes will have to stand behind them.
        let places = Vec::with_capacity(homes + SMALL);
        let old = std::mem::replace(&mut self.places, places);
        // As far around as it was.
        self.hand = (self.hand as u64 * homes as u64).checked_div(self.homes as u64).unwrap_or(0) as usize;
        self.homes = homes;
        for entry in old.into_iter().flatten() {
            let home = self.home(entry.hash());
            self.vacate_up_to(home);
            self.push(Some(entry));
        }
        self.vacate_up_to(homes + SMALL);
    }

    fn vacate_up_to(&mut self, home: usize) {
        if self.places.len() < home {
            self.places.resize_with(home, || None);
        }
    }

    /// Another place, without the doubling of a vector.
    fn push(&mut self, place: Option<Entry<K, V>>) {
        if self.places.len() == self.places.capacity() {
            self.places.reserve_exact(SMALL);
        }
        self.places.push(place);
    }

    #[cfg(test)]
    pub(super) fn check(&self) {
        let mut last = None;
        assert!(self.homes == 0 || self.places.len() >= self.homes + SMALL);
        for (place, entry) in self.places.iter().enumerate() {
            let Some(entry) = entry else { continue };
            let home = self.home(entry.hash());
            assert!(self.places[home..place].iter().all(Option::is_some), "a vacancy behind a home");
            assert!(last <= Some(entry.hash()), "out of order");
            last = Some(entry.hash());
        }
        assert_eq!(self.places.iter().flatten().count(), self.len);
    }
}

/// The first place from `start` on for which `holds` does not.
fn first_not(start: usize, holds: impl Fn(usize) -> bool) -> usize {
    let mut place = start;
    while holds(place) {
        place += 1;
    }
    place
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn a_vacant_place_takes_no_more_than_a_key_and_its_state() {
        assert_eq!(size_of::<Option<Entry<u64, u32>>>(), 16);
        assert_eq!(size_of::<Option<Entry<u64, [u32; 3]>>>(), 24);
    }

    /// Of a few that are alike, a few that are neighbours, and the last of all.
    fn hash(key: u32) -> Hash {
        Hash::of(match key % 3 {
            0 => (key / 30).into(),
            1 => u64::from(key) << 24,
            _ => u64::from(u32::MAX - key % 4),
        })
    }

    proptest! {
        #[test]
        fn holds_what_was_put_in(steps in proptest::collection::vec((0_u32..300, 0_u8..8), 0..900)) {
            let mut table: Table<u32, u32> = Table::new();
            let mut model: HashMap<u32, u32> = HashMap::new();
            for (key, what) in steps {
                let known = table.find(hash(key), |known| *known == key).map(|entry| entry.state);
                prop_assert_eq!(known, model.get(&key).copied());
                let place = table.place_of(hash(key), |known| *known == key);
                prop_assert_eq!(place.is_some(), known.is_some());
                match (place, what) {
                    (None, 0..=5) => {
                        let entry = table.insert(hash(key), key, key + 1);
                        prop_assert_eq!(entry.state, key + 1);
                        prop_assert!(!entry.spare());
                        model.insert(key, key + 1);
                    }
                    (Some(place), 6) => {
                        prop_assert_eq!(table.take_out(place), Some((key, key + 1)));
                        model.remove(&key);
                    }
                    (_, 7) => table.give_back(),
                    _ => {}
                }
                table.check();
                prop_assert_eq!(table.len(), model.len());
            }
        }

        /// The hand comes by everybody who stays before it comes by anybody again, whoever comes and goes.
        #[test]
        fn the_hand_goes_around(
            stay in proptest::collection::hash_set(0_u32..300, 1..60),
            others in proptest::collection::vec((300_u32..900, any::<bool>()), 0..60),
        ) {
            let mut table: Table<u32, u32> = Table::new();
            for key in stay.iter().copied().chain(900..950) {
                table.insert(hash(key), key, 0);
            }
            let homes = table.homes;
            for (key, comes) in others {
                match (table.place_of(hash(key), |known| *known == key), comes) {
                    (Some(place), false) => drop(table.take_out(place)),
                    (None, true) => drop(table.insert(hash(key), key, 0).state),
                    _ => {}
                }
                let place = table.step();
                if table.homes != homes || place == table.places() - 1 {
                    break; // all of them are somewhere else; or it has come around
                }
                if let Some(entry) = table.at_mut(place) {
                    entry.state += 1;
                    prop_assert!(entry.state == 1, "{} was seen twice", entry.key);
                }
                let hand = table.hand;
                let missed = table.places[..hand].iter().flatten().find(|entry| entry.state == 0 && stay.contains(&entry.key));
                prop_assert!(missed.is_none(), "{:?} was missed", missed);
            }
        }
    }
}
