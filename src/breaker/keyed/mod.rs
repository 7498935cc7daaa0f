//! A circuit breaker for each key.

mod builder;
mod entry;
mod snapshot;
mod view;

pub use builder::KeyedCircuitBreakerBuilder;
pub use snapshot::{KeyedCircuitBreakerSnapshot, KeyedCircuitBreakerTotals};
pub use view::KeyedCircuitBreakerView;

use super::config::{Config, SharedConfig, WindowMemory};
use super::engine::{Engine, OpenLimit};
use super::events::{Notice, observer_listener};
use super::mode::{CircuitBreakerMode, ModeTarget};
use super::shared::{Group, Shared};
use super::transition::{CircuitBreakerState, Transition};
use super::{CircuitBreaker, CircuitBreakerBuilder};
use crate::error::{Error, Reason, Rejection};
use crate::event::{Observer, Subscription, for_all};
use crate::keyed::{Full, Map};
use crate::sync::{Arc, PlainArc};
use entry::Entry;
use std::borrow::Borrow;
use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, Hash, RandomState};
use std::panic::{RefUnwindSafe, UnwindSafe};

/// A circuit breaker for each key: host, tenant, shard.
///
/// Each key has a [`CircuitBreaker`] with its own window and state. The settings are those of all
/// keys, and fixed: a breaker refers to one of two live configurations, so one that is held by a
/// caller while it is removed could not follow a second change. To change the settings, build a new
/// one.
///
/// A breaker stays while it is open, half-open or ramping up, while its mode was set, and while a
/// handle of it exists, and so while one of its calls is in flight. A breaker that was not used for
/// the [`idle_timeout`](KeyedCircuitBreakerBuilder::idle_timeout), or whose window is empty and
/// which counts no consecutive failures, is removed. [`keyed`](crate::keyed) describes how keys are
/// kept.
///
/// Hosts that no longer exist do not fill the table: a breaker that would have admitted a probe
/// (or, half-open, whose last probe timed out) longer than `idle_timeout` ago may be evicted as a
/// closed one may, and is removed when it has been idle for as long again. If its key returns, it
/// starts closed.
///
/// There is no breaker over all keys. Where one is needed, put a [`CircuitBreaker`] around this
/// one.
///
/// # Examples
///
/// ```
/// use mainstay::breaker::{CircuitBreaker, KeyedCircuitBreaker};
///
/// let each = CircuitBreaker::builder().min_calls(3);
/// let hosts = KeyedCircuitBreaker::<String>::builder(each).build()?;
/// # let get = |_: &str| Err::<(), _>(());
/// for _ in 0..3 {
///     let _ = hosts.call_blocking("a.example", || get("a.example"));
/// }
/// assert!(hosts.breaker("a.example")?.try_acquire().is_err());
/// assert!(hosts.breaker("b.example")?.try_acquire().is_ok());
/// assert_eq!((hosts.snapshot().keys, hosts.snapshot().open), (2, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Performance
///
/// A call costs, besides that of the breaker, a hash, a lookup under the lock of one of many
/// shards, and an `Arc` cloned and dropped. A key takes 344 bytes on x86-64 while its calls are
/// fast and succeed, with a count window of any size; with a failure among them 784 more, for a
/// window of 100 calls. In addition there are two copies of the key, and its slot in the table.
pub struct KeyedCircuitBreaker<K, S = RandomState>(PlainArc<KeyedShared<K, S>>);

struct KeyedShared<K, S> {
    map: Map<K, Entry, S>,
    builder: CircuitBreakerBuilder,
    config: Config,
    shared_config: Arc<SharedConfig>,
    group: PlainArc<Group>,
}

impl<K> KeyedCircuitBreaker<K> {
    /// Creates a builder of breakers that each have the settings of `each`.
    #[must_use]
    pub fn builder(each: CircuitBreakerBuilder) -> KeyedCircuitBreakerBuilder<K> {
        KeyedCircuitBreakerBuilder::new(each)
    }
}

impl<K> KeyedCircuitBreaker<K>
where
    K: Eq + Hash + Send + Sync + 'static,
{
    /// Creates a breaker for each key with the default settings.
    ///
    /// ```
    /// use mainstay::breaker::KeyedCircuitBreaker;
    ///
    /// let hosts = KeyedCircuitBreaker::<String>::new();
    /// assert!(hosts.breaker("a.example")?.try_acquire().is_ok());
    /// # Ok::<(), mainstay::error::Rejection>(())
    /// ```
    #[must_use]
    pub fn new() -> Self {
        let builder = Self::builder(CircuitBreakerBuilder::default());
        builder.build().expect("the defaults are in range")
    }
}

