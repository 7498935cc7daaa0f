//! The map compared with a simple model.

use super::*;
use crate::keyed::{Full, KeyOverflowRule, KeyState, Retention};
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};
#[derive(Debug, Clone)]
enum Step {
    Read { key: u32, busy: u64, evictable: bool },
    Remove(u32),
    Advance(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_u32..24, 1_u64..20, any::<bool>())
            .prop_map(|(key, busy, evictable)| Step::Read { key, busy, evictable }),
        1 => (0_u32..24).prop_map(Step::Remove),
        2 => (1_u64..9).prop_map(Step::Advance),
    ]
}

proptest! {
    /// The model is a map that never removes a key by itself. A key that is missing in the map
    /// under test must have been removable.
    #[test]
    fn only_removable_keys_are_removed(
        steps in proptest::collection::vec(step(), 0..300),
        evict in any::<bool>(),
        bound in 1_usize..12,
    ) {
        let when_full = match evict {
            true => KeyOverflowRule::EvictLeastRecentlyUsed,
            false => KeyOverflowRule::Reject,
        };
        let map = map(bound, when_full);
        let mut model: HashMap<u32, Until> = HashMap::new();
        let mut now = 0;
        for step in steps {
            let mut new = None;
            match step {
                Step::Read { key, busy, evictable } => {
                    let made = Until { key, busy_until: at(now + busy), reads: 1, evictable };
                    let known = model.contains_key(&key);
                    match read(&map, key, now, now + busy, evictable) {
                        Ok(1) => {
                            prop_assert!(!known, "{} had been removed", key);
                            new = Some(key);
                            model.insert(key, made);
                        }
                        Ok(reads) => {
                            let state = model.get_mut(&key).expect("known");
                            state.reads += 1;
                            prop_assert_eq!(reads, state.reads);
                        }
                        Err(Full) => {
                            prop_assert!(!known && model.len() == bound);
                            // There is one shard, and the search covered all of it, so the
                            // rejection is exact.
                            for state in model.values() {
                                prop_assert_ne!(state.retention(at(now)), Retention::Disposable);
                                let required = state.retention(at(now)) == Retention::Required;
                                prop_assert!(!evict || required);
                            }
                        }
                    }
                }
                Step::Remove(key) => {
                    prop_assert_eq!(map.remove(&key), model.remove(&key).is_some());
                }
                Step::Advance(by) => now += by,
            }
            let full = model.len() > bound;
            let mut evicted = 0;
            let present: HashSet<u32> = (0..24).filter(|key| {
                // Not by `get`, which would mark the key as used.
                let mut found = false;
                map.for_each(|state| found |= state.key == *key);
                found
            }).collect();
            model.retain(|key, state| {
                if present.contains(key) {
                    return true;
                }
                match state.retention(at(now)) {
                    Retention::Disposable => {}
                    Retention::Evictable => evicted += 1,
                    Retention::Required => evicted += 1000,
                }
                false
            });
            prop_assert!(evicted == 0 || (evicted == 1 && evict && full), "{} evicted", evicted);
            let kept = new.is_none_or(|key| model.contains_key(&key));
            prop_assert!(kept, "the new key itself was removed");
            prop_assert_eq!(map.len(), map.len_and_capacity().0);
            prop_assert!(map.len() <= bound);
        }
    }
}
