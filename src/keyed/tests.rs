use super::{Full, Map, Settings, State, WhenFull, Worth};
use crate::sync::atomic::Ordering::Relaxed;
use crate::sync::{OnceLock, PlainAtomicU64};
use crate::time::Instant;
use proptest::prelude::*;
use std::borrow::Borrow;
use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// Worth something until an instant, and then perhaps nothing.
#[derive(Debug, Clone, Copy)]
struct Until {
    key: u32,
    busy: Instant,
    seen: u32,
    spare: bool,
}

impl State for Until {
    fn worth(&self, now: Instant) -> Worth {
        match (now >= self.busy, self.spare) {
            (true, _) => Worth::Nothing,
            (false, true) => Worth::Little,
            (false, false) => Worth::Everything,
        }
    }
}

fn at(seconds: u64) -> Instant {
    Instant::ORIGIN + Duration::from_secs(seconds)
}

fn map<K, V>(max_keys: usize, when_full: WhenFull) -> Map<K, V, RandomState> {
    Map::new(&Settings { max_keys, when_full, shards: None }, RandomState::new())
}

/// Sees `key`, which stays busy until `busy` if it is new; says how often it was seen.
fn see(
    map: &Map<u32, Until, RandomState>,
    key: u32,
    now: u64,
    busy: u64,
    spare: bool,
) -> Result<u32, Full> {
    let make = || (key, Until { key, busy: at(busy), seen: 0, spare });
    map.get_or_insert(
        &key,
        || at(now),
        make,
        |state| {
            state.seen += 1;
            state.seen
        },
    )
}

#[test]
fn at_the_bound_only_what_is_worth_nothing_gives_way() {
    let map = map(3, WhenFull::Refuse);
    for (key, busy) in [(1, 10), (2, 20), (3, 30)] {
        assert_eq!(see(&map, key, 0, busy, true), Ok(1));
    }
    assert_eq!(see(&map, 4, 9, 99, true), Err(Full));
    assert_eq!(see(&map, 1, 9, 99, true), Ok(2), "who is known is served");
    assert_eq!(see(&map, 4, 10, 99, true), Ok(1));
    assert_eq!(map.get(&1, |_| ()), None);
    assert_eq!(see(&map, 5, 19, 99, true), Err(Full));
    assert_eq!((map.len(), map.refused(), map.evicted()), (3, 2, 1));
}

#[test]
fn at_the_bound_the_least_recently_used_gives_way() {
    let map = map(3, WhenFull::EvictOldest);
    for key in 1..=3 {
        see(&map, key, 0, 99, true).unwrap();
    }
    see(&map, 1, 0, 99, true).unwrap();
    see(&map, 3, 0, 99, true).unwrap();
    assert_eq!(see(&map, 4, 0, 99, true), Ok(1));
    assert_eq!(map.get(&2, |_| ()), None);
    // All have been used: somebody goes nevertheless.
    for key in [1, 3, 4] {
        map.get(&key, |_| ()).unwrap();
    }
    assert_eq!(see(&map, 5, 0, 99, true), Ok(1));
    assert_eq!((map.len(), map.evicted()), (3, 2));
}

#[test]
fn what_must_stay_stays() {
    let map = map(2, WhenFull::EvictOldest);
    see(&map, 1, 0, 99, false).unwrap();
    see(&map, 2, 0, 99, true).unwrap();
    assert_eq!(see(&map, 3, 0, 99, false), Ok(1));
    assert_eq!(see(&map, 4, 0, 99, false), Err(Full));
    assert_eq!((map.get(&1, |s| s.seen), map.get(&3, |s| s.seen)), (Some(1), Some(1)));
}

