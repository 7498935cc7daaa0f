//! The builder: settings, their defaults and their limits.

use super::recycle::{ByRule, ByTrait, RuleSource};
use super::storage::Storage;
use super::{Make, ObjectPool, Recycle};
use crate::error::ConfigError;
use crate::time::Clock;
use std::fmt;
use std::time::Duration;

/// A busy service uses at most about this many objects at the same time. More are idle only after a
/// burst.
const MAX_IDLE: usize = 1024;
const MIN_IDLE: usize = 0;
/// Objects move between threads in batches of half a cache, so that 16 objects share the cost of a
/// lock and of its cache misses.
const THREAD_CACHE: usize = 32;
/// Longer than a usual pause between two requests, and short enough to drop the objects of a burst
/// in about two minutes.
const TRIM_INTERVAL: Duration = Duration::from_secs(10);

const MAX_THREAD_CACHE: usize = 4096;
const MAX_SHARDS: usize = 16;

/// A builder for an [`ObjectPool`].
///
/// `R` is the source of the recycle rule: the object's [`Recycle`], unless
/// [`recycle`](Self::recycle) or [`keep_contents`](Self::keep_contents) is called.
#[must_use]
pub struct ObjectPoolBuilder<T, R = ByTrait> {
    make: Make<T>,
    rule: R,
    max_idle: usize,
    min_idle: usize,
    thread_cache: usize,
    trim_interval: Option<Duration>,
    keep_on_unwind: bool,
    clock: Clock,
}

impl<T> ObjectPoolBuilder<T, ByTrait> {
    pub(super) fn new(make: Make<T>) -> Self {
        Self {
            make,
            rule: ByTrait { max_capacity: usize::MAX },
            max_idle: MAX_IDLE,
            min_idle: MIN_IDLE,
            thread_cache: THREAD_CACHE,
            trim_interval: Some(TRIM_INTERVAL),
            keep_on_unwind: false,
            clock: Clock::system(),
        }
    }

    /// Sets the capacity, in elements (in bytes for a string), beyond which a returned object is
    /// dropped instead of recycled. Default: no limit.
    ///
    /// Without a limit, a few huge requests can make every buffer of a busy pool huge.
    ///
    /// ```
    /// # use mainstay::object_pool::ObjectPool;
    /// let builder = ObjectPool::builder(Vec::<u8>::new);
    /// let buffers = builder.max_capacity(64 * 1024).build()?;
    /// buffers.get().reserve(1_000_000);
    /// assert_eq!(buffers.snapshot().discarded, 1);
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    pub fn max_capacity(mut self, capacity: usize) -> Self
    where
        T: Recycle,
    {
        self.rule.max_capacity = capacity;
        self
    }
}

impl<T, R> ObjectPoolBuilder<T, R> {
    /// Sets the rule that recycles returned objects. The rule resets the object and returns true,
    /// or returns false to have the object dropped. Default: the object's [`Recycle`].
    ///
    /// The rule runs at every put, on the thread that returns the object, so it should be quick.
    ///
    /// ```
    /// # use mainstay::object_pool::ObjectPool;
    /// # struct BytesMut(Vec<u8>);
    /// # impl BytesMut {
    /// #     fn new() -> Self { Self(Vec::new()) }
    /// #     fn clear(&mut self) { self.0.clear() }
    /// #     fn capacity(&self) -> usize { self.0.capacity() }
    /// # }
    /// let frames = ObjectPool::builder(BytesMut::new)
    ///     .recycle(|frame| {
    ///         frame.clear();
    ///         frame.capacity() <= 64 * 1024
    ///     })
    ///     .build()?;
    /// # let _ = frames;
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    pub fn recycle(
        self,
        rule: impl Fn(&mut T) -> bool + Send + Sync + 'static,
    ) -> ObjectPoolBuilder<T, ByRule<T>> {
        self.with_rule(ByRule(Some(Box::new(rule))))
    }

    /// Keeps every returned object as its user left it.
    ///
    /// The next user of a buffer then finds the data of its previous user. Use this for objects
    /// without state, or for objects that their users reset.
    ///
    /// ```
    /// # use mainstay::object_pool::ObjectPool;
    /// let words = ObjectPool::builder(|| vec!["initial"]).keep_contents().build()?;
    /// words.get().push("second");
    /// assert_eq!(*words.get(), ["initial", "second"]);
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    pub fn keep_contents(self) -> ObjectPoolBuilder<T, ByRule<T>> {
        self.with_rule(ByRule(None))
    }

    fn with_rule<S>(self, rule: S) -> ObjectPoolBuilder<T, S> {
        let Self {
            make,
            rule: _,
            max_idle,
            min_idle,
            thread_cache,
            trim_interval,
            keep_on_unwind,
            clock,
        } = self;
        ObjectPoolBuilder {
            make,
            rule,
            max_idle,
            min_idle,
            thread_cache,
            trim_interval,
            keep_on_unwind,
            clock,
        }
    }

