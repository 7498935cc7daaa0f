use crate::error::ConfigError;
use crate::sync::plain_thread;

/// What becomes of a new key when there are as many as there may be, and none is worth nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum WhenFull {
    /// It is refused: who is known is served, and nobody's state is lost.
    Refuse,
    /// The least recently used gives way, approximately, if its owner can spare it. The default: a flood of
    /// new keys must not lock out everybody new.
    #[default]
    EvictOldest,
}

/// How large the map may get; part of its owner's builder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) max_keys: usize,
    /// `None`: as suits the machine.
    pub(crate) shards: Option<usize>,
    pub(crate) when_full: WhenFull,
}

impl Default for Settings {
    fn default() -> Self {
        // Some 5 MB of small keys.
        Self { max_keys: 100_000, shards: None, when_full: WhenFull::default() }
    }
}

impl Settings {
    /// So many keys fit into tables of 2^24 places, beyond which the hash bits kept in an entry run out.
    const MOST_KEYS: usize = 1 << 30;
    const MOST_SHARDS: usize = 1 << 12;
    /// With fewer keys a shard would be a poor sample of who was used last.
    const KEYS_A_SHARD: usize = 64;

    /// # Errors
    /// Names the setting that is out of range.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        if !(1..=Self::MOST_KEYS).contains(&self.max_keys) {
            return Err(ConfigError::new("max_keys", self.max_keys, "1 to 1073741824 keys"));
        }
        match self.shards {
            Some(shards) if !shards.is_power_of_two() || shards > Self::MOST_SHARDS => {
                Err(ConfigError::new("shards", shards, "a power of two, at most 4096"))
            }
            _ => Ok(()),
        }
    }

    /// Sixteen for each processor, so that two threads seldom meet, also where many share a processor and one
    /// is interrupted under a lock; fewer for few keys.
    pub(super) fn shards(&self) -> usize {
        self.shards.unwrap_or_else(|| {
            let processors = plain_thread::available_parallelism().map_or(1, usize::from);
            let wanted = (16 * processors).next_power_of_two();
            let sensible = (self.max_keys / Self::KEYS_A_SHARD).max(1);
            wanted.min(1 << sensible.ilog2()).min(Self::MOST_SHARDS)
        })
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_range_is_named() {
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
            let settings = Settings { max_keys, shards, ..Settings::default() };
            let field = settings.validate().err().map(|error| error.field());
            assert_eq!(field, expected, "{max_keys} {shards:?}");
        }
    }

    #[test]
    fn few_keys_stand_in_few_shards() {
        let shards = |max_keys| Settings { max_keys, ..Settings::default() }.shards();
        assert_eq!((shards(1), shards(127), shards(128)), (1, 1, 2));
        assert!(shards(1_000_000).is_power_of_two());
    }
}
