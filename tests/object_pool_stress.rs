//! Every object is in one place at a time: many threads, some of them short-lived, get, exchange,
//! put and trim objects, and each object records whether it is out of the pool.
//!
//! The test has its own `main`, and no `#[test]`, to run under ThreadSanitizer. The precompiled
//! standard library is not instrumented: ThreadSanitizer would report its mutexes, channels and
//! `Arc`s, so the test uses none of them.
//!
//! ```text
//! RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer" \
//!     cargo +nightly test --target x86_64-unknown-linux-gnu --test object_pool_stress
//! ```
#![allow(unsafe_code)]

use mainstay::object_pool::{ObjectPool, PooledObject};
use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

const THREADS: usize = 4;
const ROUNDS: usize = 2_000;

struct Token {
    number: usize,
    taken: AtomicBool,
    /// Not atomic on purpose: only the holder of the token accesses it.
    uses: usize,
    uses_counted: AtomicUsize,
    alive: &'static Mutex<HashSet<usize>>,
}

impl Token {
    /// Records that the token is out of the pool.
    fn taken(&mut self) {
        assert!(!self.taken.swap(true, Ordering::Relaxed), "{} is in two places", self.number);
        self.uses += 1;
        assert_eq!(
            self.uses,
            1 + self.uses_counted.fetch_add(1, Ordering::Relaxed),
            "a use was lost"
        );
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        assert!(self.alive.lock().remove(&self.number), "{} dropped twice", self.number);
    }
}

/// Objects on their way to another thread.
type Batch = Vec<PooledObject<'static, Token>>;

fn work(pool: &'static ObjectPool<Token>, mailbox: &Mutex<Vec<Batch>>, seed: usize) {
    let mut random = fastrand::Rng::with_seed(seed as u64);
    for _ in 0..ROUNDS {
        let count = [1, 1, 3, 20][random.usize(..4)];
        let mut batch: Batch = (0..count).map(|_| pool.get()).collect();
        batch.iter_mut().for_each(|token| token.taken());
        match random.usize(..10) {
            // Another thread puts them back.
            0..4 => mailbox.lock().push(batch),
            // A new thread puts them back, and ends.
            4 if random.usize(..10) == 0 => thread::spawn(|| drop(batch)).join().unwrap(),
            5 if random.usize(..10) == 0 => pool.trim(),
            _ => drop(batch),
        }
        let oldest = {
            let mut batches = mailbox.lock();
            if batches.is_empty() { Vec::new() } else { batches.remove(0) }
        };
        drop(oldest);
    }
}

fn stress(thread_cache: usize, max_idle: usize) {
    let alive: &Mutex<HashSet<usize>> = Box::leak(Box::default());
    let made: &AtomicUsize = Box::leak(Box::default());
    let new = move || {
        let number = made.fetch_add(1, Ordering::Relaxed);
        assert!(alive.lock().insert(number));
        Token {
            number,
            taken: AtomicBool::new(false),
            uses: 0,
            uses_counted: AtomicUsize::new(0),
            alive,
        }
    };
    let builder = ObjectPool::builder(new).recycle(|token| {
        assert!(token.taken.swap(false, Ordering::Relaxed), "{} was returned twice", token.number);
        token.number % 17 != 16
    });
    let pool = Box::into_raw(Box::new(
        builder.thread_cache(thread_cache).max_idle(max_idle).build().unwrap(),
    ));
    let mailbox: &Mutex<Vec<Batch>> = Box::leak(Box::default());
    {
        // SAFETY: freed below, after all threads have ended and the mailbox is empty.
        let pool: &'static ObjectPool<Token> = unsafe { &*pool };
        let threads: Vec<_> =
            (0..THREADS).map(|seed| thread::spawn(move || work(pool, mailbox, seed))).collect();
        for thread in threads {
            thread.join().unwrap();
        }
        mailbox.lock().clear();
    }
    // SAFETY: made above, and no reference to it is left.
    let pool = unsafe { Box::from_raw(pool) };

    let snapshot = pool.snapshot();
    println!("cache {thread_cache:>2}, shards {max_idle:>4}: {snapshot:?}");
    assert_eq!(
        alive.lock().len(),
        snapshot.idle as usize,
        "every object that is not idle was dropped"
    );
    assert_eq!(snapshot.created as usize, made.load(Ordering::Relaxed));
    assert_eq!(snapshot.misses, snapshot.created);
    assert_eq!(snapshot.hits + snapshot.misses, snapshot.recycled + snapshot.discarded);
    drop(pool);
    assert_eq!(alive.lock().len(), 0, "nothing leaks");
}

fn main() {
    for (thread_cache, max_idle) in [(16, 1024), (4, 16), (1, 0), (0, 64), (2, 3)] {
        stress(thread_cache, max_idle);
    }
}
