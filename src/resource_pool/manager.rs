//! The traits that a user implements to create, check, recycle and close resources.

use std::fmt::{Debug, Display};
use std::future::{Future, ready};

/// Creates, checks, recycles and closes the resources of a pool.
///
/// Only [`create`](Self::create) is required. The methods can be written as `async fn`. A pool
/// never calls a method under a lock.
///
/// A future of a manager can be polled by several tasks and threads in turn: by each caller that
/// waits while the future is under way. A manager whose futures need a runtime must be polled
/// inside it: with tokio, a thread that blocks in the pool first enters the runtime
/// (`Handle::enter`).
///
/// # Examples
///
/// ```
/// use mainstay::resource_pool::ResourceManager;
///
/// struct Connect(std::net::SocketAddr);
/// # struct Connection;
/// # impl Connection {
/// #     async fn open(_: std::net::SocketAddr) -> std::io::Result<Self> { Ok(Self) }
/// #     async fn ping(&mut self) -> std::io::Result<()> { Ok(()) }
/// # }
///
/// impl ResourceManager for Connect {
///     type Resource = Connection;
///     type Error = std::io::Error;
///
///     async fn create(&self) -> std::io::Result<Connection> {
///         Connection::open(self.0).await
///     }
///
///     async fn check(&self, connection: &mut Connection) -> std::io::Result<()> {
///         connection.ping().await
///     }
/// }
/// ```
pub trait ResourceManager: Send + Sync + 'static {
    /// What the pool holds, such as a connection.
    type Resource: Send + 'static;
    /// Why a resource could not be created or is not healthy.
    type Error: Debug + Display + Send + Sync + 'static;

    /// Creates a resource. Bounded by
    /// [`create_timeout`](super::ResourcePoolBuilder::create_timeout).
    fn create(&self) -> impl Future<Output = Result<Self::Resource, Self::Error>> + Send;

    /// Checks a resource that was idle for a while, before its next use. A resource that fails is
    /// closed. Bounded by [`check_timeout`](super::ResourcePoolBuilder::check_timeout). The default
    /// accepts every resource.
    fn check(
        &self,
        resource: &mut Self::Resource,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        let _ = resource;
        ready(Ok(()))
    }

    /// Decides what happens to a resource that was returned. The default keeps it.
    ///
    /// It runs when the guard is dropped, so it must not block. Work that takes time, such as a
    /// rollback, belongs in [`check`](Self::check): [`RecycleDecision::Check`] causes a check
    /// before the next use.
    fn recycle(&self, resource: &mut Self::Resource) -> RecycleDecision {
        let _ = resource;
        RecycleDecision::Keep
    }

    /// Closes a resource. Bounded by
    /// [`close_timeout`](super::ResourcePoolBuilder::close_timeout). The default drops it.
    ///
    /// The resource counts towards the maximum until this future ends. A panic is discarded.
    fn close(&self, resource: Self::Resource) -> impl Future<Output = ()> + Send {
        drop(resource);
        ready(())
    }

    /// Returns whether another attempt would fail with the same error, such as a wrong password.
    /// The first waiter then receives the error, or all waiters if no resource is open. The default
    /// is false.
    fn is_permanent(&self, error: &Self::Error) -> bool {
        let _ = error;
        false
    }
}

/// What the pool does with a returned resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecycleDecision {
    /// It can be used again.
    #[default]
    Keep,
    /// It must pass a check before its next use, even if it was idle for less than
    /// [`check_after`](super::ResourcePoolBuilder::check_after).
    Check,
    /// It is broken and is closed.
    Close,
}

/// A [`ResourceManager`] whose methods block the thread; see [`FromBlocking`].
pub trait BlockingResourceManager: Send + Sync + 'static {
    /// What the pool holds, such as a connection.
    type Resource: Send + 'static;
    /// Why a resource could not be created or is not healthy.
    type Error: Debug + Display + Send + Sync + 'static;

    /// Creates a resource.
    ///
    /// # Errors
    ///
    /// Returns why no resource could be created.
    fn create(&self) -> Result<Self::Resource, Self::Error>;

    /// Checks a resource; see [`ResourceManager::check`].
    ///
    /// # Errors
    ///
    /// Returns why the resource is not healthy.
    fn check(&self, resource: &mut Self::Resource) -> Result<(), Self::Error> {
        let _ = resource;
        Ok(())
    }

    /// Decides what happens to a returned resource; see [`ResourceManager::recycle`].
    fn recycle(&self, resource: &mut Self::Resource) -> RecycleDecision {
        let _ = resource;
        RecycleDecision::Keep
    }

    /// Closes a resource; see [`ResourceManager::close`].
    fn close(&self, resource: Self::Resource) {
        drop(resource);
    }

    /// Returns whether another attempt would fail in the same way; see
    /// [`ResourceManager::is_permanent`].
    fn is_permanent(&self, error: &Self::Error) -> bool {
        let _ = error;
        false
    }
}

/// An adapter that makes a [`ResourceManager`] of a [`BlockingResourceManager`].
///
/// Its methods run on the thread that polls the pool. A pool cannot interrupt them, so their
/// timeouts must be set on the resource, such as a read timeout of a socket.
///
/// ```
/// use mainstay::resource_pool::{BlockingResourceManager, FromBlocking, ResourcePool};
/// use std::io;
///
/// struct Files;
///
/// impl BlockingResourceManager for Files {
///     type Resource = std::fs::File;
///     type Error = io::Error;
///
///     fn create(&self) -> io::Result<std::fs::File> {
///         std::fs::File::open("Cargo.toml")
///     }
/// }
///
/// let pool = ResourcePool::new(FromBlocking(Files));
/// let file = pool.acquire_blocking()?;
/// # let _ = file;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct FromBlocking<M>(pub M);

impl<M: BlockingResourceManager> ResourceManager for FromBlocking<M> {
    type Resource = M::Resource;
    type Error = M::Error;

    async fn create(&self) -> Result<M::Resource, M::Error> {
        self.0.create()
    }

    async fn check(&self, resource: &mut M::Resource) -> Result<(), M::Error> {
        self.0.check(resource)
    }

    fn recycle(&self, resource: &mut M::Resource) -> RecycleDecision {
        self.0.recycle(resource)
    }

    async fn close(&self, resource: M::Resource) {
        self.0.close(resource);
    }

    fn is_permanent(&self, error: &M::Error) -> bool {
        self.0.is_permanent(error)
    }
}
