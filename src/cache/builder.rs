//! The builder of a cache, with validation and defaults: [`CachedBuilder`].

use super::events::Emitter;
use super::shared::Shared;
use super::state::Lifetimes;
use super::{CacheEntry, CacheStore, Cached, POLICY};
use crate::error::ConfigError;
use crate::event::Observer;
use crate::keyed::KeyedConfig;
use crate::policy;
use crate::random::Random;
use crate::singleflight::{Group, Reuse};
use crate::sync::PlainArc;
use crate::time::Clock;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

/// Configures a [`Cached`].
#[must_use = "a builder does nothing until `build`"]
pub struct CachedBuilder<K, T, E> {
    store: Box<dyn CacheStore<K, CacheEntry<T, E>>>,
    name: String,
    lifetimes: Lifetimes,
    operations: KeyedConfig,
    clock: Clock,
    random: Random,
    observer: Option<PlainArc<dyn Observer>>,
}

// No method of the builder calls the store or the observer.
impl<K, T, E> UnwindSafe for CachedBuilder<K, T, E> {}
impl<K, T, E> RefUnwindSafe for CachedBuilder<K, T, E> {}

impl<K, T, E> CachedBuilder<K, T, E> {
    pub(super) fn new(store: Box<dyn CacheStore<K, CacheEntry<T, E>>>) -> Self {
        Self {
            store,
            name: POLICY.into(),
            lifetimes: Lifetimes {
                ttl: Duration::from_secs(60),
                negative_ttl: Duration::ZERO,
                stale_while_revalidate: Duration::ZERO,
                stale_on_error: Duration::ZERO,
                jitter: 0.1,
                early_refresh: 1.0,
            },
            operations: KeyedConfig::default(),
            clock: Clock::system(),
            random: Random::system(),
            observer: None,
        }
    }

