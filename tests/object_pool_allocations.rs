//! The object pool does not allocate while it is in steady use.
#![allow(unsafe_code)] // An allocator is unsafe to write.

use mainstay::object_pool::ObjectPool;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

struct Counting;

thread_local!(static ALLOCATIONS: Cell<u64> = const { Cell::new(0) });

// SAFETY: forwards to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller upholds the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller upholds the contract.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Returns the number of allocations of this thread in `work`.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

fn pool(thread_cache: usize) -> Arc<ObjectPool<Vec<u8>>> {
    let builder = ObjectPool::builder(|| Vec::with_capacity(4096)).max_capacity(4096);
    Arc::new(builder.thread_cache(thread_cache).build().unwrap())
}

#[test]
fn a_steady_state_allocates_nothing() {
    for thread_cache in [0, 1, 16] {
        let pool = pool(thread_cache);
        let mut out = Vec::with_capacity(100);
        let mut work = |rounds| {
            for depth in (0..rounds).map(|round| [1, 8, 100][round % 3]) {
                out.extend((0..depth).map(|_| pool.get()));
                for buffer in &mut out {
                    buffer.extend_from_slice(b"some bytes");
                }
                out.clear();
                drop(pool.get_owned());
                pool.put(pool.take());
            }
        };
        work(10);
        let counted = allocations(|| work(1000));
        assert_eq!(counted, 0, "with a cache of {thread_cache}");
    }
}

#[test]
fn passing_objects_to_another_thread_allocates_nothing() {
    let pool = pool(16);
    let (filled_sender, filled) = sync_channel::<Vec<_>>(0);
    let (empty_sender, emptied) = sync_channel(0);
    let consumer = std::thread::spawn(move || {
        let mut counted = 0;
        for (round, mut batch) in filled.into_iter().enumerate() {
            let allocations = allocations(|| batch.clear());
            counted += if round < 50 { 0 } else { allocations };
            empty_sender.send(batch).unwrap();
        }
        counted
    });
    let mut batch = Vec::with_capacity(100);
    let mut counted = 0;
    for round in 0..500 {
        let allocations = allocations(|| batch.extend((0..100).map(|_| pool.get_owned())));
        counted += if round < 50 { 0 } else { allocations };
        filled_sender.send(batch).unwrap();
        batch = emptied.recv().unwrap();
    }
    drop(filled_sender);
    assert_eq!((counted, consumer.join().unwrap()), (0, 0));
}
