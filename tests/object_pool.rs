//! The object pool as its users see it.

use mainstay::object_pool::{Lease, ObjectPool, Pooled, Recycle};
use mainstay::time::ManualClock;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Numbers objects as they are made, and counts those that live.
#[derive(Clone, Default)]
struct Factory {
    made: Arc<AtomicUsize>,
    alive: Arc<()>,
}

struct Object {
    number: usize,
    _alive: Arc<()>,
}

impl Factory {
    fn maker(&self) -> impl Fn() -> Object + Send + Sync + 'static {
        let factory = self.clone();
        move || Object {
            number: factory.made.fetch_add(1, Ordering::Relaxed),
            _alive: Arc::clone(&factory.alive),
        }
    }

    fn made(&self) -> usize {
        self.made.load(Ordering::Relaxed)
    }

    /// Objects that were not dropped yet, plus one factory and one maker.
    fn alive(&self) -> usize {
        Arc::strong_count(&self.alive) - 2
    }
}

#[test]
fn what_comes_back_is_used_again_newest_first() {
    let factory = Factory::default();
    let pool = ObjectPool::new(factory.maker());
    let (a, b) = (pool.get(), pool.get());
    assert_eq!((a.number, b.number), (0, 1));
    drop(a);
    drop(b);
    assert_eq!(pool.get().number, 1);
    assert_eq!(pool.take().number, 1);
    assert_eq!(pool.get().number, 0);
    assert_eq!(factory.made(), 2);
}

#[test]
fn a_detached_object_does_not_come_back_by_itself() {
    let factory = Factory::default();
    let pool = Arc::new(ObjectPool::new(factory.maker()));
    let kept = Lease::detach(pool.get());
    let owned = Lease::detach(pool.get_owned());
    assert_eq!((kept.number, owned.number), (0, 1));
    assert_eq!(Arc::strong_count(&pool), 1);
    assert_eq!(pool.snapshot().idle, 0);
    pool.put(kept);
    pool.put(owned);
    pool.put(pool.take());
    assert_eq!(pool.take().into_inner().number, 1);
    pool.put(factory.maker()());
    assert_eq!(pool.snapshot().idle, 2);
}

#[test]
fn an_owned_guard_outlives_the_last_handle() {
    let factory = Factory::default();
    let pool = Arc::new(ObjectPool::new(factory.maker()));
    let object = pool.get_owned();
    drop(pool);
    assert_eq!(object.number, 0);
    std::thread::spawn(move || drop(object)).join().unwrap();
    assert_eq!(Arc::strong_count(&factory.alive), 1);
}

#[test]
fn the_rule_runs_on_put_and_may_refuse() {
    let pool = ObjectPool::builder(Vec::<u8>::new)
        .recycle(|buffer| {
            buffer.clear();
            buffer.capacity() <= 100
        })
        .build()
        .unwrap();
    pool.put(Vec::with_capacity(50));
    pool.put(Vec::with_capacity(101));
    pool.put(vec![1, 2, 3]);
    let snapshot = pool.snapshot();
    assert_eq!((snapshot.recycled, snapshot.discarded, snapshot.idle), (2, 1, 2));
    assert!(pool.get().is_empty());
}

#[test]
fn buffers_are_emptied_and_big_ones_let_go() {
    fn recycles<T: Recycle>(mut small: T, mut big: T, len: impl Fn(&T) -> usize) {
        assert!(small.recycle_within(100));
        assert_eq!(len(&small), 0);
        assert!(!big.recycle_within(100));
    }
    recycles(vec![1], Vec::with_capacity(101), Vec::len);
    recycles("one".to_owned(), String::with_capacity(101), String::len);
    recycles(
        [1].into(),
        std::collections::VecDeque::with_capacity(101),
        std::collections::VecDeque::len,
    );
    recycles(
        [1].into(),
        std::collections::BinaryHeap::with_capacity(101),
        std::collections::BinaryHeap::len,
    );
    recycles([(1, 1)].into(), HashMap::with_capacity(101), HashMap::len);
    recycles(
        [1].into(),
        std::collections::HashSet::with_capacity(101),
        std::collections::HashSet::len,
    );
    recycles(Box::new(vec![1]), Box::new(Vec::with_capacity(101)), |buffer| buffer.len());
}

#[test]
fn a_panicking_factory_leaves_the_pool_usable() {
    let calls = Arc::new(AtomicUsize::new(0));
    let pool = ObjectPool::new({
        let calls = Arc::clone(&calls);
        move || assert_ne!(calls.fetch_add(1, Ordering::Relaxed), 0, "the first call fails")
    });
    assert!(catch_unwind(AssertUnwindSafe(|| drop(pool.get()))).is_err());
    drop(pool.get());
    let snapshot = pool.snapshot();
    assert_eq!((snapshot.misses, snapshot.created, snapshot.idle), (2, 1, 1));
}

