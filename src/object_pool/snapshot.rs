//! Figures of a pool.

use super::depot::Depot;

/// What a pool did since it was built, and how many objects are idle now.
///
/// Each count is exact. They are read one after another while others go on counting, so that they fit
/// together only when the pool is quiet. Then `idle` = `recycled` + warmed objects − `hits`
/// − `trimmed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Objects handed out that had been idle.
    pub hits: u64,
    /// Times there was none, so that one had to be made.
    pub misses: u64,
    /// Objects made, by a miss or by [`warm`](super::ObjectPool::warm).
    pub created: u64,
    /// Objects that came back and were kept.
    pub recycled: u64,
    /// Objects that came back and were not kept: refused by the rule, caught in a panic, or one too many.
    pub discarded: u64,
    /// Idle objects that a trim let go.
    pub trimmed: u64,
    /// Idle objects now, on the shelves and in the caches of the threads.
    pub idle: u64,
}

impl Snapshot {
    pub(super) fn of<T>(depot: &Depot<T>) -> Self {
        // What left before what came, so that a race never makes `idle` negative.
        let hits = depot.total(|tally| &tally.hits);
        let trimmed = depot.trimmed.get();
        let warmed = depot.warmed.get();
        let recycled = depot.total(|tally| &tally.recycled);
        Self {
            hits,
            misses: depot.total(|tally| &tally.misses),
            created: depot.total(|tally| &tally.created),
            recycled,
            discarded: depot.total(|tally| &tally.discarded),
            trimmed,
            idle: (recycled + warmed).saturating_sub(hits + trimmed),
        }
    }
}
