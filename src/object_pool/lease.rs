//! The guard of an object that is out of its pool.
#![allow(unsafe_code)]

use super::{Object, ObjectPool};
use crate::sync::PlainArc;
use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr;

/// The guard that [`ObjectPool::get`] returns: it borrows the pool.
pub type Pooled<'a, T> = Lease<T, &'a ObjectPool<T>>;

/// The guard that [`ObjectPool::get_owned`] returns: it keeps the pool alive.
pub type PooledOwned<T> = Lease<T, PlainArc<ObjectPool<T>>>;

/// An object that goes back to its pool when this guard is dropped; on whichever thread that is.
///
/// Dropped while its thread unwinds, the object is discarded instead, for nobody knows in what state the
/// panic left it; see [`Builder::discard_on_unwind`](super::Builder::discard_on_unwind).
pub struct Lease<T, P: Deref<Target = ObjectPool<T>>> {
    /// Present until the guard is dropped or detached.
    object: ManuallyDrop<Object<T>>,
    pool: P,
}

impl<T, P: Deref<Target = ObjectPool<T>>> Lease<T, P> {
    #[inline]
    pub(super) fn new(object: Object<T>, pool: P) -> Self {
        Self { object: ManuallyDrop::new(object), pool }
    }

    /// Takes the object out of the pool for good. An associated function, so that it cannot hide a method
    /// of the object's.
    #[must_use]
    pub fn detach(lease: Self) -> T {
        let mut lease = ManuallyDrop::new(lease);
        // SAFETY: the guard is never dropped, so that both fields are read exactly once.
        unsafe {
            let object = ManuallyDrop::take(&mut lease.object);
            drop(ptr::read(&lease.pool));
            object.into_inner()
        }
    }
}

impl<T, P: Deref<Target = ObjectPool<T>>> Drop for Lease<T, P> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the guard is being dropped, so that nobody looks at the object after this.
        let object = unsafe { ManuallyDrop::take(&mut self.object) };
        self.pool.put_back(object);
    }
}

impl<T, P: Deref<Target = ObjectPool<T>>> Deref for Lease<T, P> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.object
    }
}

impl<T, P: Deref<Target = ObjectPool<T>>> DerefMut for Lease<T, P> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.object
    }
}

impl<T: fmt::Debug, P: Deref<Target = ObjectPool<T>>> fmt::Debug for Lease<T, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