/// A scan by somebody who never comes back does not push out those who do.
#[test]
fn keys_that_are_seen_once_push_out_one_another() {
    let map = map(1000, WhenFull::EvictOldest);
    let regulars = 0..500;
    for key in regulars.clone() {
        see(&map, key, 0, 99, true).unwrap();
    }
    for stranger in 1000..20_000 {
        see(&map, stranger, 0, 99, true).unwrap();
        // Each regular comes by about once for each time that the hand goes around.
        see(&map, stranger % 500, 0, 99, true).unwrap();
    }
    let kept =
        regulars.filter(|key| map.get(key, |s| s.seen).is_some_and(|seen| seen > 30)).count();
    assert!(kept > 450, "{kept} of 500");
}

#[test]
fn memory_is_given_back() {
    let map = map(1 << 20, WhenFull::Refuse);
    for key in 0..100_000 {
        see(&map, key, 0, 10, true).unwrap();
    }
    let before = map.len_and_capacity();
    assert!(before.0 > 90_000 && before.0 == map.len());
    for key in 0..100_000 {
        see(&map, key % 100, 20, 10_000_000, true).unwrap();
        see(&map, 1_000_000 + key, 20, 20, true).unwrap();
    }
    let after = map.len_and_capacity();
    assert_eq!(after.0, map.len());
    assert!(after.0 < 1000 && after.1 < 20_000, "{before:?} -> {after:?}");
}

#[test]
fn clear_and_remove_give_room() {
    let map = map(2, WhenFull::Refuse);
    see(&map, 1, 0, 99, false).unwrap();
    see(&map, 2, 0, 99, false).unwrap();
    assert!(map.remove(&1) && !map.remove(&1));
    assert_eq!(see(&map, 3, 0, 99, false), Ok(1));
    map.clear();
    assert_eq!((map.len(), map.get(&3, |_| ())), (0, None));
    map.for_each(|_| panic!("nobody is left"));
    assert_eq!(see(&map, 4, 0, 99, false), Ok(1));
}

#[test]
fn a_key_is_cloned_only_when_it_is_new() {
    let map: Map<String, Until, _> = map(10, WhenFull::Refuse);
    let made = Cell::new(0);
    for _ in 0..3 {
        let make = || {
            made.set(made.get() + 1);
            ("tenant".to_owned(), Until { key: 0, busy: at(9), seen: 0, spare: false })
        };
        map.get_or_insert("tenant", || at(0), make, |_| ()).unwrap();
    }
    assert_eq!(made.get(), 1);
    assert!(map.remove("tenant"));
}

/// A key whose every trait panics on demand.
#[derive(Debug)]
struct Touchy(u32);