#[test]
fn a_panicking_rule_costs_its_object_and_no_more() {
    let factory = Factory::default();
    let pool = ObjectPool::builder(factory.maker())
        .recycle(|object| {
            assert_ne!(object.number, 0, "the first object fails");
            true
        })
        .build()
        .unwrap();
    let (bad, good) = (pool.get(), pool.get());
    assert!(catch_unwind(AssertUnwindSafe(|| drop(bad))).is_err());
    drop(good);
    let snapshot = pool.snapshot();
    assert_eq!((snapshot.recycled, snapshot.discarded, snapshot.idle), (1, 1, 1));
    assert_eq!(factory.alive(), 1);
    assert_eq!(pool.get().number, 1);
}

#[test]
fn an_object_caught_in_a_panic_is_discarded_unless_told_otherwise() {
    for (discard, idle) in [(true, 0), (false, 1)] {
        let pool = ObjectPool::builder(String::new).discard_on_unwind(discard).build().unwrap();
        let result = catch_unwind(AssertUnwindSafe(|| {
            let mut line = pool.get();
            line.push_str("half a li");
            panic!("no more");
        }));
        assert!(result.is_err());
        assert_eq!(pool.snapshot().idle, idle, "discard: {discard}");
        assert_eq!(pool.snapshot().discarded, 1 - idle);
    }
}

#[test]
fn user_code_may_come_back_to_the_pool() {
    struct Nosy(std::sync::Weak<ObjectPool<Nosy>>);
    impl Drop for Nosy {
        fn drop(&mut self) {
            if let Some(pool) = self.0.upgrade() {
                let _ = pool.snapshot();
                pool.trim();
            }
        }
    }
    let pool = Arc::new_cyclic(|pool: &std::sync::Weak<ObjectPool<Nosy>>| {
        let (make, again, depth) = (pool.clone(), pool.clone(), AtomicUsize::new(0));
        ObjectPool::builder(move || {
            // Making one puts another.
            if let Some(pool) = make.upgrade()
                && pool.snapshot().created < 10
            {
                pool.put(Nosy(make.clone()));
            }
            Nosy(make.clone())
        })
        .recycle(move |_| {
            // Recycling one gets and puts another.
            if depth.fetch_add(1, Ordering::Relaxed) < 100
                && let Some(pool) = again.upgrade()
            {
                drop(pool.get());
            }
            true
        })
        .max_idle(3)
        .thread_cache(2)
        .build()
        .unwrap()
    });
    for _ in 0..20 {
        let _several: Vec<_> = (0..8).map(|_| pool.get()).collect();
    }
    assert!(pool.snapshot().idle <= 5);
}

#[test]
fn idle_objects_are_bounded() {
    for (max_idle, thread_cache) in [(0, 0), (1, 0), (7, 0), (0, 4), (7, 4), (100, 16)] {
        let factory = Factory::default();
        let pool = ObjectPool::builder(factory.maker())
            .max_idle(max_idle)
            .thread_cache(thread_cache)
            .build()
            .unwrap();
        drop((0..300).map(|_| pool.get()).collect::<Vec<_>>());
        let bound = max_idle + thread_cache;
        assert_eq!(pool.snapshot().idle, bound as u64, "{max_idle} + {thread_cache}");
        assert_eq!(factory.alive(), bound);
        // Also what was never taken counts.
        for _ in 0..300 {
            pool.put(factory.maker()());
        }
        assert_eq!(factory.alive(), bound);
    }
}

#[test]
fn objects_put_elsewhere_obey_the_same_bound() {
    let factory = Factory::default();
    let pool = ObjectPool::builder(factory.maker()).max_idle(32).thread_cache(8).build().unwrap();
    std::thread::scope(|scope| {
        let (sender, receiver) = std::sync::mpsc::sync_channel::<Vec<Pooled<'_, Object>>>(0);
        let (done, is_done) = std::sync::mpsc::sync_channel(0);
        scope.spawn(move || {
            for objects in receiver {
                drop(objects);
                done.send(()).unwrap();
            }
        });
        for _ in 0..50 {
            sender.send((0..100).map(|_| pool.get()).collect()).unwrap();
            is_done.recv().unwrap();
            // The shelves, and one cache for each of the two threads.
            assert!(factory.alive() <= 32 + 8 + 8, "{}", factory.alive());
        }
        drop(sender);
    });
    assert_eq!(factory.alive() as u64, pool.snapshot().idle);
}

#[test]
fn warming_stops_where_there_is_no_more_room() {
    let factory = Factory::default();
    let pool = ObjectPool::builder(factory.maker()).max_idle(10).build().unwrap();
    assert_eq!(pool.warm(4), 4);
    assert_eq!(pool.warm(100), 6);
    assert_eq!(factory.alive(), 10);
    let objects: Vec<_> = (0..10).map(|_| pool.get()).collect();
    let snapshot = pool.snapshot();
    assert_eq!((snapshot.hits, snapshot.misses, snapshot.idle), (10, 0, 0));
    drop(objects);
}

