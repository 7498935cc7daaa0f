//! Guards that return an object to its pool when they are dropped.
#![allow(unsafe_code)]

use super::{ObjectPool, TakenObject};
use crate::sync::PlainArc;
use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr;

/// The guard of an object from [`ObjectPool::get`], which borrows the pool.
///
/// The object goes back to the pool when the guard is dropped, on any thread. If the thread
/// unwinds, the object is dropped instead, unless
/// [`keep_on_unwind`](super::ObjectPoolBuilder::keep_on_unwind) is set.
pub struct PooledObject<'a, T> {
    /// Present until the guard is dropped or detached.
    object: ManuallyDrop<TakenObject<T>>,
    pool: &'a ObjectPool<T>,
}

/// The guard of an object from [`ObjectPool::get_owned`], which keeps the pool alive.
///
/// It behaves like a [`PooledObject`].
pub struct OwnedPooledObject<T> {
    /// Present until the guard is dropped or detached.
    object: ManuallyDrop<TakenObject<T>>,
    pool: PlainArc<ObjectPool<T>>,
}

macro_rules! guard {
    ($guard:ty, $pool:ty, [$($generics:tt)*]) => {
        impl<$($generics)*> $guard {
            #[inline]
            pub(super) fn new(object: TakenObject<T>, pool: $pool) -> Self {
                Self { object: ManuallyDrop::new(object), pool }
            }

            /// Takes the object out of its guard. It does not go back to the pool.
            ///
            /// This is an associated function so that it does not hide a method of the object.
            ///
            /// ```
            /// use mainstay::object_pool::{ObjectPool, PooledObject};
            ///
            /// let lines = ObjectPool::new(String::new);
            /// let line: String = PooledObject::detach(lines.get());
            /// # let _ = line;
            /// assert_eq!(lines.snapshot().idle, 0);
            /// ```
            #[must_use]
            pub fn detach(guard: Self) -> T {
                let mut guard = ManuallyDrop::new(guard);
                // SAFETY: the guard is never dropped, so each field is read exactly once.
                unsafe {
                    let object = ManuallyDrop::take(&mut guard.object);
                    let _pool = ptr::read(&guard.pool);
                    object.into_inner()
                }
            }
        }

        impl<$($generics)*> Drop for $guard {
            #[inline]
            fn drop(&mut self) {
                // SAFETY: the guard is being dropped, so the object is not used after this.
                let object = unsafe { ManuallyDrop::take(&mut self.object) };
                self.pool.put_back(object);
            }
        }

        impl<$($generics)*> Deref for $guard {
            type Target = T;

            #[inline]
            fn deref(&self) -> &T {
                &self.object
            }
        }

        impl<$($generics)*> DerefMut for $guard {
            #[inline]
            fn deref_mut(&mut self) -> &mut T {
                &mut self.object
            }
        }
    };
}

guard!(PooledObject<'a, T>, &'a ObjectPool<T>, ['a, T]);
guard!(OwnedPooledObject<T>, PlainArc<ObjectPool<T>>, [T]);

impl<T: fmt::Debug> fmt::Debug for PooledObject<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: fmt::Debug> fmt::Debug for OwnedPooledObject<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
