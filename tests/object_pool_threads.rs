//! Threads that come and go. One test, for thread ids are the process's: a test beside it would hold some.

use mainstay::object_pool::ObjectPool;
use std::sync::Arc;
use std::thread;

type Pool = Arc<ObjectPool<Arc<()>>>;

/// Threads at once, each with so many objects out at once; all are gone when this returns, destructors
/// of their locals included.
fn visit(pool: &Pool, threads: usize, objects: usize) {
    let visitor = || {
        let pool = Arc::clone(pool);
        thread::spawn(move || drop((0..objects).map(|_| pool.get()).collect::<Vec<_>>()))
    };
    let visitors: Vec<_> = (0..threads).map(|_| visitor()).collect();
    for visitor in visitors {
        visitor.join().unwrap();
    }
}

#[test]
fn what_short_lived_threads_leave_is_bounded_and_trimmed() {
    const SHELVES: usize = 64;
    const CACHE: usize = 4;
    let object = Arc::new(());
    let pool: Pool = {
        let object = Arc::clone(&object);
        let builder = ObjectPool::builder(move || Arc::clone(&object));
        Arc::new(builder.max_idle(SHELVES).thread_cache(CACHE).trim_interval(None).build().unwrap())
    };
    // Ours, and the factory's.
    let idle = || Arc::strong_count(&object) - 2;

    for _ in 0..5_000 {
        visit(&pool, 2, 8);
        assert!(idle() <= SHELVES + 2 * CACHE, "{}", idle());
    }
    // What a thread does first may be to take, from the cache that it inherits: with nothing put, the
    // cache must not grow beyond its size by what comes from the shelves.
    for _ in 0..20 {
        // On threads of their own, for ours would keep an id, and what it inherits.
        let (warmer, taker) = (Arc::clone(&pool), Arc::clone(&pool));
        thread::spawn(move || warmer.warm(SHELVES)).join().unwrap();
        thread::spawn(move || drop(taker.take())).join().unwrap();
        assert!(idle() <= SHELVES + 2 * CACHE, "{}", idle());
    }
    visit(&pool, 100, 8);
    assert!(idle() <= SHELVES + 100 * CACHE, "{}", idle());
    assert_eq!(idle() as u64, pool.snapshot().idle);

    // Nobody is left to obey, so the trim empties their caches: what finds no room on the shelves goes at
    // once, the rest by halves.
    let mut trims = 0;
    while idle() > 0 {
        pool.trim();
        trims += 1;
        assert!(trims <= SHELVES.ilog2() + 2, "{} left", idle());
    }
}
