//! The counts of a pool at one moment.

use super::storage::Storage;

/// The counts of an [`ObjectPool`](super::ObjectPool) since it was built.
///
/// Each count is exact. The counts are read one after another, so they are consistent with each
/// other only while no thread uses the pool. Then `idle` = `recycled` + warmed objects − `hits` −
/// `trimmed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectPoolSnapshot {
    /// Gets that found an idle object.
    pub hits: u64,
    /// Gets that found none, so that an object was created.
    pub misses: u64,
    /// Objects created, by a miss or by [`warm`](super::ObjectPool::warm).
    pub created: u64,
    /// Objects that were returned and kept.
    pub recycled: u64,
    /// Objects that were returned and dropped: by the recycle rule, because of a panic, or for lack
    /// of room.
    pub discarded: u64,
    /// Idle objects that a trim dropped.
    pub trimmed: u64,
    /// Objects that are idle now, in the shards and in the caches of the threads.
    pub idle: u64,
}

impl ObjectPoolSnapshot {
    pub(super) fn of<T>(storage: &Storage<T>) -> Self {
        // Removals are read before insertions, so that a race never makes `idle` negative.
        let hits = storage.total(|stats| &stats.hits);
        let trimmed = storage.trimmed.get();
        let warmed = storage.warmed.get();
        let recycled = storage.total(|stats| &stats.recycled);
        Self {
            hits,
            misses: storage.total(|stats| &stats.misses),
            created: storage.total(|stats| &stats.created),
            recycled,
            discarded: storage.total(|stats| &stats.discarded),
            trimmed,
            idle: (recycled + warmed).saturating_sub(hits + trimmed),
        }
    }
}
