//! The guard of a resource in use: [`PooledResource`].

use super::ResourceManager;
use super::engine::Shared;
use super::engine::entry::Entry;
use super::manager::RecycleDecision;
use super::snapshot::ResourceCloseReason;
use crate::sync::{PlainArc, plain_thread};
use crate::time::Instant;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

/// A resource that is being handed to a caller. Dropping the lease returns the resource unused.
pub(super) struct Lease<M: ResourceManager> {
    pool: PlainArc<Shared<M>>,
    entry: Option<Box<Entry<M::Resource>>>,
}

impl<M: ResourceManager> Lease<M> {
    #[inline]
    pub(super) fn new(pool: PlainArc<Shared<M>>, entry: Box<Entry<M::Resource>>) -> Self {
        Self { pool, entry: Some(entry) }
    }

    #[inline]
    pub(super) fn take(&mut self) -> Option<Box<Entry<M::Resource>>> {
        self.entry.take()
    }

    pub(super) fn entry_mut(&mut self) -> Option<&mut Entry<M::Resource>> {
        self.entry.as_deref_mut()
    }

    /// Returns the resource of a lease that has not been dropped.
    #[inline]
    fn entry(&self) -> &Entry<M::Resource> {
        self.entry.as_ref().expect(HELD)
    }
}

impl<M: ResourceManager> Drop for Lease<M> {
    #[inline]
    fn drop(&mut self) {
        if let Some(entry) = self.take() {
            self.pool.put_back(entry);
        }
    }
}

const HELD: &str = "a resource is present until its guard is dropped";

/// The guard of a resource in use, which keeps the pool alive.
///
/// Dropping the guard returns the resource, which goes to the caller that has waited for the
/// longest time, or becomes idle. If a panic drops the guard, the resource is closed, because the
/// panic may have left it in any state.
///
/// The functions of the guard are associated functions, so that they do not hide methods of the
/// resource.
pub struct PooledResource<M: ResourceManager> {
    lease: Lease<M>,
    acquired_at: Instant,
}

impl<M: ResourceManager> PooledResource<M> {
    #[inline]
    pub(super) fn new(mut lease: Lease<M>, now: Instant) -> Self {
        if let Some(entry) = &mut lease.entry {
            entry.uses += 1;
        }
        Self { lease, acquired_at: now }
    }

    /// Closes the resource instead of returning it, for example after a protocol error.
    ///
    /// ```
    /// # use mainstay::resource_pool::{FromBlocking, BlockingResourceManager, ResourcePool};
    /// # struct Numbers;
    /// # impl BlockingResourceManager for Numbers {
    /// #     type Resource = u32;
    /// #     type Error = std::fmt::Error;
    /// #     fn create(&self) -> Result<u32, std::fmt::Error> { Ok(7) }
    /// # }
    /// use mainstay::resource_pool::PooledResource;
    ///
    /// let pool = ResourcePool::new(FromBlocking(Numbers));
    /// PooledResource::discard(pool.acquire_blocking()?);
    /// assert_eq!(pool.snapshot().size, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn discard(mut guard: Self) {
        if let Some(entry) = guard.lease.take() {
            guard.lease.pool.close_entry(entry, ResourceCloseReason::Discarded);
        }
    }

    /// Removes the resource from the pool for good. The pool can create another in its place.
    ///
    /// ```
    /// # use mainstay::resource_pool::{FromBlocking, BlockingResourceManager, ResourcePool};
    /// # struct Numbers;
    /// # impl BlockingResourceManager for Numbers {
    /// #     type Resource = u32;
    /// #     type Error = std::fmt::Error;
    /// #     fn create(&self) -> Result<u32, std::fmt::Error> { Ok(7) }
    /// # }
    /// use mainstay::resource_pool::PooledResource;
    ///
    /// let pool = ResourcePool::new(FromBlocking(Numbers));
    /// let number: u32 = PooledResource::detach(pool.acquire_blocking()?);
    /// assert_eq!((number, pool.snapshot().size), (7, 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn detach(mut guard: Self) -> M::Resource {
        let mut entry = guard.lease.take().expect(HELD);
        guard.lease.pool.detach(&mut entry);
        entry.resource
    }

    /// Returns the time since the resource was created.
    #[must_use]
    pub fn age(guard: &Self) -> Duration {
        guard.lease.pool.clock.now() - guard.lease.entry().created_at
    }

    /// Returns the time since the resource was acquired.
    #[must_use]
    pub fn held_for(guard: &Self) -> Duration {
        guard.lease.pool.clock.now() - guard.acquired_at
    }

    /// Returns how many times the resource has been acquired, this time included.
    #[must_use]
    pub fn uses(guard: &Self) -> u64 {
        guard.lease.entry().uses
    }
}

impl<M: ResourceManager> Deref for PooledResource<M> {
    type Target = M::Resource;

    #[inline]
    fn deref(&self) -> &M::Resource {
        &self.lease.entry().resource
    }
}

impl<M: ResourceManager> DerefMut for PooledResource<M> {
    #[inline]
    fn deref_mut(&mut self) -> &mut M::Resource {
        &mut self.lease.entry.as_mut().expect(HELD).resource
    }
}

impl<M: ResourceManager> Drop for PooledResource<M> {
    #[inline]
    fn drop(&mut self) {
        let Some(entry) = self.lease.take() else { return };
        let pool = &self.lease.pool;
        if plain_thread::panicking() {
            return pool.close_entry(entry, ResourceCloseReason::Broken);
        }
        let mut recycling = Recycling { pool, entry: Some(entry) };
        let decision = match &mut recycling.entry {
            Some(entry) => pool.manager().recycle(&mut entry.resource),
            None => return,
        };
        if decision == RecycleDecision::Close {
            return; // `recycling` closes it
        }
        if let Some(entry) = recycling.entry.take() {
            pool.recycle(entry, decision == RecycleDecision::Check);
        }
    }
}

/// A resource that is being recycled. Dropping this closes the resource, because the manager has
/// panicked or has decided to close it.
struct Recycling<'a, M: ResourceManager> {
    pool: &'a PlainArc<Shared<M>>,
    entry: Option<Box<Entry<M::Resource>>>,
}

impl<M: ResourceManager> Drop for Recycling<'_, M> {
    #[inline]
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            self.pool.close_entry(entry, ResourceCloseReason::Broken);
        }
    }
}

/// Does not require that the resource implements `Debug`: most clients do not.
impl<M: ResourceManager> fmt::Debug for PooledResource<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PooledResource").field("uses", &Self::uses(self)).finish_non_exhaustive()
    }
}
