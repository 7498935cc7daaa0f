//! An object pool: reuses objects that are expensive to create, without contention between threads.
//!
//! Allocating a buffer of a few kilobytes costs several times as much as reusing one. Allocating a
//! large buffer also causes page faults, and creating a parser, a compressor or a large hash map
//! costs even more. But a pool behind one lock, or one atomic word, is slower than the allocator as
//! soon as two threads use it. This pool is built like Go's `sync.Pool`: each thread has a cache of
//! objects, and uses it without a lock and without an atomic read-modify-write.
//!
//! Do not use an object pool for
//!
//! - *small and simple objects*. An allocator allocates and frees 64 bytes in about the time of two
//!   gets and puts. An object in a pool takes whole cache lines, 128 bytes or more on most
//!   processors. Measure both; see `benches/peers` in the repository.
//! - *objects that are limited in number* or must be released: connections, licenses, handles. An
//!   object pool never waits, creates an object at every miss, and drops idle objects. Use a
//!   [resource pool](crate::resource_pool).
//!
//! # Examples
//!
//! ```
//! use mainstay::object_pool::ObjectPool;
//! use std::io::Write;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let buffers = ObjectPool::builder(|| Vec::<u8>::with_capacity(4096))
//!     .max_capacity(64 * 1024) // drop a buffer that has grown beyond this
//!     .build()?;
//!
//! let mut buffer = buffers.get();
//! write!(buffer, "GET / HTTP/1.1\r\n")?;
//! assert_eq!(buffer.len(), 16);
//! drop(buffer); // goes back to the pool
//!
//! assert!(buffers.get().is_empty()); // the same buffer, cleared
//! assert_eq!(buffers.snapshot().created, 1);
//! # Ok(())
//! # }
//! ```
//!
//! # How it works
//!
//! ```text
//!   thread 0       thread 1       thread 2
//!  ┌────────┐     ┌────────┐     ┌────────┐   caches: up to thread_cache objects each,
//!  │ newest │     │        │     │        │   used by their own thread only
//!  └────────┘     └────────┘     └────────┘
//!    │    ▲         half a cache at a time
//!    ▼    │
//!  ┌────────┐ ┌────────┐                       shards: up to max_idle objects together,
//!  │        │ │        │ …                     one shard per processor, behind a try-lock
//!  └────────┘ └────────┘
//! ```
//!
//! [`get`](ObjectPool::get) takes the newest object of the thread's *cache*. If the cache is empty,
//! it takes half a cache of objects from a *shard*. If there are none, or all shards are locked, it
//! creates an object. A returned object goes into the cache. If the cache is full, half of it moves
//! to a shard first. If there is no room anywhere, the returned object is dropped. No operation
//! waits.
//!
//! Each thread has a small number while it runs, and each cache belongs to a number. A new thread
//! takes over the number of a thread that has ended, and with it the cache. So ten thousand threads
//! that run one after another use one cache. At most `max_idle` + `thread_cache` × *threads*
//! objects are idle, where *threads* is the highest number of threads at the same time. If this is
//! too much for large objects, set [`thread_cache`](ObjectPoolBuilder::thread_cache) to 0: the
//! bound is then `max_idle`.
//!
//! ## Trimming
//!
//! A *trim* drops objects that have been idle since the previous trim. From each shard, it drops
//! half of the smallest number of objects that the shard held in that time, oldest objects first. A
//! trim also recalls the caches. Each thread moves the objects of its cache to the shards at its
//! next put, because no other thread may access the cache. For threads that have ended, the trim
//! itself moves them. So the objects of a burst of *n* are dropped after log₂ *n* + 3 trims, except
//! for [`min_idle`](ObjectPoolBuilder::min_idle) objects in the shards, and the caches of live
//! threads that put no more objects.
//!
//! Puts trim the pool, at most once per [`trim_interval`](ObjectPoolBuilder::trim_interval): each
//! thread reads the clock at every 64th put, and trims the pool if the interval has passed. There
//! is no background thread, so a pool that is not used keeps its objects until
//! [`trim`](ObjectPool::trim) is called.
//!
//! # Panics
//!
//! The factory, the recycle rule and the destructors of objects run outside of all locks and
//! borrows: they may panic, and they may use the pool. If they panic, the object that they received
//! is dropped, and the pool stays usable. If an object is returned while its thread is already
//! unwinding, a second panic is caught, because it would abort the process. The pool can also be
//! used in destructors of thread-locals, which use no cache.
//!
//! # Performance
//!
//! | operation | cost |
//! |---|---|
//! | a get and a put, through the thread's cache | no lock, no atomic read-modify-write, no clock, no allocation; one indirect call to recycle |
//! | gets with an empty cache, puts with a full one | a try-lock per half a cache of objects |
//! | [`get_owned`](ObjectPool::get_owned) | an increment and a decrement of the `Arc` in addition |
//! | a get that creates an object | the factory and one allocation |
//! | every 64th put of a thread | one reading of the clock, if there is a `trim_interval` |
//!
//! Memory, besides the objects: a few hundred bytes for the pool, and 128 bytes for each thread
//! number, whose count is rounded up to a power of two.
//!
//! # Defaults
//!
//! | setting | default |
//! |---|---|
//! | [`recycle`](ObjectPoolBuilder::recycle) | the object's [`Recycle`] |
//! | [`max_capacity`](ObjectPoolBuilder::max_capacity) | no limit |
//! | [`max_idle`](ObjectPoolBuilder::max_idle) | 1024 objects |
//! | [`min_idle`](ObjectPoolBuilder::min_idle) | 0 objects |
//! | [`thread_cache`](ObjectPoolBuilder::thread_cache) | 32 objects |
//! | [`trim_interval`](ObjectPoolBuilder::trim_interval) | 10 s |
//! | [`keep_on_unwind`](ObjectPoolBuilder::keep_on_unwind) | off: dropped |

