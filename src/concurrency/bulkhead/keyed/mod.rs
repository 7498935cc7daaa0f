//! A bulkhead for each key: [`KeyedBulkhead`].

mod builder;
mod view;

pub use builder::KeyedBulkheadBuilder;
pub use view::KeyedBulkheadView;

use super::config::Config;
use super::events::Emitter;
use super::permit::OwnedBulkheadPermit;
use super::shared::Shared;
use super::{Bulkhead, BulkheadBuilder};
use crate::error::{ConfigError, Error, Reason, Rejection};
use crate::keyed::{Full, KeyState, Map, Retention};
use crate::sync::{PlainArc, PlainMutex};
use crate::time::Clock;
use std::borrow::Borrow;
use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, Hash, RandomState};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

/// A [`Bulkhead`] for each key, such as a tenant or a host: one tenant cannot use up the capacity
/// of the others.
///
/// All keys have the same settings. There is no limit for all keys together; if one is needed, add
/// a [`Bulkhead`] above this one.
///
/// A key is kept while a call runs or waits, or a handle to its bulkhead exists. So removing keys
/// never lets a key exceed its limit: a key that is not in use has no calls in flight, like a new
/// key. If [`max_keys`](KeyedBulkheadBuilder::max_keys) keys are in use, calls with other keys are
/// rejected with [`Reason::Exhausted`]. [`keyed`](crate::keyed) describes how keys are stored.
///
/// # Examples
///
/// ```
/// use mainstay::concurrency::{Bulkhead, KeyedBulkhead};
///
/// let each = Bulkhead::builder().max_concurrent(2);
/// let tenants = KeyedBulkhead::<String>::builder(each).build()?;
/// let permits = [tenants.try_acquire("a")?, tenants.try_acquire("a")?];
/// assert!(tenants.try_acquire("a").is_err());
/// assert!(tenants.try_acquire("b").is_ok());
/// # drop(permits);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Performance
///
/// In addition to the cost of the bulkhead, a call costs a hash, a lookup under the lock of one of
/// many shards, and the clone and drop of an `Arc`. A new key allocates its bulkhead.
pub struct KeyedBulkhead<K, S = RandomState>(PlainArc<KeyedShared<K, S>>);

struct KeyedShared<K, S> {
    map: Map<K, Entry, S>,
    config: PlainMutex<Config>,
    clock: Clock,
    emitter: PlainArc<Emitter>,
}

/// The bulkhead of a key.
struct Entry(Bulkhead);

impl KeyState for Entry {
    type Now = ();

    fn retention(&self, (): ()) -> Retention {
        // The lock of the shard is held here, and the handle in the map is cloned under that lock
        // only. So if no other handle exists now, none is created before the lock is released.
        match PlainArc::strong_count(&self.0.0) {
            1 => Retention::Disposable,
            _ => Retention::Required,
        }
    }
}

/// A snapshot of the table of a [`KeyedBulkhead`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyedBulkheadSnapshot {
    /// The number of keys.
    pub keys: usize,
    /// The maximum number of keys.
    pub max_keys: usize,
    /// The number of permits in use, over all keys.
    pub in_flight: u64,
    /// The number of waiting callers, over all keys.
    pub queued: u64,
    /// New keys that were rejected because all keys in the table were in use.
    pub rejected: u64,
}

// The reasons are those of `Shared`. Of the user code of keys, only `Eq` and `Borrow` run under a
// lock.
impl<K: UnwindSafe, S: UnwindSafe> UnwindSafe for KeyedBulkhead<K, S> {}
impl<K: UnwindSafe, S: RefUnwindSafe> RefUnwindSafe for KeyedBulkhead<K, S> {}

impl<K> KeyedBulkhead<K> {
    /// Creates a builder of a keyed bulkhead in which each key's bulkhead has the settings of
    /// `each`.
    ///
    /// ```
    /// use mainstay::concurrency::{Bulkhead, KeyedBulkhead};
    ///
    /// let each = Bulkhead::builder().max_concurrent(5);
    /// let tenants = KeyedBulkhead::<String>::builder(each).max_keys(10_000).build()?;
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    pub fn builder(each: BulkheadBuilder) -> KeyedBulkheadBuilder<K> {
        KeyedBulkheadBuilder::new(each)
    }
}