    /// Sets the maximum number of objects in the shards. Default: 1024, more than most services use
    /// at the same time. The caches of the threads hold objects in addition. With 0 there are only
    /// the caches.
    ///
    /// ```
    /// # use mainstay::ObjectPool;
    /// let pool = ObjectPool::builder(|| vec![0u8; 4096])
    ///     .max_idle(64)
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn max_idle(mut self, objects: usize) -> Self {
        self.max_idle = objects;
        self
    }

    /// Sets the number of objects that a trim leaves in the shards, at most
    /// [`max_idle`](Self::max_idle). Default: 0, so that trims empty an unused pool.
    ///
    /// ```
    /// # use mainstay::ObjectPool;
    /// let pool = ObjectPool::builder(|| vec![0u8; 4096])
    ///     .min_idle(4)
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn min_idle(mut self, objects: usize) -> Self {
        self.min_idle = objects;
        self
    }

    /// Sets the maximum number of objects in the cache of each thread, up to 4096. Default: 32,
    /// half of which move to or from a shard at a time.
    ///
    /// Use 0 for objects that are too large for a cache per thread. Every get and put then tries
    /// the locks of the shards. If other threads hold all of them, a get creates an object, and a
    /// put drops its object.
    ///
    /// ```
    /// # use mainstay::ObjectPool;
    /// let pool = ObjectPool::builder(|| vec![0u8; 4096])
    ///     .thread_cache(2)
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn thread_cache(mut self, objects: usize) -> Self {
        self.thread_cache = objects;
        self
    }

    /// Sets the interval between automatic trims, which run as part of a put. Default: 10 s, so
    /// that the objects of a burst are dropped in about two minutes. With `None`, only
    /// [`trim`](ObjectPool::trim) trims the pool.
    ///
    /// ```
    /// # use mainstay::ObjectPool;
    /// # use std::time::Duration;
    /// let pool = ObjectPool::builder(|| vec![0u8; 4096])
    ///     .trim_interval(Duration::from_secs(60))
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn trim_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.trim_interval = interval.into();
        self
    }

    /// Recycles an object whose guard is dropped while its thread unwinds. Default: such an object
    /// is dropped, because the panic may have left it in any state.
    ///
    /// Use this only if the recycle rule can repair every state.
    pub fn keep_on_unwind(mut self) -> Self {
        self.keep_on_unwind = true;
        self
    }

    /// Sets the clock that decides when a trim is due. Default: [`Clock::system`].
    ///
    /// ```
    /// # use mainstay::{ManualClock, ObjectPool};
    /// let time = ManualClock::new();
    /// let pool = ObjectPool::builder(String::new).clock(time.clock()).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Builds the pool. Creates no object yet.
    ///
    /// # Errors
    ///
    /// Returns the first setting that is out of range.
    pub fn build(self) -> Result<ObjectPool<T>, ConfigError>
    where
        R: RuleSource<T>,
    {
        if self.min_idle > self.max_idle {
            return Err(ConfigError::new("min_idle", self.min_idle, "0 to max_idle objects"));
        }
        if self.thread_cache > MAX_THREAD_CACHE {
            return Err(ConfigError::new("thread_cache", self.thread_cache, "0 to 4096 objects"));
        }
        if self.trim_interval.is_some_and(|interval| interval.is_zero()) {
            let accepted = "a time above zero, or none";
            return Err(ConfigError::new("trim_interval", Duration::ZERO, accepted));
        }
        let shards = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_SHARDS);
        let now = self.clock.now().as_nanos();
        Ok(ObjectPool {
            storage: Storage::new(shards, self.max_idle, self.min_idle, self.thread_cache, now),
            make: self.make,
            recycle: self.rule.into_rule(),
            keep_on_unwind: self.keep_on_unwind,
            trim_interval: self.trim_interval,
            clock: self.clock,
        })
    }
}

impl<T, R> fmt::Debug for ObjectPoolBuilder<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectPoolBuilder")
            .field("max_idle", &self.max_idle)
            .field("min_idle", &self.min_idle)
            .field("thread_cache", &self.thread_cache)
            .field("trim_interval", &self.trim_interval)
            .field("keep_on_unwind", &self.keep_on_unwind)
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

    #[test]
    fn the_docs_state_the_defaults() {
        let docs = include_str!("mod.rs");
        for (setting, default) in [
            ("max_idle", format!("{MAX_IDLE} objects")),
            ("min_idle", format!("{MIN_IDLE} objects")),
            ("thread_cache", format!("{THREAD_CACHE} objects")),
            ("trim_interval", format!("{} s", TRIM_INTERVAL.as_secs())),
        ] {
            let row = format!("//! | [`{setting}`](ObjectPoolBuilder::{setting}) | {default} |\n");
            assert!(docs.contains(&row), "{row}");
        }
    }
}
