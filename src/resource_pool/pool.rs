//! The type [`ResourcePool`].

use super::acquire::ResourcePoolAcquireFuture;
use super::config::{ResourcePoolBuilder, ResourcePoolSettings};
use super::engine::Shared;
use super::engine::driver::{Drain, ResourcePoolDrainReport, ResourcePoolMaintenanceFuture};
use super::error::ResourcePoolError;
use super::manager::ResourceManager;
use super::pooled::{Lease, PooledResource};
use super::snapshot::ResourcePoolSnapshot;
use crate::error::ConfigError;
use crate::sync::{PlainArc, block_on};
use std::fmt;
use std::future::Future;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::time::Duration;

/// A pool of connections, or of other resources that are expensive to create and can break.
///
/// Cloning is cheap, and all clones share one pool. See the [module](super) for how it works.
///
/// # Examples
///
/// ```
/// # use mainstay::resource_pool::{FromBlocking, BlockingResourceManager};
/// # #[derive(Debug)]
/// # struct Connection;
/// # struct Connect;
/// # impl BlockingResourceManager for Connect {
/// #     type Resource = Connection;
/// #     type Error = std::io::Error;
/// #     fn create(&self) -> std::io::Result<Connection> { Ok(Connection) }
/// # }
/// # let manager = FromBlocking(Connect);
/// use mainstay::resource_pool::ResourcePool;
///
/// let pool = ResourcePool::builder(manager).max_size(20).build()?;
/// {
///     let connection = pool.acquire_blocking()?;
///     println!("{:?}", *connection);
/// } // returned here
/// assert_eq!(pool.snapshot().idle, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Performance
///
/// To acquire an idle resource and to return it costs two short locks and two readings of the
/// clock, and allocates nothing. The [module](super#performance) describes the cost of a wait.
pub struct ResourcePool<M: ResourceManager>(pub(super) PlainArc<Shared<M>>);

// A panic of user code leaves the pool usable: no user code runs under its lock.
impl<M: ResourceManager> UnwindSafe for ResourcePool<M> {}
impl<M: ResourceManager> RefUnwindSafe for ResourcePool<M> {}

impl<M: ResourceManager> ResourcePool<M> {
    /// Creates a pool with the defaults.
    ///
    /// ```
    /// # use mainstay::resource_pool::{ResourceManager, ResourcePool};
    /// # #[derive(Debug)]
    /// # struct Numbers;
    /// # impl ResourceManager for Numbers {
    /// #     type Resource = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     async fn create(&self) -> Result<u64, Self::Error> {
    /// #         Ok(7)
    /// #     }
    /// # }
    /// let pool = ResourcePool::new(Numbers);
    /// let number = pool.acquire_blocking()?;
    /// assert_eq!(*number, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    ///
    /// Never: the defaults are valid.
    pub fn new(manager: M) -> Self {
        Self::builder(manager).build().expect("the defaults are valid")
    }

