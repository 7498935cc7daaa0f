//! One budget per key, such as the name of a dependency: [`KeyedBudget`].

use super::shared::{Parts, Shared};
use super::{Budget, BudgetBuilder};
use crate::error::{ConfigError, Reason, Rejection};
use crate::keyed::{Full, KeyOverflowRule, KeyState, KeyedConfig, Map, Retention};
use crate::sync::PlainArc;
use crate::sync::atomic::{Ordering, fence};
use crate::time::Instant;
use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::marker::PhantomData;
use std::panic::{RefUnwindSafe, UnwindSafe};

/// A [`Budget`] for each key: a bounded table of budgets with the same settings.
///
/// Repeats to one dependency then cannot use up the budget of another. [`keyed`](crate::keyed)
/// describes the table. A budget that is in use is not removed: while a call, a repeat or another
/// handle exists. A budget that is unused and full, as a new one is, can be removed at any time.
///
/// Cloning is cheap, and all clones share the table.
///
/// # Examples
///
/// ```
/// use mainstay::budget::{Budget, KeyedBudget};
/// use mainstay::Retry;
///
/// let budgets = KeyedBudget::<String>::builder(Budget::builder()).build()?;
/// let retry = Retry::builder().assume_idempotent().build()?;
/// // For a call to this host:
/// let retry = retry.with_budget(budgets.budget("search-1")?);
/// assert_eq!(retry.call_blocking(|| Ok::<_, ()>(1)), Ok(1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct KeyedBudget<K, S = RandomState>(PlainArc<KeyedShared<K, S>>);

struct KeyedShared<K, S> {
    map: Map<K, Entry, S>,
    each: Parts,
}

/// The budget of a key.
struct Entry(Budget);

impl KeyState for Entry {
    type Now = Instant;

    fn retention(&self, now: Instant) -> Retention {
        // The lock of the shard is held here, and the handle in the map is cloned under that lock
        // only. So if no other handle exists now, none is created before the lock is released.
        let shared = &self.0.0;
        let handles = PlainArc::strong_count(shared);
        // Ordering: synchronizes with the drop of the last other handle, so that the state is read
        // as that handle left it.
        fence(Ordering::Acquire);
        match handles {
            1 if shared.is_as_new(now) => Retention::Disposable,
            1 => Retention::Evictable,
            _ => Retention::Required,
        }
    }
}

/// A snapshot of the table of a [`KeyedBudget`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyedBudgetSnapshot {
    /// The number of keys.
    pub keys: usize,
    /// The maximum number of keys.
    pub max_keys: usize,
    /// The number of keys that were removed for other keys.
    pub evicted: u64,
    /// New keys that were rejected because all keys in the table were in use.
    pub rejected: u64,
}

// The reasons are those of `Budget`. Of the user code of keys, only `Eq` and `Borrow` run under a
// lock.
impl<K: UnwindSafe, S: UnwindSafe> UnwindSafe for KeyedBudget<K, S> {}
impl<K: UnwindSafe, S: RefUnwindSafe> RefUnwindSafe for KeyedBudget<K, S> {}

impl<K> KeyedBudget<K> {
    /// Creates a builder of a table in which the budget of each key has the settings of `each`.
    ///
    /// ```
    /// # use mainstay::{Budget, KeyedBudget};
    /// let each = Budget::builder().percent(10);
    /// let budgets = KeyedBudget::<u64>::builder(each).max_keys(1000).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn builder(each: BudgetBuilder) -> KeyedBudgetBuilder<K> {
        KeyedBudgetBuilder { each, keys: KeyedConfig::default(), key: PhantomData }
    }
}

impl<K: Hash + Eq, S: BuildHasher> KeyedBudget<K, S> {
    /// Returns the budget of `key`, and creates it if there is none. The key is not removed while
    /// the handle exists. The key is cloned only if it is new.
    ///
    /// The `Eq` and `Borrow` implementations of the key must not use this table: they run under the
    /// lock of a shard.
    ///
    /// ```
    /// # use mainstay::{Budget, KeyedBudget};
    /// let each = Budget::builder().of_calls_in_flight(1);
    /// let budgets = KeyedBudget::<String>::builder(each).build()?;
    /// let permit = budgets.budget("a")?.try_acquire()?;
    /// assert!(budgets.budget("a")?.try_acquire().is_err());
    /// assert!(budgets.budget("b")?.try_acquire().is_ok());
    /// # drop(permit);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns a rejection with [`Reason::Exhausted`] if the table is full.
    pub fn budget<Q>(&self, key: &Q) -> Result<Budget, Rejection>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let KeyedShared { map, each } = &*self.0;
        let make = || {
            let budget = Budget(PlainArc::new(Shared::new(each.clone())));
            (key.to_owned(), Entry(budget))
        };
        let budget = map.get_or_insert(key, || each.clock.now(), make, |entry| entry.0.clone());
        budget.map_err(|Full| Rejection::new(Reason::Exhausted, each.name))
    }

    /// Removes `key`, and returns whether it was known. Calls that run keep its budget; the next
    /// call creates a new one.
    ///
    /// ```
    /// # use mainstay::{Budget, KeyedBudget};
    /// let budgets = KeyedBudget::<String>::builder(Budget::builder()).build()?;
    /// budgets.budget("search-1")?;
    /// assert!(budgets.remove("search-1"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn remove<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0.map.remove(key)
    }
}

