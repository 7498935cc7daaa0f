//! The platform layer: atomics, locks and threads, and the building blocks that all modules share.
//!
//! This is the only module that names `std::sync`, `core::sync::atomic`, `parking_lot` or `loom`.
//! All other code uses `crate::sync` and is compiled in two ways. As shipped, it uses the standard
//! library and `parking_lot`. Under `cargo loom`, every access is a scheduling point of loom's
//! model checker. `native.rs` and `modelled.rs` export the same names for the two builds, so that
//! the other modules need no `cfg`.
//!
//! Loom cannot model parking with a timeout, because it has no time, nor sequentially consistent
//! *accesses*, which it treats as acquire and release. Its `SeqCst` fences are correct. Code that
//! needs either explains why in a comment, and its models do not execute it.

mod block_on;
mod counter;
mod intern;
mod live;
mod live_state;
mod panics;
mod spin;
mod thread_registry;
mod wakers;

#[cfg(all(test, mainstay_loom))]
mod loom;

// Both modules export the complete set of names, whether or not all are in use.
#[allow(dead_code, unused_imports)]
#[cfg(mainstay_loom)]
#[path = "modelled.rs"]
mod platform;
#[allow(dead_code, unused_imports)]
#[cfg(not(mainstay_loom))]
#[path = "native.rs"]
mod platform;

pub(crate) use block_on::{block_on, block_on_timeout};
pub(crate) use counter::Counter;
pub(crate) use crossbeam_utils::CachePadded;
pub(crate) use intern::intern;
pub(crate) use live::{Decision, EpochWord, Live, Words};
pub(crate) use live_state::{LiveState, STATE_BITS};
pub(crate) use panics::{discard_panic, keep_panic};
#[allow(unused_imports)]
pub(crate) use platform::{
    Arc, Mutex, MutexGuard, UnsafeCell, atomic, heap, hint, thread, thread_id,
};
pub(crate) use spin::{CasBackoff, SpinWait};
pub(crate) use thread_registry::{ThreadId, ThreadRegistry};
pub(crate) use wakers::Wakers;

// Under loom, too, the plain names are the types of std and `parking_lot`. They are for state that
// no model examines: closures (loom's `Arc` cannot hold a `dyn`), public handles, clocks, and
// statics, which outlive every model. State that the threads of a model share uses the names above.
pub(crate) use parking_lot::Mutex as PlainMutex;
pub(crate) use std::sync::atomic::{
    AtomicBool as PlainAtomicBool, AtomicU32 as PlainAtomicU32, AtomicU64 as PlainAtomicU64,
};
pub(crate) use std::sync::{Arc as PlainArc, OnceLock, Weak as PlainWeak};
pub(crate) use std::thread as plain_thread;

// `cargo loom` sets the variable and the cfg. A `RUSTFLAGS` in the environment would override the
// cfg.
#[cfg(not(mainstay_loom))]
const _: () = assert!(
    option_env!("MAINSTAY_LOOM").is_none(),
    "MAINSTAY_LOOM is set without --cfg mainstay_loom: a RUSTFLAGS in the environment overrides the \
     flags of `cargo loom`, and no model would run"
);
