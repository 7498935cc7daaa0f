//! An object pool: recycles what is dear to make, on every thread at once.
//!
//! # Why
//!
//! A buffer of a few kilobytes costs the allocator several times what it costs to take one that lies
//! ready, and a big one costs page faults on top; a parser, a compressor or a hash map that has grown
//! costs more. But a pool that all threads share is a lock, or a word, that all threads fight for, and
//! from the second thread on it is slower than the allocator it was to spare. This one is built as Go's
//! `sync.Pool` is: every thread has a few objects to itself, and takes and puts them without a lock and
//! without an atomic read-modify-write.
//!
//! # Quick start
//!
//! ```
//! use mainstay::object_pool::ObjectPool;
//! use std::io::Write;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let buffers = ObjectPool::builder(|| Vec::<u8>::with_capacity(4096))
//!     .max_capacity(64 * 1024) // empty what comes back, let go what grew beyond this
//!     .build()?;
//!
//! let mut buffer = buffers.get();
//! write!(buffer, "GET / HTTP/1.1\r\n")?;
//! assert_eq!(buffer.len(), 16);
//! drop(buffer); // goes back
//!
//! assert!(buffers.get().is_empty()); // the same one, emptied
//! assert_eq!(buffers.snapshot().created, 1);
//! # Ok(())
//! # }
//! ```
//!
//! # When not to
//!
//! * **Small and simple objects.** An allocator gives and takes 64 bytes in about the time of two rounds
//!   through a pool: there is little to win, and memory that lies idle to lose. An object in a pool
//!   also takes up whole cache lines, 128 bytes at least on most processors. Measure; `benches/peers` of
//!   the repository shows both side by side.
//! * **What must be given back, or is limited in number**: connections, licences, handles. A pool of
//!   objects never makes anybody wait, makes a new one at every miss, and lets idle ones go when it
//!   likes.
//! * **Secrets.** An object comes back as its last user left it, apart from what the rule resets.
//!
//! # Where objects are
//!
//! ```text
//!   thread 0       thread 1       thread 2
//!  ┌────────┐     ┌────────┐     ┌────────┐   caches: thread_cache objects each,
//!  │ newest │     │        │     │        │   touched by their thread alone
//!  └────────┘     └────────┘     └────────┘
//!    │    ▲         half a cache at a time
//!    ▼    │
//!  ┌────────┐ ┌────────┐                       shelves: max_idle objects in all, one
//!  │        │ │        │ …                     shelf a processor, each behind a try-lock
//!  └────────┘ └────────┘
//! ```
//!
//! [`get`](ObjectPool::get) takes the newest of its thread's cache; if that is empty, half a cache from
//! a shelf; if there is none, or all shelves are locked just now, it makes one. A put goes the other way,
//! and discards the object when there is no room. Nothing ever waits.
//!
//! Caches belong to small numbers that threads hold and hand on: a thread that starts inherits the
//! cache of one that ended, so that ten thousand threads one after another fill one cache. At most
//! `max_idle` + `thread_cache` × *threads* objects are idle, where *threads* is how many there were at
//! once. For objects so big that this is too much, set [`thread_cache`](Builder::thread_cache) to 0: then
//! `max_idle` is the bound.
//!
//! # Letting go
//!
//! A *trim* lets go what nobody wanted: of each shelf, half of the least that lay there at any time since
//! the trim before, oldest first. It also calls the caches back: each thread sends its own to the
//! shelves at its next put, for nobody else may touch it, and the trim does it for those whose thread
//! has ended. So a burst of *n* objects is gone after log₂ *n* + 3 trims, down to
//! [`min_idle`](Builder::min_idle) on the shelves, and one cache for each thread that lives and puts
//! nothing more.
//!
//! Trims come by themselves, once a [`trim_interval`](Builder::trim_interval), driven by puts: each thread
//! looks at the clock at every 64th, and the put that finds it time drops what is let go. There is no
//! background thread, hence a pool that is not used at all keeps what it has, until somebody calls
//! [`trim`](ObjectPool::trim).
//!
//! # Cost
//!
//! | what | costs |
//! |---|---|
//! | a get and a put, through the thread's cache | no lock, no atomic read-modify-write, no clock, no allocation; one indirect call if there is a rule |
//! | beyond the cache, either way | a try-lock for every half cache of objects |
//! | [`get_owned`](ObjectPool::get_owned) | an increment and a decrement of the `Arc` on top |
//! | a miss | the factory, and a box |
//! | every 64th put of a thread | one look at the clock, if there is a `trim_interval` |
//!
//! Memory: 128 bytes for every thread id (rounded up to a power of two) and a few hundred for the pool
//! itself, besides the objects.
//!
//! # Defaults
//!
//! | setting | default |
//! |---|---|
//! | [`recycle`](Builder::recycle) | none: objects come back as they are |
//! | [`max_idle`](Builder::max_idle) | 1024 objects |
//! | [`min_idle`](Builder::min_idle) | 0 objects |
//! | [`thread_cache`](Builder::thread_cache) | 32 objects |
//! | [`trim_interval`](Builder::trim_interval) | 10 s |
//! | [`discard_on_unwind`](Builder::discard_on_unwind) | true |
//!
//! # Panics and re-entrance
//!
//! The factory, the rule and the objects' destructors run outside of all locks and borrows: they may
//! panic, and they may use the pool. A panic leaves it as it was, less the object at hand. All of it
//! works while the locals of a thread are being destroyed, there without a cache.

