//! Threads that start and end. This is the only test of its program: thread numbers are unique in
//! the process, and the threads of another test would use some of them.

use mainstay::object_pool::ObjectPool;
use std::sync::Arc;
use std::thread;

type Pool = Arc<ObjectPool<Arc<()>>>;

/// Runs `threads` threads at the same time, each of which takes `objects` objects and returns them.
/// All of them have ended when the function returns, including the destructors of their
/// thread-locals.
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
fn the_objects_of_short_lived_threads_are_bounded_and_trimmed() {
    const MAX_IDLE: usize = 64;
    const CACHE: usize = 4;
    let object = Arc::new(());
    let pool: Pool = {
        let object = Arc::clone(&object);
        let builder = ObjectPool::builder(move || Arc::clone(&object));
        Arc::new(
            builder
                .max_idle(MAX_IDLE)
                .thread_cache(CACHE)
                .trim_interval(None)
                .keep_contents()
                .build()
                .unwrap(),
        )
    };
    // Without this reference and that of the factory.
    let idle = || Arc::strong_count(&object) - 2;

    for _ in 0..5_000 {
        visit(&pool, 2, 8);
        assert!(idle() <= MAX_IDLE + 2 * CACHE, "{}", idle());
    }
    // A new thread may take over the cache of a thread that has ended. Objects that it moves from
    // the shards must not make that cache exceed its size.
    for _ in 0..20 {
        // On new threads, because this thread would keep its number and the cache of that number.
        let (warmer, taker) = (Arc::clone(&pool), Arc::clone(&pool));
        thread::spawn(move || warmer.warm(MAX_IDLE)).join().unwrap();
        thread::spawn(move || drop(taker.take())).join().unwrap();
        assert!(idle() <= MAX_IDLE + 2 * CACHE, "{}", idle());
    }
    visit(&pool, 100, 8);
    assert!(idle() <= MAX_IDLE + 100 * CACHE, "{}", idle());
    assert_eq!(idle() as u64, pool.snapshot().idle);

    // All threads have ended, so a trim empties their caches. Objects that do not fit into the
    // shards are dropped immediately; of the others, each trim drops half.
    let mut trims = 0;
    while idle() > 0 {
        pool.trim();
        trims += 1;
        assert!(trims <= MAX_IDLE.ilog2() + 2, "{} left", idle());
    }
}
