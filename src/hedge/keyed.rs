//! One hedge per key, such as the name of a dependency: [`KeyedHedge`].

use super::config::Parts;
use super::{Hedge, HedgeBuilder, Shared};
use crate::error::{ConfigError, Reason, Rejection};
use crate::keyed::{Full, KeyOverflowRule, KeyState, KeyedConfig, Map, Retention};
use crate::sync::PlainArc;
use crate::time::Instant;
use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::marker::PhantomData;
use std::panic::{RefUnwindSafe, UnwindSafe};

/// A [`Hedge`] for each key: a bounded table of hedges with the same settings, each of which learns
/// its own delay.
///
/// With one hedge for all dependencies, the delay of a fast dependency would hedge every call to a
/// slow one. [`keyed`](crate::keyed) describes the table. A hedge is not removed while a call uses
/// it or another handle to it exists. Any other hedge can be removed for a new key. The next call
/// with the removed key creates a new hedge, which learns its delay again. Without a
/// [`budget`](HedgeBuilder::budget) in the settings, the hedge of each key has a default budget of
/// its own.
///
/// A hedge with a measured delay takes about 16 kB.
///
/// Cloning is cheap, and all clones share the table.
///
/// # Examples
///
/// ```
/// use mainstay::hedge::{Hedge, KeyedHedge};
///
/// let each = Hedge::builder().assume_idempotent();
/// let hedges = KeyedHedge::<String>::builder(each).max_keys(1000).build()?;
/// # futures::executor::block_on(async {
/// // For a call to this host:
/// let hedge = hedges.hedge("search-1")?;
/// assert_eq!(hedge.call(|| async { Ok::<_, ()>(1) }).await, Ok(1));
/// # Ok::<(), mainstay::Rejection>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct KeyedHedge<K, S = RandomState>(PlainArc<KeyedShared<K, S>>);

struct KeyedShared<K, S> {
    map: Map<K, Entry, S>,
    each: Parts,
}

/// The hedge of a key.
struct Entry(Hedge);

impl KeyState for Entry {
    type Now = Instant;

    fn retention(&self, _: Instant) -> Retention {
        // The lock of the shard is held here, and the handle in the map is cloned under that lock
        // only. If no other handle exists now, none is created before the lock is released.
        match PlainArc::strong_count(&self.0.0) {
            1 => Retention::Evictable,
            _ => Retention::Required,
        }
    }
}

/// A snapshot of the table of a [`KeyedHedge`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyedHedgeSnapshot {
    /// The number of keys.
    pub keys: usize,
    /// The maximum number of keys.
    pub max_keys: usize,
    /// The number of keys that were removed for other keys.
    pub evicted: u64,
    /// The number of new keys that were rejected because no other key could be removed.
    pub rejected: u64,
}

// Unwind safe for the same reasons as `Hedge`. The only code of the key type that runs under a lock
// is `Eq` and `Borrow`.
impl<K: UnwindSafe, S: UnwindSafe> UnwindSafe for KeyedHedge<K, S> {}
impl<K: UnwindSafe, S: RefUnwindSafe> RefUnwindSafe for KeyedHedge<K, S> {}

impl<K> KeyedHedge<K> {
    /// Creates a builder of a table in which the hedge of each key has the settings of `each`.
    ///
    /// ```
    /// # use mainstay::{Hedge, KeyedHedge};
    /// let each = Hedge::builder().max_attempts(3);
    /// let hedges = KeyedHedge::<u64>::builder(each).max_keys(1000).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn builder(each: HedgeBuilder) -> KeyedHedgeBuilder<K> {
        KeyedHedgeBuilder { each, keys: KeyedConfig::default(), key: PhantomData }
    }
}

impl<K: Hash + Eq, S: BuildHasher> KeyedHedge<K, S> {
    /// Returns the hedge of `key`. If the key is new, clones it and creates its hedge. The key is
    /// not removed while the handle exists.
    ///
    /// The `Eq` and `Borrow` implementations of the key must not use this table: they run under the
    /// lock of a shard.
    ///
    /// ```
    /// # use mainstay::{Hedge, KeyedHedge};
    /// let hedges = KeyedHedge::<String>::builder(Hedge::builder()).build()?;
    /// assert_eq!(hedges.hedge("a")?.snapshot().hedges, 0);
    /// assert_eq!(hedges.snapshot().keys, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns a rejection with [`Reason::Exhausted`] if the table is full and no key can be
    /// removed.
    pub fn hedge<Q>(&self, key: &Q) -> Result<Hedge, Rejection>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let KeyedShared { map, each } = &*self.0;
        let make = || {
            let hedge = Hedge(PlainArc::new(Shared::new(each.clone())));
            (key.to_owned(), Entry(hedge))
        };
        let hedge = map.get_or_insert(key, || each.clock.now(), make, |entry| entry.0.clone());
        hedge.map_err(|Full| Rejection::new(Reason::Exhausted, each.name))
    }

    /// Removes `key`, and returns whether the table contained it. Running calls keep their hedge.
    /// The next call of [`hedge`](Self::hedge) with the key creates a new one.
    ///
    /// ```
    /// # use mainstay::{Hedge, KeyedHedge};
    /// let hedges = KeyedHedge::<String>::builder(Hedge::builder()).build()?;
    /// hedges.hedge("search-1")?;
    /// assert!(hedges.remove("search-1"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn remove<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0.map.remove(key)
    }
}

