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
use super::transition::{CircuitBreakerState, CircuitBreakerTransition};
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

/// A circuit breaker for each key, such as a host, a tenant or a shard.
///
/// Each key has a [`CircuitBreaker`] with its own window and state. All keys share the same
/// settings, which are fixed at build. A breaker refers to one of two live configurations, so a
/// removed breaker that a caller still holds could not follow a second change. To change the
/// settings, build a new `KeyedCircuitBreaker`.
///
/// A breaker is kept while it is open, half-open or ramping up, while a mode is set, and while a
/// handle to it exists, which includes its calls in flight. Any other breaker is removed if it has
/// not been used for the [`idle_timeout`](KeyedCircuitBreakerBuilder::idle_timeout), or if its
/// window is empty and it counts no consecutive failures. [`keyed`](crate::keyed) describes how
/// keys are stored.
///
/// Open breakers of hosts that no longer exist do not fill the table. A breaker may be evicted like
/// a closed one if it has been ready to admit a probe for longer than `idle_timeout` (if half-open,
/// since its last probe timed out). It is removed after another `idle_timeout` without use. If its
/// key returns, the breaker starts closed.
///
/// There is no breaker for all keys together. If one is needed, put a [`CircuitBreaker`] around
/// this one.
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
/// In addition to the cost of the breaker, a call costs a hash, a lookup under the lock of one of
/// many shards, and the clone and drop of an `Arc`. A key takes 344 bytes on x86-64 while its calls
/// are fast and succeed, with a count window of any size. With a failure among them it takes 784
/// bytes more, for a window of 100 calls. Two copies of the key and its slot in the table are not
/// included.
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
    ///
    /// ```
    /// # use mainstay::{CircuitBreaker, KeyedCircuitBreaker};
    /// let each = CircuitBreaker::builder().min_calls(10);
    /// let hosts = KeyedCircuitBreaker::<String>::builder(each).max_keys(1_000).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
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
    /// Returns the breaker of `key`, and creates it if there is none. The breaker is not removed
    /// while the handle exists. The key is cloned only if it is new.
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
    /// Returns a [`Rejection`] if the table is full and no breaker can be evicted.
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
            // The mode changed before this breaker was in the map, so the change has not reached
            // it.
            group.control.apply(&*shared);
        }
        Ok(CircuitBreaker::from_shared(shared))
    }

    /// Returns a view of the breaker of `key`, which is a [`Guard`](crate::policy::Guard) for a
    /// pipeline. The view looks up the breaker on each call, so that it does not prevent its
    /// removal.
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
    /// ```
    /// # use mainstay::KeyedCircuitBreaker;
    /// let hosts = KeyedCircuitBreaker::<String>::new();
    /// # futures::executor::block_on(async {
    /// assert_eq!(hosts.call("a.example", || async { Ok::<_, ()>(200) }).await, Ok(200));
    /// # });
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the error of `op`, or a rejection if `op` was not run.
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
    /// Returns the error of `op`, or a rejection if `op` was not run.
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
        listener: impl Fn(&K, &CircuitBreakerTransition) + Send + Sync + 'static,
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
    /// A flat record does not contain the key, because the number of keys is unbounded and the
    /// number of metric labels should not be.
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

    /// Returns all keys with their breakers. Visits one shard at a time, so the result is not an
    /// atomic view of the table.
    ///
    /// None of these breakers can be removed while its handle exists, and a full table then accepts
    /// no new key. Drop the handles after use.
    #[must_use]
    pub fn breakers(&self) -> Vec<(PlainArc<K>, CircuitBreaker)> {
        let key = |shared: &Shared| shared.key.clone().and_then(|key| key.downcast().ok());
        let with_key =
            |shared: PlainArc<Shared>| Some((key(&shared)?, CircuitBreaker::from_shared(shared)));
        self.0.all().into_iter().filter_map(with_key).collect()
    }

    /// Returns the sum of all windows, and the number of breakers in each state. Visits every key.
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

    /// Returns a snapshot of the table, without visiting the keys.
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

    /// Removes `key` in any state, and returns true if it was present. Existing handles to its
    /// breaker stay usable, but no longer belong to the key.
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

// The same as for a single breaker. The map stays consistent if `Hash`, `Eq` or `Clone` of a key
// panics.
impl<K: RefUnwindSafe, S: RefUnwindSafe> UnwindSafe for KeyedShared<K, S> {}
impl<K: RefUnwindSafe, S: RefUnwindSafe> RefUnwindSafe for KeyedShared<K, S> {}

impl<K: Send + Sync, S: Send + Sync> ModeTarget for KeyedShared<K, S> {
    fn apply_mode(&self, mode: CircuitBreakerMode) {
        // Observers run here, so no lock of a shard is held.
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
