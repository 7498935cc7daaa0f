//! The builder of a keyed bulkhead.

use super::{KeyedBulkhead, KeyedShared};
use crate::concurrency::bulkhead::BulkheadBuilder;
use crate::error::ConfigError;
use crate::keyed::{KeyedConfig, Map};
use crate::sync::{PlainArc, PlainMutex};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::marker::PhantomData;

/// A builder of a [`KeyedBulkhead`], returned by [`KeyedBulkhead::builder`].
#[must_use = "a builder does nothing until `build`"]
pub struct KeyedBulkheadBuilder<K, S = RandomState> {
    each: BulkheadBuilder,
    keys: KeyedConfig<S>,
    key: PhantomData<fn(K)>,
}

impl<K> KeyedBulkheadBuilder<K> {
    pub(super) fn new(each: BulkheadBuilder) -> Self {
        Self { each, keys: KeyedConfig::default(), key: PhantomData }
    }
}

impl<K, S> KeyedBulkheadBuilder<K, S> {
    /// Sets the maximum number of keys, 1 to 1,073,741,824, which is never exceeded. Default:
    /// 100,000, so that keys from untrusted input cannot exhaust the memory.
    pub fn max_keys(mut self, keys: usize) -> Self {
        self.keys.max_keys = keys;
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
    pub fn hasher<H: BuildHasher>(self, hasher: H) -> KeyedBulkheadBuilder<K, H> {
        let keys = self.keys.with_hasher(hasher);
        KeyedBulkheadBuilder { each: self.each, keys, key: PhantomData }
    }

    /// Builds the keyed bulkhead, which has no keys yet.
    ///
    /// # Errors
    ///
    /// Returns an error that names the first setting that is out of range: a setting of the
    /// bulkheads, `max_keys` or `shards`.
    pub fn build(self) -> Result<KeyedBulkhead<K, S>, ConfigError> {
        let config = self.each.validate()?;
        self.keys.validate()?;
        let (emitter, clock) = self.each.into_parts(true)?;
        Ok(KeyedBulkhead(PlainArc::new(KeyedShared {
            map: Map::new(self.keys),
            config: PlainMutex::new(config),
            clock,
            emitter: PlainArc::new(emitter),
        })))
    }
}

impl<K, S> fmt::Debug for KeyedBulkheadBuilder<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedBulkheadBuilder")
            .field("each", &self.each)
            .field("max_keys", &self.keys.max_keys)
            .finish_non_exhaustive()
    }
}