mod config;
#[cfg(all(test, mainstay_loom))]
mod loom;
mod pooled;
mod recycle;
mod shards;
mod slots;
mod snapshot;
mod stats;
mod storage;
mod taken;
mod trim;

pub use config::ObjectPoolBuilder;
pub use pooled::{OwnedPooledObject, PooledObject};
pub use recycle::Recycle;
pub use snapshot::ObjectPoolSnapshot;
pub use taken::TakenObject;

use crate::event::for_all;
use crate::sync::{PlainArc, thread_id};
use crate::time::Clock;
use recycle::{ByTrait, Rule};
use std::fmt;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::time::Duration;
use storage::Storage;

/// The number of puts of a thread per reading of the clock. A reading costs as much as a few gets
/// and puts.
const PUTS_PER_CLOCK_READING: u64 = 64;

/// A pool of objects that are expensive to create.
///
/// It is shared by reference or in an `Arc`. Each object stays in one box until it is dropped, so
/// that the pool never moves a `T`, whatever its size; see [`TakenObject`].
///
/// See the [module documentation](self) for how it works.
pub struct ObjectPool<T> {
    storage: Storage<T>,
    make: Make<T>,
    /// `None`: objects are kept as they are.
    recycle: Option<Rule<T>>,
    keep_on_unwind: bool,
    trim_interval: Option<Duration>,
    clock: Clock,
}

type Make<T> = Box<dyn Fn() -> T + Send + Sync>;

// A panic in the factory or in the recycle rule leaves the pool usable.
impl<T> UnwindSafe for ObjectPool<T> {}
impl<T> RefUnwindSafe for ObjectPool<T> {}

