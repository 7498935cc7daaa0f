//! One private slot a thread.
#![allow(unsafe_code)]

use super::Object;
use super::tally::Tally;
use crate::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use crate::sync::{CachePadded, ThreadId, UnsafeCell};
use std::array;
use std::ptr;
use std::slice;

#[derive(Debug)]
pub(super) struct Slot<T> {
    /// *Invariant:* touched only by the one who has the `ThreadId` of this slot.
    cache: UnsafeCell<Cache<T>>,
    /// How many objects the cache may hold now. Zero until the owner first puts, and again when a trim
    /// calls the cache back: one comparison on the way of every put tells all three, full, new and
    /// called back.
    pub(super) room: AtomicUsize,
    pub(super) tally: Tally,
}

/// What a thread keeps for itself, newest last.
pub(super) type Cache<T> = Vec<Object<T>>;

/// Slots never move, so that one is found without a lock.
#[derive(Debug)]
pub(super) struct Slots<T> {
    /// Null until an id of the bucket is first used, then fixed for the life of the table.
    buckets: [AtomicPtr<CachePadded<Slot<T>>>; BUCKETS],
}

/// Models know few threads, and every atomic costs them.
const BUCKETS: usize = if cfg!(mainstay_loom) { 2 } else { ThreadId::BUCKETS };

// SAFETY: the table owns its objects, which is all that moving it to another thread moves.
unsafe impl<T: Send> Send for Slots<T> {}
// SAFETY: a shared table gives access to an object only through `with`, to the one holder of a
// `ThreadId`; two holders in turn are ordered by the registry's lock. So objects move between threads,
// which is `T: Send`, and are never seen by two at once, so that `T: Sync` is not needed.
unsafe impl<T: Send> Sync for Slots<T> {}

impl<T> Slots<T> {
    pub(super) fn new() -> Self {
        Self { buckets: array::from_fn(|_| AtomicPtr::new(ptr::null_mut())) }
    }

    /// The slot of `id`, if any id of its bucket was used before.
    #[inline]
    pub(super) fn get(&self, id: &ThreadId) -> Option<&Slot<T>> {
        // Ordering: acquire, pairs with the release in `grow`: the slots are seen initialised.
        let slots = self.buckets[id.bucket()].load(Ordering::Acquire);
        // SAFETY: a bucket that is not null points to `2^bucket` slots, which live as long as `self`, and
        // the index of an id is below that.
        (!slots.is_null()).then(|| unsafe { &**slots.add(id.index()) })
    }

    pub(super) fn get_or_make(&self, id: &ThreadId) -> &Slot<T> {
        self.get(id).unwrap_or_else(|| {
            self.grow(id.bucket());
            self.get(id).expect("a bucket that was made stays")
        })
    }

    /// All slots there are: those of every id whose bucket was ever used.
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
        // Ordering: release publishes the slots to the acquire in `get`. Who loses learns nothing here.
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
            // Ordering: acquire, as in `get`. Whoever dropped the last handle to the table has already
            // ordered us after every use of it.
            let slots = slots.load(Ordering::Acquire);
            if !slots.is_null() {
                // SAFETY: made by `grow` for this bucket, and nobody else is left to see it.
                unsafe { free(slots, bucket) };
            }
        }
    }
}

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
            room: AtomicUsize::new(0),
            tally: Tally::default(),
        }
    }

    /// Lends the cache to its owner.
    ///
    /// # Safety
    /// The caller has the `ThreadId` of this very slot, and `f` runs no code of the pool's user: that
    /// could come back here and borrow the cache a second time.
    #[inline(always)]
    pub(super) unsafe fn with<R>(&self, f: impl FnOnce(&mut Cache<T>) -> R) -> R {
        // SAFETY: by the invariant of `ThreadId` nobody else may touch the cache now, and by the contract
        // above we do not do so twice.
        self.cache.with_mut(|cache| f(unsafe { &mut *cache }))
    }
}
