//! Compares the object pool with other pools, a bare thread-local and plain allocation.
//!
//! ```text
//! cargo run --release --bin object_pool              # every table
//! cargo run --release --bin object_pool -- threads   # tables with this word in their title
//! ```

use crossbeam_queue::ArrayQueue;
use mainstay::object_pool::ObjectPool;
use opool::PoolAllocator;
use peers::{Race, on_threads};
use std::cell::RefCell;
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::sync::Mutex;

const KIB: usize = 1024;

/// The pools: mainstay with and without a recycle rule, and the peers. Their objects are buffers.
struct Contestants {
    ours: ObjectPool<Vec<u8>>,
    ours_plain: ObjectPool<Vec<u8>>,
    linear: lockfree_object_pool::LinearObjectPool<Vec<u8>>,
    mutex: lockfree_object_pool::MutexObjectPool<Vec<u8>>,
    opool: opool::Pool<Buffers, Vec<u8>>,
    object_pool: object_pool::Pool<Vec<u8>>,
    slab: sharded_slab::Pool<Vec<u8>>,
    queue: ArrayQueue<Vec<u8>>,
    vec: Mutex<Vec<Vec<u8>>>,
}

struct Buffers(usize);

impl PoolAllocator<Vec<u8>> for Buffers {
    fn allocate(&self) -> Vec<u8> {
        Vec::with_capacity(self.0)
    }

    fn reset(&self, buffer: &mut Vec<u8>) {
        buffer.clear();
    }
}

fn ours(size: usize) -> ObjectPool<Vec<u8>> {
    ObjectPool::builder(move || Vec::<u8>::with_capacity(size)).max_capacity(size).build().unwrap()
}

/// Uses a buffer as a caller does, with so little work that the cost of the pool dominates.
fn touch(buffer: &mut Vec<u8>) {
    buffer.push(1);
    black_box(buffer.as_mut_ptr());
}

impl Contestants {
    fn new(size: usize) -> Self {
        Self {
            ours: ours(size),
            ours_plain: ObjectPool::builder(move || Vec::with_capacity(size))
                .keep_contents()
                .build()
                .unwrap(),
            linear: lockfree_object_pool::LinearObjectPool::new(
                move || Vec::with_capacity(size),
                Vec::clear,
            ),
            mutex: lockfree_object_pool::MutexObjectPool::new(
                move || Vec::with_capacity(size),
                Vec::clear,
            ),
            opool: opool::Pool::new(64, Buffers(size)),
            object_pool: object_pool::Pool::new(64, || Vec::with_capacity(size)),
            slab: sharded_slab::Pool::new(),
            queue: ArrayQueue::new(64),
            vec: Mutex::new(Vec::with_capacity(64)),
        }
    }

    fn race(&self, title: &str, threads: usize, size: usize) {
        thread_local!(static BARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) });
        let new = move || Vec::<u8>::with_capacity(size);
        Race::new(title)
            .threads("mainstay", threads, || touch(&mut self.ours.get()))
            .threads("mainstay, no rule", threads, || {
                let mut buffer = self.ours_plain.get();
                touch(&mut buffer);
                buffer.clear();
            })
            .threads("bare thread_local", threads, || {
                BARE.with(|bare| {
                    let mut buffer = bare.borrow_mut().pop().unwrap_or_else(new);
                    touch(&mut buffer);
                    buffer.clear();
                    bare.borrow_mut().push(buffer);
                });
            })
            .threads("plain allocation", threads, || touch(&mut new()))
            .threads("lockfree-object-pool, linear", threads, || touch(&mut self.linear.pull()))
            .threads("lockfree-object-pool, mutex", threads, || touch(&mut self.mutex.pull()))
            .threads("opool", threads, || touch(&mut self.opool.get()))
            .threads("object-pool", threads, || {
                let mut buffer = self.object_pool.pull(new);
                touch(&mut buffer);
                buffer.clear();
            })
            .threads("sharded-slab", threads, || {
                let mut slot = self.slab.create().unwrap();
                touch(&mut slot);
                let key = slot.key();
                drop(slot);
                self.slab.clear(key);
            })
            .threads("crossbeam ArrayQueue", threads, || {
                let mut buffer = self.queue.pop().unwrap_or_else(new);
                touch(&mut buffer);
                buffer.clear();
                let _ = self.queue.push(buffer);
            })
            .threads("Mutex<Vec>", threads, || {
                let mut buffer = self.vec.lock().unwrap().pop().unwrap_or_else(new);
                touch(&mut buffer);
                buffer.clear();
                self.vec.lock().unwrap().push(buffer);
            })
            .run();
    }
}