impl<T> ObjectPool<T> {
    /// Creates a pool with default settings. `make` creates the objects, which are
    /// [recycled](Recycle) when they are returned.
    ///
    /// ```
    /// use mainstay::object_pool::ObjectPool;
    ///
    /// let lines = ObjectPool::new(String::new);
    /// lines.get().push_str("a line");
    /// assert_eq!(*lines.get(), ""); // the same string, cleared
    /// ```
    #[must_use]
    pub fn new(make: impl Fn() -> T + Send + Sync + 'static) -> Self
    where
        T: Recycle,
    {
        Self::builder(make).build().expect("the defaults are accepted")
    }

    /// Creates a builder for a pool whose objects `make` creates.
    ///
    /// A type that does not implement [`Recycle`] needs a rule:
    /// [`recycle`](ObjectPoolBuilder::recycle) or
    /// [`keep_contents`](ObjectPoolBuilder::keep_contents).
    ///
    /// ```
    /// use mainstay::object_pool::ObjectPool;
    ///
    /// let lines = ObjectPool::builder(String::new).max_idle(100).build()?;
    /// # let _ = lines;
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    pub fn builder(make: impl Fn() -> T + Send + Sync + 'static) -> ObjectPoolBuilder<T, ByTrait> {
        ObjectPoolBuilder::new(Box::new(make))
    }

    /// Returns an idle object, or a new one. It goes back to the pool when the guard is dropped, on
    /// any thread.
    ///
    /// # Panics
    ///
    /// Panics if the factory does.
    #[inline]
    pub fn get(&self) -> PooledObject<'_, T> {
        PooledObject::new(self.take(), self)
    }

    /// Returns an idle object, or a new one, with a guard that keeps the pool alive instead of
    /// borrowing it, for `'static` tasks and threads.
    ///
    /// Costs an atomic increment and decrement of a word that all threads share.
    ///
    /// ```
    /// # use mainstay::object_pool::ObjectPool;
    /// # use std::sync::Arc;
    /// let lines = Arc::new(ObjectPool::new(String::new));
    /// let line = lines.get_owned();
    /// std::thread::spawn(move || println!("{}", line.len())).join().unwrap();
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if the factory does.
    #[inline]
    pub fn get_owned(self: &PlainArc<Self>) -> OwnedPooledObject<T> {
        OwnedPooledObject::new(self.take(), PlainArc::clone(self))
    }

    /// Returns an idle object, or a new one, without a guard: [`put`](Self::put) it back, keep it,
    /// or drop it.
    ///
    /// # Panics
    ///
    /// Panics if the factory does.
    #[inline]
    #[must_use]
    pub fn take(&self) -> TakenObject<T> {
        match self.storage.take_private(thread_id::known().as_ref()) {
            Some(object) => object,
            None => self.take_shared(),
        }
    }

    /// Recycles an object and puts it into the pool. Drops it if the recycle rule rejects it, or if
    /// there is no room.
    ///
    /// The object may come from [`take`](Self::take) or from elsewhere; a `T` is put into a box
    /// first.
    ///
    /// ```
    /// # use mainstay::object_pool::ObjectPool;
    /// let lines = ObjectPool::new(String::new);
    /// let line = lines.take();
    /// lines.put(line);
    /// lines.put(String::with_capacity(100)); // not created by the pool
    /// assert_eq!(lines.snapshot().idle, 2);
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if the recycle rule does, or the destructor of an object that is not kept.
    #[inline]
    pub fn put(&self, object: impl Into<TakenObject<T>>) {
        self.recycle_and_keep(object.into());
    }

    /// Creates `n` objects in advance, or as many as the shards have room for. Returns how many
    /// were added.
    ///
    /// Trims drop these objects like others if they stay idle, down to
    /// [`min_idle`](ObjectPoolBuilder::min_idle).
    ///
    /// ```
    /// # use mainstay::object_pool::ObjectPool;
    /// let lines = ObjectPool::new(String::new);
    /// assert_eq!(lines.warm(10), 10);
    /// assert_eq!(lines.snapshot().idle, 10);
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if the factory does. Objects that were created before the panic stay in the pool.
    pub fn warm(&self, n: usize) -> usize {
        for warmed in 0..n {
            if let Err(surplus) = self.storage.warm(self.create()) {
                self.discard(surplus);
                return warmed;
            }
        }
        n
    }

    /// Drops half of the objects that have been idle since the last trim, and recalls the caches of
    /// the threads.
    ///
    /// Takes time in proportion to the number of threads and of dropped objects. Skips a shard that
    /// another thread is using.
    ///
    /// # Panics
    ///
    /// If destructors of objects panic, the first panic unwinds from here after all have been
    /// dropped.
    pub fn trim(&self) {
        for_all(self.storage.trim(thread_id::registry()), drop);
    }

