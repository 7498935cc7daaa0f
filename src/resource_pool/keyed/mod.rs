//! A pool for each key, and a limit on the resources of all keys: [`KeyedResourcePool`].

mod builder;
mod futures;
#[cfg(all(test, mainstay_loom))]
mod loom;
mod shared;
mod snapshot;

pub use builder::KeyedResourcePoolBuilder;
pub use futures::KeyedResourcePoolMaintenanceFuture;
pub use snapshot::KeyedResourcePoolSnapshot;

use super::engine::Shared;
use super::engine::total::Membership;
use super::error::ResourcePoolError;
use super::manager::ResourceManager;
use super::pooled::PooledResource;
use super::{ResourcePool, ResourcePoolDrainReport, ResourcePoolSettings};
use crate::error::ConfigError;
use crate::keyed::Full;
use crate::sync::{PlainArc, block_on};
use shared::{Entry, KeyedShared};
use std::borrow::Borrow;
use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, Hash, RandomState};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

/// A [`ResourcePool`] for each key, such as a host, and a limit on the resources of all keys.
///
/// Cloning is cheap, and all clones share the pools.
///
/// # Examples
///
/// ```
/// # #[derive(Debug)] struct Connection;
/// # impl Connection {
/// #     async fn open(_: &str) -> std::io::Result<Self> { Ok(Self) }
/// # }
/// use mainstay::resource_pool::{
///     KeyedResourcePool, ResourceManager, ResourcePoolSettings,
/// };
///
/// struct Connect(String);
///
/// impl ResourceManager for Connect {
///     type Resource = Connection;
///     type Error = std::io::Error;
///
///     async fn create(&self) -> std::io::Result<Connection> {
///         Connection::open(&self.0).await
///     }
/// }
///
/// # futures::executor::block_on(async {
/// let hosts = KeyedResourcePool::builder(|host: &String| Connect(host.clone()))
///     .settings(ResourcePoolSettings::new().max_size(4))
///     .max_total_size(100)
///     .build()?;
/// let connection = hosts.acquire("search-1").await?;
/// println!("{:?}", *connection);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
///
/// # How it works
///
/// Each key has its own pool, as described in the [module](super). In addition, all pools share
/// [`max_total_size`](KeyedResourcePoolBuilder::max_total_size) *places*. A resource occupies a
/// place from the start of its creation until its closing has ended. A creation that waits for its
/// next attempt after a failure occupies none, so a server that is down takes no places from other
/// keys.
///
/// ## When all places are in use
///
/// If the callers of a key need another resource, the key receives the place of the first of these
/// that exists:
///
/// 1. The resource of another key that has been idle for the longest time.
/// 2. A creation, check or closing of another key that no caller waits for and that
///    [`maintenance`](Self::maintenance) does not poll. It is abandoned.
/// 3. The next resource that is returned to another key without waiting callers.
/// 4. The next resource that is returned to a key that has at least two places more.
/// 5. If the receiving key has no place: the next resource that is returned to a key whose waiting
///    callers all arrived later.
///
/// If several keys wait, the key with the fewest places is served first. Among keys with equally
/// many, the one that has waited for the longest time is first. Rule 4 divides the places evenly
/// between the keys with waiting callers. With more such keys than places, rule 5 makes them take
/// turns, so that no key starves.
///
/// The old resource is closed before the new one is created. The callers of the receiving key poll
/// both futures.
///
/// ## Keys
///
/// [`keyed`](crate::keyed) describes how keys are stored. A key is kept while any of its resources
/// is in use, callers wait, or a handle to its pool exists. A key without resources can be removed
/// at any time. If there are [`max_keys`](KeyedResourcePoolBuilder::max_keys) keys, a new key by
/// default replaces the least recently used key that need not be kept, and the idle resources of
/// that key are closed. If there is no such key, the call fails with
/// [`ResourcePoolError::TooManyKeys`].
///
/// # Shutdown
///
/// [`close`](Self::close) and [`drain_timeout`](Self::drain_timeout) apply to all keys. When the
/// last handle to the keyed pool is dropped, the pools of all keys are closed.
///
/// # Observability
///
/// [`snapshot`](Self::snapshot) returns the sums over all keys. The events of all keys carry the
/// name of the keyed pool, and no key.
///
/// # Performance
///
/// In addition to the cost of the pool, an acquisition costs a hash, a lookup under the lock of one
/// of many shards, and the clone and drop of an `Arc`. While a key waits for a place, each return
/// of a resource examines the waiting keys under one lock.
pub struct KeyedResourcePool<K, M: ResourceManager, S = RandomState>(
    PlainArc<KeyedShared<K, M, S>>,
);

