use crate::sync::CachePadded;
use std::fmt;
use std::ops::{Deref, DerefMut};

/// An object out of its pool and without a guard: what [`take`](super::ObjectPool::take) returns and
/// [`put`](super::ObjectPool::put) accepts.
///
/// It is a box, as large as a pointer. The object in it has its cache lines to itself: objects that were made
/// one after another and are then used by different threads would else lie on lines that these threads
/// fight for.
pub struct Object<T>(Box<CachePadded<T>>);

impl<T> Object<T> {
    /// Takes the object out of its box.
    #[must_use]
    pub fn into_inner(self) -> T {
        CachePadded::into_inner(*self.0)
    }
}

impl<T> From<T> for Object<T> {
    fn from(object: T) -> Self {
        Self(Box::new(CachePadded::new(object)))
    }
}

impl<T> Deref for Object<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Object<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: fmt::Debug> fmt::Debug for Object<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