    /// Returns the counts of this pool. Reads a few words for each thread.
    #[must_use]
    pub fn snapshot(&self) -> ObjectPoolSnapshot {
        ObjectPoolSnapshot::of(&self.storage)
    }

    /// Takes back the object of a guard that is being dropped.
    #[inline]
    fn put_back(&self, object: TakenObject<T>) {
        if std::thread::panicking() {
            self.put_back_unwinding(object);
        } else {
            self.recycle_and_keep(object);
        }
    }

    #[cold]
    fn put_back_unwinding(&self, object: TakenObject<T>) {
        // A second panic must not leave the guard's destructor: it would abort the process.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            if self.keep_on_unwind {
                self.recycle_and_keep(object);
            } else {
                self.discard(object);
            }
        }));
    }

    #[inline]
    fn recycle_and_keep(&self, mut object: TakenObject<T>) {
        if let Some(recycle) = &self.recycle {
            let mut recycling = Recycling { pool: self, object: ManuallyDrop::new(object) };
            let keep = recycle(&mut recycling.object);
            object = recycling.finish();
            if !keep {
                return self.discard(object);
            }
        }
        match self.storage.put_private(thread_id::known().as_ref(), object) {
            Ok(returned) => self.count_put(returned),
            Err(object) => self.put_shared(object),
        }
    }

    #[cold]
    fn take_shared(&self) -> TakenObject<T> {
        self.storage.take_shared(thread_id::current().as_ref()).unwrap_or_else(|| self.create())
    }

    #[cold]
    fn put_shared(&self, object: TakenObject<T>) {
        match self.storage.put_shared(thread_id::current().as_ref(), object) {
            Ok(returned) => self.count_put(returned),
            Err(object) => self.discard(object),
        }
    }

    fn create(&self) -> TakenObject<T> {
        let object = TakenObject::from((self.make)());
        self.storage.count(thread_id::current().as_ref(), |stats| &stats.created);
        object
    }

    #[cold]
    fn discard(&self, object: TakenObject<T>) {
        let discarded = self.count_discarded();
        drop(object);
        self.count_put(discarded);
    }

    fn count_discarded(&self) -> u64 {
        self.storage.count(thread_id::current().as_ref(), |stats| &stats.discarded)
    }

    /// Trims the pool if the trim interval has passed. Reads the clock only at every 64th put of a
    /// thread: `count` is the number of puts so far.
    #[inline]
    fn count_put(&self, count: u64) {
        if count.is_multiple_of(PUTS_PER_CLOCK_READING) {
            self.trim_if_due();
        }
    }

    #[cold]
    fn trim_if_due(&self) {
        if let Some(interval) = self.trim_interval
            && self.storage.claim_trim(interval, self.clock.now().as_nanos())
        {
            self.trim();
        }
    }
}

/// An object whose recycle rule is running.
struct Recycling<'a, T> {
    pool: &'a ObjectPool<T>,
    object: ManuallyDrop<TakenObject<T>>,
}

impl<T> Recycling<'_, T> {
    /// Returns the object after the rule has returned.
    #[inline]
    #[allow(unsafe_code)]
    fn finish(self) -> TakenObject<T> {
        let mut recycling = ManuallyDrop::new(self);
        // SAFETY: `self` is never dropped, so the object is taken once.
        unsafe { ManuallyDrop::take(&mut recycling.object) }
    }
}

impl<T> Drop for Recycling<'_, T> {
    /// Drops the object, whose rule has panicked.
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        self.pool.count_discarded();
        // SAFETY: `self` is being dropped, so the object is not used after this.
        let object = unsafe { ManuallyDrop::take(&mut self.object) };
        // The thread is unwinding: a panic of the object's destructor would abort the process.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(object)));
    }
}

impl<T> fmt::Debug for ObjectPool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectPool").field("snapshot", &self.snapshot()).finish_non_exhaustive()
    }
}
