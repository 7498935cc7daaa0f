//! The face under `cargo loom`: the same names, each access a scheduling point.

pub(crate) use loom::cell::UnsafeCell;
pub(crate) use loom::sync::{Arc, MutexGuard};

pub(crate) mod atomic {
    pub(crate) use loom::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };
}

pub(crate) mod hint {
    pub(crate) use loom::hint::spin_loop;
}

pub(crate) mod thread {
    pub(crate) use loom::thread::{Thread, current, park, yield_now};
}

/// loom's mutex with `parking_lot`'s interface: no poison.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock().ok()
    }
}

/// Statics outlive a model, so that a model makes its own `Registry` and passes ids by hand; whoever
/// asks the running thread is told that it has none.
pub(crate) mod thread_id {
    use crate::sync::{Registry, ThreadId};

    pub(crate) fn known() -> Option<ThreadId> {
        None
    }

    pub(crate) fn current() -> Option<ThreadId> {
        None
    }

    pub(crate) fn registry() -> Option<&'static Registry> {
        None
    }
}