/// `get` on one thread, `put` on another. The objects pass through a queue in batches of 512, so
/// that the transfer costs little compared with the pool; the first contestant uses one
/// thread, and the last two use no pool.
fn across_threads(title: &str, size: usize) {
    let new = move || Vec::<u8>::with_capacity(size);
    let same_thread = ours(size);
    // These pools keep as many idle objects as can be in transfer.
    let in_transfer = || ObjectPool::builder(new).max_capacity(size).max_idle(8192);
    let other_thread = in_transfer().build().unwrap();
    let [small_cache, big_cache] =
        [16, 64].map(|cache| in_transfer().thread_cache(cache).build().unwrap());
    let queue = ArrayQueue::new(8192);
    let linear = lockfree_object_pool::LinearObjectPool::new(
        move || Vec::<u8>::with_capacity(size),
        Vec::clear,
    );
    Race::new(title)
        .threads("mainstay, same thread", 1, || touch(&mut same_thread.get()))
        .lap("mainstay", |n| transfer(n, || other_thread.get(), drop))
        .lap("mainstay, cache of 16", |n| transfer(n, || small_cache.get(), drop))
        .lap("mainstay, cache of 64", |n| transfer(n, || big_cache.get(), drop))
        .lap("lockfree-object-pool, linear", |n| transfer(n, || linear.pull(), drop))
        .lap("crossbeam ArrayQueue", |n| {
            transfer(
                n,
                || queue.pop().unwrap_or_else(new),
                |mut buffer| {
                    buffer.clear();
                    let _ = queue.push(buffer);
                },
            )
        })
        .lap("plain allocation", |n| transfer(n, new, drop))
        .lap("the transfer alone", |n| transfer(n, || 0_u64, |object| drop(black_box(object))))
        .run();
}

fn transfer<T: Send>(
    n: u64,
    get: impl Fn() -> T + Sync,
    put: impl Fn(T) + Sync,
) -> std::time::Duration {
    const BATCH: usize = 512;
    let mailbox: ArrayQueue<Vec<T>> = ArrayQueue::new(4);
    let empties: ArrayQueue<Vec<T>> = ArrayQueue::new(8);
    let batches = n.div_ceil(BATCH as u64);
    let start = std::time::Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..batches {
                let mut batch = empties.pop().unwrap_or_else(|| Vec::with_capacity(BATCH));
                batch.extend((0..BATCH).map(|_| get()));
                while let Err(back) = mailbox.push(batch) {
                    batch = back;
                    std::thread::yield_now();
                }
            }
        });
        scope.spawn(|| {
            for _ in 0..batches {
                let mut batch = loop {
                    match mailbox.pop() {
                        Some(batch) => break batch,
                        None => std::thread::yield_now(),
                    }
                };
                batch.drain(..).for_each(&put);
                let _ = empties.push(batch);
            }
        });
    });
    start.elapsed()
}

/// Takes several objects at once on each thread, as nested code does.
fn nested(title: &str, threads: usize, depth: usize, size: usize) {
    let pool = ours(size);
    let big_cache = ObjectPool::builder(move || Vec::<u8>::with_capacity(size))
        .max_capacity(size)
        .thread_cache(128)
        .build()
        .unwrap();
    let linear = lockfree_object_pool::LinearObjectPool::new(
        move || Vec::<u8>::with_capacity(size),
        Vec::clear,
    );
    fn lap<T>(
        threads: usize,
        n: u64,
        depth: usize,
        get: impl Fn() -> T + Sync,
    ) -> std::time::Duration {
        const DEEPEST: usize = 100;
        on_threads(threads, n.div_ceil(depth as u64), &|| {
            // The guards are on the stack, so that no other allocation is measured.
            let mut out: [MaybeUninit<T>; DEEPEST] = [const { MaybeUninit::uninit() }; DEEPEST];
            for guard in &mut out[..depth] {
                guard.write(get());
            }
            black_box(&mut out);
            for guard in &mut out[..depth] {
                // SAFETY: written above, and dropped once.
                unsafe { guard.assume_init_drop() };
            }
        })
    }
    Race::new(title)
        .lap("mainstay", |n| lap(threads, n, depth, || pool.get()))
        .lap("mainstay, cache of 128", |n| lap(threads, n, depth, || big_cache.get()))
        .lap("lockfree-object-pool, linear", |n| lap(threads, n, depth, || linear.pull()))
        .lap("plain allocation", |n| lap(threads, n, depth, || Vec::<u8>::with_capacity(size)))
        .run();
}

fn main() {
    let word = std::env::args().nth(1).unwrap_or_default();
    let wanted = |title: &str| title.contains(&word);
    for threads in [1, 2, 8] {
        for (name, size) in
            [("64 B", 64), ("4 KiB", 4 * KIB), ("64 KiB", 64 * KIB), ("1 MiB", KIB * KIB)]
        {
            let title = format!("get + put of {name}, {threads} threads");
            if wanted(&title) {
                Contestants::new(size).race(&title, threads, size);
            }
        }
    }
    for depth in [8, 100] {
        for threads in [1, 2] {
            let title = format!("{depth} nested objects of 4 KiB, {threads} threads");
            if wanted(&title) {
                nested(&title, threads, depth, 4 * KIB);
            }
        }
    }
    let title = "get on one thread, put on another, 4 KiB, 2 threads";
    if wanted(title) {
        across_threads(title, 4 * KIB);
    }
}