mod config;
mod depot;
mod lease;
#[cfg(all(test, mainstay_loom))]
mod loom;
mod object;
mod recycle;
mod shelves;
mod slots;
mod snapshot;
mod tally;
mod trim;

pub use config::Builder;
pub use lease::{Lease, Pooled, PooledOwned};
pub use object::Object;
pub use recycle::Recycle;
pub use snapshot::Snapshot;

use crate::sync::{PlainArc, thread_id};
use crate::time::Clock;
use depot::Depot;
use std::fmt;
use std::time::Duration;

/// How many puts of a thread go by between two looks at the clock: reading it costs as much as a few
/// gets and puts.
const PUTS_PER_LOOK: u64 = 64;

/// A pool of objects that are dear to make.
///
/// It is shared by reference or in an `Arc`. Each object lives in a box of its own, which alone moves: a `T`
/// of any size stays where it is from its first use to its last, see [`Object`].
///
/// See the [module](self) for what it does when.
pub struct ObjectPool<T> {
    depot: Depot<T>,
    make: Make<T>,
    recycle: Option<Rule<T>>,
    discard_on_unwind: bool,
    trim_interval: Option<Duration>,
    clock: Clock,
}

type Make<T> = Box<dyn Fn() -> T + Send + Sync>;
type Rule<T> = Box<dyn Fn(&mut T) -> bool + Send + Sync>;

impl<T> ObjectPool<T> {
    /// A pool whose objects come from `make` and come back **as their user left them**. Everything else
    /// is at its default; for a rule that resets them use a [`builder`](Self::builder).
    #[must_use]
    pub fn new(make: impl Fn() -> T + Send + Sync + 'static) -> Self {
        Self::builder(make).build().expect("the defaults are accepted")
    }

    /// Says more about the pool than [`new`](Self::new) does.
    pub fn builder(make: impl Fn() -> T + Send + Sync + 'static) -> Builder<T> {
        Builder::new(Box::new(make))
    }

