use super::depot::Depot;
use super::{Make, ObjectPool, Recycle, Rule};
use crate::error::ConfigError;
use crate::time::Clock;
use std::fmt;
use std::time::Duration;

/// As much as a busy service has under way at once; what is more comes from a burst.
const MAX_IDLE: usize = 1024;
const MIN_IDLE: usize = 0;
/// Hand-over between threads goes by half a cache: sixteen objects share the cost of a lock and of the
/// cache misses that come with it, which keeps it within four times the cost on one thread.
const THREAD_CACHE: usize = 32;
/// Longer than a lull between two requests, short enough that a burst is forgotten within two minutes.
const TRIM_INTERVAL: Duration = Duration::from_secs(10);
const DISCARD_ON_UNWIND: bool = true;

const MOST_THREAD_CACHE: usize = 4096;
const MOST_SHELVES: usize = 16;

/// Sets up an [`ObjectPool`]; see [there](super) for what the settings do together.
#[must_use]
pub struct Builder<T> {
    make: Make<T>,
    recycle: Option<Rule<T>>,
    max_idle: usize,
    min_idle: usize,
    thread_cache: usize,
    trim_interval: Option<Duration>,
    discard_on_unwind: bool,
    clock: Clock,
}

impl<T> Builder<T> {
    pub(super) fn new(make: Make<T>) -> Self {
        Self {
            make,
            recycle: None,
            max_idle: MAX_IDLE,
            min_idle: MIN_IDLE,
            thread_cache: THREAD_CACHE,
            trim_interval: Some(TRIM_INTERVAL),
            discard_on_unwind: DISCARD_ON_UNWIND,
            clock: Clock::system(),
        }
    }

    /// What happens to an object that comes back: `rule` makes it as good as new and returns true, or
    /// returns false to have it dropped. By default it comes back as it is.
    ///
    /// Runs at every put, on the thread that puts, so let it be quick. Replaces an earlier rule,
    /// [`max_capacity`](Self::max_capacity) included.
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
    pub fn recycle(mut self, rule: impl Fn(&mut T) -> bool + Send + Sync + 'static) -> Self {
        self.recycle = Some(Box::new(rule));
        self
    }

    /// Empties a buffer that comes back, and lets it go if it has room for more than `capacity` elements
    /// (of a `String`, bytes): otherwise one huge request after another leaves huge buffers behind, until
    /// every buffer in the pool is huge.
    ///
    /// This is [`recycle`](Self::recycle) with the rule of [`Recycle`], which vectors, strings, maps and
    /// sets have, and your own types can have.
    pub fn max_capacity(self, capacity: usize) -> Self
    where
        T: Recycle,
    {
        self.recycle(move |object| object.recycle_within(capacity))
    }

    /// How many objects lie on the shelves at most; 1024 by default. The caches of the threads come on
    /// top. 0 leaves only these.
    pub fn max_idle(mut self, objects: usize) -> Self {
        self.max_idle = objects;
        self
    }

    /// How many objects a trim leaves on the shelves, at most [`max_idle`](Self::max_idle); 0 by default.
    pub fn min_idle(mut self, objects: usize) -> Self {
        self.min_idle = objects;
        self
    }

    /// How many objects each thread keeps for itself, at most 4096; 32 by default. 0 for objects so big that
    /// no thread may sit on some: every get and put then takes a lock that others may hold, and goes on
    /// without an idle object if it cannot have it.
    pub fn thread_cache(mut self, objects: usize) -> Self {
        self.thread_cache = objects;
        self
    }

    /// How often puts trim the pool; every 10 s by default. `None`: only [`trim`](ObjectPool::trim) does.
    pub fn trim_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.trim_interval = interval.into();
        self
    }

    /// Whether an object is dropped whose guard is dropped by a thread that unwinds; true by default, for
    /// nobody knows in what state the panic left it. Where the rule mends every state, false is right.
    pub fn discard_on_unwind(mut self, discard: bool) -> Self {
        self.discard_on_unwind = discard;
        self
    }

    /// The clock that trims go by; [`Clock::system`] by default.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The pool. Makes no object yet.
    ///
    /// # Errors
    /// Names the first setting that is out of range.
    pub fn build(self) -> Result<ObjectPool<T>, ConfigError> {
        if self.min_idle > self.max_idle {
            return Err(ConfigError::new("min_idle", self.min_idle, "0 to max_idle objects"));
        }
        if self.thread_cache > MOST_THREAD_CACHE {
            return Err(ConfigError::new("thread_cache", self.thread_cache, "0 to 4096 objects"));
        }
        if self.trim_interval.is_some_and(|interval| interval.is_zero()) {
            return Err(ConfigError::new(
                "trim_interval",
                Duration::ZERO,
                "a time above zero, or none",
            ));
        }
        let shelves = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_SHELVES);
        let now = self.clock.now().as_nanos();
        Ok(ObjectPool {
            depot: Depot::new(shelves, self.max_idle, self.min_idle, self.thread_cache, now),
            make: self.make,
            recycle: self.recycle,
            discard_on_unwind: self.discard_on_unwind,
            trim_interval: self.trim_interval,
            clock: self.clock,
        })
    }
}

impl<T> fmt::Debug for Builder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("recycle", &self.recycle.is_some())
            .field("max_idle", &self.max_idle)
            .field("min_idle", &self.min_idle)
            .field("thread_cache", &self.thread_cache)
            .field("trim_interval", &self.trim_interval)
            .field("discard_on_unwind", &self.discard_on_unwind)
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

    #[test]
    fn the_docs_name_the_defaults() {
        let docs = include_str!("mod.rs");
        for (setting, default) in [
            ("recycle", "none: objects come back as they are".to_owned()),
            ("max_idle", format!("{MAX_IDLE} objects")),
            ("min_idle", format!("{MIN_IDLE} objects")),
            ("thread_cache", format!("{THREAD_CACHE} objects")),
            ("trim_interval", format!("{} s", TRIM_INTERVAL.as_secs())),
            ("discard_on_unwind", DISCARD_ON_UNWIND.to_string()),
        ] {
            let row = format!("//! | [`{setting}`](Builder::{setting}) | {default} |\n");
            assert!(docs.contains(&row), "{row}");
        }
    }
}
