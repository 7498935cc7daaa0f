//! Models of the map: what is user code at other times is nothing here, so that the locks and the count
//! are all there is.

use super::{Full, Map, Settings, State, WhenFull, Worth};
use crate::time::Instant;
use loom::sync::Arc;
use loom::thread;
use std::hash::{BuildHasherDefault, DefaultHasher};

/// Counts how often it was seen; what it is worth never changes.
#[derive(Debug)]
struct Seen(u32, Worth);

impl State for Seen {
    fn worth(&self, _: Instant) -> Worth {
        self.1
    }
}

/// Hashes alike in every run, as loom must see the same run again.
type Hasher = BuildHasherDefault<DefaultHasher>;
type Counted = Map<u8, Seen, Hasher>;

fn map(max_keys: usize, shards: usize, when_full: WhenFull) -> Arc<Counted> {
    let settings = Settings { max_keys, shards: Some(shards), when_full };
    Arc::new(Map::new(&settings, Hasher::default()))
}

fn see(map: &Counted, key: u8, worth: Worth) -> Result<u32, Full> {
    map.get_or_insert(
        &key,
        || Instant::ORIGIN,
        || (key, Seen(0, worth)),
        |seen| {
            seen.0 += 1;
            seen.0
        },
    )
}

fn aside<R: 'static>(
    map: &Arc<Counted>,
    act: impl FnOnce(&Counted) -> R + 'static,
) -> thread::JoinHandle<R> {
    let map = map.clone();
    thread::spawn(move || act(&map))
}

/// Two make the same key: one state, seen by both.
#[test]
fn two_insert_one_key() {
    loom::model(|| {
        let map = map(2, 1, WhenFull::Refuse);
        let other = aside(&map, |map| see(map, 1, Worth::Everything).unwrap());
        let here = see(&map, 1, Worth::Everything).unwrap();
        let there = other.join().unwrap();
        assert_eq!(here + there, 1 + 2, "one of the two saw a state of its own");
        assert_eq!((map.len(), map.len_and_capacity().0), (1, 1));
    });
}

/// Two keys, room for one, in different shards or in one.
#[test]
fn the_bound_is_exact() {
    for shards in [1, 2] {
        loom::model(move || {
            let map = map(1, shards, WhenFull::EvictOldest);
            let other = aside(&map, |map| see(map, 1, Worth::Everything).is_ok());
            let here = see(&map, 2, Worth::Everything).is_ok();
            let there = other.join().unwrap();
            assert!(here != there);
            assert_eq!((map.len(), map.len_and_capacity().0), (1, 1));
        });
    }
}

/// A key is looked up while another one takes its place: it is seen whole or not at all.
#[test]
fn eviction_against_look_up() {
    loom::model(|| {
        let map = map(1, 1, WhenFull::EvictOldest);
        assert_eq!(see(&map, 1, Worth::Little), Ok(1));
        let other = aside(&map, |map| see(map, 2, Worth::Little));
        let here = map.get(&1, |seen| {
            seen.0 += 1;
            seen.0
        });
        assert!(matches!(here, None | Some(2)), "{here:?}");
        assert_eq!(other.join().unwrap(), Ok(1));
        assert_eq!(map.get(&1, |_| ()), None);
        assert_eq!((map.len(), map.len_and_capacity().0, map.evicted()), (1, 1, 1));
    });
}

/// Two keys want the place of a third, and one of them is removed: no room is lost, none is made up.
#[test]
fn room_changes_hands() {
    loom::model(|| {
        let map = map(1, 1, WhenFull::Refuse);
        assert_eq!(see(&map, 1, Worth::Nothing), Ok(1));
        let other = aside(&map, |map| {
            let there = see(map, 2, Worth::Everything).is_ok();
            (there, map.remove(&2))
        });
        let here = see(&map, 3, Worth::Everything).is_ok();
        let (there, removed) = other.join().unwrap();
        assert!(here || there);
        assert_eq!(there, removed);
        let left = usize::from(here);
        assert_eq!((map.len(), map.len_and_capacity().0), (left, left));
    });
}
