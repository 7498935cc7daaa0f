//! The state that all handles of a keyed pool share.

use crate::keyed::{KeyState, Map, Retention};
use crate::resource_pool::config::{Config, Fixed};
use crate::resource_pool::engine::Shared;
use crate::resource_pool::engine::total::TotalLimit;
use crate::resource_pool::{ResourceManager, ResourcePool};
use crate::sync::{PlainArc, PlainMutex};

pub(super) struct KeyedShared<K, M: ResourceManager, S> {
    pub(super) map: Map<K, Entry<M>, S>,
    pub(super) limit: PlainArc<TotalLimit<M>>,
    pub(super) factory: PlainArc<dyn Fn(&K) -> M + Send + Sync>,
    pub(super) parts: PoolParts<M>,
}

/// The settings that the pools of all keys share.
pub(super) struct PoolParts<M: ResourceManager> {
    pub(super) config: PlainMutex<Config>,
    pub(super) fixed: Fixed<M>,
}

/// The pool of a key, which is closed when the key is removed.
pub(super) struct Entry<M: ResourceManager>(pub(super) ResourcePool<M>);

impl<M: ResourceManager> KeyState for Entry<M> {
    type Now = ();

    fn retention(&self, (): ()) -> Retention {
        // The lock of the shard is held here, and the handle in the map is cloned under that lock
        // only. If no other handle exists now, none is created before the lock is released.
        match PlainArc::strong_count(&self.0.0) {
            1 if self.0.0.is_as_new() => Retention::Disposable,
            1 => Retention::Evictable,
            _ => Retention::Required,
        }
    }
}

impl<M: ResourceManager> Drop for Entry<M> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<M: ResourceManager> PoolParts<M> {
    /// Applies the current settings to a pool that has the settings `applied`, and repeats this
    /// while another thread changes the settings.
    pub(super) fn follow(&self, pool: &PlainArc<Shared<M>>, mut applied: Config) {
        loop {
            let config = *self.config.lock();
            if config == applied {
                return;
            }
            pool.set_config(config);
            applied = config;
        }
    }
}