impl<K, S> KeyedCircuitBreaker<K, S>
where
    K: Eq + Hash + Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Returns the breaker of `key`, a new one if there is none. It is not removed while the handle
    /// exists. The key is cloned only if it is new.
    ///
    /// ```
    /// # use mainstay::breaker::KeyedCircuitBreaker;
    /// # let hosts = KeyedCircuitBreaker::<String>::new();
    /// let permit = hosts.breaker("a.example")?.try_acquire_owned()?;
    /// permit.success();
    /// # Ok::<(), mainstay::error::Rejection>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A [`Rejection`] if there is no room for another key and no breaker can be evicted.
    pub fn breaker<Q>(&self, key: &Q) -> Result<CircuitBreaker, Rejection>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        if let Some(shared) = self.0.map.get(key, |entry| entry.use_breaker()) {
            return Ok(CircuitBreaker::from_shared(shared));
        }
        let group = &self.0.group;
        let (now, mode) = (group.clock.now(), group.control.mode());
        let mut new = false;
        let make = || {
            new = true;
            (key.to_owned(), self.0.new_entry(key, mode))
        };
        let shared = self.0.map.get_or_insert(key, || now, make, |entry| entry.use_breaker());
        let shared = shared.map_err(|Full| Rejection::new(Reason::Exhausted, group.name))?;
        if new && group.control.mode() != mode {
            // The mode changed before this breaker was in the map, where the change would have
            // found it.
            group.control.apply(&*shared);
        }
        Ok(CircuitBreaker::from_shared(shared))
    }

    /// Returns a view of the breaker of `key`, which is a [`Guard`](crate::policy::Guard) for a
    /// pipeline. It finds the breaker at each call, so that it does not keep it from being removed.
    ///
    /// ```
    /// use mainstay::{breaker::KeyedCircuitBreaker, pipeline::Pipeline};
    ///
    /// let hosts = KeyedCircuitBreaker::<String>::new();
    /// let pipeline = Pipeline::builder().guard(hosts.key("a.example")).build();
    /// # let get = || Ok::<u32, std::io::Error>(42);
    /// assert_eq!(pipeline.call_blocking(|| get()).unwrap(), 42);
    /// ```
    #[must_use]
    pub fn key<Q>(&self, key: &Q) -> KeyedCircuitBreakerView<K, S>
    where
        K: Borrow<Q>,
        Q: ToOwned<Owned = K> + ?Sized,
    {
        KeyedCircuitBreakerView::new(self.clone(), key.to_owned())
    }

    /// Runs `op` if the breaker of `key` admits it, and records its outcome. See
    /// [`CircuitBreaker::call`].
    ///
    /// # Errors
    ///
    /// The error of `op`, or a rejection.
    pub async fn call<Q, Op, Fut, T, E>(&self, key: &Q, op: Op) -> Result<T, Error<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        Op: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.breaker(key)?.call(op).await
    }

    /// Runs `op` on this thread if the breaker of `key` admits it, and records its outcome. See
    /// [`CircuitBreaker::call_blocking`].
    ///
    /// ```
    /// # use mainstay::breaker::KeyedCircuitBreaker;
    /// # let hosts = KeyedCircuitBreaker::<String>::new();
    /// let number = hosts.call_blocking("a.example", || "42".parse::<u32>());
    /// assert_eq!(number, Ok(42));
    /// ```
    ///
    /// # Errors
    ///
    /// The error of `op`, or a rejection.
    pub fn call_blocking<Q, T, E>(
        &self,
        key: &Q,
        op: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, Error<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.breaker(key)?.call_blocking(op)
    }

    /// Calls `listener` for each transition of any of the breakers, with the key, until the
    /// subscription is dropped.
    ///
    /// ```
    /// # use mainstay::breaker::KeyedCircuitBreaker;
    /// # let hosts = KeyedCircuitBreaker::<String>::new();
    /// let subscription = hosts.on_transition(|host, transition| {
    ///     eprintln!("{host}: {} because of {}", transition.to, transition.cause);
    /// });
    /// # drop(subscription);
    /// ```
    pub fn on_transition(
        &self,
        listener: impl Fn(&K, &Transition) + Send + Sync + 'static,
    ) -> Subscription {
        self.0.group.listeners.subscribe(move |notice| {
            if let Notice::Transition(transition, Some(key)) = notice
                && let Some(key) = key.downcast_ref()
            {
                listener(key, transition);
            }
        })
    }

    /// Passes each event of any of the breakers to `observer` until the subscription is dropped.
    /// See [`CircuitBreaker::observe`].
    ///
    /// A flat record does not contain the key: the number of keys is unbounded, and that of metric
    /// labels should not be.
    ///
    /// ```
    /// # use mainstay::{breaker::KeyedCircuitBreaker, event::Event};
    /// # let hosts = KeyedCircuitBreaker::<String>::new();
    /// let subscription = hosts.observe(|event: &Event<'_>| eprintln!("{event}"));
    /// # drop(subscription);
    /// ```
    pub fn observe(&self, observer: impl Observer) -> Subscription {
        self.0.group.listeners.subscribe(observer_listener(self.0.group.name, observer))
    }

    /// Returns all keys with their breakers. It visits one shard at a time, so these are not the
    /// keys of one moment.
    ///
    /// While the handles exist none of these breakers can be removed, and a full table accepts no
    /// new key: read what you need and drop them.
    #[must_use]
    pub fn breakers(&self) -> Vec<(PlainArc<K>, CircuitBreaker)> {
        let key = |shared: &Shared| shared.key.clone().and_then(|key| key.downcast().ok());
        let with_key =
            |shared: PlainArc<Shared>| Some((key(&shared)?, CircuitBreaker::from_shared(shared)));
        self.0.all().into_iter().filter_map(with_key).collect()
    }

    /// Returns the sum of all windows, and the number of breakers in each state. It visits every
    /// key.
    #[must_use]
    pub fn totals(&self) -> KeyedCircuitBreakerTotals {
        let now = self.0.group.clock.now();
        let mut totals = KeyedCircuitBreakerTotals::default();
        self.0.map.for_each(|entry| {
            let one = entry.breaker.engine.snapshot(now);
            totals.counts.total += one.counts.total;
            totals.counts.failed += one.counts.failed;
            totals.counts.slow += one.counts.slow;
            totals.rejected += one.rejected;
            match one.state {
                CircuitBreakerState::Closed => totals.closed += 1,
                CircuitBreakerState::Open => totals.open += 1,
                CircuitBreakerState::HalfOpen => totals.half_open += 1,
            }
        });
        totals
    }

    /// Returns the present figures of the table, without visiting the keys.
    #[must_use]
    pub fn snapshot(&self) -> KeyedCircuitBreakerSnapshot {
        let KeyedShared { map, shared_config, .. } = &*self.0;
        let open_limit = shared_config.open_limit.as_ref();
        KeyedCircuitBreakerSnapshot {
            keys: map.len(),
            max_keys: map.max_keys(),
            open: open_limit.map_or(0, OpenLimit::open),
            suppressed: open_limit.map_or(0, OpenLimit::suppressed),
            evicted: map.evicted(),
            rejected: map.rejected(),
        }
    }

    /// Removes `key`, whatever its state; returns whether it was there. Handles of its breaker stay
    /// usable, and no longer belong to the key.
    ///
    /// ```
    /// # use mainstay::breaker::KeyedCircuitBreaker;
    /// # let hosts = KeyedCircuitBreaker::<String>::new();
    /// hosts.breaker("a.example")?.force_open();
    /// assert!(hosts.remove("a.example"));
    /// assert!(hosts.breaker("a.example")?.try_acquire().is_ok());
    /// # Ok::<(), mainstay::error::Rejection>(())
    /// ```
    pub fn remove<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0.map.remove(key)
    }
}

