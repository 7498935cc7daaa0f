//! Keys whose trait methods panic, or check that no lock is held.

use super::*;
use crate::keyed::{KeyOverflowRule, Map};
use crate::sync::OnceLock;
use std::borrow::Borrow;
use std::cell::Cell;
use std::hash::{Hash, Hasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A key whose `hash`, `eq` or `drop` panics if [`FUSE`] contains the name of that method.
#[derive(Debug)]
struct Fused(u32);

thread_local!(static FUSE: Cell<Option<&'static str>> = const { Cell::new(None) });

fn fuse(at: &str) {
    if FUSE.get() == Some(at) {
        FUSE.set(None);
        panic!("{at}");
    }
}

impl Hash for Fused {
    fn hash<H: Hasher>(&self, state: &mut H) {
        fuse("hash");
        self.0.hash(state);
    }
}

impl PartialEq for Fused {
    fn eq(&self, other: &Self) -> bool {
        fuse("eq");
        self.0 == other.0
    }
}

impl Eq for Fused {}

impl Drop for Fused {
    fn drop(&mut self) {
        fuse("drop");
    }
}

/// A key whose `borrow` panics if [`FUSE`] contains `"borrow"`.
#[derive(Debug, Hash, PartialEq, Eq)]
struct Wrapped(u32);

impl Borrow<u32> for Wrapped {
    fn borrow(&self) -> &u32 {
        fuse("borrow");
        &self.0
    }
}

#[test]
fn a_panic_in_user_code_leaves_the_map_usable() {
    let busy = |now: u64| Until { key: 0, busy_until: at(now + 5), reads: 0, evictable: true };
    let map: Map<Fused, Until, _> = map(4, KeyOverflowRule::EvictLeastRecentlyUsed);
    let read = |key: u32, now: u64| {
        let key = Fused(key);
        let inserted = map.get_or_insert(
            &key,
            || at(now),
            || (Fused(key.0), busy(now)),
            |state| state.reads += 1,
        );
        assert_eq!(inserted, Ok(()));
    };
    let wrapped: Map<Wrapped, Until, _> = self::map(1, KeyOverflowRule::Reject);
    wrapped.get_or_insert(&7, || at(0), || (Wrapped(7), busy(0)), |_| ()).unwrap();

    type Step<'a> = (&'static str, &'static str, Box<dyn Fn() + 'a>);
    let steps: Vec<Step<'_>> = vec![
        ("hash", "a key that is looked up", Box::new(|| read(1, 1))),
        ("eq", "a key that is found", Box::new(|| read(1, 1))),
        ("drop", "an evicted key", Box::new(|| read(9, 1))),
        ("eq", "a key that is removed", Box::new(|| assert!(map.remove(&Fused(1))))),
        ("drop", "a removed key", Box::new(|| assert!(map.remove(&Fused(1))))),
        ("drop", "a key of a cleared map", Box::new(|| map.clear())),
        ("borrow", "a key that is found", Box::new(|| wrapped.get(&7, |_| ()).unwrap())),
        (
            "make",
            "the state of a new key",
            Box::new(|| {
                map.get_or_insert(&Fused(77), || at(99), || panic!("make"), |_| ()).unwrap();
            }),
        ),
        (
            "drop",
            "a swept key",
            Box::new(|| {
                FUSE.set(None);
                assert!(map.remove(&Fused(0)));
                FUSE.set(Some("drop"));
                read(9, 60);
            }),
        ),
    ];
    for (fuse, subject, step) in &steps {
        (0..4).for_each(|key| read(key, 0));
        FUSE.set(Some(fuse));
        let panicked = catch_unwind(AssertUnwindSafe(step)).is_err();
        FUSE.set(None);
        assert!(panicked, "{fuse} of {subject} was not reached");
        assert_eq!(map.len(), map.len_and_capacity().0, "{fuse} of {subject}");
        // The map accepts new keys, and holds no more than its limit.
        (100..110).for_each(|key| read(key, 90));
        assert_eq!((map.len(), map.len_and_capacity().0), (4, 4), "{fuse} of {subject}");
        map.clear();
    }
    assert_eq!((wrapped.len(), wrapped.get(&7, |state| state.reads)), (1, Some(0)));
}

#[test]
fn no_lock_is_held_while_a_key_is_created_hashed_or_dropped() {
    static MAP: OnceLock<Map<Checking, Until, RandomState>> = OnceLock::new();
    #[derive(PartialEq, Eq)]
    struct Checking(u32);
    fn check() {
        assert!(!MAP.get().unwrap().is_locked());
    }
    impl Hash for Checking {
        fn hash<H: Hasher>(&self, state: &mut H) {
            check();
            self.0.hash(state);
        }
    }
    impl Drop for Checking {
        fn drop(&mut self) {
            check();
        }
    }
    let map = MAP.get_or_init(|| map(100, KeyOverflowRule::EvictLeastRecentlyUsed));
    for now in 0..2_000 {
        let make = || {
            check();
            (
                Checking(now),
                Until {
                    key: now,
                    busy_until: at(u64::from(now % 2) * 9_000),
                    reads: 0,
                    evictable: true,
                },
            )
        };
        map.get_or_insert(&Checking(now), || at(now.into()), make, |_| ()).unwrap();
        if now % 3 == 0 {
            map.remove(&Checking(now - now % 9));
        }
    }
    assert!(map.evicted() > 0);
    map.clear();
}
