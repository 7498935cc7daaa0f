//! The platform under `cargo loom`: the names of `native.rs`, with each access a scheduling point.

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

/// Reports memory that is leaked or freed twice.
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

    /// Does not use `park`: loom's `unpark` also releases a thread that waits for a mutex.
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

    /// The instant at which a thread stops waiting. It never comes: loom has no time.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct ParkDeadline;

    impl ParkDeadline {
        pub(crate) fn after(_: std::time::Duration) -> Self {
            unimplemented!("loom has no time")
        }
    }

    /// One yield tells loom that this thread depends on others; more would add nothing.
    pub(crate) const YIELDS: u32 = 1;

    /// In a model a yield lets all other threads run first, so that a worker would rarely sleep.
    pub(crate) const LOOKS_AGAIN: bool = false;

    /// A pause is a yield in a model: one is enough.
    pub(crate) const MAX_BACKOFF_STEP: u32 = 0;

    /// In a model a spin only repeats itself.
    pub(crate) fn spinning_helps() -> bool {
        false
    }
}

/// loom's mutex with `parking_lot`'s interface, without poisoning.
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

/// No thread has an id. Statics outlive a model, so a model creates its own `ThreadRegistry` and
/// passes ids explicitly.
pub(crate) mod thread_id {
    use crate::sync::{ThreadId, ThreadRegistry};

    pub(crate) fn known() -> Option<ThreadId> {
        None
    }

    pub(crate) fn current() -> Option<ThreadId> {
        None
    }

    pub(crate) fn registry() -> Option<&'static ThreadRegistry> {
        None
    }
}
