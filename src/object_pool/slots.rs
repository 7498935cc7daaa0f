//! One slot for each thread number: a cache that only its thread accesses, and counters.
#![allow(unsafe_code)]

use super::TakenObject;
use super::stats::Stats;
use crate::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use crate::sync::{CachePadded, ThreadId, UnsafeCell};
use std::array;
use std::ptr;
use std::slice;

/// The slot of one thread number.
#[derive(Debug)]
pub(super) struct Slot<T> {
    /// *Invariant:* only the holder of this slot's `ThreadId` accesses it.
    cache: UnsafeCell<Cache<T>>,
    /// The number of objects that the cache may hold now. It is 0 until the first put of its
    /// thread, and after a trim has recalled the cache. So one comparison at every put detects a
    /// cache that is full, new or recalled.
    pub(super) limit: AtomicUsize,
    pub(super) stats: Stats,
}

/// The objects of one thread, newest last.
pub(super) type Cache<T> = Vec<TakenObject<T>>;

/// The slots, by thread number. They never move, so that a lookup needs no lock.
#[derive(Debug)]
pub(super) struct Slots<T> {
    /// The buckets of slots. Bucket `b` has `2^b` slots. It is null until one of its ids is first
    /// used, and then stays the same for the life of the table.
    buckets: [AtomicPtr<CachePadded<Slot<T>>>; BUCKETS],
}

/// The number of buckets. Loom models have few threads, and every atomic makes them slower.
const BUCKETS: usize = if cfg!(mainstay_loom) { 2 } else { ThreadId::BUCKETS };

// SAFETY: the table owns its objects, and nothing else moves to another thread with it.
unsafe impl<T: Send> Send for Slots<T> {}
// SAFETY: a shared table gives access to an object only through `with`, to the one holder of a
// `ThreadId`; successive holders are ordered by the lock of the `ThreadRegistry`. So objects move
// between threads, which needs `T: Send`. Two threads never access an object at the same time, so
// `T: Sync` is not needed.
unsafe impl<T: Send> Sync for Slots<T> {}

impl<T> Slots<T> {
    pub(super) fn new() -> Self {
        Self { buckets: array::from_fn(|_| AtomicPtr::new(ptr::null_mut())) }
    }

    /// Returns the slot of `id`, if an id of its bucket has been used.
    #[inline]
    pub(super) fn get(&self, id: &ThreadId) -> Option<&Slot<T>> {
        // Ordering: acquire, pairs with the release in `grow`: the slots are initialized.
        let slots = self.buckets[id.bucket()].load(Ordering::Acquire);
        // SAFETY: a bucket that is not null points to `2^bucket` slots, which live as long as
        // `self`, and the index of an id is below that.
        (!slots.is_null()).then(|| unsafe { &**slots.add(id.index()) })
    }

    pub(super) fn get_or_make(&self, id: &ThreadId) -> &Slot<T> {
        self.get(id).unwrap_or_else(|| {
            self.grow(id.bucket());
            self.get(id).expect("a bucket that was made stays")
        })
    }

    /// Returns the slots of all buckets that have been used.
    pub(super) fn all(&self) -> impl Iterator<Item = &Slot<T>> {
        self.buckets.iter().enumerate().flat_map(|(bucket, slots)| {
            // Ordering: acquire, as in `get`.
            let slots = slots.load(Ordering::Acquire);
            let slots: &[CachePadded<Slot<T>>] = if slots.is_null() {
                &[]
            } else {
                // SAFETY: as in `get`, for all slots of the bucket.
                unsafe { slice::from_raw_parts(slots, 1 << bucket) }
            };
            slots.iter().map(|slot| &**slot)
        })
    }

    #[cold]
    fn grow(&self, bucket: usize) {
        let slots: Box<[_]> =
            (0..1_usize << bucket).map(|_| CachePadded::new(Slot::<T>::new())).collect();
        let slots = Box::into_raw(slots).cast::<CachePadded<Slot<T>>>();
        // Ordering: release publishes the slots to the acquire in `get`. Relaxed on failure,
        // because this thread then does not use the pointer that the exchange returns.
        let made = self.buckets[bucket].compare_exchange(
            ptr::null_mut(),
            slots,
            Ordering::Release,
            Ordering::Relaxed,
        );
        if made.is_err() {
            // SAFETY: made above and never published.
            unsafe { free(slots, bucket) };
        }
    }
}

impl<T> Drop for Slots<T> {
    fn drop(&mut self) {
        for (bucket, slots) in self.buckets.iter().enumerate() {
            // Ordering: acquire, as in `get`. Exclusive access already orders this after every use.
            let slots = slots.load(Ordering::Acquire);
            if !slots.is_null() {
                // SAFETY: made by `grow` for this bucket; exclusive access, so nothing uses it
                // after this.
                unsafe { free(slots, bucket) };
            }
        }
    }
}

/// Frees the slots of a bucket.
///
/// # Safety
/// `slots` came from `grow(bucket)` and is not used again.
unsafe fn free<T>(slots: *mut CachePadded<Slot<T>>, bucket: usize) {
    // SAFETY: `grow` made it as a boxed slice of this length.
    drop(unsafe { Box::from_raw(ptr::slice_from_raw_parts_mut(slots, 1 << bucket)) });
}

impl<T> Slot<T> {
    fn new() -> Self {
        Self {
            cache: UnsafeCell::new(Vec::new()),
            limit: AtomicUsize::new(0),
            stats: Stats::default(),
        }
    }

    /// Gives access to the cache.
    ///
    /// # Safety
    /// The caller holds the `ThreadId` of this slot, and `f` runs no user code, which could call
    /// this again and borrow the cache a second time.
    #[inline(always)]
    pub(super) unsafe fn with<R>(&self, f: impl FnOnce(&mut Cache<T>) -> R) -> R {
        // SAFETY: by the invariant of `ThreadId` no other thread accesses the cache now, and by the
        // contract above this one does not access it twice.
        self.cache.with_mut(|cache| f(unsafe { &mut *cache }))
    }
}
