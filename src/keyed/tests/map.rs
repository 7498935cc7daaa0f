//! Tests of removal, of eviction, and of the bound on keys.

use super::*;
use crate::keyed::{Full, KeyOverflowRule, KeyState, KeyedConfig, Map, Retention};
use crate::sync::PlainAtomicU64;
use crate::sync::atomic::Ordering::Relaxed;
use crate::time::Instant;
use std::cell::Cell;

#[test]
fn a_full_map_that_rejects_new_keys_replaces_only_disposable_states() {
    let map = map(3, KeyOverflowRule::Reject);
    for (key, busy) in [(1, 10), (2, 20), (3, 30)] {
        assert_eq!(read(&map, key, 0, busy, true), Ok(1));
    }
    assert_eq!(read(&map, 4, 9, 99, true), Err(Full));
    assert_eq!(read(&map, 1, 9, 99, true), Ok(2), "an existing key is not rejected");
    assert_eq!(read(&map, 4, 10, 99, true), Ok(1));
    assert_eq!(map.get(&1, |_| ()), None);
    assert_eq!(read(&map, 5, 19, 99, true), Err(Full));
    assert_eq!((map.len(), map.rejected(), map.evicted()), (3, 2, 1));
}

#[test]
fn a_full_map_evicts_the_least_recently_used_key() {
    let map = map(3, KeyOverflowRule::EvictLeastRecentlyUsed);
    for key in 1..=3 {
        read(&map, key, 0, 99, true).unwrap();
    }
    read(&map, 1, 0, 99, true).unwrap();
    read(&map, 3, 0, 99, true).unwrap();
    assert_eq!(read(&map, 4, 0, 99, true), Ok(1));
    assert_eq!(map.get(&2, |_| ()), None);
    // If all keys are marked as used, one is evicted nevertheless.
    for key in [1, 3, 4] {
        map.get(&key, |_| ()).unwrap();
    }
    assert_eq!(read(&map, 5, 0, 99, true), Ok(1));
    assert_eq!((map.len(), map.evicted()), (3, 2));
}

#[test]
fn required_states_are_never_evicted() {
    let map = map(2, KeyOverflowRule::EvictLeastRecentlyUsed);
    read(&map, 1, 0, 99, false).unwrap();
    read(&map, 2, 0, 99, true).unwrap();
    assert_eq!(read(&map, 3, 0, 99, false), Ok(1));
    assert_eq!(read(&map, 4, 0, 99, false), Err(Full));
    assert_eq!((map.get(&1, |s| s.reads), map.get(&3, |s| s.reads)), (Some(1), Some(1)));
}

#[test]
fn keys_that_are_used_once_do_not_replace_keys_that_are_used_again() {
    let map = map(1000, KeyOverflowRule::EvictLeastRecentlyUsed);
    let returning = 0..500;
    for key in returning.clone() {
        read(&map, key, 0, 99, true).unwrap();
    }
    for once in 1000..20_000 {
        read(&map, once, 0, 99, true).unwrap();
        // Reads each returning key about once per round of the clock hand.
        read(&map, once % 500, 0, 99, true).unwrap();
    }
    let kept =
        returning.filter(|key| map.get(key, |s| s.reads).is_some_and(|reads| reads > 30)).count();
    assert!(kept > 450, "{kept} of 500");
}

#[test]
fn a_table_shrinks_when_its_keys_have_been_removed() {
    let map = map(1 << 20, KeyOverflowRule::Reject);
    for key in 0..100_000 {
        read(&map, key, 0, 10, true).unwrap();
    }
    let before = map.len_and_capacity();
    assert!(before.0 > 90_000 && before.0 == map.len());
    for key in 0..100_000 {
        read(&map, key % 100, 20, 10_000_000, true).unwrap();
        read(&map, 1_000_000 + key, 20, 20, true).unwrap();
    }
    let after = map.len_and_capacity();
    assert_eq!(after.0, map.len());
    assert!(after.0 < 1000 && after.1 < 20_000, "{before:?} -> {after:?}");
}

#[test]
fn clear_and_remove_release_capacity() {
    let map = map(2, KeyOverflowRule::Reject);
    read(&map, 1, 0, 99, false).unwrap();
    read(&map, 2, 0, 99, false).unwrap();
    assert!(map.remove(&1) && !map.remove(&1));
    assert_eq!(read(&map, 3, 0, 99, false), Ok(1));
    map.clear();
    assert_eq!((map.len(), map.get(&3, |_| ())), (0, None));
    map.for_each(|_| panic!("the map is empty"));
    assert_eq!(read(&map, 4, 0, 99, false), Ok(1));
}

#[test]
fn a_key_is_cloned_only_when_it_is_new() {
    let map: Map<String, Until, _> = map(10, KeyOverflowRule::Reject);
    let made = Cell::new(0);
    for _ in 0..3 {
        let make = || {
            made.set(made.get() + 1);
            ("tenant".to_owned(), Until { key: 0, busy_until: at(9), reads: 0, evictable: false })
        };
        map.get_or_insert("tenant", || at(0), make, |_| ()).unwrap();
    }
    assert_eq!(made.get(), 1);
    assert!(map.remove("tenant"));
}

/// Concurrent insertion and removal loses no capacity.
#[test]
fn the_bound_holds_while_eight_threads_insert_and_remove() {
    const BOUND: u64 = 300;
    static ALIVE: PlainAtomicU64 = PlainAtomicU64::new(0);

    /// A state that counts its instances, including those outside the shards that are being
    /// inserted or dropped.
    struct Alive(u32);
    impl Alive {
        fn new(n: u32) -> Self {
            ALIVE.fetch_add(1, Relaxed);
            Self(n)
        }
    }
    impl Drop for Alive {
        fn drop(&mut self) {
            ALIVE.fetch_sub(1, Relaxed);
        }
    }
    impl KeyState for Alive {
        type Now = Instant;

        fn retention(&self, _: Instant) -> Retention {
            [Retention::Disposable, Retention::Evictable, Retention::Required][self.0 as usize % 3]
        }
    }

    const THREADS: u64 = 8;
    for when_full in [KeyOverflowRule::Reject, KeyOverflowRule::EvictLeastRecentlyUsed] {
        let map: Map<u32, Alive, _> = Map::new(KeyedConfig {
            max_keys: BOUND as usize,
            shards: Some(8),
            when_full,
            ..KeyedConfig::default()
        });
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let map = &map;
                scope.spawn(move || {
                    let mut random = fastrand::Rng::with_seed(thread);
                    for _ in 0..20_000 {
                        let key = random.u32(0..1000);
                        if random.u8(..) < 40 {
                            map.remove(&key);
                        } else {
                            let make = || (key, Alive::new(key));
                            let _ = map.get_or_insert(
                                &key,
                                || at(0),
                                make,
                                |state| assert_eq!(state.0, key),
                            );
                        }
                        // Outside the shards, each thread owns at most the state that it inserts
                        // and those that it sweeps.
                        assert!(ALIVE.load(Relaxed) <= BOUND + THREADS * 10);
                        assert!(map.len() <= BOUND as usize);
                    }
                });
            }
        });
        let (stored, _) = map.len_and_capacity();
        assert_eq!((map.len(), ALIVE.load(Relaxed)), (stored, stored as u64));
        assert!(stored > BOUND as usize / 2, "{stored}");
        drop(map);
        assert_eq!(ALIVE.load(Relaxed), 0);
    }
}
