//! What makes an object as good as new.

use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};

/// An object that knows how to be used again; for [`Builder::max_capacity`](super::Builder::max_capacity).
///
/// Of several parts, recycle each:
///
/// ```
/// use mainstay::object_pool::{ObjectPool, Recycle};
///
/// #[derive(Default)]
/// struct Entry {
///     fields: Vec<(usize, usize)>,
///     line: String,
/// }
///
/// impl Recycle for Entry {
///     fn recycle_within(&mut self, max_capacity: usize) -> bool {
///         self.fields.recycle_within(max_capacity) && self.line.recycle_within(max_capacity)
///     }
/// }
///
/// let entries = ObjectPool::builder(Entry::default).max_capacity(16 * 1024).build()?;
/// # let _ = entries;
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
pub trait Recycle {
    /// Empties the object and returns true; or returns false if it could hold more than `max_capacity`
    /// elements (of a string, bytes) and so is too big to lie idle.
    fn recycle_within(&mut self, max_capacity: usize) -> bool;
}

macro_rules! containers {
    ($($container:ty, $($parameter:ident),*;)*) => {$(
        impl<$($parameter),*> Recycle for $container {
            #[inline]
            fn recycle_within(&mut self, max_capacity: usize) -> bool {
                let keep = self.capacity() <= max_capacity;
                if keep {
                    self.clear();
                }
                keep
            }
        }
    )*};
}

containers! {
    Vec<T>, T;
    VecDeque<T>, T;
    BinaryHeap<T>, T;
    String,;
    HashMap<K, V, S>, K, V, S;
    HashSet<T, S>, T, S;
}

impl<T: Recycle + ?Sized> Recycle for Box<T> {
    #[inline]
    fn recycle_within(&mut self, max_capacity: usize) -> bool {
        (**self).recycle_within(max_capacity)
    }
}
