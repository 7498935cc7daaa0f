//! The object pool through its public API.

use mainstay::object_pool::{ObjectPool, OwnedPooledObject, PooledObject, Recycle};
use mainstay::time::ManualClock;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A factory that numbers its objects and counts those that have not been dropped.
#[derive(Clone, Default)]
struct Factory {
    made: Arc<AtomicUsize>,
    alive: Arc<()>,
}

struct Object {
    number: usize,
    _alive: Arc<()>,
}

impl Recycle for Object {
    fn recycle(&mut self) {}
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

    /// Returns the number of objects that have not been dropped. Subtracts the references of one
    /// factory and one maker.
    fn alive(&self) -> usize {
        Arc::strong_count(&self.alive) - 2
    }
}

#[test]
fn returned_objects_are_reused_newest_first() {
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
fn a_detached_object_does_not_return_to_the_pool() {
    let factory = Factory::default();
    let pool = Arc::new(ObjectPool::new(factory.maker()));
    let kept = PooledObject::detach(pool.get());
    let owned = OwnedPooledObject::detach(pool.get_owned());
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
fn the_rule_runs_at_every_put_and_may_reject_the_object() {
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
fn containers_are_cleared_and_keep_their_capacity() {
    fn recycles<T: Recycle>(mut object: T, len: impl Fn(&T) -> usize, capacity: bool) {
        assert_eq!((len(&object), object.capacity() >= 1), (1, capacity));
        object.recycle();
        assert_eq!((len(&object), object.capacity() >= 1), (0, capacity));
    }
    recycles(vec![1], Vec::len, true);
    recycles("a".to_owned(), String::len, true);
    recycles(std::ffi::OsString::from("a"), |string| string.len(), true);
    recycles(std::path::PathBuf::from("a"), |path| path.as_os_str().len(), true);
    recycles(VecDeque::from([1]), VecDeque::len, true);
    recycles(BinaryHeap::from([1]), BinaryHeap::len, true);
    recycles(HashMap::from([(1, 1)]), HashMap::len, true);
    recycles(HashSet::from([1]), HashSet::len, true);
    recycles(BTreeMap::from([(1, 1)]), BTreeMap::len, false);
    recycles(BTreeSet::from([1]), BTreeSet::len, false);
    recycles(Box::new(vec![1]), |buffer| buffer.len(), true);
}

#[test]
fn a_reused_buffer_is_empty_by_default() {
    let buffers = ObjectPool::new(Vec::new);
    buffers.get().extend_from_slice(b"secret");
    assert_eq!(buffers.snapshot().idle, 1);
    assert!(buffers.get().is_empty());

    let buffers = ObjectPool::builder(Vec::new).thread_cache(0).build().unwrap();
    buffers.put(b"secret".to_vec());
    assert!(buffers.take().is_empty());

    let kept = ObjectPool::builder(Vec::new).keep_contents().build().unwrap();
    kept.put(b"known".to_vec());
    assert_eq!(*kept.take(), *b"known");
}

#[test]
fn a_buffer_above_the_capacity_limit_is_dropped() {
    let buffers = ObjectPool::builder(Vec::<u8>::new).max_capacity(100).build().unwrap();
    buffers.put(Vec::with_capacity(100));
    buffers.put(Vec::with_capacity(101));
    let snapshot = buffers.snapshot();
    assert_eq!((snapshot.recycled, snapshot.discarded), (1, 1));
}

#[test]
fn a_factory_that_panics_leaves_the_pool_usable() {
    let calls = Arc::new(AtomicUsize::new(0));
    let pool = ObjectPool::new({
        let calls = Arc::clone(&calls);
        move || {
            assert_ne!(calls.fetch_add(1, Ordering::Relaxed), 0, "the first call fails");
            String::new()
        }
    });
    assert!(catch_unwind(AssertUnwindSafe(|| drop(pool.get()))).is_err());
    drop(pool.get());
    let snapshot = pool.snapshot();
    assert_eq!((snapshot.misses, snapshot.created, snapshot.idle), (2, 1, 1));
}

#[test]
fn a_rule_that_panics_discards_only_its_object() {
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
fn an_object_returned_by_an_unwinding_thread_is_dropped_unless_configured() {
    for (keep, idle) in [(false, 0), (true, 1)] {
        let builder = ObjectPool::builder(String::new);
        let builder = if keep { builder.keep_on_unwind() } else { builder };
        let pool = builder.build().unwrap();
        let result = catch_unwind(|| {
            let mut line = pool.get();
            line.push_str("half a li");
            panic!("no more");
        });
        assert!(result.is_err());
        assert_eq!(pool.snapshot().idle, idle, "keep: {keep}");
        assert_eq!(pool.snapshot().discarded, 1 - idle);
    }
}

/// A value that panics when it is dropped, if it contains `true`.
struct Explosive(bool);

impl Drop for Explosive {
    fn drop(&mut self) {
        if std::mem::take(&mut self.0) {
            panic!("destructor");
        }
    }
}

/// A second panic that left the destructor of a guard would abort the process.
#[test]
fn a_rule_or_a_destructor_that_panics_while_the_thread_unwinds_does_not_abort() {
    let unwind = |pool: &ObjectPool<Explosive>| {
        let panic = catch_unwind(|| {
            let _object = pool.get();
            panic!("the first");
        });
        assert_eq!(panic.unwrap_err().downcast_ref(), Some(&"the first"));
        let snapshot = pool.snapshot();
        assert_eq!((snapshot.discarded, snapshot.idle), (1, 0));
    };

    let panics = |_: &mut Explosive| panic!("rule");
    let builder = ObjectPool::builder(|| Explosive(false)).recycle(panics);
    unwind(&builder.keep_on_unwind().build().unwrap());

    let builder = ObjectPool::builder(|| Explosive(true)).keep_contents();
    unwind(&builder.build().unwrap());

    let builder = ObjectPool::builder(|| Explosive(true)).recycle(|_| false);
    unwind(&builder.keep_on_unwind().build().unwrap());

    let builder = ObjectPool::builder(|| Explosive(true)).recycle(panics);
    unwind(&builder.keep_on_unwind().build().unwrap());
}

#[test]
fn a_destructor_that_panics_after_its_rule_has_panicked_does_not_abort() {
    let panics = |_: &mut Explosive| panic!("rule");
    let pool = ObjectPool::builder(|| Explosive(true)).recycle(panics).build().unwrap();
    let panic = catch_unwind(|| drop(pool.get())).unwrap_err();
    assert_eq!(panic.downcast_ref(), Some(&"rule"));
    assert_eq!(pool.snapshot().discarded, 1);
}

#[test]
fn a_trim_drops_every_object_whose_destructor_panics() {
    let pool = ObjectPool::builder(|| Explosive(true)).keep_contents().build().unwrap();
    pool.warm(4);
    pool.trim(); // finds four idle objects
    for trimmed in [2, 3, 4] {
        assert!(catch_unwind(|| pool.trim()).is_err());
        assert_eq!(pool.snapshot().trimmed, trimmed);
    }
}

#[test]
fn user_code_may_use_the_pool() {
    struct Reentrant(std::sync::Weak<ObjectPool<Reentrant>>);
    impl Drop for Reentrant {
        fn drop(&mut self) {
            if let Some(pool) = self.0.upgrade() {
                let _ = pool.snapshot();
                pool.trim();
            }
        }
    }
    let pool = Arc::new_cyclic(|pool: &std::sync::Weak<ObjectPool<Reentrant>>| {
        let (make, again, depth) = (pool.clone(), pool.clone(), AtomicUsize::new(0));
        ObjectPool::builder(move || {
            // Creating an object puts another.
            if let Some(pool) = make.upgrade()
                && pool.snapshot().created < 10
            {
                pool.put(Reentrant(make.clone()));
            }
            Reentrant(make.clone())
        })
        .recycle(move |_| {
            // Recycling an object gets and puts another.
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
        // Objects that were not taken from the pool count, too.
        for _ in 0..300 {
            pool.put(factory.maker()());
        }
        assert_eq!(factory.alive(), bound);
    }
}

#[test]
fn objects_put_by_another_thread_obey_the_same_bound() {
    let factory = Factory::default();
    let pool = ObjectPool::builder(factory.maker()).max_idle(32).thread_cache(8).build().unwrap();
    std::thread::scope(|scope| {
        let (sender, receiver) = std::sync::mpsc::sync_channel::<Vec<PooledObject<'_, Object>>>(0);
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
            // The shards, and one cache for each of the two threads.
            assert!(factory.alive() <= 32 + 8 + 8, "{}", factory.alive());
        }
        drop(sender);
    });
    assert_eq!(factory.alive() as u64, pool.snapshot().idle);
}

#[test]
fn warming_stops_when_the_shards_are_full() {
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
    let pool = ObjectPool::builder(|| 0_u8).keep_contents().build().unwrap();
    pool.warm(50);
    let objects: Vec<_> = (0..50).map(|_| pool.get()).collect();
    let mut lines: Vec<_> =
        objects.iter().map(|object| &raw const **object as usize / 64).collect();
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), 50);
}

#[test]
fn a_burst_is_trimmed_within_the_documented_number_of_intervals() {
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
    // The minimum in the shards, and one object in the cache of this thread, which moved the rest
    // to the shards.
    assert_eq!(*idle.last().unwrap(), 5 + 1, "{idle:?}");
    let made = factory.made();
    for _ in 0..1000 {
        drop(pool.get());
    }
    assert_eq!(factory.made(), made, "objects in use are not trimmed");
}

#[test]
fn no_trim_without_an_interval_or_before_it_elapses() {
    let clock = ManualClock::new();
    let table =
        [(None, 1000, false), (Some(10), 9, false), (Some(10), 10, true), (Some(10), 1000, true)];
    for (interval, elapsed, trims) in table {
        let pool = ObjectPool::builder(|| ()).keep_contents().thread_cache(0).clock(clock.clock());
        let pool = pool.trim_interval(interval.map(Duration::from_secs)).build().unwrap();
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
fn the_pool_works_while_thread_locals_are_destroyed() {
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
        "a thread reuses the objects of threads that have ended: {snapshot:?}"
    );
}

#[test]
fn dropping_the_pool_drops_its_idle_objects() {
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
fn settings_out_of_range_are_rejected() {
    let fields = [
        ObjectPool::builder(|| ()).keep_contents().min_idle(11).max_idle(10).build().unwrap_err(),
        ObjectPool::builder(|| ()).keep_contents().thread_cache(4097).build().unwrap_err(),
        ObjectPool::builder(|| ())
            .keep_contents()
            .trim_interval(Duration::ZERO)
            .build()
            .unwrap_err(),
    ]
    .map(|error| error.field());
    assert_eq!(fields, ["min_idle", "thread_cache", "trim_interval"]);
    let limits = ObjectPool::builder(|| ()).keep_contents().min_idle(10).max_idle(10);
    assert!(limits.thread_cache(4096).trim_interval(Duration::from_nanos(1)).build().is_ok());
}

#[test]
fn a_pool_of_objects_that_are_not_sync_is_shared_by_threads() {
    fn assert_send<T: Send>() {}
    fn assert_sync<T: Sync>() {}
    assert_send::<ObjectPool<std::cell::Cell<u8>>>();
    assert_sync::<ObjectPool<std::cell::Cell<u8>>>();
    assert_eq!(size_of::<PooledObject<'_, [u8; 4096]>>(), 16);
}
