//! Whether the running thread is a worker, and of which pool.

use crate::sync::PlainArc;
use crate::worker_pool::Shared;
use crate::worker_pool::run::RunContext;
use crate::worker_pool::stats::WorkerStats;
use std::cell::{Cell, RefCell};

/// Tells pools apart; never looked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PoolId(usize);

impl PoolId {
    /// Of no pool.
    #[cfg(all(test, mainstay_loom))]
    pub(crate) const NONE: Self = Self(0);

    pub(crate) fn of(pool: &Shared) -> Self {
        Self(std::ptr::from_ref(pool) as usize)
    }
}

struct Here {
    pool: PlainArc<Shared>,
    stats: PlainArc<WorkerStats>,
}

thread_local! {
    static HERE: RefCell<Option<Here>> = const { RefCell::new(None) };
    /// How many jobs run inside of each other.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// The running thread works for `pool` from now on.
pub(crate) fn enter(pool: &PlainArc<Shared>, stats: &PlainArc<WorkerStats>) {
    let here = Here { pool: PlainArc::clone(pool), stats: PlainArc::clone(stats) };
    HERE.with(|cell| cell.replace(Some(here)));
}

pub(crate) fn leave() {
    HERE.with(|cell| cell.replace(None));
}

/// Runs `act` if the running thread is a worker of this pool.
pub(crate) fn on_worker_of<R>(pool: PoolId, act: impl FnOnce(&RunContext<'_>) -> R) -> Option<R> {
    // A thread that is being torn down works for nobody any more.
    let here = HERE.try_with(|here| {
        let here = here.borrow();
        let here = here.as_ref().filter(|here| PoolId::of(&here.pool) == pool)?;
        Some(Here { pool: PlainArc::clone(&here.pool), stats: PlainArc::clone(&here.stats) })
    });
    let here = here.ok().flatten()?;
    Some(act(&RunContext { pool: &here.pool, stats: &here.stats, lane: None }))
}

pub(crate) fn is_worker_of(pool: PoolId) -> bool {
    let is =
        |here: &RefCell<Option<Here>>| here.borrow().as_ref().map(|here| PoolId::of(&here.pool));
    HERE.try_with(is).ok().flatten() == Some(pool)
}

/// How many jobs run inside of each other on this thread, by submitting.
pub(crate) fn depth() -> u32 {
    DEPTH.get()
}

/// Runs `act` one level deeper.
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