impl<K: Hash + Eq, S: BuildHasher> KeyedBulkhead<K, S> {
    /// Returns the bulkhead of `key`, and creates it if there is none. The key is not removed while
    /// the handle exists. The key is cloned only if it is new.
    ///
    /// The `Eq` and `Borrow` implementations of the key must not use this table: they run under the
    /// lock of a shard.
    ///
    /// ```
    /// use mainstay::concurrency::{Bulkhead, KeyedBulkhead};
    ///
    /// let tenants = KeyedBulkhead::<String>::builder(Bulkhead::builder()).build()?;
    /// let bulkhead = tenants.bulkhead("tenant-7")?;
    /// let permit = bulkhead.try_acquire()?;
    /// # drop(permit);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns a rejection with [`Reason::Exhausted`] if the table is full.
    pub fn bulkhead<Q>(&self, key: &Q) -> Result<Bulkhead, Rejection>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let shared = &*self.0;
        if let Some(bulkhead) = shared.map.get(key, |entry| entry.0.clone()) {
            return Ok(bulkhead);
        }
        let config = *shared.config.lock();
        let make = || {
            let (clock, emitter) = (shared.clock.clone(), PlainArc::clone(&shared.emitter));
            let bulkhead = Bulkhead::from_shared(Shared::new(config, clock, emitter));
            (key.to_owned(), Entry(bulkhead))
        };
        let bulkhead = shared.map.get_or_insert(key, || (), make, |entry| entry.0.clone());
        let bulkhead =
            bulkhead.map_err(|Full| Rejection::new(Reason::Exhausted, shared.emitter.name))?;
        // The settings may have changed after `config` was read and before this bulkhead was in the
        // map, where `reconfigure` did not find it.
        shared.follow(&bulkhead, config);
        Ok(bulkhead)
    }

    /// Acquires a permit of `key` if one is free and no caller waits; see
    /// [`Bulkhead::try_acquire`].
    ///
    /// ```
    /// # use mainstay::concurrency::{Bulkhead, KeyedBulkhead};
    /// let tenants = KeyedBulkhead::<String>::builder(Bulkhead::builder()).build()?;
    /// let permit = tenants.try_acquire("tenant-7")?;
    /// # drop(permit);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the same rejection as [`Bulkhead::try_acquire`], or one with [`Reason::Exhausted`]
    /// if the table is full.
    pub fn try_acquire<Q>(&self, key: &Q) -> Result<OwnedBulkheadPermit, Rejection>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.bulkhead(key)?.try_acquire_owned()
    }

    /// Waits for a permit of `key`; see [`Bulkhead::acquire`].
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// # use mainstay::concurrency::{Bulkhead, KeyedBulkhead};
    /// let tenants = KeyedBulkhead::<String>::builder(Bulkhead::builder()).build()?;
    /// let permit = tenants.acquire("tenant-7").await?;
    /// # drop(permit);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the same rejection as [`Bulkhead::acquire`], or one with [`Reason::Exhausted`] if
    /// the table is full.
    pub async fn acquire<Q>(&self, key: &Q) -> Result<OwnedBulkheadPermit, Rejection>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.bulkhead(key)?.acquire_owned().await
    }

    /// Waits for a permit of `key` for at most `timeout`; see [`Bulkhead::acquire_timeout`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # futures::executor::block_on(async {
    /// # use mainstay::concurrency::{Bulkhead, KeyedBulkhead};
    /// let tenants = KeyedBulkhead::<String>::builder(Bulkhead::builder()).build()?;
    /// let permit = tenants.acquire_timeout("tenant-7", Duration::from_secs(1)).await?;
    /// # drop(permit);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// The same as for [`acquire`](Self::acquire).
    pub async fn acquire_timeout<Q>(
        &self,
        key: &Q,
        timeout: Duration,
    ) -> Result<OwnedBulkheadPermit, Rejection>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.bulkhead(key)?.acquire_owned_timeout(timeout).await
    }

    /// Waits for a permit of `key`, blocking the thread; see [`Bulkhead::acquire_blocking`].
    ///
    /// ```
    /// # use mainstay::concurrency::{Bulkhead, KeyedBulkhead};
    /// let tenants = KeyedBulkhead::<String>::builder(Bulkhead::builder()).build()?;
    /// let permit = tenants.acquire_blocking("tenant-7")?;
    /// # drop(permit);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The same as for [`acquire`](Self::acquire).
    pub fn acquire_blocking<Q>(&self, key: &Q) -> Result<OwnedBulkheadPermit, Rejection>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.bulkhead(key)?.acquire_owned_blocking()
    }

    /// Waits for a permit of `key`, blocking the thread for at most `timeout`; see
    /// [`Bulkhead::acquire_blocking_timeout`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use mainstay::concurrency::{Bulkhead, KeyedBulkhead};
    /// let tenants = KeyedBulkhead::<String>::builder(Bulkhead::builder()).build()?;
    /// let wait = Duration::from_secs(1);
    /// let permit = tenants.acquire_blocking_timeout("tenant-7", wait)?;
    /// # drop(permit);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The same as for [`acquire`](Self::acquire).
    pub fn acquire_blocking_timeout<Q>(
        &self,
        key: &Q,
        timeout: Duration,
    ) -> Result<OwnedBulkheadPermit, Rejection>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.bulkhead(key)?.acquire_owned_blocking_timeout(timeout)
    }

    /// Runs `op` with a permit of `key`; see [`Bulkhead::call`].
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// # use mainstay::concurrency::{Bulkhead, KeyedBulkhead};
    /// let tenants = KeyedBulkhead::<String>::builder(Bulkhead::builder()).build()?;
    /// # async fn search() -> Result<u32, std::io::Error> { Ok(42) }
    /// let found = tenants.call("tenant-7", || search()).await?;
    /// # assert_eq!(found, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the error of `op`, or the rejection if `op` was not run.
    pub async fn call<Q, Op, Fut, T, E>(&self, key: &Q, op: Op) -> Result<T, Error<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        Op: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.bulkhead(key)?.call(op).await
    }

    /// Runs the closure `op` with a permit of `key`; see [`Bulkhead::call_blocking`].
    ///
    /// ```
    /// # use mainstay::concurrency::{Bulkhead, KeyedBulkhead};
    /// let tenants = KeyedBulkhead::<String>::builder(Bulkhead::builder()).build()?;
    /// let found = tenants.call_blocking("tenant-7", || Ok::<_, ()>(42));
    /// assert_eq!(found, Ok(42));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the error of `op`, or the rejection if `op` was not run.
    pub fn call_blocking<Q, T, E>(
        &self,
        key: &Q,
        op: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, Error<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.bulkhead(key)?.call_blocking(op)
    }

    /// Returns a view of the bulkhead of `key`, which is a [`Guard`](crate::policy::Guard) for a
    /// pipeline. The view looks up the bulkhead on each call instead of holding a handle, so that
    /// it does not prevent the removal of the key.
    ///
    /// ```
    /// use mainstay::concurrency::{Bulkhead, KeyedBulkhead};
    /// use mainstay::pipeline::Pipeline;
    ///
    /// let tenants = KeyedBulkhead::<String>::builder(Bulkhead::builder()).build()?;
    /// let pipeline = Pipeline::builder().guard(tenants.key("tenant-7")).build();
    /// assert_eq!(pipeline.call_blocking(|| Ok::<_, ()>(42)), Ok(42));
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    pub fn key<Q>(&self, key: &Q) -> KeyedBulkheadView<K, S>
    where
        K: Borrow<Q>,
        Q: ToOwned<Owned = K> + ?Sized,
    {
        KeyedBulkheadView::new(self.clone(), key.to_owned())
    }
}

