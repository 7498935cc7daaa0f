//! The pool whose worker the current thread is.

use super::pool_id::PoolId;
use crate::sync::PlainArc;
use crate::worker_pool::run::RunContext;
use crate::worker_pool::shared::Shared;
use crate::worker_pool::stats::{Recorder, Stats};
use std::cell::{Cell, RefCell};

struct CurrentWorker {
    pool: PlainArc<Shared>,
    stats: PlainArc<Stats>,
}

thread_local! {
    static CURRENT: RefCell<Option<CurrentWorker>> = const { RefCell::new(None) };
    /// The number of jobs, nested in each other, that run inside the calls that submitted them.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Makes the current thread a worker of `pool`.
pub(crate) fn enter(pool: &PlainArc<Shared>, stats: &PlainArc<Stats>) {
    let current = CurrentWorker { pool: PlainArc::clone(pool), stats: PlainArc::clone(stats) };
    CURRENT.with(|cell| cell.replace(Some(current)));
}

/// Ends the current thread's membership in its pool.
pub(crate) fn leave() {
    CURRENT.with(|cell| cell.replace(None));
}

/// Calls `act` with the worker's context if the current thread is a worker of this pool.
pub(crate) fn on_worker_of<R>(pool: PoolId, act: impl FnOnce(&RunContext<'_>) -> R) -> Option<R> {
    // A thread whose locals are being destroyed is no longer a worker.
    let current = CURRENT.try_with(|current| {
        let current = current.borrow();
        let current = current.as_ref().filter(|current| current.pool.id == pool)?;
        Some((PlainArc::clone(&current.pool), PlainArc::clone(&current.stats)))
    });
    let (pool, stats) = current.ok().flatten()?;
    Some(act(&RunContext { pool: &pool, recorder: Recorder::Worker(&stats), queue: None }))
}

/// Returns whether the current thread is a worker of this pool.
pub(crate) fn is_worker_of(pool: PoolId) -> bool {
    let current_pool = |current: &RefCell<Option<CurrentWorker>>| {
        current.borrow().as_ref().map(|current| current.pool.id)
    };
    CURRENT.try_with(current_pool).ok().flatten() == Some(pool)
}

/// Returns how many jobs run inside the calls that submitted them, on this thread.
pub(crate) fn depth() -> u32 {
    DEPTH.get()
}

/// Calls `act` with the [`depth`] increased by one.
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
