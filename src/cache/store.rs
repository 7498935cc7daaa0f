//! The stores of results: [`CacheStore`], [`SingleValueStore`].

use crate::sync::Mutex;
use std::fmt;

/// A store of values by key, for a [`Cached`](super::Cached).
///
/// A store may evict any entry at any time. It need not expire entries: the cache never uses an
/// entry longer than its settings allow. `V` is a [`CacheEntry`](super::CacheEntry), which is cheap
/// to clone.
///
/// With the feature `quick_cache`, `quick_cache::sync::Cache` implements this trait.
///
/// # Examples
///
/// A store on `moka`:
///
/// ```
/// use mainstay::cache::CacheStore;
/// use std::hash::Hash;
/// # mod moka { pub mod sync {
/// #     use std::{collections::HashMap, hash::Hash, sync::Mutex};
/// #     pub struct Cache<K, V>(Mutex<HashMap<K, V>>);
/// #     impl<K: Hash + Eq, V: Clone> Cache<K, V> {
/// #         pub fn get(&self, k: &K) -> Option<V> { self.0.lock().unwrap().get(k).cloned() }
/// #         pub fn insert(&self, k: K, v: V) { self.0.lock().unwrap().insert(k, v); }
/// #         pub fn invalidate(&self, k: &K) { self.0.lock().unwrap().remove(k); }
/// #     }
/// # } }
///
/// struct Moka<K, V>(moka::sync::Cache<K, V>);
///
/// impl<K, V> CacheStore<K, V> for Moka<K, V>
/// where
///     K: Hash + Eq + Send + Sync + 'static,
///     V: Clone + Send + Sync + 'static,
/// {
///     fn get(&self, key: &K) -> Option<V> {
///         self.0.get(key)
///     }
///
///     fn insert(&self, key: K, value: V) {
///         self.0.insert(key, value);
///     }
///
///     fn remove(&self, key: &K) {
///         self.0.invalidate(key);
///     }
/// }
/// ```
pub trait CacheStore<K, V>: Send + Sync {
    /// Returns a clone of the value of `key`, or `None` if there is none.
    fn get(&self, key: &K) -> Option<V>;

    /// Stores the value of `key`, in place of the previous one.
    fn insert(&self, key: K, value: V);

    /// Removes the value of `key`.
    fn remove(&self, key: &K);
}

/// A store for one value, whose key is `()`.
///
/// It suits an operation without parameters, such as one that loads a configuration, a set of
/// signing keys or an access token.
///
/// ```
/// use mainstay::cache::{Cached, SingleValueStore};
///
/// let config = Cached::<(), u32, String>::builder(SingleValueStore::new()).build()?;
/// assert_eq!(config.call_blocking(&(), || Ok::<_, String>(1)), Ok(1));
/// assert_eq!(config.call_blocking(&(), || Ok::<_, String>(2)), Ok(1));
/// # Ok::<(), mainstay::ConfigError>(())
/// ```
pub struct SingleValueStore<V>(Mutex<Option<V>>);

impl<V> SingleValueStore<V> {
    /// Creates an empty store.
    #[must_use]
    pub fn new() -> Self {
        Self(Mutex::new(None))
    }
}

impl<V> Default for SingleValueStore<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V> fmt::Debug for SingleValueStore<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SingleValueStore").finish_non_exhaustive()
    }
}

impl<V: Clone + Send + 'static> CacheStore<(), V> for SingleValueStore<V> {
    fn get(&self, (): &()) -> Option<V> {
        self.0.lock().clone()
    }

    fn insert(&self, (): (), value: V) {
        let mut stored = self.0.lock();
        let previous = stored.replace(value);
        // The drop of the previous value runs user code, so the lock is released first.
        drop(stored);
        drop(previous);
    }

    fn remove(&self, (): &()) {
        let mut stored = self.0.lock();
        let previous = stored.take();
        drop(stored);
        drop(previous);
    }
}

#[cfg(feature = "quick_cache")]
#[cfg_attr(docsrs, doc(cfg(feature = "quick_cache")))]
impl<K, V, We, B, L> CacheStore<K, V> for quick_cache::sync::Cache<K, V, We, B, L>
where
    K: std::hash::Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    We: quick_cache::Weighter<K, V> + Clone + Send + Sync + 'static,
    B: std::hash::BuildHasher + Clone + Send + Sync + 'static,
    L: quick_cache::Lifecycle<K, V> + Clone + Send + Sync + 'static,
{
    fn get(&self, key: &K) -> Option<V> {
        self.get(key)
    }

    fn insert(&self, key: K, value: V) {
        self.insert(key, value);
    }

    fn remove(&self, key: &K) {
        let removed = self.remove(key);
        drop(removed);
    }
}