impl<K, S> KeyedBulkhead<K, S> {
    /// Applies the limit and the queue settings of `config` to all keys; see
    /// [`Bulkhead::reconfigure`].
    ///
    /// ```
    /// # use mainstay::concurrency::{Bulkhead, KeyedBulkhead};
    /// let tenants = KeyedBulkhead::<String>::builder(Bulkhead::builder()).build()?;
    /// tenants.reconfigure(&Bulkhead::builder().max_concurrent(3))?;
    /// assert_eq!(tenants.bulkhead("tenant-7")?.available(), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error that names the first setting that is out of range; no setting is changed
    /// then.
    pub fn reconfigure(&self, config: &BulkheadBuilder) -> Result<(), ConfigError> {
        let config = config.validate()?;
        *self.0.config.lock() = config;
        // The changes are applied after the locks of the shards are released, because they wake
        // callers.
        let mut bulkheads = Vec::new();
        self.0.map.for_each(|entry| bulkheads.push(entry.0.clone()));
        for bulkhead in &bulkheads {
            bulkhead.shared().reconfigure(config);
            self.0.follow(bulkhead, config);
        }
        self.0.emitter.reconfigured(config, || self.0.clock.now());
        Ok(())
    }

    /// Returns the name given to the builder.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.emitter.name
    }

    /// Returns the current figures of the table.
    #[must_use]
    pub fn snapshot(&self) -> KeyedBulkheadSnapshot {
        let map = &self.0.map;
        let (mut in_flight, mut queued) = (0, 0);
        map.for_each(|entry| {
            let engine = &entry.0.shared().engine;
            in_flight += u64::from(engine.in_use());
            queued += u64::from(engine.queued());
        });
        let (keys, max_keys, rejected) = (map.len(), map.max_keys(), map.rejected());
        KeyedBulkheadSnapshot { keys, max_keys, in_flight, queued, rejected }
    }
}

impl<K, S> KeyedShared<K, S> {
    /// Applies the current settings to a bulkhead that has the settings `applied`. Repeats this
    /// until the settings no longer change.
    fn follow(&self, bulkhead: &Bulkhead, mut applied: Config) {
        loop {
            let config = *self.config.lock();
            if config == applied {
                return;
            }
            bulkhead.shared().reconfigure(config);
            applied = config;
        }
    }
}

impl<K, S> Clone for KeyedBulkhead<K, S> {
    fn clone(&self) -> Self {
        Self(PlainArc::clone(&self.0))
    }
}

impl<K, S> fmt::Debug for KeyedBulkhead<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedBulkhead")
            .field("name", &self.name())
            .field("keys", &self.0.map.len())
            .finish_non_exhaustive()
    }
}
