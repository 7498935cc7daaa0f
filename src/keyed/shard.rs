//! One shard: a table, and who has to leave it.

use super::table::{Hash, Table};
use crate::time::Instant;

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
    table: Table<K, V>,
}

impl<K, V> Shard<K, V> {
    pub(super) const fn new() -> Self {
        Self { table: Table::new() }
    }

    /// The state of the key that `eq` accepts.
    #[inline(always)]
    pub(super) fn get(&mut self, hash: Hash, eq: impl Fn(&K) -> bool) -> Option<&mut V> {
        let entry = self.table.find(hash, eq)?;
        entry.mark_used();
        Some(&mut entry.state)
    }

    /// The caller has found under this lock that the key is not there.
    pub(super) fn insert(&mut self, hash: Hash, key: K, state: V) -> &mut V {
        // Not used yet: what is seen once makes room for what is seen again.
        &mut self.table.insert(hash, key, state).state
    }

    pub(super) fn remove(&mut self, hash: Hash, eq: impl Fn(&K) -> bool) -> Option<(K, V)> {
        let place = self.table.place_of(hash, eq)?;
        self.table.take_out(place)
    }

    pub(super) fn for_each(&mut self, mut act: impl FnMut(&mut V)) {
        self.table.entries_mut().for_each(|entry| act(&mut entry.state));
    }

    pub(super) fn take(&mut self) -> Table<K, V> {
        std::mem::take(&mut self.table)
    }

    #[cfg(test)]
    pub(super) fn len_and_capacity(&self) -> (usize, usize) {
        self.table.check();
        (self.table.len(), self.table.places())
    }
}

impl<K, V: State> Shard<K, V> {
    /// Goes on by as many places as there is room in `swept`, and takes out what is worth nothing. The
    /// caller drops it outside the lock.
    pub(super) fn sweep<const N: usize>(&mut self, now: Instant, swept: &mut [Option<(K, V)>; N]) {
        for slot in swept {
            let place = self.table.step();
            if self.worth(place, now) == Some(Worth::Nothing) {
                *slot = self.table.take_out(place);
            }
            if place == 0 {
                self.table.give_back();
            }
        }
    }

    /// Looks for somebody to give way: once around at most, and at no more than `places`. `evict` says that
    /// what is worth little may go.
    pub(super) fn search(&mut self, now: Instant, places: &mut usize, evict: bool) -> Option<(K, V)> {
        let mut second_best = None;
        for _ in 0..self.table.places().min(*places) {
            *places -= 1;
            let place = self.table.step();
            match self.worth(place, now) {
                Some(Worth::Nothing) => return self.table.take_out(place),
                Some(Worth::Little) if evict => {
                    if !self.table.at_mut(place)?.spare() {
                        return self.table.take_out(place);
                    }
                    second_best.get_or_insert(place);
                }
                _ => {}
            }
        }
        self.table.take_out(second_best?)
    }

    fn worth(&self, place: usize, now: Instant) -> Option<Worth> {
        self.table.at(place).map(|entry| entry.state.worth(now))
    }
}
