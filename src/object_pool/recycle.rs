//! How returned objects are prepared for their next use: [`Recycle`].

use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet, VecDeque};
use std::ffi::OsString;
use std::path::PathBuf;

/// An object that can be reset for another use.
///
/// A pool recycles each object that is returned to it. To implement this trait for a type, recycle
/// each of its fields:
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
///     fn recycle(&mut self) {
///         self.fields.clear();
///         self.line.clear();
///     }
///
///     fn capacity(&self) -> usize {
///         self.fields.capacity().max(self.line.capacity())
///     }
/// }
///
/// let builder = ObjectPool::builder(Entry::default);
/// let entries = builder.max_capacity(16 * 1024).build()?;
/// # let _ = entries;
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "a pool does not know how to recycle `{Self}`",
    note = "implement `Recycle` for it, or give the builder a rule: `.recycle(|object| ..)`, or \
            `.keep_contents()` to reuse objects as they were returned"
)]
pub trait Recycle {
    /// Resets the object to the state of a new one. Memory may be kept.
    fn recycle(&mut self);

    /// Returns the number of elements (of bytes for a string) that the object has memory for. An
    /// object with more than [`max_capacity`](super::ObjectPoolBuilder::max_capacity) is dropped
    /// instead of recycled. Default: 0.
    fn capacity(&self) -> usize {
        0
    }
}

macro_rules! containers {
    ($($container:ty, $($parameter:ident),*;)*) => {$(
        impl<$($parameter),*> Recycle for $container {
            #[inline]
            fn recycle(&mut self) {
                self.clear();
            }

            #[inline]
            fn capacity(&self) -> usize {
                self.capacity()
            }
        }
    )*};
}

containers! {
    Vec<T>, T;
    VecDeque<T>, T;
    BinaryHeap<T>, T;
    String,;
    OsString,;
    PathBuf,;
    HashMap<K, V, S>, K, V, S;
    HashSet<T, S>, T, S;
}

impl<K, V> Recycle for BTreeMap<K, V> {
    fn recycle(&mut self) {
        self.clear();
    }
}

impl<T> Recycle for BTreeSet<T> {
    fn recycle(&mut self) {
        self.clear();
    }
}

impl<T: Recycle + ?Sized> Recycle for Box<T> {
    #[inline]
    fn recycle(&mut self) {
        (**self).recycle();
    }

    #[inline]
    fn capacity(&self) -> usize {
        (**self).capacity()
    }
}

/// A closure that prepares an object for its next use and returns true, or returns false to have
/// the object dropped.
pub(super) type Rule<T> = Box<dyn Fn(&mut T) -> bool + Send + Sync>;

/// A source of the recycle rule of a pool.
pub trait RuleSource<T> {
    /// Returns the rule. `None`: objects are kept unchanged.
    #[doc(hidden)]
    fn into_rule(self) -> Option<Rule<T>>;
}

/// The rule of the object's [`Recycle`] implementation.
#[derive(Debug)]
pub struct ByTrait {
    pub(super) max_capacity: usize,
}

/// A closure as the rule, or no rule: objects are kept unchanged.
pub struct ByRule<T>(pub(super) Option<Rule<T>>);

impl<T: Recycle> RuleSource<T> for ByTrait {
    fn into_rule(self) -> Option<Rule<T>> {
        Some(Box::new(move |object: &mut T| {
            let keep = object.capacity() <= self.max_capacity;
            if keep {
                object.recycle();
            }
            keep
        }))
    }
}

impl<T> RuleSource<T> for ByRule<T> {
    fn into_rule(self) -> Option<Rule<T>> {
        self.0
    }
}