    /// Sets the name that errors and events carry. Default: `cache`.
    ///
    /// ```
    /// # use mainstay::cache::{Cached, SingleValueStore};
    /// let built = Cached::<(), u8, ()>::builder(SingleValueStore::new())
    ///     .name("config")
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets how long a value is fresh. Default: 60 s, which suits most data that may be cached.
    ///
    /// ```
    /// # use mainstay::cache::{Cached, SingleValueStore};
    /// # use std::time::Duration;
    /// let built = Cached::<(), u8, ()>::builder(SingleValueStore::new())
    ///     .ttl(Duration::from_secs(300))
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.lifetimes.ttl = ttl;
        self
    }

    /// Sets the largest random deviation of a time to live, as a share of it, from 0 to 1. Default:
    /// 0.1. With a deviation, values that were stored together do not expire together.
    ///
    /// ```
    /// # use mainstay::cache::{Cached, SingleValueStore};
    /// let built = Cached::<(), u8, ()>::builder(SingleValueStore::new())
    ///     .jitter(0.0)
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub const fn jitter(mut self, share: f64) -> Self {
        self.lifetimes.jitter = share;
        self
    }

    /// Sets how long an error of the operation is stored. Default: zero, so that errors are not
    /// stored.
    ///
    /// If a stored value replaces the error of a refresh, the error is not stored. Instead, the
    /// refresh is not repeated for `ttl`.
    ///
    /// ```
    /// # use mainstay::cache::{Cached, SingleValueStore};
    /// # use std::time::Duration;
    /// let built = Cached::<(), u8, ()>::builder(SingleValueStore::new())
    ///     .negative_ttl(Duration::from_secs(1))
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub const fn negative_ttl(mut self, ttl: Duration) -> Self {
        self.lifetimes.negative_ttl = ttl;
        self
    }

    /// Sets how long after its expiry a value is used while one call refreshes it. Default: zero,
    /// so that a call receives an expired value only if the operation fails.
    ///
    /// ```
    /// # use mainstay::cache::{Cached, SingleValueStore};
    /// # use std::time::Duration;
    /// let built = Cached::<(), u8, ()>::builder(SingleValueStore::new())
    ///     .stale_while_revalidate(Duration::from_secs(30))
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub const fn stale_while_revalidate(mut self, duration: Duration) -> Self {
        self.lifetimes.stale_while_revalidate = duration;
        self
    }

    /// Sets how long after its expiry a value replaces an error: an error of the operation, a
    /// timeout or a rejection. Default: zero. If
    /// [`stale_while_revalidate`](Self::stale_while_revalidate) is longer, that duration applies.
    ///
    /// ```
    /// # use mainstay::cache::{Cached, SingleValueStore};
    /// # use std::time::Duration;
    /// let built = Cached::<(), u8, ()>::builder(SingleValueStore::new())
    ///     .stale_on_error(Duration::from_secs(24 * 3600))
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub const fn stale_on_error(mut self, duration: Duration) -> Self {
        self.lifetimes.stale_on_error = duration;
        self
    }

    /// Sets the factor β of [early refreshes](super#refreshes). Default: 1, which is optimal if the
    /// duration of the operation is distributed exponentially. With a larger β, values are
    /// refreshed earlier. Zero disables early refreshes.
    ///
    /// ```
    /// # use mainstay::cache::{Cached, SingleValueStore};
    /// let built = Cached::<(), u8, ()>::builder(SingleValueStore::new())
    ///     .early_refresh(0.0)
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub const fn early_refresh(mut self, beta: f64) -> Self {
        self.lifetimes.early_refresh = beta;
        self
    }

    /// Sets how many operations may run at the same time, each for another key, from 1 to 2^30.
    /// Default: 100,000, which bounds the memory against a flood of distinct keys.
    ///
    /// If as many operations are running, a call with a new key is rejected with
    /// [`Reason::Exhausted`](crate::error::Reason::Exhausted), unless an old value replaces the
    /// rejection. This setting does not limit the number of values in the store.
    ///
    /// ```
    /// # use mainstay::cache::{Cached, SingleValueStore};
    /// let built = Cached::<(), u8, ()>::builder(SingleValueStore::new())
    ///     .max_operations(1)
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub const fn max_operations(mut self, operations: usize) -> Self {
        self.operations.max_keys = operations;
        self
    }

    /// Sets the clock. Default: the system clock.
    ///
    /// ```
    /// # use mainstay::{ManualClock, cache::{Cached, SingleValueStore}};
    /// let time = ManualClock::new();
    /// let built = Cached::<(), u8, ()>::builder(SingleValueStore::new())
    ///     .clock(time.clock())
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the source of random numbers, for jitter and early refreshes. Default:
    /// [`Random::system`].
    ///
    /// ```
    /// # use mainstay::{Random, cache::{Cached, SingleValueStore}};
    /// let built = Cached::<(), u8, ()>::builder(SingleValueStore::new())
    ///     .random(Random::seeded(7))
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn random(mut self, random: Random) -> Self {
        self.random = random;
        self
    }

    /// Sets the observer; see [Observability](super#observability). Default: none.
    ///
    /// ```
    /// # use mainstay::{Event, cache::{Cached, SingleValueStore}};
    /// let built = Cached::<(), u8, ()>::builder(SingleValueStore::new())
    ///     .observer(|event: &Event<'_>| eprintln!("{event}"))
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observer = Some(PlainArc::new(observer));
        self
    }

    /// Builds the cache.
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] that names the first setting that is not valid.
    pub fn build(self) -> Result<Cached<K, T, E>, ConfigError> {
        let name = policy::name(&self.name)?;
        let Lifetimes { ttl, jitter, early_refresh, .. } = self.lifetimes;
        if ttl.is_zero() {
            return Err(ConfigError::new("ttl", ttl, "more than zero"));
        }
        if !(0.0..=1.0).contains(&jitter) {
            return Err(ConfigError::new("jitter", jitter, "a share from 0 to 1"));
        }
        if !(early_refresh >= 0.0 && early_refresh.is_finite()) {
            let accepted = "a finite number, at least 0";
            return Err(ConfigError::new("early_refresh", early_refresh, accepted));
        }
        if self.operations.validate().is_err() {
            let accepted = "1 to 1073741824 operations";
            let max = self.operations.max_keys;
            return Err(ConfigError::new("max_operations", max, accepted));
        }
        let reuse = Reuse { duration: Duration::ZERO, errors: false };
        Ok(Cached(PlainArc::new(Shared {
            store: self.store,
            group: Group::new(name, self.operations, self.clock, reuse),
            lifetimes: self.lifetimes,
            random: self.random,
            emitter: Emitter::new(name, self.observer),
        })))
    }
}

impl<K, T, E> fmt::Debug for CachedBuilder<K, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedBuilder")
            .field("name", &self.name)
            .field("lifetimes", &self.lifetimes)
            .finish_non_exhaustive()
    }
}
