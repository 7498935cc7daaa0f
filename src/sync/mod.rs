//! The machine: the only place that names `std::sync`, `core::sync::atomic`, `parking_lot` or `loom`.
//!
//! Everything above says `use crate::sync::…` and is thereby run twice: as shipped, on the standard
//! library and `parking_lot`; and under `cargo loom`, where every access is a scheduling point of
//! loom's model checker. The two faces stand side by side in `native.rs` and `modelled.rs` and
//! export the same names, so that no code above carries a `cfg`.
//!
//! What loom cannot model is absent here on purpose: a park with a time limit (loom has no time) and
//! sequentially consistent *accesses* (loom treats them as acquire/release; its `SeqCst` fences are
//! right). Code that needs either argues why in a comment and keeps it out of its models.

mod block_on;
mod counter;
mod intern;
mod live;
mod panics;
mod spin;
mod thread_registry;
mod wakers;

#[cfg(all(test, mainstay_loom))]
mod loom;

// A vocabulary is whole, whatever is said in it at present.
#[allow(dead_code, unused_imports)]
#[cfg(mainstay_loom)]
#[path = "modelled.rs"]
mod face;
#[allow(dead_code, unused_imports)]
#[cfg(not(mainstay_loom))]
#[path = "native.rs"]
mod face;

pub(crate) use block_on::{block_on, block_on_timeout};
pub(crate) use counter::Counter;
pub(crate) use crossbeam_utils::CachePadded;
#[allow(unused_imports)]
pub(crate) use face::{Arc, Mutex, MutexGuard, UnsafeCell, atomic, heap, hint, thread, thread_id};
pub(crate) use intern::intern;
pub(crate) use live::{Decision, EpochWord, Live, Words};
pub(crate) use panics::discard_panic;
pub(crate) use spin::{CasBackoff, SpinWait};
pub(crate) use thread_registry::{Registry, ThreadId};
pub(crate) use wakers::Wakers;

// The plain ones are std's and `parking_lot`'s in both worlds: for what no model looks into. Closures
// (loom's `Arc` cannot hold a `dyn`), public handles, clocks, and what is set once for the process and
// so outlives every model. What a model shares between its threads stands in the names above.
pub(crate) use parking_lot::Mutex as PlainMutex;
pub(crate) use std::sync::atomic::{
    AtomicBool as PlainAtomicBool, AtomicU32 as PlainAtomicU32, AtomicU64 as PlainAtomicU64,
};
pub(crate) use std::sync::{Arc as PlainArc, OnceLock, Weak as PlainWeak};
pub(crate) use std::thread as plain_thread;

// `cargo loom` sets the variable; a `RUSTFLAGS` in the environment would displace the cfg.
#[cfg(not(mainstay_loom))]
const _: () = assert!(
    option_env!("MAINSTAY_LOOM").is_none(),
    "MAINSTAY_LOOM is set without --cfg mainstay_loom: a RUSTFLAGS in the environment overrides the \
     flags of `cargo loom`, and no model would run"
);
