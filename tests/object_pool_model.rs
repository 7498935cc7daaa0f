//! Compares the object pool with a model: a set of idle objects and a set of removed objects.

use mainstay::object_pool::{ObjectPool, PooledObject};
use proptest::prelude::*;
use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

#[derive(Clone, Debug)]
enum Step {
    Get,
    /// Drops one of the objects in use, selected by this index.
    Drop(usize),
    Detach(usize),
    PutNew,
    Warm(usize),
    Trim,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => Just(Step::Get),
        8 => any::<usize>().prop_map(Step::Drop),
        1 => any::<usize>().prop_map(Step::Detach),
        2 => Just(Step::PutNew),
        1 => (0_usize..6).prop_map(Step::Warm),
        1 => Just(Step::Trim),
    ]
}

/// An object that records its drop.
struct Numbered(u32, Arc<Mutex<HashSet<u32>>>);

impl Drop for Numbered {
    fn drop(&mut self) {
        assert!(self.1.lock().unwrap().insert(self.0), "{} dropped twice", self.0);
    }
}

proptest! {
    #[test]
    fn every_object_is_either_in_use_or_idle_or_removed(
        steps in proptest::collection::vec(step(), 0..200),
        max_idle in 0_usize..12,
        thread_cache in 0_usize..6,
        reject_one_of in 2_u32..9,
    ) {
        let dropped = Arc::new(Mutex::new(HashSet::new()));
        let next = Arc::new(AtomicU32::new(0));
        let new = {
            let (dropped, next) = (Arc::clone(&dropped), Arc::clone(&next));
            move || Numbered(next.fetch_add(1, Ordering::Relaxed), Arc::clone(&dropped))
        };
        let min_idle = max_idle / 4;
        let pool = ObjectPool::builder(new.clone())
            .recycle(move |object| object.0 % reject_one_of != 1)
            .max_idle(max_idle)
            .min_idle(min_idle)
            .thread_cache(thread_cache)
            .trim_interval(None)
            .build()
            .unwrap();
        let capacity = max_idle + thread_cache;

        let mut in_use = Vec::new();
        let mut idle = BTreeSet::new();
        let mut removed = HashSet::new();
        let put = |number: u32, idle: &mut BTreeSet<u32>, removed: &mut HashSet<u32>| {
            if number % reject_one_of != 1 && idle.len() < capacity {
                idle.insert(number);
            } else {
                removed.insert(number);
            }
        };
        for step in steps {
            match step {
                Step::Get => {
                    let fresh = next.load(Ordering::Relaxed);
                    let object = pool.get();
                    if idle.is_empty() {
                        prop_assert_eq!(object.0, fresh, "a miss creates an object");
                    } else {
                        prop_assert!(idle.remove(&object.0), "{} was not idle", object.0);
                    }
                    in_use.push(object);
                }
                Step::Drop(which) if !in_use.is_empty() => {
                    let object = in_use.swap_remove(which % in_use.len());
                    put(object.0, &mut idle, &mut removed);
                    drop(object);
                }
                Step::Detach(which) if !in_use.is_empty() => {
                    let object = PooledObject::detach(in_use.swap_remove(which % in_use.len()));
                    removed.insert(object.0);
                }
                Step::Drop(_) | Step::Detach(_) => {}
                Step::PutNew => {
                    let object = new();
                    put(object.0, &mut idle, &mut removed);
                    pool.put(object);
                }
                Step::Warm(n) => {
                    let first = next.load(Ordering::Relaxed);
                    let warmed = pool.warm(n) as u32;
                    let made = next.load(Ordering::Relaxed);
                    prop_assert!(warmed as usize == n || made == first + warmed + 1);
                    idle.extend(first..first + warmed);
                    removed.extend(first + warmed..made);
                }
                Step::Trim => {
                    let before = idle.len();
                    pool.trim();
                    let dropped = dropped.lock().unwrap();
                    let trimmed: Vec<u32> = idle.iter().copied().filter(|n| dropped.contains(n)).collect();
                    for number in trimmed {
                        idle.remove(&number);
                        removed.insert(number);
                    }
                    prop_assert!(idle.len() >= before.min(min_idle), "a trim leaves the minimum");
                }
            }
            prop_assert_eq!(&*dropped.lock().unwrap(), &removed);
            prop_assert_eq!(pool.snapshot().idle as usize, idle.len());
            prop_assert!(idle.len() <= capacity);
        }
        let made = next.load(Ordering::Relaxed) as usize;
        drop(in_use);
        drop(pool);
        prop_assert_eq!(dropped.lock().unwrap().len(), made, "nothing leaks");
    }
}
