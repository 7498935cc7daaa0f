//! Every object is in one place at a time: many threads, some of them short-lived, get, hand over, put
//! and trim, and each object knows who has it.
//!
//! A program of its own rather than a `#[test]`, so that ThreadSanitizer can watch it without the test
//! harness, which it reports by itself:
//!
//! ```text
//! RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer" \
//!     cargo +nightly test --target x86_64-unknown-linux-gnu --test object_pool_stress
//! ```

use mainstay::object_pool::{ObjectPool, PooledOwned};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

const THREADS: usize = 4;
const ROUNDS: usize = 2_000;

struct Token {
    number: usize,
    taken: AtomicBool,
    /// Not atomic on purpose: who has the token is alone with it.
    uses: usize,
    uses_counted: AtomicUsize,
    alive: Arc<Mutex<HashSet<usize>>>,
}

impl Token {
    /// Out of the pool.
    fn taken(&mut self) {
        assert!(!self.taken.swap(true, Ordering::Relaxed), "{} is in two places", self.number);
        self.uses += 1;
        assert_eq!(self.uses, 1 + self.uses_counted.fetch_add(1, Ordering::Relaxed), "a use was lost");
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        assert!(self.alive.lock().unwrap().remove(&self.number), "{} dropped twice", self.number);
    }
}

type Parcel = Vec<PooledOwned<Token>>;

fn work(pool: &Arc<ObjectPool<Token>>, seed: usize, to: &SyncSender<Parcel>, from: &Mutex<Receiver<Parcel>>) {
    let mut random = fastrand::Rng::with_seed(seed as u64);
    for _ in 0..ROUNDS {
        let count = [1, 1, 3, 20][random.usize(..4)];
        let mut parcel: Parcel = (0..count).map(|_| pool.get_owned()).collect();
        parcel.iter_mut().for_each(|token| token.taken());
        match random.usize(..10) {
            // Somebody else puts them back, or nobody wants them and we do.
            0..4 => drop(to.try_send(parcel)),
            // A thread that lives for this alone.
            4 if random.usize(..10) == 0 => std::thread::spawn(|| drop(parcel)).join().unwrap(),
            5 if random.usize(..10) == 0 => pool.trim(),
            _ => drop(parcel),
        }
        if let Ok(parcel) = from.try_lock().map(|from| from.try_recv()) {
            drop(parcel);
        }
    }
}

fn stress(thread_cache: usize, max_idle: usize) {
    let alive = Arc::new(Mutex::new(HashSet::new()));
    let made = Arc::new(AtomicUsize::new(0));
    let pool = {
        let (alive, made) = (Arc::clone(&alive), Arc::clone(&made));
        let new = move || {
            let number = made.fetch_add(1, Ordering::Relaxed);
            assert!(alive.lock().unwrap().insert(number));
            Token {
                number,
                taken: AtomicBool::new(false),
                uses: 0,
                uses_counted: AtomicUsize::new(0),
                alive: Arc::clone(&alive),
            }
        };
        let builder = ObjectPool::builder(new).recycle(|token| {
            assert!(token.taken.swap(false, Ordering::Relaxed), "{} came back twice", token.number);
            token.number % 17 != 16
        });
        Arc::new(builder.thread_cache(thread_cache).max_idle(max_idle).build().unwrap())
    };
    let (to, from) = sync_channel(8);
    let from = Mutex::new(from);
    std::thread::scope(|scope| {
        for seed in 0..THREADS {
            let (pool, to, from) = (&pool, &to, &from);
            scope.spawn(move || work(pool, seed, to, from));
        }
    });
    drop(from);

    let snapshot = pool.snapshot();
    let alive = |what: &str, expected: usize| assert_eq!(alive.lock().unwrap().len(), expected, "{what}");
    alive("what is not idle is gone", snapshot.idle as usize);
    assert_eq!(snapshot.created as usize, made.load(Ordering::Relaxed));
    assert_eq!(snapshot.misses, snapshot.created);
    assert_eq!(snapshot.hits + snapshot.misses, snapshot.recycled + snapshot.discarded);
    println!("cache {thread_cache:>2}, shelves {max_idle:>4}: {snapshot:?}");
    drop(pool);
    alive("nothing leaks", 0);
}

fn main() {
    for (thread_cache, max_idle) in [(16, 1024), (4, 16), (1, 0), (0, 64), (2, 3)] {
        stress(thread_cache, max_idle);
    }
}
