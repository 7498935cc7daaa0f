//! The face under `cargo loom`: the same names, each access a scheduling point.

pub(crate) use loom::cell::UnsafeCell;
pub(crate) use loom::sync::{Arc, MutexGuard};

pub(crate) mod atomic {
    pub(crate) use loom::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };

    /// A full fence: loom has no time, by which the other thread could allow for a late store.
    pub(crate) fn light_fence() {
        fence(Ordering::SeqCst);
    }
}

/// Tells of what is not freed, and of what is freed twice.
pub(crate) mod heap {
    pub(crate) use loom::alloc::{alloc, dealloc};
}

pub(crate) mod hint {
    pub(crate) use loom::hint::spin_loop;
}

pub(crate) mod thread {
    use loom::sync::Notify;
    use std::sync::Arc;
    use std::task::{Wake, Waker};

    pub(crate) use loom::thread::{Thread, current, park, yield_now};

    /// Not on `park`: loom's `unpark` also releases a thread that waits for a mutex.
    pub(crate) struct Parker {
        waker: Waker,
        notify: Arc<Unpark>,
    }

    struct Unpark(Notify);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.notify();
        }

        fn wake_by_ref(self: &Arc<Self>) {
            self.0.notify();
        }
    }

    impl Parker {
        pub(crate) fn current() -> Self {
            let notify = Arc::new(Unpark(Notify::new()));
            Self { waker: Waker::from(Arc::clone(&notify)), notify }
        }

        pub(crate) fn waker(&self) -> &Waker {
            &self.waker
        }

        pub(crate) fn park(&self) {
            self.notify.0.wait();
        }

        pub(crate) fn park_until(&self, _: ParkDeadline) -> bool {
            unimplemented!("loom has no time")
        }
    }

    /// The end of a thread's patience, which no model can see: loom has no time.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct ParkDeadline;

    impl ParkDeadline {
        pub(crate) fn after(_: std::time::Duration) -> Self {
            unimplemented!("loom has no time")
        }
    }

    /// Once tells loom that this thread cannot go on alone; more would only be more of the same.
    pub(crate) const YIELDS: u32 = 1;

    /// A thread that yields lets all others go first in a model, and would hardly ever come to sleep.
    pub(crate) const LOOKS_AGAIN: bool = false;

    /// A pause is a yield here: one is enough.
    pub(crate) const MAX_BACKOFF_STEP: u32 = 0;

    /// In a model a spin would only repeat itself.
    pub(crate) fn spinning_helps() -> bool {
        false
    }
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