// Unwind safe for the same reasons as `ResourcePool`. The only code of the key type that runs under
// a lock is `Eq` and `Borrow`.
impl<K: UnwindSafe, M: ResourceManager, S: UnwindSafe> UnwindSafe for KeyedResourcePool<K, M, S> {}
impl<K: UnwindSafe, M: ResourceManager, S: RefUnwindSafe> RefUnwindSafe
    for KeyedResourcePool<K, M, S>
{
}

/// The result of acquiring a resource from a pool with this manager.
type Acquired<M> = Result<PooledResource<M>, ResourcePoolError<<M as ResourceManager>::Error>>;

impl<K, M: ResourceManager> KeyedResourcePool<K, M> {
    /// Creates a builder. `factory` returns the manager for the pool of a new key.
    ///
    /// ```
    /// # use mainstay::resource_pool::{BlockingResourceManager, FromBlocking, KeyedResourcePool};
    /// # struct Connect(String);
    /// # impl BlockingResourceManager for Connect {
    /// #     type Resource = u32;
    /// #     type Error = std::io::Error;
    /// #     fn create(&self) -> std::io::Result<u32> { Ok(7) }
    /// # }
    /// let connect = |host: &String| FromBlocking(Connect(host.clone()));
    /// let hosts = KeyedResourcePool::builder(connect).max_keys(50).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn builder(
        factory: impl Fn(&K) -> M + Send + Sync + 'static,
    ) -> KeyedResourcePoolBuilder<K, M> {
        KeyedResourcePoolBuilder::new(factory)
    }
}

