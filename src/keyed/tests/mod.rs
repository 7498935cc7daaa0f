//! Tests of the map: unit tests, and models for `cargo loom`.

#[cfg(mainstay_loom)]
mod loom;
#[cfg(not(mainstay_loom))]
mod map;
#[cfg(not(mainstay_loom))]
mod properties;
#[cfg(not(mainstay_loom))]
mod shard;
#[cfg(not(mainstay_loom))]
mod user_code;

#[cfg(not(mainstay_loom))]
use common::*;

/// A state and a map for the unit tests.
#[cfg(not(mainstay_loom))]
mod common {
    use crate::keyed::{Full, KeyOverflowRule, KeyState, KeyedConfig, Map, Retention};
    use crate::time::Instant;
    use std::hash::RandomState;
    use std::time::Duration;

    /// A state that is disposable from the instant `busy_until`. Before that it is evictable or
    /// required.
    #[derive(Debug, Clone, Copy)]
    pub(super) struct Until {
        pub(super) key: u32,
        pub(super) busy_until: Instant,
        pub(super) reads: u32,
        pub(super) evictable: bool,
    }

    impl KeyState for Until {
        type Now = Instant;

        fn retention(&self, now: Instant) -> Retention {
            match (now >= self.busy_until, self.evictable) {
                (true, _) => Retention::Disposable,
                (false, true) => Retention::Evictable,
                (false, false) => Retention::Required,
            }
        }
    }

    pub(super) fn at(seconds: u64) -> Instant {
        Instant::ORIGIN + Duration::from_secs(seconds)
    }

    pub(super) fn map<K, V>(max_keys: usize, when_full: KeyOverflowRule) -> Map<K, V, RandomState> {
        Map::new(KeyedConfig { max_keys, when_full, ..KeyedConfig::default() })
    }

    /// Reads `key`, which is inserted if it is unknown; returns how many times it has been read.
    pub(super) fn read(
        map: &Map<u32, Until, RandomState>,
        key: u32,
        now: u64,
        busy_until: u64,
        evictable: bool,
    ) -> Result<u32, Full> {
        let make = || (key, Until { key, busy_until: at(busy_until), reads: 0, evictable });
        map.get_or_insert(
            &key,
            || at(now),
            make,
            |state| {
                state.reads += 1;
                state.reads
            },
        )
    }
}