thread_local!(static FUSE: Cell<Option<&'static str>> = const { Cell::new(None) });

fn fuse(at: &str) {
    if FUSE.get() == Some(at) {
        FUSE.set(None);
        panic!("{at}");
    }
}

impl Hash for Touchy {
    fn hash<H: Hasher>(&self, state: &mut H) {
        fuse("hash");
        self.0.hash(state);
    }
}

impl PartialEq for Touchy {
    fn eq(&self, other: &Self) -> bool {
        fuse("eq");
        self.0 == other.0
    }
}

impl Eq for Touchy {}

impl Drop for Touchy {
    fn drop(&mut self) {
        fuse("drop");
    }
}

/// Another borrowed form, by way of a panicking `Borrow`.
#[derive(Debug, Hash, PartialEq, Eq)]
struct Wrapped(u32);

impl Borrow<u32> for Wrapped {
    fn borrow(&self) -> &u32 {
        fuse("borrow");
        &self.0
    }
}

#[test]
fn a_panic_in_user_code_leaves_the_map_whole() {
    let busy = |now: u64| Until { key: 0, busy: at(now + 5), seen: 0, spare: true };
    let map: Map<Touchy, Until, _> = map(4, WhenFull::EvictOldest);
    let see = |key: u32, now: u64| {
        let key = Touchy(key);
        let seen = map.get_or_insert(
            &key,
            || at(now),
            || (Touchy(key.0), busy(now)),
            |state| state.seen += 1,
        );
        assert_eq!(seen, Ok(()));
    };
    let wrapped: Map<Wrapped, Until, _> = self::map(1, WhenFull::Refuse);
    wrapped.get_or_insert(&7, || at(0), || (Wrapped(7), busy(0)), |_| ()).unwrap();

    type Step<'a> = (&'static str, &'static str, Box<dyn Fn() + 'a>);
    let steps: Vec<Step<'_>> = vec![
        ("hash", "a key looked up", Box::new(|| see(1, 1))),
        ("eq", "a key found", Box::new(|| see(1, 1))),
        ("drop", "a key that gives way", Box::new(|| see(9, 1))),
        ("eq", "a key to be removed", Box::new(|| assert!(map.remove(&Touchy(1))))),
        ("drop", "a removed key", Box::new(|| assert!(map.remove(&Touchy(1))))),
        ("drop", "one of all keys", Box::new(|| map.clear())),
        ("borrow", "a key found", Box::new(|| wrapped.get(&7, |_| ()).unwrap())),
        (
            "make",
            "the state of a new key",
            Box::new(|| {
                map.get_or_insert(&Touchy(77), || at(99), || panic!("make"), |_| ()).unwrap();
            }),
        ),
        (
            "drop",
            "a swept key",
            Box::new(|| {
                FUSE.set(None);
                assert!(map.remove(&Touchy(0)));
                FUSE.set(Some("drop"));
                see(9, 60);
            }),
        ),
    ];
    for (fuse, whose, step) in &steps {
        (0..4).for_each(|key| see(key, 0));
        FUSE.set(Some(fuse));
        let panicked = catch_unwind(AssertUnwindSafe(step)).is_err();
        FUSE.set(None);
        assert!(panicked, "{fuse} of {whose} was not reached");
        assert_eq!(map.len(), map.len_and_capacity().0, "{fuse} of {whose}");
        // Usable, up to the bound and no further.
        (100..110).for_each(|key| see(key, 90));
        assert_eq!((map.len(), map.len_and_capacity().0), (4, 4), "{fuse} of {whose}");
        map.clear();
    }
    assert_eq!((wrapped.len(), wrapped.get(&7, |state| state.seen)), (1, Some(0)));
}

/// A key that looks, whenever it is hashed, made or dropped, whether a shard is locked.
#[test]
fn user_code_runs_outside_the_locks() {
    static MAP: OnceLock<Map<Looking, Until, RandomState>> = OnceLock::new();
    #[derive(PartialEq, Eq)]
    struct Looking(u32);
    fn look() {
        assert!(!MAP.get().unwrap().is_locked());
    }
    impl Hash for Looking {
        fn hash<H: Hasher>(&self, state: &mut H) {
            look();
            self.0.hash(state);
        }
    }
    impl Drop for Looking {
        fn drop(&mut self) {
            look();
        }
    }
    let map = MAP.get_or_init(|| map(100, WhenFull::EvictOldest));
    for now in 0..2_000 {
        let make = || {
            look();
            (
                Looking(now),
                Until { key: now, busy: at(u64::from(now % 2) * 9_000), seen: 0, spare: true },
            )
        };
        map.get_or_insert(&Looking(now), || at(now.into()), make, |_| ()).unwrap();
        if now % 3 == 0 {
            map.remove(&Looking(now - now % 9));
        }
    }
    assert!(map.evicted() > 0);
    map.clear();
}