impl<K: Hash + Eq, M: ResourceManager, S: BuildHasher> KeyedResourcePool<K, M, S> {
    /// Returns the pool of `key`, for example to pause it or to evict its resources. If the key is
    /// new, clones it and creates its pool. The key is not removed while the handle exists.
    ///
    /// The `Eq` and `Borrow` implementations of the key must not use this keyed pool: they run
    /// under the lock of a shard.
    ///
    /// ```
    /// # use mainstay::resource_pool::{BlockingResourceManager, FromBlocking, KeyedResourcePool};
    /// # struct Connect(String);
    /// # impl BlockingResourceManager for Connect {
    /// #     type Resource = u32;
    /// #     type Error = std::io::Error;
    /// #     fn create(&self) -> std::io::Result<u32> { Ok(7) }
    /// # }
    /// # let connect = |host: &String| FromBlocking(Connect(host.clone()));
    /// let hosts = KeyedResourcePool::builder(connect).build()?;
    /// hosts.pool("search-1")?.evict();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the key is new, returns [`ResourcePoolError::Closed`] if the keyed pool is closed, or
    /// [`ResourcePoolError::TooManyKeys`] if there is no room for the key.
    pub fn pool<Q>(&self, key: &Q) -> Result<ResourcePool<M>, ResourcePoolError<M::Error>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let shared = &*self.0;
        if let Some(pool) = shared.map.get(key, |entry| entry.0.clone()) {
            return Ok(pool);
        }
        if shared.limit.is_closed() {
            return Err(ResourcePoolError::Closed);
        }
        let config = *shared.parts.config.lock();
        let make = || {
            let key = key.to_owned();
            let manager = (shared.factory)(&key);
            let pool =
                ResourcePool::from_shared(Shared::new(manager, config, shared.parts.fixed.clone()));
            Membership::join(&shared.limit, &pool.0);
            (key, Entry(pool))
        };
        let pool = shared.map.get_or_insert(key, || (), make, |entry| entry.0.clone());
        let pool = pool.map_err(|Full| ResourcePoolError::TooManyKeys)?;
        // The settings may have changed after `config` was read and before this pool joined the
        // limit, where `reconfigure` did not find it.
        shared.parts.follow(&pool.0, config);
        Ok(pool)
    }

    /// Takes an idle resource of `key`; see [`ResourcePool::try_acquire`].
    ///
    /// # Errors
    ///
    /// Returns [`ResourcePoolError::Exhausted`] if there is no idle resource, or the errors of
    /// [`pool`](Self::pool).
    pub fn try_acquire<Q>(&self, key: &Q) -> Acquired<M>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.pool(key)?.try_acquire()
    }

    /// Waits for a resource of `key`; see [`ResourcePool::acquire`].
    ///
    /// # Errors
    ///
    /// Returns the errors of [`ResourcePool::acquire`] and of [`pool`](Self::pool).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future removes the caller from the queue. No resource is lost.
    pub async fn acquire<Q>(&self, key: &Q) -> Acquired<M>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.pool(key)?.acquire().await
    }

    /// Waits for a resource of `key` for at most `timeout`; see [`ResourcePool::acquire_timeout`].
    ///
    /// ```
    /// # use mainstay::resource_pool::{BlockingResourceManager, FromBlocking, KeyedResourcePool};
    /// # use std::time::Duration;
    /// # struct Connect(String);
    /// # impl BlockingResourceManager for Connect {
    /// #     type Resource = u32;
    /// #     type Error = std::io::Error;
    /// #     fn create(&self) -> std::io::Result<u32> { Ok(7) }
    /// # }
    /// # let connect = |host: &String| FromBlocking(Connect(host.clone()));
    /// # futures::executor::block_on(async {
    /// let hosts = KeyedResourcePool::builder(connect).build()?;
    /// let connection =
    ///     hosts.acquire_timeout("search-1", Duration::from_millis(100)).await?;
    /// # drop(connection);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`acquire`](Self::acquire).
    pub async fn acquire_timeout<Q>(&self, key: &Q, timeout: Duration) -> Acquired<M>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.pool(key)?.acquire_timeout(timeout).await
    }

    /// Blocks the thread until it has a resource of `key`; see [`ResourcePool::acquire_blocking`].
    ///
    /// # Errors
    ///
    /// Returns the errors of [`acquire`](Self::acquire).
    pub fn acquire_blocking<Q>(&self, key: &Q) -> Acquired<M>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.pool(key)?.acquire_blocking()
    }

    /// Blocks the thread until it has a resource of `key`, for at most `timeout`; see
    /// [`ResourcePool::acquire_blocking_timeout`].
    ///
    /// ```
    /// # use mainstay::resource_pool::{BlockingResourceManager, FromBlocking, KeyedResourcePool};
    /// # use std::time::Duration;
    /// # struct Connect(String);
    /// # impl BlockingResourceManager for Connect {
    /// #     type Resource = u32;
    /// #     type Error = std::io::Error;
    /// #     fn create(&self) -> std::io::Result<u32> { Ok(7) }
    /// # }
    /// # let connect = |host: &String| FromBlocking(Connect(host.clone()));
    /// let hosts = KeyedResourcePool::builder(connect).build()?;
    /// let timeout = Duration::from_secs(1);
    /// let connection = hosts.acquire_blocking_timeout("search-1", timeout)?;
    /// # drop(connection);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`acquire`](Self::acquire).
    pub fn acquire_blocking_timeout<Q>(&self, key: &Q, timeout: Duration) -> Acquired<M>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.pool(key)?.acquire_blocking_timeout(timeout)
    }

    /// Removes `key`, for example when the host no longer exists, and returns whether there was
    /// such a key. Its pool is closed: waiting callers receive [`ResourcePoolError::Closed`], and
    /// resources in use are closed when they are returned. Until then, these resources count
    /// towards the limit over all keys.
    ///
    /// ```
    /// # use mainstay::resource_pool::{BlockingResourceManager, FromBlocking, KeyedResourcePool};
    /// # struct Connect(String);
    /// # impl BlockingResourceManager for Connect {
    /// #     type Resource = u32;
    /// #     type Error = std::io::Error;
    /// #     fn create(&self) -> std::io::Result<u32> { Ok(7) }
    /// # }
    /// # let connect = |host: &String| FromBlocking(Connect(host.clone()));
    /// let hosts = KeyedResourcePool::builder(connect).build()?;
    /// drop(hosts.acquire_blocking("search-1")?);
    /// assert!(hosts.remove("search-1"));
    /// assert_eq!(hosts.snapshot().total_size, 0);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn remove<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0.map.remove(key)
    }
}

impl<K, M: ResourceManager, S> KeyedResourcePool<K, M, S> {
    /// Returns a future that maintains the pools of all keys, present and future, for the caller to
    /// spawn; see [`ResourcePool::maintenance`].
    ///
    /// Each wake-up polls the pools of all keys.
    pub fn maintenance(&self) -> KeyedResourcePoolMaintenanceFuture<M> {
        KeyedResourcePoolMaintenanceFuture::new(&self.0.limit)
    }

    /// Closes the idle resources of all keys immediately, and those in use when they are returned.
    pub fn evict(&self) {
        self.0.limit.pools().iter().for_each(Shared::evict);
    }

