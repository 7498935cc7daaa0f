//! An object outside of its pool, without a guard.

use crate::sync::CachePadded;
use std::fmt;
use std::ops::{Deref, DerefMut};

/// An object outside of its pool, without a guard. [`take`](super::ObjectPool::take) returns it,
/// and [`put`](super::ObjectPool::put) accepts it.
///
/// It is a box, as large as a pointer. The object in it shares no cache line with others. Otherwise
/// objects that were allocated one after another and are used by different threads would cause
/// false sharing.
pub struct TakenObject<T>(Box<CachePadded<T>>);

impl<T> TakenObject<T> {
    /// Moves the object out of its box.
    #[must_use]
    pub fn into_inner(self) -> T {
        CachePadded::into_inner(*self.0)
    }
}

impl<T> From<T> for TakenObject<T> {
    fn from(object: T) -> Self {
        Self(Box::new(CachePadded::new(object)))
    }
}

impl<T> Deref for TakenObject<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for TakenObject<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: fmt::Debug> fmt::Debug for TakenObject<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
