//! The builder of a keyed breaker.

use super::{KeyedCircuitBreaker, KeyedShared};
use crate::breaker::CircuitBreakerBuilder;
use crate::breaker::config::WindowMemory;
use crate::breaker::engine::OpenLimit;
use crate::breaker::mode::ModeTarget;
use crate::error::ConfigError;
use crate::keyed::{KeyOverflowRule, KeyedConfig, Map};
use crate::sync::{Arc, PlainArc};
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::marker::PhantomData;
use std::time::Duration;

/// A builder of a [`KeyedCircuitBreaker`], returned by [`KeyedCircuitBreaker::builder`].
pub struct KeyedCircuitBreakerBuilder<K, S = RandomState> {
    each: CircuitBreakerBuilder,
    keys: KeyedConfig<S>,
    max_open_share: f64,
    idle_timeout: Duration,
    key: PhantomData<fn(K)>,
}

impl<K> KeyedCircuitBreakerBuilder<K> {
    pub(super) fn new(each: CircuitBreakerBuilder) -> Self {
        Self {
            each,
            keys: KeyedConfig::default(),
            max_open_share: 1.0,
            idle_timeout: Duration::from_secs(600),
            key: PhantomData,
        }
    }
}

impl<K, S> KeyedCircuitBreakerBuilder<K, S> {
    /// Sets the maximum number of keys, 1 to 1,073,741,824, which is never exceeded. Default:
    /// 100,000, so that keys from untrusted input cannot exhaust the memory.
    ///
    /// ```
    /// # use mainstay::breaker::{CircuitBreaker, KeyedCircuitBreaker};
    /// let each = CircuitBreaker::builder();
    /// let hosts = KeyedCircuitBreaker::<String>::builder(each).max_keys(1000).build()?;
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn max_keys(mut self, keys: usize) -> Self {
        self.keys.max_keys = keys;
        self
    }

    /// Sets what happens to a new key when the table is full. Default: the new key evicts the least
    /// recently used breaker that is closed, or that has been ready to admit a probe for the
    /// [`idle_timeout`](Self::idle_timeout) without receiving a call. A flood of keys then does not
    /// block all new keys.
    ///
    /// ```
    /// # use mainstay::breaker::{CircuitBreaker, KeyedCircuitBreaker};
    /// # use mainstay::keyed::KeyOverflowRule;
    /// let each = CircuitBreaker::builder();
    /// let hosts = KeyedCircuitBreaker::<String>::builder(each)
    ///     .when_full(KeyOverflowRule::Reject)
    ///     .build()?;
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn when_full(mut self, when_full: KeyOverflowRule) -> Self {
        self.keys.when_full = when_full;
        self
    }

    /// Sets the share of the keys, above 0 and at most 1, whose breakers may be open or half-open
    /// at the same time. One breaker may always be open. Default: 1, no limit (Envoy: 0.1).
    ///
    /// A breaker whose opening would exceed the limit stays closed and continues to count calls.
    /// The opening is counted as
    /// [suppressed](super::KeyedCircuitBreakerSnapshot::suppressed). The limit exists because, if
    /// most hosts fail at once, the fault is probably in this process or its network.
    ///
    /// ```
    /// # use mainstay::breaker::{CircuitBreaker, KeyedCircuitBreaker};
    /// let each = CircuitBreaker::builder();
    /// let hosts = KeyedCircuitBreaker::<String>::builder(each).max_open_share(0.1).build()?;
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn max_open_share(mut self, share: f64) -> Self {
        self.max_open_share = share;
        self
    }

    /// Sets the time without use after which a closed breaker is removed. An open breaker may be
    /// evicted if it has been ready to admit a probe for this time without receiving a call.
    /// Default: 10 minutes, longer than most pauses between two uses of a key.
    ///
    /// The time starts when the breaker is first found idle, which is checked as new keys arrive. A
    /// breaker may therefore be removed later, but not earlier, unless its window is empty and it
    /// counts no consecutive failures.
    ///
    /// ```
    /// # use mainstay::breaker::{CircuitBreaker, KeyedCircuitBreaker};
    /// # use std::time::Duration;
    /// let each = CircuitBreaker::builder();
    /// let hosts = KeyedCircuitBreaker::<String>::builder(each)
    ///     .idle_timeout(Duration::from_secs(60))
    ///     .build()?;
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// Sets the hasher of the keys. Default: [`RandomState`], which resists attacks by chosen
    /// collisions.
    ///
    /// ```
    /// # use mainstay::breaker::{CircuitBreaker, KeyedCircuitBreaker};
    /// use std::hash::{BuildHasherDefault, DefaultHasher};
    ///
    /// let hasher = BuildHasherDefault::<DefaultHasher>::default();
    /// let each = CircuitBreaker::builder();
    /// let shards = KeyedCircuitBreaker::<u32>::builder(each).hasher(hasher).build()?;
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn hasher<H>(self, hasher: H) -> KeyedCircuitBreakerBuilder<K, H> {
        let Self { each, keys, max_open_share, idle_timeout, .. } = self;
        KeyedCircuitBreakerBuilder {
            each,
            keys: keys.with_hasher(hasher),
            max_open_share,
            idle_timeout,
            key: PhantomData,
        }
    }
}

impl<K, S> KeyedCircuitBreakerBuilder<K, S>
where
    K: Eq + Hash + Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Builds the keyed breaker, which starts without keys.
    ///
    /// # Errors
    ///
    /// Returns an error that names the first setting out of range, its value and the accepted
    /// range.
    pub fn build(self) -> Result<KeyedCircuitBreaker<K, S>, ConfigError> {
        self.keys.validate()?;
        if !(self.max_open_share > 0.0 && self.max_open_share <= 1.0) {
            let accepted = "a share above 0 and at most 1";
            return Err(ConfigError::new("max_open_share", self.max_open_share, accepted));
        }
        self.each.new_window(WindowMemory::Sparse)?;
        let config = self.each.validated()?;
        let mut shared_config = self.each.shared_config(&config);
        shared_config.open_limit = Some(OpenLimit::new(self.max_open_share));
        let shared = PlainArc::new(KeyedShared {
            map: Map::new(self.keys),
            config,
            shared_config: Arc::new(shared_config),
            group: PlainArc::new(self.each.clone().group(self.idle_timeout)),
            builder: self.each,
        });
        let target: PlainArc<dyn ModeTarget> = shared.clone();
        shared.group.control.attach(&target);
        Ok(KeyedCircuitBreaker(shared))
    }
}

impl<K, S> fmt::Debug for KeyedCircuitBreakerBuilder<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedCircuitBreakerBuilder")
            .field("each", &self.each)
            .field("max_keys", &self.keys.max_keys)
            .field("when_full", &self.keys.when_full)
            .field("max_open_share", &self.max_open_share)
            .field("idle_timeout", &self.idle_timeout)
            .finish_non_exhaustive()
    }
}