impl<K: Eq, S: BuildHasher> KeyedShared<K, S> {
    fn new_entry<Q: ToOwned<Owned = K> + ?Sized>(&self, key: &Q, mode: CircuitBreakerMode) -> Entry
    where
        K: Send + Sync + 'static,
    {
        let window = self.builder.new_window(WindowMemory::Sparse).expect("built before");
        Entry::new(Shared {
            engine: Engine::new(window, &self.config, mode, self.shared_config.clone()),
            group: self.group.clone(),
            key: Some(PlainArc::new(key.to_owned())),
        })
    }
}

impl<K, S> KeyedShared<K, S> {
    fn all(&self) -> Vec<PlainArc<Shared>> {
        let mut all = Vec::with_capacity(self.map.len());
        self.map.for_each(|entry| all.push(entry.breaker.clone()));
        all
    }
}

// As of a single breaker. The map stays whole if `Hash`, `Eq` or `Clone` of a key panics.
impl<K: RefUnwindSafe, S: RefUnwindSafe> UnwindSafe for KeyedShared<K, S> {}
impl<K: RefUnwindSafe, S: RefUnwindSafe> RefUnwindSafe for KeyedShared<K, S> {}

impl<K: Send + Sync, S: Send + Sync> ModeTarget for KeyedShared<K, S> {
    fn apply_mode(&self, mode: CircuitBreakerMode) {
        // Observers run here: not under the lock of a shard.
        for_all(self.all(), |breaker| breaker.apply_mode(mode));
    }
}

impl<K: Eq + Hash + Send + Sync + 'static> Default for KeyedCircuitBreaker<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, S> Clone for KeyedCircuitBreaker<K, S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K, S> fmt::Debug for KeyedCircuitBreaker<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedCircuitBreaker")
            .field("name", &self.0.group.name)
            .field("keys", &self.0.map.len())
            .finish_non_exhaustive()
    }
}
