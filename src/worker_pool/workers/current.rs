//! The pool that the current thread works for.

use crate::sync::PlainArc;
use crate::worker_pool::run::RunContext;
use crate::worker_pool::shared::Shared;
use crate::worker_pool::stats::{Recorder, Stats};
use std::cell::{Cell, RefCell};

/// The identity of a pool; never dereferenced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PoolId(usize);

impl PoolId {
    /// The identity of no pool.
    #[cfg(all(test, mainstay_loom))]
    pub(crate) const NONE: Self = Self(0);

    pub(crate) fn of(pool: &Shared) -> Self {
        Self(std::ptr::from_ref(pool) as usize)
    }
}

struct CurrentWorker {
    pool: PlainArc<Shared>,
    stats: PlainArc<Stats>,
}

thread_local! {
    static CURRENT: RefCell<Option<CurrentWorker>> = const { RefCell::new(None) };
    /// How many jobs run inside the call that submitted them, one inside the other.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Makes the current thread a worker of `pool`.
pub(crate) fn enter(pool: &PlainArc<Shared>, stats: &PlainArc<Stats>) {
    let current = CurrentWorker { pool: PlainArc::clone(pool), stats: PlainArc::clone(stats) };
    CURRENT.with(|cell| cell.replace(Some(current)));
}

pub(crate) fn leave() {
    CURRENT.with(|cell| cell.replace(None));
}

/// Calls `act` with the worker's context if the current thread is a worker of this pool.
pub(crate) fn on_worker_of<R>(pool: PoolId, act: impl FnOnce(&RunContext<'_>) -> R) -> Option<R> {
    // A thread whose locals are being destroyed is no worker any more.
    let current = CURRENT.try_with(|current| {
        let current = current.borrow();
        let current = current.as_ref().filter(|current| PoolId::of(&current.pool) == pool)?;
        Some((PlainArc::clone(&current.pool), PlainArc::clone(&current.stats)))
    });
    let (pool, stats) = current.ok().flatten()?;
    Some(act(&RunContext { pool: &pool, recorder: Recorder::Worker(&stats), queue: None }))
}

pub(crate) fn is_worker_of(pool: PoolId) -> bool {
    let current_pool = |current: &RefCell<Option<CurrentWorker>>| {
        current.borrow().as_ref().map(|current| PoolId::of(&current.pool))
    };
    CURRENT.try_with(current_pool).ok().flatten() == Some(pool)
}

/// How many jobs run inside the call that submitted them, on this thread.
pub(crate) fn depth() -> u32 {
    DEPTH.get()
}

/// Calls `act` one level deeper.
pub(crate) fn deeper(act: impl FnOnce()) {
    struct Up;
    impl Drop for Up {
        fn drop(&mut self) {
            DEPTH.set(DEPTH.get() - 1);
        }
    }
    DEPTH.set(DEPTH.get() + 1);
    let _up = Up;
    act();
}
