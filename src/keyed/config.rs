//! The settings that all keyed primitives share: [`KeyedConfig`], [`KeyOverflowRule`].

use crate::error::ConfigError;
use crate::sync::plain_thread;
use std::hash::RandomState;

/// What happens to a new key when [`max_keys`](crate::keyed#overload) keys are stored and none of
/// their states is disposable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum KeyOverflowRule {
    /// Rejects the new key. Known keys are served and no state is lost.
    Reject,
    /// Evicts approximately the least recently used key among those that the primitive allows to be
    /// evicted. If there is none, the new key is rejected.
    ///
    /// This is the default, because a flood of new keys must not exclude all other new keys.
    #[default]
    EvictLeastRecentlyUsed,
}

/// The size of a map and how it hashes keys. Part of the builder of each keyed primitive, whose
/// setters have the names of these fields.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyedConfig<S = RandomState> {
    pub(crate) max_keys: usize,
    pub(crate) when_full: KeyOverflowRule,
    /// `None`: the number depends on the processors; see [`shard_count`](Self::shard_count).
    pub(crate) shards: Option<usize>,
    pub(crate) hasher: S,
}

impl Default for KeyedConfig {
    fn default() -> Self {
        Self {
            // About 5 MB with small keys.
            max_keys: 100_000,
            when_full: KeyOverflowRule::default(),
            shards: None,
            hasher: RandomState::new(),
        }
    }
}

impl<S> KeyedConfig<S> {
    /// A single shard of this many keys has a table of 2^31 buckets, as many as the 31 bits of a
    /// hash that an entry keeps can select.
    const MAX_KEYS: usize = 1 << 30;
    const MAX_SHARDS: usize = 1 << 12;
    /// In a shard with fewer keys, the least recently used key is a poor estimate of the least
    /// recently used of all keys.
    const MIN_KEYS_PER_SHARD: usize = 64;

    pub(crate) fn with_hasher<H>(self, hasher: H) -> KeyedConfig<H> {
        let Self { max_keys, when_full, shards, hasher: _ } = self;
        KeyedConfig { max_keys, when_full, shards, hasher }
    }

    /// Checks that each setting is in range.
    ///
    /// # Errors
    /// Returns the first setting that is out of range.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        if !(1..=Self::MAX_KEYS).contains(&self.max_keys) {
            return Err(ConfigError::new("max_keys", self.max_keys, "1 to 1073741824 keys"));
        }
        match self.shards {
            Some(shards) if !shards.is_power_of_two() || shards > Self::MAX_SHARDS => {
                Err(ConfigError::new("shards", shards, "a power of two, at most 4096"))
            }
            _ => Ok(()),
        }
    }

    /// Returns the number of shards. The default is 16 per processor, so that threads rarely use
    /// the same shard, even when one is interrupted while it holds a lock. A map of few keys has
    /// fewer.
    pub(super) fn shard_count(&self) -> usize {
        self.shards.unwrap_or_else(|| {
            let processors = plain_thread::available_parallelism().map_or(1, usize::from);
            self.default_shards(processors)
        })
    }

    fn default_shards(&self, processors: usize) -> usize {
        let wanted = (16 * processors).next_power_of_two();
        let sensible = (self.max_keys / Self::MIN_KEYS_PER_SHARD).max(1);
        wanted.min(1 << sensible.ilog2()).min(Self::MAX_SHARDS)
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_setting_that_is_out_of_range() {
        let table = [
            (0, None, Some("max_keys")),
            (1, None, None),
            (1 << 30, None, None),
            ((1 << 30) + 1, None, Some("max_keys")),
            (9, Some(0), Some("shards")),
            (9, Some(1), None),
            (9, Some(3), Some("shards")),
            (9, Some(4096), None),
            (9, Some(8192), Some("shards")),
        ];
        for (max_keys, shards, expected) in table {
            let config = KeyedConfig { max_keys, shards, ..KeyedConfig::default() };
            let field = config.validate().err().map(|error| error.field());
            assert_eq!(field, expected, "{max_keys} {shards:?}");
        }
    }

    #[test]
    fn few_keys_are_stored_in_few_shards() {
        let shards = |max_keys| KeyedConfig { max_keys, ..KeyedConfig::default() }.shard_count();
        assert_eq!((shards(1), shards(127), shards(128)), (1, 1, 2));
        assert!(shards(1_000_000).is_power_of_two());
    }

    #[test]
    fn many_keys_are_stored_in_sixteen_shards_for_each_processor() {
        let config = KeyedConfig { max_keys: 1 << 30, ..KeyedConfig::default() };
        for (processors, shards) in [(1, 16), (2, 32), (3, 64), (64, 1024), (1000, 4096)] {
            assert_eq!(config.default_shards(processors), shards, "{processors}");
        }
        assert!(config.shard_count() >= 16);
    }
}