#[test]
fn objects_made_together_share_no_cache_line() {
    let pool = ObjectPool::builder(|| 0_u8).build().unwrap();
    pool.warm(50);
    let objects: Vec<_> = (0..50).map(|_| pool.get()).collect();
    let mut lines: Vec<_> =
        objects.iter().map(|object| &raw const **object as usize / 64).collect();
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), 50);
}

#[test]
fn a_burst_is_gone_after_the_stated_number_of_intervals() {
    let clock = ManualClock::new();
    let factory = Factory::default();
    let interval = Duration::from_secs(10);
    let pool = ObjectPool::builder(factory.maker())
        .max_idle(1024)
        .min_idle(5)
        .trim_interval(interval)
        .clock(clock.clock())
        .build()
        .unwrap();
    drop((0..1000).map(|_| pool.get()).collect::<Vec<_>>());
    assert_eq!(factory.alive(), 1000);

    let mut idle = vec![factory.alive()];
    // log2(1000) + 3 intervals of ordinary work, one object at a time.
    for _ in 0..12 {
        clock.advance(interval);
        for _ in 0..64 {
            drop(pool.get());
        }
        idle.push(factory.alive());
    }
    assert!(idle.is_sorted_by(|a, b| a >= b), "{idle:?}");
    // The floor of the shelves, and the one object in use: the thread gave up what else its cache held.
    assert_eq!(*idle.last().unwrap(), 5 + 1, "{idle:?}");
    let made = factory.made();
    for _ in 0..1000 {
        drop(pool.get());
    }
    assert_eq!(factory.made(), made, "what is in use is not trimmed");
}

#[test]
fn no_trim_without_an_interval_or_before_it_is_over() {
    let clock = ManualClock::new();
    for (interval, elapsed, trims) in
        [(None, 1000, false), (Some(10), 9, false), (Some(10), 10, true), (Some(10), 1000, true)]
    {
        let pool = ObjectPool::builder(|| ())
            .trim_interval(interval.map(Duration::from_secs))
            .thread_cache(0)
            .clock(clock.clock())
            .build()
            .unwrap();
        pool.warm(100);
        pool.trim();
        clock.advance(Duration::from_secs(elapsed));
        for _ in 0..64 {
            drop(pool.get());
        }
        assert_eq!(pool.snapshot().trimmed > 0, trims, "{interval:?} after {elapsed} s");
    }
}

#[test]
fn works_while_the_thread_locals_of_a_thread_are_destroyed() {
    struct AtExit(Arc<ObjectPool<Object>>, usize);
    impl Drop for AtExit {
        fn drop(&mut self) {
            let objects: Vec<_> = (0..self.1).map(|_| self.0.get()).collect();
            drop(objects);
        }
    }
    thread_local! {
        static EARLY: std::cell::RefCell<Option<AtExit>> = const { std::cell::RefCell::new(None) };
        static LATE: std::cell::RefCell<Option<AtExit>> = const { std::cell::RefCell::new(None) };
    }
    let factory = Factory::default();
    let pool = Arc::new(ObjectPool::new(factory.maker()));
    for _ in 0..20 {
        let pool = Arc::clone(&pool);
        std::thread::spawn(move || {
            EARLY.set(Some(AtExit(Arc::clone(&pool), 5)));
            drop(pool.get());
            LATE.set(Some(AtExit(pool, 3)));
        })
        .join()
        .unwrap();
    }
    let snapshot = pool.snapshot();
    assert_eq!(snapshot.hits + snapshot.misses, 20 * 9);
    assert_eq!(snapshot.idle as usize, factory.alive());
    assert!(
        snapshot.hits > 20 * 3,
        "what a leaving thread puts is found by the next: {snapshot:?}"
    );
}

#[test]
fn dropping_the_pool_drops_what_is_idle() {
    let factory = Factory::default();
    let pool = ObjectPool::new(factory.maker());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| drop((0..50).map(|_| pool.get()).collect::<Vec<_>>()));
        }
    });
    drop(pool);
    assert_eq!(Arc::strong_count(&factory.alive), 1);
}

#[test]
fn settings_out_of_range_are_refused() {
    let fields = [
        ObjectPool::builder(|| ()).min_idle(11).max_idle(10).build().unwrap_err(),
        ObjectPool::builder(|| ()).thread_cache(4097).build().unwrap_err(),
        ObjectPool::builder(|| ()).trim_interval(Duration::ZERO).build().unwrap_err(),
    ]
    .map(|error| error.field());
    assert_eq!(fields, ["min_idle", "thread_cache", "trim_interval"]);
}

#[test]
fn shared_by_threads_without_sync_objects() {
    fn assert_send<T: Send>() {}
    fn assert_sync<T: Sync>() {}
    assert_send::<ObjectPool<std::cell::Cell<u8>>>();
    assert_sync::<ObjectPool<std::cell::Cell<u8>>>();
    assert_eq!(size_of::<mainstay::object_pool::Pooled<'_, [u8; 4096]>>(), 16);
}