impl<K, S> KeyedBudget<K, S> {
    /// Returns the name that was given to the builder of the budgets.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.each.name
    }

    /// Returns the current figures of the table.
    #[must_use]
    pub fn snapshot(&self) -> KeyedBudgetSnapshot {
        let map = &self.0.map;
        KeyedBudgetSnapshot {
            keys: map.len(),
            max_keys: map.max_keys(),
            evicted: map.evicted(),
            rejected: map.rejected(),
        }
    }
}

impl<K, S> Clone for KeyedBudget<K, S> {
    fn clone(&self) -> Self {
        Self(PlainArc::clone(&self.0))
    }
}

impl<K, S> fmt::Debug for KeyedBudget<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedBudget")
            .field("name", &self.name())
            .field("snapshot", &self.snapshot())
            .finish_non_exhaustive()
    }
}

/// A builder of a [`KeyedBudget`], returned by [`KeyedBudget::builder`].
#[must_use = "a builder does nothing until `build`"]
pub struct KeyedBudgetBuilder<K, S = RandomState> {
    each: BudgetBuilder,
    keys: KeyedConfig<S>,
    key: PhantomData<fn(K)>,
}

impl<K, S> KeyedBudgetBuilder<K, S> {
    /// Sets the maximum number of keys, 1 to 1,073,741,824, which is never exceeded. Default:
    /// 100,000, so that keys from untrusted input cannot exhaust the memory.
    ///
    /// ```
    /// # use mainstay::{Budget, KeyedBudget};
    /// let builder = KeyedBudget::<u64>::builder(Budget::builder()).max_keys(1000);
    /// ```
    pub fn max_keys(mut self, keys: usize) -> Self {
        self.keys.max_keys = keys;
        self
    }

    /// Sets what happens to a new key when the table is full. Default:
    /// [`EvictLeastRecentlyUsed`](KeyOverflowRule::EvictLeastRecentlyUsed).
    ///
    /// ```
    /// # use mainstay::{Budget, KeyedBudget, KeyOverflowRule};
    /// let builder = KeyedBudget::<u64>::builder(Budget::builder())
    ///     .when_full(KeyOverflowRule::Reject);
    /// ```
    pub fn when_full(mut self, rule: KeyOverflowRule) -> Self {
        self.keys.when_full = rule;
        self
    }

    /// Sets the number of shards, each of which has its own lock: a power of two, at most 4,096.
    /// Default: 16 per processor, rounded up to a power of two; fewer if `max_keys` is small.
    ///
    /// ```
    /// # use mainstay::{Budget, KeyedBudget};
    /// let builder = KeyedBudget::<u64>::builder(Budget::builder()).shards(8);
    /// ```
    pub fn shards(mut self, shards: usize) -> Self {
        self.keys.shards = Some(shards);
        self
    }

    /// Sets the hasher of keys. Default: [`RandomState`], which prevents clients from choosing keys
    /// that collide. A hasher that does not use all 64 bits is accepted.
    ///
    /// ```
    /// # use mainstay::{Budget, KeyedBudget};
    /// # use std::hash::RandomState;
    /// let builder =
    ///     KeyedBudget::<u64>::builder(Budget::builder()).hasher(RandomState::new());
    /// ```
    pub fn hasher<H: BuildHasher>(self, hasher: H) -> KeyedBudgetBuilder<K, H> {
        let keys = self.keys.with_hasher(hasher);
        KeyedBudgetBuilder { each: self.each, keys, key: PhantomData }
    }

    /// Builds the table, which has no keys yet.
    ///
    /// # Errors
    ///
    /// Returns an error that names the first setting that is out of range: a setting of the
    /// budgets, `max_keys` or `shards`.
    pub fn build(self) -> Result<KeyedBudget<K, S>, ConfigError> {
        let each = Parts { keyed: true, ..self.each.into_parts()? };
        self.keys.validate()?;
        Ok(KeyedBudget(PlainArc::new(KeyedShared { map: Map::new(self.keys), each })))
    }
}

impl<K, S> fmt::Debug for KeyedBudgetBuilder<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedBudgetBuilder")
            .field("each", &self.each)
            .field("max_keys", &self.keys.max_keys)
            .finish_non_exhaustive()
    }
}