    /// Creates a builder.
    ///
    /// ```
    /// # use mainstay::resource_pool::{ResourceManager, ResourcePool};
    /// # #[derive(Debug)]
    /// # struct Numbers;
    /// # impl ResourceManager for Numbers {
    /// #     type Resource = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     async fn create(&self) -> Result<u64, Self::Error> {
    /// #         Ok(7)
    /// #     }
    /// # }
    /// let pool = ResourcePool::builder(Numbers).max_size(20).build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder(manager: M) -> ResourcePoolBuilder<M> {
        ResourcePoolBuilder::new(manager)
    }

    pub(super) fn from_shared(shared: Shared<M>) -> Self {
        Self(PlainArc::new(shared))
    }

    /// Takes an idle resource, unless there are waiters. Never waits, and creates no resource.
    ///
    /// If the resource must be checked, the check is polled once. If the check is then still
    /// pending, this call returns `Exhausted`, and the next caller continues the check.
    ///
    /// # Errors
    ///
    /// Returns [`ResourcePoolError::Exhausted`] if there is no idle resource, or
    /// [`ResourcePoolError::Closed`].
    #[track_caller]
    pub fn try_acquire(&self) -> Result<PooledResource<M>, ResourcePoolError<M::Error>> {
        let now = self.0.clock.now();
        let taken = match self.0.try_take(now, Location::caller())? {
            Some(entry) => Some(entry),
            None => self.0.try_check(now, Location::caller())?,
        };
        match taken {
            Some(entry) => Ok(PooledResource::new(Lease::new(self.0.clone(), entry), now)),
            None => Err(ResourcePoolError::Exhausted),
        }
    }

    /// Waits for a resource, for at most the
    /// [`acquire_timeout`](ResourcePoolBuilder::acquire_timeout) of the pool. Callers are served in
    /// the order of their first poll.
    ///
    /// The future resolves to a [`ResourcePoolError`] if there is no resource in time, if a
    /// creation fails with a permanent error, or if the pool is closed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the queue and loses nothing.
    #[inline]
    #[track_caller]
    pub fn acquire(&self) -> ResourcePoolAcquireFuture<'_, M> {
        ResourcePoolAcquireFuture::new(&self.0, None, Location::caller())
    }

    /// Waits for a resource for at most `timeout`, counted from the first poll.
    ///
    /// The future resolves to the errors of [`acquire`](Self::acquire).
    ///
    /// ```
    /// # use mainstay::resource_pool::{FromBlocking, BlockingResourceManager, ResourcePool};
    /// # struct Numbers;
    /// # impl BlockingResourceManager for Numbers {
    /// #     type Resource = u32;
    /// #     type Error = std::fmt::Error;
    /// #     fn create(&self) -> Result<u32, std::fmt::Error> { Ok(7) }
    /// # }
    /// # futures::executor::block_on(async {
    /// use std::time::Duration;
    ///
    /// let pool = ResourcePool::new(FromBlocking(Numbers));
    /// let number = pool.acquire_timeout(Duration::from_millis(100)).await?;
    /// assert_eq!(*number, 7);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[track_caller]
    pub fn acquire_timeout(&self, timeout: Duration) -> ResourcePoolAcquireFuture<'_, M> {
        ResourcePoolAcquireFuture::new(&self.0, Some(timeout), Location::caller())
    }

    /// Blocks the thread until it has a resource, for at most the
    /// [`acquire_timeout`](ResourcePoolBuilder::acquire_timeout) of the pool.
    ///
    /// # Errors
    ///
    /// Returns a [`ResourcePoolError`] if there is no resource in time, if a creation fails with
    /// a permanent error, or if the pool is closed.
    #[track_caller]
    pub fn acquire_blocking(&self) -> Result<PooledResource<M>, ResourcePoolError<M::Error>> {
        block_on(self.acquire())
    }

    /// Blocks the thread until it has a resource, for at most `timeout`.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`acquire_blocking`](Self::acquire_blocking).
    ///
    /// ```
    /// # use mainstay::resource_pool::{FromBlocking, BlockingResourceManager, ResourcePool};
    /// # struct Numbers;
    /// # impl BlockingResourceManager for Numbers {
    /// #     type Resource = u32;
    /// #     type Error = std::fmt::Error;
    /// #     fn create(&self) -> Result<u32, std::fmt::Error> { Ok(7) }
    /// # }
    /// use std::time::Duration;
    ///
    /// let pool = ResourcePool::builder(FromBlocking(Numbers)).max_size(1).build()?;
    /// let _number = pool.acquire_blocking()?;
    /// let timeout = Duration::from_millis(1);
    /// let error = pool.acquire_blocking_timeout(timeout).unwrap_err();
    /// println!("{error}"); // no resource within 1 ms: 1 of 1 in use, …
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn acquire_blocking_timeout(
        &self,
        timeout: Duration,
    ) -> Result<PooledResource<M>, ResourcePoolError<M::Error>> {
        block_on(self.acquire_timeout(timeout))
    }

    /// Returns a future that maintains the pool, for the caller to spawn. Maintenance is optional.
    /// Because the pool has no thread of its own, expired resources and unfinished creations and
    /// closings wait for the next call if maintenance does not run.
    ///
    /// At every [`maintenance_interval`](ResourcePoolBuilder::maintenance_interval) it closes
    /// resources that are idle for too long or too old, creates resources up to
    /// [`min_idle`](ResourcePoolBuilder::min_idle), and checks resources that were idle for a
    /// whole interval. In between, it polls creations and closings for which no caller waits.
    ///
    /// The future does not keep the pool open. It ends when the pool is closed and empty, and, at
    /// its next wake-up, when the last handle is dropped.
    ///
    /// # Panics
    ///
    /// A panic of the manager unwinds through the future that polls the manager.
    pub fn maintenance(&self) -> ResourcePoolMaintenanceFuture<M> {
        ResourcePoolMaintenanceFuture::new(&self.0)
    }

    /// Closes the idle resources now, and those in use when they return. Call it after a failover
    /// or a change of the password.
    pub fn evict(&self) {
        self.0.evict();
    }

    /// Pauses the pool: it hands out and creates no resources. Callers wait, up to their time
    /// limits.
    pub fn pause(&self) {
        self.0.pause(true);
    }

    /// Ends a [`pause`](Self::pause) and serves the callers that wait.
    pub fn resume(&self) {
        self.0.pause(false);
    }

    /// Sets the largest number of resources. Resources in excess are closed: idle ones now, others
    /// when they return.
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] if `max_size` is out of range, or below `min_idle`.
    ///
    /// ```
    /// # use mainstay::resource_pool::{FromBlocking, BlockingResourceManager, ResourcePool};
    /// # struct Numbers;
    /// # impl BlockingResourceManager for Numbers {
    /// #     type Resource = u32;
    /// #     type Error = std::fmt::Error;
    /// #     fn create(&self) -> Result<u32, std::fmt::Error> { Ok(7) }
    /// # }
    /// let pool = ResourcePool::new(FromBlocking(Numbers));
    /// pool.resize(20)?;
    /// assert_eq!(pool.snapshot().max_size, 20);
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    pub fn resize(&self, max_size: usize) -> Result<(), ConfigError> {
        self.0.configure(|config| {
            let resized = ResourcePoolSettings::of(*config).max_size(max_size);
            resized.validate()
        })
    }

    /// Replaces all settings of [`ResourcePoolSettings`]. A new lifetime applies to resources
    /// created after this call, and the timeouts of acquisitions, creations, checks and closings to
    /// those that start after it. A new maintenance interval applies after the current one has
    /// ended. All other settings apply immediately.
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] that names the first setting that is out of range. The old
    /// settings then stay in force.
    ///
    /// ```
    /// # use mainstay::resource_pool::{FromBlocking, BlockingResourceManager, ResourcePool};
    /// # struct Numbers;
    /// # impl BlockingResourceManager for Numbers {
    /// #     type Resource = u32;
    /// #     type Error = std::fmt::Error;
    /// #     fn create(&self) -> Result<u32, std::fmt::Error> { Ok(7) }
    /// # }
    /// use mainstay::resource_pool::ResourcePoolSettings;
    ///
    /// let pool = ResourcePool::new(FromBlocking(Numbers));
    /// pool.reconfigure(ResourcePoolSettings::new().max_size(4))?;
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    pub fn reconfigure(&self, settings: ResourcePoolSettings) -> Result<(), ConfigError> {
        self.0.configure(|_| settings.validate())
    }

    /// Closes the pool for good: callers that wait, and later ones, receive an error, and idle
    /// resources are closed. Resources in use are closed when they return. Returns `true` for the
    /// call that closed it.
    pub fn close(&self) -> bool {
        self.0.close()
    }

    /// Returns whether [`close`](Self::close) was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// Closes the pool and waits until all resources are closed, for at most `timeout` from this
    /// call.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the wait. The pool stays closed.
    ///
    /// ```
    /// # use mainstay::resource_pool::{FromBlocking, BlockingResourceManager, ResourcePool};
    /// # struct Numbers;
    /// # impl BlockingResourceManager for Numbers {
    /// #     type Resource = u32;
    /// #     type Error = std::fmt::Error;
    /// #     fn create(&self) -> Result<u32, std::fmt::Error> { Ok(7) }
    /// # }
    /// # futures::executor::block_on(async {
    /// use std::time::Duration;
    ///
    /// let pool = ResourcePool::new(FromBlocking(Numbers));
    /// drop(pool.acquire().await?);
    /// let report = pool.drain_timeout(Duration::from_secs(5)).await;
    /// assert!(report.is_complete());
    /// assert_eq!(report.closed, 1);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn drain_timeout(
        &self,
        timeout: Duration,
    ) -> impl Future<Output = ResourcePoolDrainReport> + Send {
        Drain::new(&self.0, self.0.clock.now() + timeout)
    }

    /// Closes the pool and blocks the thread, for at most `timeout`, until all resources are
    /// closed.
    ///
    /// ```
    /// # use mainstay::resource_pool::{FromBlocking, BlockingResourceManager, ResourcePool};
    /// # struct Numbers;
    /// # impl BlockingResourceManager for Numbers {
    /// #     type Resource = u32;
    /// #     type Error = std::fmt::Error;
    /// #     fn create(&self) -> Result<u32, std::fmt::Error> { Ok(7) }
    /// # }
    /// use std::time::Duration;
    ///
    /// let pool = ResourcePool::new(FromBlocking(Numbers));
    /// let in_use = pool.acquire_blocking()?;
    /// let report = pool.drain_blocking_timeout(Duration::from_millis(1));
    /// assert_eq!(report.in_use, 1);
    /// # drop(in_use);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn drain_blocking_timeout(&self, timeout: Duration) -> ResourcePoolDrainReport {
        block_on(self.drain_timeout(timeout))
    }

    /// Returns the figures of the pool.
    #[must_use]
    pub fn snapshot(&self) -> ResourcePoolSnapshot {
        self.0.snapshot()
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.name()
    }
}

impl<M: ResourceManager> Clone for ResourcePool<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<M: ResourceManager> fmt::Debug for ResourcePool<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResourcePool")
            .field("name", &self.name())
            .field("snapshot", &self.snapshot())
            .finish()
    }
}
