//! The builder of a keyed resource pool.

use super::KeyedResourcePool;
use super::shared::{KeyedShared, PoolParts};
use crate::backoff::{Backoff, Jitter};
use crate::error::ConfigError;
use crate::event::Observer;
use crate::keyed::{KeyOverflowRule, KeyedConfig, Map};
use crate::policy;
use crate::random::Random;
use crate::resource_pool::config::{Fixed, MAX_SIZE};
use crate::resource_pool::engine::total::TotalLimit;
use crate::resource_pool::events::Emitter;
use crate::resource_pool::{POLICY, ResourceManager, ResourcePoolSettings};
use crate::sync::{PlainArc, PlainMutex};
use crate::time::Clock;
use std::fmt;
use std::hash::{BuildHasher, RandomState};

/// A builder of a [`KeyedResourcePool`], returned by [`KeyedResourcePool::builder`].
#[must_use = "a builder does nothing until `build`"]
pub struct KeyedResourcePoolBuilder<K, M: ResourceManager, S = RandomState> {
    factory: PlainArc<dyn Fn(&K) -> M + Send + Sync>,
    keys: KeyedConfig<S>,
    settings: ResourcePoolSettings,
    max_total_size: usize,
    name: String,
    creation_backoff: Backoff,
    clock: Clock,
    random: Random,
    observer: Option<PlainArc<dyn Observer>>,
}

impl<K, M: ResourceManager> KeyedResourcePoolBuilder<K, M> {
    pub(super) fn new(factory: impl Fn(&K) -> M + Send + Sync + 'static) -> Self {
        Self {
            factory: PlainArc::new(factory),
            keys: KeyedConfig { max_keys: 1_000, ..KeyedConfig::default() },
            settings: ResourcePoolSettings::new(),
            max_total_size: 100,
            name: POLICY.into(),
            creation_backoff: Backoff::exponential(ResourcePoolSettings::FIRST_DELAY),
            clock: Clock::system(),
            random: Random::system(),
            observer: None,
        }
    }
}

impl<K, M: ResourceManager, S> KeyedResourcePoolBuilder<K, M, S> {
    /// Sets the maximum number of resources over all keys, from 1 to 1,048,576, which is never
    /// exceeded. Default: 100, about a tenth of the default limit on open files of a process on
    /// most systems.
    ///
    /// ```
    /// # use mainstay::resource_pool::{BlockingResourceManager, FromBlocking, KeyedResourcePool};
    /// # struct Connect(String);
    /// # impl BlockingResourceManager for Connect {
    /// #     type Resource = u32;
    /// #     type Error = std::io::Error;
    /// #     fn create(&self) -> std::io::Result<u32> { Ok(7) }
    /// # }
    /// let connect = |host: &String| FromBlocking(Connect(host.clone()));
    /// let hosts = KeyedResourcePool::builder(connect).max_total_size(200).build()?;
    /// assert_eq!(hosts.snapshot().max_total_size, 200);
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn max_total_size(mut self, max_total_size: usize) -> Self {
        self.max_total_size = max_total_size;
        self
    }

    /// Sets the settings of the pool of each key. Default: those of
    /// [`ResourcePoolSettings::new`], with at most 10 resources for each key.
    ///
    /// ```
    /// # use mainstay::resource_pool::{BlockingResourceManager, FromBlocking, KeyedResourcePool};
    /// # struct Connect(String);
    /// # impl BlockingResourceManager for Connect {
    /// #     type Resource = u32;
    /// #     type Error = std::io::Error;
    /// #     fn create(&self) -> std::io::Result<u32> { Ok(7) }
    /// # }
    /// # let connect = |host: &String| FromBlocking(Connect(host.clone()));
    /// use mainstay::resource_pool::ResourcePoolSettings;
    ///
    /// let each = ResourcePoolSettings::new().max_size(4);
    /// let hosts = KeyedResourcePool::builder(connect).settings(each).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn settings(mut self, settings: ResourcePoolSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Sets the maximum number of keys, 1 to 1,073,741,824, which is never exceeded. Default:
    /// 1,000.
    pub fn max_keys(mut self, max_keys: usize) -> Self {
        self.keys.max_keys = max_keys;
        self
    }

    /// Sets what happens to a new key when there are `max_keys` keys and each of them has
    /// resources. Default: [`EvictLeastRecentlyUsed`](KeyOverflowRule::EvictLeastRecentlyUsed).
    pub fn when_full(mut self, rule: KeyOverflowRule) -> Self {
        self.keys.when_full = rule;
        self
    }

    /// Sets the number of shards, each of which has its own lock: a power of two, at most 4,096.
    /// Default: 16 per processor, rounded up to a power of two; fewer if `max_keys` is small.
    pub fn shards(mut self, shards: usize) -> Self {
        self.keys.shards = Some(shards);
        self
    }

    /// Sets the hasher of keys. Default: [`RandomState`], which prevents clients from choosing keys
    /// that collide. A hasher that does not use all 64 bits is accepted.
    pub fn hasher<H: BuildHasher>(self, hasher: H) -> KeyedResourcePoolBuilder<K, M, H> {
        KeyedResourcePoolBuilder {
            factory: self.factory,
            keys: self.keys.with_hasher(hasher),
            settings: self.settings,
            max_total_size: self.max_total_size,
            name: self.name,
            creation_backoff: self.creation_backoff,
            clock: self.clock,
            random: self.random,
            observer: self.observer,
        }
    }

    /// Sets the name that events carry. Default: `resource_pool`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the wait after a failed creation. All callers of a key share one wait. Default:
    /// exponential from 100 ms to 30 s, with equal jitter.
    pub fn creation_backoff(mut self, backoff: Backoff) -> Self {
        self.creation_backoff = backoff;
        self
    }

    /// Sets the clock. Default: the system clock.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the source of randomness. Default: the system's.
    pub fn random(mut self, random: Random) -> Self {
        self.random = random;
        self
    }

    /// Sets the observer of events; see the [module](crate::resource_pool#observability). Default:
    /// none.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observer = Some(PlainArc::new(observer));
        self
    }

    /// Builds the keyed pool, which has no keys yet.
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] that names the first setting that is out of range.
    pub fn build(self) -> Result<KeyedResourcePool<K, M, S>, ConfigError> {
        let name = policy::name(&self.name)?;
        let config = self.settings.validate()?;
        self.keys.validate()?;
        if !(1..=MAX_SIZE).contains(&self.max_total_size) {
            let value = self.max_total_size;
            return Err(ConfigError::new("max_total_size", value, "1 to 1,048,576 resources"));
        }
        self.creation_backoff.validate("creation_backoff")?;
        let fixed = Fixed {
            backoff: self.creation_backoff.default_jitter(Jitter::Equal),
            clock: self.clock,
            random: self.random,
            guard: None,
            emitter: PlainArc::new(Emitter::new(name, true, self.observer)),
        };
        Ok(KeyedResourcePool(PlainArc::new(KeyedShared {
            map: Map::new(self.keys),
            limit: PlainArc::new(TotalLimit::new(self.max_total_size)),
            factory: self.factory,
            parts: PoolParts { config: PlainMutex::new(config), fixed },
        })))
    }
}

impl<K, M: ResourceManager, S> fmt::Debug for KeyedResourcePoolBuilder<K, M, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedResourcePoolBuilder")
            .field("name", &self.name)
            .field("max_total_size", &self.max_total_size)
            .field("max_keys", &self.keys.max_keys)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
