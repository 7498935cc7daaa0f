//! Loom models of the map. Keys and states are plain numbers, so that only the locks and the count
//! are modelled.

use crate::keyed::{Full, KeyOverflowRule, KeyState, KeyedConfig, Map, Retention};
use crate::time::Instant;
use loom::sync::Arc;
use loom::thread;
use std::hash::{BuildHasherDefault, DefaultHasher};

/// A state that counts its reads and has a constant retention.
#[derive(Debug)]
struct Reads(u32, Retention);

impl KeyState for Reads {
    type Now = Instant;

    fn retention(&self, _: Instant) -> Retention {
        self.1
    }
}

/// A hasher without random keys, because loom repeats each run.
type Hasher = BuildHasherDefault<DefaultHasher>;
type Counted = Map<u8, Reads, Hasher>;

fn map(max_keys: usize, shards: usize, when_full: KeyOverflowRule) -> Arc<Counted> {
    let config =
        KeyedConfig { max_keys, when_full, shards: Some(shards), hasher: Hasher::default() };
    Arc::new(Map::new(config))
}

fn read(map: &Counted, key: u8, retention: Retention) -> Result<u32, Full> {
    map.get_or_insert(
        &key,
        || Instant::ORIGIN,
        || (key, Reads(0, retention)),
        |reads| {
            reads.0 += 1;
            reads.0
        },
    )
}

fn spawn<R: 'static>(
    map: &Arc<Counted>,
    act: impl FnOnce(&Counted) -> R + 'static,
) -> thread::JoinHandle<R> {
    let map = map.clone();
    thread::spawn(move || act(&map))
}

/// Both threads read the same state.
#[test]
fn two_threads_insert_one_key() {
    loom::model(|| {
        let map = map(2, 1, KeyOverflowRule::Reject);
        let other = spawn(&map, |map| read(map, 1, Retention::Required).unwrap());
        let this_thread = read(&map, 1, Retention::Required).unwrap();
        let other_thread = other.join().unwrap();
        assert_eq!(this_thread + other_thread, 1 + 2, "each thread read a state of its own");
        assert_eq!((map.len(), map.len_and_capacity().0), (1, 1));
    });
}

/// The keys are in one shard, or in two.
#[test]
fn two_new_keys_compete_for_one_slot() {
    for shards in [1, 2] {
        loom::model(move || {
            let map = map(1, shards, KeyOverflowRule::EvictLeastRecentlyUsed);
            let other = spawn(&map, |map| read(map, 1, Retention::Required).is_ok());
            let this_thread = read(&map, 2, Retention::Required).is_ok();
            let other_thread = other.join().unwrap();
            assert!(this_thread != other_thread);
            assert_eq!((map.len(), map.len_and_capacity().0), (1, 1));
        });
    }
}

#[test]
fn a_key_is_looked_up_while_it_is_evicted() {
    loom::model(|| {
        let map = map(1, 1, KeyOverflowRule::EvictLeastRecentlyUsed);
        assert_eq!(read(&map, 1, Retention::Evictable), Ok(1));
        let other = spawn(&map, |map| read(map, 2, Retention::Evictable));
        let this_thread = map.get(&1, |reads| {
            reads.0 += 1;
            reads.0
        });
        assert!(matches!(this_thread, None | Some(2)), "{this_thread:?}");
        assert_eq!(other.join().unwrap(), Ok(1));
        assert_eq!(map.get(&1, |_| ()), None);
        assert_eq!((map.len(), map.len_and_capacity().0, map.evicted()), (1, 1, 1));
    });
}

/// No capacity is lost, and none is created.
#[test]
fn two_keys_replace_a_third_and_one_of_them_is_removed() {
    loom::model(|| {
        let map = map(1, 1, KeyOverflowRule::Reject);
        assert_eq!(read(&map, 1, Retention::Disposable), Ok(1));
        let other = spawn(&map, |map| {
            let other_thread = read(map, 2, Retention::Required).is_ok();
            (other_thread, map.remove(&2))
        });
        let this_thread = read(&map, 3, Retention::Required).is_ok();
        let (other_thread, removed) = other.join().unwrap();
        assert!(this_thread || other_thread);
        assert_eq!(other_thread, removed);
        let left = usize::from(this_thread);
        assert_eq!((map.len(), map.len_and_capacity().0), (left, left));
    });
}