impl<K, S> KeyedHedge<K, S> {
    /// Returns the name that was given to the builder of the hedges.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.each.name
    }

    /// Returns the current state and counters of the table.
    #[must_use]
    pub fn snapshot(&self) -> KeyedHedgeSnapshot {
        let map = &self.0.map;
        KeyedHedgeSnapshot {
            keys: map.len(),
            max_keys: map.max_keys(),
            evicted: map.evicted(),
            rejected: map.rejected(),
        }
    }
}

impl<K, S> Clone for KeyedHedge<K, S> {
    fn clone(&self) -> Self {
        Self(PlainArc::clone(&self.0))
    }
}

impl<K, S> fmt::Debug for KeyedHedge<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedHedge")
            .field("name", &self.name())
            .field("snapshot", &self.snapshot())
            .finish_non_exhaustive()
    }
}

/// A builder of a [`KeyedHedge`], returned by [`KeyedHedge::builder`].
#[must_use = "a builder does nothing until `build`"]
pub struct KeyedHedgeBuilder<K, S = RandomState> {
    each: HedgeBuilder,
    keys: KeyedConfig<S>,
    key: PhantomData<fn(K)>,
}

impl<K, S> KeyedHedgeBuilder<K, S> {
    /// Sets the maximum number of keys, 1 to 1,073,741,824, which is never exceeded. Default:
    /// 100,000, so that keys from untrusted input cannot exhaust the memory.
    ///
    /// ```
    /// # use mainstay::{Hedge, KeyedHedge};
    /// let builder = KeyedHedge::<u64>::builder(Hedge::builder()).max_keys(1000);
    /// ```
    pub fn max_keys(mut self, keys: usize) -> Self {
        self.keys.max_keys = keys;
        self
    }

    /// Sets what happens to a new key when the table is full. Default:
    /// [`EvictLeastRecentlyUsed`](KeyOverflowRule::EvictLeastRecentlyUsed).
    ///
    /// ```
    /// # use mainstay::{Hedge, KeyedHedge, KeyOverflowRule};
    /// let builder = KeyedHedge::<u64>::builder(Hedge::builder())
    ///     .when_full(KeyOverflowRule::Reject);
    /// ```
    pub fn when_full(mut self, rule: KeyOverflowRule) -> Self {
        self.keys.when_full = rule;
        self
    }

    /// Sets the number of shards, each of which has its own lock: a power of two, at most 4,096.
    /// Default: 16 per processor, rounded up to a power of two; fewer if `max_keys` is small.
    ///
    /// ```
    /// # use mainstay::{Hedge, KeyedHedge};
    /// let builder = KeyedHedge::<u64>::builder(Hedge::builder()).shards(8);
    /// ```
    pub fn shards(mut self, shards: usize) -> Self {
        self.keys.shards = Some(shards);
        self
    }

    /// Sets the hasher of keys. Default: [`RandomState`], which prevents clients from choosing keys
    /// that collide. A hasher that does not use all 64 bits is accepted.
    ///
    /// ```
    /// # use mainstay::{Hedge, KeyedHedge};
    /// # use std::hash::RandomState;
    /// let builder =
    ///     KeyedHedge::<u64>::builder(Hedge::builder()).hasher(RandomState::new());
    /// ```
    pub fn hasher<H: BuildHasher>(self, hasher: H) -> KeyedHedgeBuilder<K, H> {
        let keys = self.keys.with_hasher(hasher);
        KeyedHedgeBuilder { each: self.each, keys, key: PhantomData }
    }

    /// Builds the table, which has no keys yet.
    ///
    /// # Errors
    ///
    /// Returns an error that names the first setting that is out of range: a setting of the
    /// hedges, `max_keys` or `shards`.
    pub fn build(self) -> Result<KeyedHedge<K, S>, ConfigError> {
        let each = Parts { keyed: true, ..self.each.into_parts()? };
        self.keys.validate()?;
        Ok(KeyedHedge(PlainArc::new(KeyedShared { map: Map::new(self.keys), each })))
    }
}

impl<K, S> fmt::Debug for KeyedHedgeBuilder<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedHedgeBuilder")
            .field("each", &self.each)
            .field("max_keys", &self.keys.max_keys)
            .finish_non_exhaustive()
    }
}