    /// Replaces the settings of the pools of all keys; see [`ResourcePool::reconfigure`].
    ///
    /// ```
    /// # use mainstay::resource_pool::{BlockingResourceManager, FromBlocking, KeyedResourcePool};
    /// # struct Connect(String);
    /// # impl BlockingResourceManager for Connect {
    /// #     type Resource = u32;
    /// #     type Error = std::io::Error;
    /// #     fn create(&self) -> std::io::Result<u32> { Ok(7) }
    /// # }
    /// # let connect = |host: &String| FromBlocking(Connect(host.clone()));
    /// use mainstay::resource_pool::ResourcePoolSettings;
    ///
    /// let hosts = KeyedResourcePool::builder(connect).build()?;
    /// hosts.reconfigure(ResourcePoolSettings::new().max_size(4))?;
    /// assert_eq!(hosts.pool("search-1")?.snapshot().max_size, 4);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] that names the first setting that is out of range. The old
    /// settings then stay in force.
    pub fn reconfigure(&self, settings: ResourcePoolSettings) -> Result<(), ConfigError> {
        let config = settings.validate()?;
        *self.0.parts.config.lock() = config;
        for pool in self.0.limit.pools() {
            pool.set_config(config);
            self.0.parts.follow(&pool, config);
        }
        Ok(())
    }

    /// Closes the pools of all keys permanently; see [`ResourcePool::close`]. Returns `false` if
    /// the keyed pool was already closed.
    pub fn close(&self) -> bool {
        let is_first = self.0.limit.close();
        for pool in self.0.limit.pools() {
            pool.close();
        }
        is_first
    }

    /// Returns whether [`close`](Self::close) was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.limit.is_closed()
    }

    /// Closes the pools of all keys and waits until all resources are closed, for at most `timeout`
    /// from this call. Resources of keys that were removed are included.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the wait. The pools stay closed.
    ///
    /// ```
    /// # use mainstay::resource_pool::{BlockingResourceManager, FromBlocking, KeyedResourcePool};
    /// # use std::time::Duration;
    /// # struct Connect(String);
    /// # impl BlockingResourceManager for Connect {
    /// #     type Resource = u32;
    /// #     type Error = std::io::Error;
    /// #     fn create(&self) -> std::io::Result<u32> { Ok(7) }
    /// # }
    /// # let connect = |host: &String| FromBlocking(Connect(host.clone()));
    /// # futures::executor::block_on(async {
    /// let hosts = KeyedResourcePool::builder(connect).build()?;
    /// drop(hosts.acquire("search-1").await?);
    /// let report = hosts.drain_timeout(Duration::from_secs(5)).await;
    /// assert!(report.is_complete());
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn drain_timeout(
        &self,
        timeout: Duration,
    ) -> impl Future<Output = ResourcePoolDrainReport> + Send + use<K, M, S> {
        let deadline = self.0.parts.fixed.clock.now() + timeout;
        let limit = self.0.limit.clone();
        async move {
            limit.close();
            futures::drain(limit, deadline).await
        }
    }

    /// Closes the pools of all keys and blocks the thread, for at most `timeout`, until all
    /// resources are closed.
    pub fn drain_blocking_timeout(&self, timeout: Duration) -> ResourcePoolDrainReport {
        block_on(self.drain_timeout(timeout))
    }

    /// Returns the state and the counters, summed over all keys.
    #[must_use]
    pub fn snapshot(&self) -> KeyedResourcePoolSnapshot {
        let shared = &*self.0;
        let counts = shared.limit.counts();
        let mut snapshot = KeyedResourcePoolSnapshot {
            keys: shared.map.len(),
            max_keys: shared.map.max_keys(),
            evicted_keys: shared.map.evicted(),
            rejected_keys: shared.map.rejected(),
            max_total_size: counts.max_size,
            total_size: counts.size,
            waiting_keys: counts.requests,
            is_closed: shared.limit.is_closed(),
            ..KeyedResourcePoolSnapshot::default()
        };
        snapshot.add_retired(&shared.limit.retired());
        shared.limit.pools().iter().for_each(|pool| snapshot.add(&pool.snapshot()));
        snapshot
    }

    /// Returns the name that was given to the builder.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.parts.fixed.emitter.name()
    }
}

impl<K, M: ResourceManager, S> Clone for KeyedResourcePool<K, M, S> {
    fn clone(&self) -> Self {
        Self(PlainArc::clone(&self.0))
    }
}

impl<K, M: ResourceManager, S> fmt::Debug for KeyedResourcePool<K, M, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedResourcePool")
            .field("name", &self.name())
            .field("keys", &self.0.map.len())
            .finish_non_exhaustive()
    }
}
