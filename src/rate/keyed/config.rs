use super::{Common, Keyed, Keys, Resolve};
use crate::error::ConfigError;
#[allow(unused_imports)] // for the documentation
use crate::error::Reason;
use crate::event::Observer;
use crate::keyed::{KeyOverflowRule, KeyedConfig, Map};
use crate::rate::gcra::Plan;
use crate::rate::{POLICY, Quota, Teller};
use crate::sync::atomic::AtomicU64;
use crate::sync::{Live, PlainArc, PlainMutex, intern};
use crate::time::Clock;
use std::fmt;
use std::hash::{BuildHasher, RandomState};

/// Sets up a [`Keyed`].
pub struct KeyedBuilder<K, S = RandomState> {
    quota: Quota,
    resolve: Option<Resolve<K>>,
    keys: KeyedConfig<S>,
    name: String,
    clock: Clock,
    observer: Option<PlainArc<dyn Observer>>,
}

impl<K> KeyedBuilder<K> {
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

impl<K, S> KeyedBuilder<K, S> {
    /// A quota of its own for each key, asked for when the key is new (or forgotten meanwhile). `resolve`
    /// runs under no lock; of two threads that bring the same new key, both may ask. A key whose quota is out
    /// of range is refused as [`Misconfigured`](Reason::Misconfigured).
    #[must_use]
    pub fn quota_by(mut self, resolve: impl Fn(&K) -> Quota + Send + Sync + 'static) -> Self {
        self.resolve = Some(Box::new(resolve));
        self
    }

    /// How many keys there may be, 1 to 1,073,741,824. Default: 100,000, some megabytes of small keys.
    #[must_use]
    pub fn max_keys(mut self, keys: usize) -> Self {
        self.keys.max_keys = keys;
        self
    }

    /// What becomes of a new key when there are as many as there may be. Default: the least recently used
    /// gives way.
    #[must_use]
    pub fn when_full(mut self, when_full: KeyOverflowRule) -> Self {
        self.keys.when_full = when_full;
        self
    }

    /// In how many shards the keys stand, each behind its own lock: a power of two, at most 4,096. Default:
    /// sixteen for each processor, rounded up; fewer for few keys.
    #[must_use]
    pub fn shards(mut self, shards: usize) -> Self {
        self.keys.shards = Some(shards);
        self
    }

    /// What refusals and events call it, whatever the key. Default: `rate_limiter`.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Whose time it goes by. Default: the system clock.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Who hears of refusals and of other quotas; see [`Builder::observer`](crate::rate::Builder::observer).
    #[must_use]
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observer = Some(PlainArc::new(observer));
        self
    }

    /// How keys are hashed, with all 64 bits in use. Default: [`RandomState`], which no stranger's choice of
    /// keys can make slow.
    #[must_use]
    pub fn hasher<H: BuildHasher>(self, hasher: H) -> KeyedBuilder<K, H> {
        let Self { quota, resolve, keys, name, clock, observer } = self;
        KeyedBuilder { quota, resolve, keys: keys.with_hasher(hasher), name, clock, observer }
    }

    /// Makes it, without any keys.
    ///
    /// # Errors
    /// Names the setting that is out of range, its value, and what is accepted.
    pub fn build(self) -> Result<Keyed<K, S>, ConfigError> {
        let plan = Plan::new(&self.quota)?;
        self.keys.validate()?;
        let keys = match self.resolve {
            Some(resolve) => Keys::Own { map: Map::new(self.keys), resolve },
            None => Keys::Alike {
                map: Map::new(self.keys),
                common: Common {
                    live: Live::new(plan),
                    epoch: AtomicU64::new(0),
                    quota: PlainMutex::new(self.quota),
                },
            },
        };
        Ok(Keyed {
            keys,
            origin: self.clock.now(),
            clock: self.clock,
            teller: Teller::new(intern(&self.name), self.observer),
        })
    }
}

impl<K, S> fmt::Debug for KeyedBuilder<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedBuilder")
            .field("quota", &self.quota)
            .field("max_keys", &self.keys.max_keys)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
