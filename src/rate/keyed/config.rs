//! The builder of a keyed rate limiter: [`KeyedRateLimiterBuilder`].

use super::state::CommonQuota;
use super::turns::Turns;
use super::{KeyedRateLimiter, Quotas, Resolve, Shared};
use crate::error::ConfigError;
#[allow(unused_imports)] // for the documentation
use crate::error::Reason;
use crate::event::Observer;
use crate::keyed::{KeyOverflowRule, KeyedConfig, Map};
use crate::policy;
use crate::rate::engine::Gcra;
use crate::rate::events::Emitter;
use crate::rate::timeline::Timeline;
use crate::rate::{POLICY, Quota};
use crate::sync::{PlainArc, PlainAtomicU64};
use crate::time::Clock;
use std::fmt;
use std::hash::{BuildHasher, RandomState};

/// A builder of a [`KeyedRateLimiter`], returned by [`KeyedRateLimiter::builder`].
pub struct KeyedRateLimiterBuilder<K, S = RandomState> {
    quota: Quota,
    resolve: Option<Resolve<K>>,
    keys: KeyedConfig<S>,
    name: String,
    clock: Clock,
    observer: Option<PlainArc<dyn Observer>>,
}

impl<K> KeyedRateLimiterBuilder<K> {
    pub(super) fn new(quota: Quota) -> Self {
        Self {
            quota,
            resolve: None,
            keys: KeyedConfig::default(),
            name: POLICY.into(),
            clock: Clock::system(),
            observer: None,
        }
    }
}

impl<K, S> KeyedRateLimiterBuilder<K, S> {
    /// Sets the function that returns the quota of each key. The quota passed to the builder is
    /// then not used, but must be valid.
    ///
    /// `resolve` is called when a key is inserted, including a key that was removed and is used
    /// again. No lock is held during the call. Two threads that use the same new key concurrently
    /// may both call it. Requests for a key whose quota is [out of range](Quota#accepted-quotas)
    /// are denied as [`Misconfigured`](Reason::Misconfigured).
    ///
    /// ```
    /// use mainstay::rate::{KeyedRateLimiter, Quota};
    ///
    /// let limiter: KeyedRateLimiter<String> = KeyedRateLimiter::builder(Quota::per_second(10))
    ///     .quota_by(|tenant: &String| match tenant.starts_with("free-") {
    ///         true => Quota::per_second(10),
    ///         false => Quota::per_second(1000),
    ///     })
    ///     .build()?;
    /// assert_eq!(limiter.peek("free-7").limit(), 10);
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn quota_by(mut self, resolve: impl Fn(&K) -> Quota + Send + Sync + 'static) -> Self {
        self.resolve = Some(Box::new(resolve));
        self
    }

    /// Sets the maximum number of keys, 1 to 1,073,741,824. Default: 100,000, which occupy a few
    /// megabytes if the keys are small.
    ///
    /// ```
    /// # use mainstay::{KeyedRateLimiter, Quota};
    /// let limiter = KeyedRateLimiter::<u64>::builder(Quota::per_second(5))
    ///     .max_keys(10_000)
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub fn max_keys(mut self, keys: usize) -> Self {
        self.keys.max_keys = keys;
        self
    }

    /// Sets what happens to a new key at [`max_keys`](Self::max_keys). Default: the least recently
    /// used key is evicted, so that a flood of new keys does not cause all later new keys to be
    /// rejected.
    ///
    /// ```
    /// # use mainstay::{KeyOverflowRule, KeyedRateLimiter, Quota};
    /// let limiter = KeyedRateLimiter::<u64>::builder(Quota::per_second(5))
    ///     .when_full(KeyOverflowRule::Reject)
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub fn when_full(mut self, rule: KeyOverflowRule) -> Self {
        self.keys.when_full = rule;
        self
    }

    /// Sets the number of shards, each of which has its own lock: a power of two, at most 4,096.
    /// Default: 16 per processor, rounded up to a power of two; fewer if `max_keys` is small.
    ///
    /// ```
    /// # use mainstay::{KeyedRateLimiter, Quota};
    /// let limiter = KeyedRateLimiter::<u64>::builder(Quota::per_second(5))
    ///     .shards(16)
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub fn shards(mut self, shards: usize) -> Self {
        self.keys.shards = Some(shards);
        self
    }

    /// Sets the hasher of keys. Default: [`RandomState`], which prevents clients from choosing keys
    /// that collide. A hasher that does not use all 64 bits is accepted.
    ///
    /// ```
    /// # use mainstay::{KeyedRateLimiter, Quota};
    /// let limiter = KeyedRateLimiter::<u64>::builder(Quota::per_second(5))
    ///     .hasher(std::hash::RandomState::new())
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub fn hasher<H: BuildHasher>(self, hasher: H) -> KeyedRateLimiterBuilder<K, H> {
        let Self { quota, resolve, keys, name, clock, observer } = self;
        let keys = keys.with_hasher(hasher);
        KeyedRateLimiterBuilder { quota, resolve, keys, name, clock, observer }
    }

    /// Sets the name of the limiter, which appears in the errors and events of all keys: 1 to 128
    /// bytes without control characters. Default: `rate_limiter`.
    ///
    /// ```
    /// # use mainstay::{KeyedRateLimiter, Quota};
    /// let limiter = KeyedRateLimiter::<u64>::builder(Quota::per_second(5))
    ///     .name("tenants")
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the clock. Default: [`Clock::system`], which works under every runtime.
    ///
    /// ```
    /// # use mainstay::{KeyedRateLimiter, ManualClock, Quota};
    /// let time = ManualClock::new();
    /// let limiter = KeyedRateLimiter::<u64>::builder(Quota::per_second(5))
    ///     .clock(time.clock())
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the observer; see
    /// [`RateLimiterBuilder::observer`](crate::rate::RateLimiterBuilder::observer). Default: none.
    ///
    /// Events do not contain the key, because the number of keys is not limited and metric labels
    /// should have few values.
    ///
    /// ```
    /// # use mainstay::{Event, KeyedRateLimiter, Quota};
    /// let limiter = KeyedRateLimiter::<u64>::builder(Quota::per_second(5))
    ///     .observer(|event: &Event<'_>| eprintln!("{event}"))
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observer = Some(PlainArc::new(observer));
        self
    }

    /// Builds the limiter. It contains no keys yet.
    ///
    /// # Errors
    /// Returns the first setting that is out of range: the quota, the name, `max_keys` or `shards`.
    pub fn build(self) -> Result<KeyedRateLimiter<K, S>, ConfigError> {
        let gcra = Gcra::new(&self.quota)?;
        let name = policy::name(&self.name)?;
        self.keys.validate()?;
        let quotas = match self.resolve {
            Some(resolve) => Quotas::PerKey { map: Map::new(self.keys), resolve },
            None => Quotas::Common {
                map: Map::new(self.keys),
                common: CommonQuota::new(self.quota, gcra),
            },
        };
        Ok(KeyedRateLimiter(PlainArc::new(Shared {
            quotas,
            timeline: Timeline::new(self.clock),
            emitter: Emitter::new(name, self.observer),
            turns: Turns::new(),
            max_debt: PlainAtomicU64::new(0),
        })))
    }
}

impl<K, S> fmt::Debug for KeyedRateLimiterBuilder<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedRateLimiterBuilder")
            .field("quota", &self.quota)
            .field("max_keys", &self.keys.max_keys)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