    /// An idle object, or a new one, which goes back when the guard is dropped; on whichever thread.
    ///
    /// # Panics
    /// If the factory does.
    #[inline]
    pub fn get(&self) -> Pooled<'_, T> {
        Lease::new(self.take(), self)
    }

    /// As [`get`](Self::get), with a guard that borrows nothing and so can go into a `'static` task. Costs
    /// an atomic increment and decrement of a word that all threads share.
    ///
    /// ```
    /// # use mainstay::object_pool::ObjectPool;
    /// # use std::sync::Arc;
    /// let lines = Arc::new(ObjectPool::new(String::new));
    /// let line = lines.get_owned();
    /// std::thread::spawn(move || println!("{}", line.len())).join().unwrap();
    /// ```
    #[inline]
    pub fn get_owned(self: &PlainArc<Self>) -> PooledOwned<T> {
        Lease::new(self.take(), PlainArc::clone(self))
    }

    /// An idle object, or a new one, without a guard: [`put`](Self::put) it back, or keep it, or drop it.
    ///
    /// # Panics
    /// If the factory does.
    #[inline]
    #[must_use]
    pub fn take(&self) -> Object<T> {
        match self.depot.take_private(thread_id::known().as_ref()) {
            Some(object) => object,
            None => self.take_shared(),
        }
    }

    /// Offers an object to the pool, wherever it comes from: [`take`](Self::take), here or on another
    /// thread, or elsewhere; a bare `T` is put into a box for it.
    ///
    /// # Panics
    /// If the rule does, or the destructor of an object that is not kept.
    #[inline]
    pub fn put(&self, object: impl Into<Object<T>>) {
        self.keep_or_discard(object.into());
    }

    #[inline]
    fn keep_or_discard(&self, mut object: Object<T>) {
        if let Some(recycle) = &self.recycle {
            let unless_it_panics = Discarding { pool: self };
            let keep = recycle(&mut object);
            std::mem::forget(unless_it_panics);
            if !keep {
                return self.discard(object);
            }
        }
        match self.depot.put_private(thread_id::known().as_ref(), object) {
            Ok(returned) => self.look_at_the_clock(returned),
            Err(object) => self.put_shared(object),
        }
    }

    /// Makes objects ahead of need, until `n` are made or the shelves are full, and returns how many were
    /// added. What nobody wants is trimmed all the same; [`min_idle`](Builder::min_idle) keeps it.
    ///
    /// # Panics
    /// If the factory does; what was made before stays.
    pub fn warm(&self, n: usize) -> usize {
        for warmed in 0..n {
            if let Err(surplus) = self.depot.warm(self.create()) {
                self.discard(surplus);
                return warmed;
            }
        }
        n
    }

    /// Lets go half of what stayed idle since the last trim, and calls the threads' caches back.
    ///
    /// Takes time in proportion to the number of thread ids and to what it lets go. A shelf that is in use
    /// this moment is passed over: it is not idle.
    pub fn trim(&self) {
        drop(self.depot.trim(thread_id::registry()));
    }

    /// What happened so far, and how many objects are idle now. Reads a few words for each thread id, and
    /// disturbs nobody.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::of(&self.depot)
    }

    /// What the guard of an object does when it is dropped.
    #[inline]
    fn put_back(&self, object: Object<T>) {
        if std::thread::panicking() && self.discard_on_unwind {
            self.discard(object);
        } else {
            self.keep_or_discard(object);
        }
    }

    #[cold]
    fn take_shared(&self) -> Object<T> {
        self.depot.take_shared(thread_id::current().as_ref()).unwrap_or_else(|| self.create())
    }

    #[cold]
    fn put_shared(&self, object: Object<T>) {
        match self.depot.put_shared(thread_id::current().as_ref(), object) {
            Ok(returned) => self.look_at_the_clock(returned),
            Err(object) => self.discard(object),
        }
    }

    fn create(&self) -> Object<T> {
        let object = Object::from((self.make)());
        self.depot.count(thread_id::current().as_ref(), |tally| &tally.created);
        object
    }

    #[cold]
    fn discard(&self, object: Object<T>) {
        let discarded = self.count_discarded();
        drop(object);
        self.look_at_the_clock(discarded);
    }

    fn count_discarded(&self) -> u64 {
        self.depot.count(thread_id::current().as_ref(), |tally| &tally.discarded)
    }

    /// Now and then, as `count` goes up, and trims if it is time.
    #[inline]
    fn look_at_the_clock(&self, count: u64) {
        if count.is_multiple_of(PUTS_PER_LOOK) {
            self.trim_if_due();
        }
    }

    #[cold]
    fn trim_if_due(&self) {
        if let Some(interval) = self.trim_interval
            && self.depot.claim_trim(interval, self.clock.now().as_nanos())
        {
            self.trim();
        }
    }
}

/// Counts an object as discarded when a panicking rule takes it down.
struct Discarding<'a, T> {
    pool: &'a ObjectPool<T>,
}

impl<T> Drop for Discarding<'_, T> {
    fn drop(&mut self) {
        self.pool.count_discarded();
    }
}

impl<T> fmt::Debug for ObjectPool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectPool").field("snapshot", &self.snapshot()).finish_non_exhaustive()
    }
}
