//! The builder of a bus.

use super::{Bus, Shared};
use crate::error::ConfigError;
use crate::keyed::{KeyOverflowRule, KeyedConfig, Map};
use crate::policy;
use crate::ring::{BroadcastOverflow, try_broadcast};
use crate::sync::atomic::AtomicBool;
use crate::sync::{Counter, PlainArc};
use std::fmt;
use std::hash::RandomState;
use std::marker::PhantomData;

/// A builder of a [`Bus`].
pub struct BusBuilder<K, E, S = RandomState> {
    name: String,
    capacity: usize,
    keys: KeyedConfig<S>,
    types: PhantomData<fn(K, E)>,
}

impl<K, E> BusBuilder<K, E> {
    pub(super) fn new() -> Self {
        // A topic with subscribers is never evicted for a new one.
        let keys = KeyedConfig { when_full: KeyOverflowRule::Reject, ..KeyedConfig::default() };
        Self { name: "event_bus".to_owned(), capacity: 64, keys, types: PhantomData }
    }
}

impl<K, E, S> BusBuilder<K, E, S> {
    /// Sets the name of the bus, which its rejections carry. The default is `event_bus`.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the number of events that each topic keeps for its subscribers, at least 1. The default
    /// is 64, which buffers a burst of events while a subscriber is suspended; a topic with small
    /// events then takes a few kilobytes.
    #[must_use]
    pub fn capacity(mut self, capacity: usize) -> Self {
        self.capacity = capacity;
        self
    }

    /// Sets the maximum number of topics with subscribers, over all tenants. All subscriptions to
    /// [all topics](Bus::subscribe_all) of a tenant together count as one more topic. The default
    /// is 100,000.
    #[must_use]
    pub fn max_topics(mut self, max_topics: usize) -> Self {
        self.keys.max_keys = max_topics;
        self
    }

    /// Sets the hasher of the keys. The default is [`RandomState`], with which clients cannot
    /// choose keys that collide.
    #[must_use]
    pub fn hasher<H>(self, hasher: H) -> BusBuilder<K, E, H> {
        let Self { name, capacity, keys, types } = self;
        BusBuilder { name, capacity, keys: keys.with_hasher(hasher), types }
    }

    /// Creates the bus.
    ///
    /// # Errors
    ///
    /// Returns an error for the first setting that is out of range, or if the memory of one topic
    /// cannot be allocated.
    pub fn build(self) -> Result<Bus<K, E, S>, ConfigError> {
        let name = policy::name(&self.name)?;
        // A trial allocation: the memory of one topic must be available.
        drop(try_broadcast::<super::BusEvent<K, E>>(
            self.capacity,
            BroadcastOverflow::OverwriteOldest,
        )?);
        self.keys.validate().map_err(|error| match error.field() {
            "max_keys" => {
                ConfigError::new("max_topics", self.keys.max_keys, "1 to 1073741824 topics")
            }
            _ => error,
        })?;
        Ok(Bus(PlainArc::new(Shared {
            topics: Map::new(self.keys),
            has_wildcards: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            capacity: self.capacity,
            name,
            published: Counter::default(),
            undelivered: Counter::default(),
        })))
    }
}

impl<K, E, S> fmt::Debug for BusBuilder<K, E, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BusBuilder")
            .field("name", &self.name)
            .field("capacity", &self.capacity)
            .field("max_topics", &self.keys.max_keys)
            .finish_non_exhaustive()
    }
}