/// Eight threads, keys that come and go: never more than the bound in the shards, and no room is lost.
#[test]
fn the_bound_holds_for_many_threads() {
    const BOUND: u64 = 300;
    static INSIDE: PlainAtomicU64 = PlainAtomicU64::new(0);

    /// Counted while it is alive; one being put in or dropped lives outside the shards for a moment.
    struct Alive(u32);
    impl Alive {
        fn new(n: u32) -> Self {
            INSIDE.fetch_add(1, Relaxed);
            Self(n)
        }
    }
    impl Drop for Alive {
        fn drop(&mut self) {
            INSIDE.fetch_sub(1, Relaxed);
        }
    }
    impl State for Alive {
        fn worth(&self, _: Instant) -> Worth {
            [Worth::Nothing, Worth::Little, Worth::Everything][self.0 as usize % 3]
        }
    }

    const THREADS: u64 = 8;
    for when_full in [WhenFull::Refuse, WhenFull::EvictOldest] {
        let map: Map<u32, Alive, _> = Map::new(
            &Settings { max_keys: BOUND as usize, shards: Some(8), when_full },
            RandomState::new(),
        );
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
                        // Each thread holds at most what it makes and what it sweeps outside the shards.
                        assert!(INSIDE.load(Relaxed) <= BOUND + THREADS * 10);
                        assert!(map.len() <= BOUND as usize);
                    }
                });
            }
        });
        let (there, _) = map.len_and_capacity();
        assert_eq!((map.len(), INSIDE.load(Relaxed)), (there, there as u64));
        assert!(there > BOUND as usize / 2, "{there}");
        drop(map);
        assert_eq!(INSIDE.load(Relaxed), 0);
    }
}

#[derive(Debug, Clone)]
enum Step {
    See { key: u32, busy: u64, spare: bool },
    Remove(u32),
    Advance(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_u32..24, 1_u64..20, any::<bool>())
            .prop_map(|(key, busy, spare)| Step::See { key, busy, spare }),
        1 => (0_u32..24).prop_map(Step::Remove),
        2 => (1_u64..9).prop_map(Step::Advance),
    ]
}

proptest! {
    /// Against a plain map that never forgets by itself: whatever is missing here was allowed to go.
    #[test]
    fn forgets_only_what_may_be_forgotten(
        steps in proptest::collection::vec(step(), 0..300),
        evict in any::<bool>(),
        bound in 1_usize..12,
    ) {
        let when_full = if evict { WhenFull::EvictOldest } else { WhenFull::Refuse };
        let map = map(bound, when_full);
        let mut model: HashMap<u32, Until> = HashMap::new();
        let mut now = 0;
        for step in steps {
            let mut new = None;
            match step {
                Step::See { key, busy, spare } => {
                    let made = Until { key, busy: at(now + busy), seen: 1, spare };
                    let known = model.contains_key(&key);
                    match see(&map, key, now, now + busy, spare) {
                        Ok(1) => {
                            prop_assert!(!known, "{} was forgotten before", key);
                            new = Some(key);
                            model.insert(key, made);
                        }
                        Ok(seen) => {
                            let state = model.get_mut(&key).expect("known");
                            state.seen += 1;
                            prop_assert_eq!(seen, state.seen);
                        }
                        Err(Full) => {
                            prop_assert!(!known && model.len() == bound);
                            // One shard, all of it searched: the refusal is exact.
                            for state in model.values() {
                                prop_assert_ne!(state.worth(at(now)), Worth::Nothing);
                                prop_assert!(!evict || state.worth(at(now)) == Worth::Everything);
                            }
                        }
                    }
                }
                Step::Remove(key) => prop_assert_eq!(map.remove(&key), model.remove(&key).is_some()),
                Step::Advance(by) => now += by,
            }
            let full = model.len() > bound;
            let mut spared = 0;
            let there: HashSet<u32> = (0..24).filter(|key| {
                // Not by `get`, which would count as use.
                let mut found = false;
                map.for_each(|state| found |= state.key == *key);
                found
            }).collect();
            model.retain(|key, state| {
                if there.contains(key) {
                    return true;
                }
                match state.worth(at(now)) {
                    Worth::Nothing => {}
                    Worth::Little => spared += 1,
                    Worth::Everything => spared += 1000,
                }
                false
            });
            prop_assert!(spared == 0 || (spared == 1 && evict && full), "{} spared", spared);
            prop_assert!(new.is_none_or(|key| model.contains_key(&key)), "the new one itself went");
            prop_assert_eq!(map.len(), map.len_and_capacity().0);
            prop_assert!(map.len() <= bound);
        }
    }
}
