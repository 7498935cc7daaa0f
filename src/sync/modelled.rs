//! The platform under `cargo loom`: the names of `native.rs`, for which every access is a
//! scheduling point.

pub(crate) use loom::cell::UnsafeCell;
pub(crate) use loom::sync::{Arc, MutexGuard};

pub(crate) mod atomic {
    pub(crate) use loom::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };

    /// A full fence. Loom has no time, so the other thread cannot wait until a late store is
    /// visible.
    pub(crate) fn light_fence() {
        fence(Ordering::SeqCst);
    }
}

/// Allocation through loom, which reports memory that is leaked or freed twice.
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

    /// A waiter that parks on a `Notify`: loom's `unpark` also releases a thread that waits for a
    /// mutex.
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

    /// The instant at which a thread stops waiting. It cannot be created, because loom has no time.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct ParkDeadline;

    impl ParkDeadline {
        pub(crate) fn after(_: std::time::Duration) -> Self {
            unimplemented!("loom has no time")
        }
    }

    /// Returns a constant, because loom has no time.
    pub(crate) fn uptime_nanos() -> u64 {
        1
    }

    /// One yield is enough for loom to run the other threads first.
    pub(crate) const YIELDS: u32 = 1;

    /// Retries are off in a model: a yield lets all other threads run first, so that a worker would
    /// rarely sleep.
    pub(crate) const RETRIES: bool = false;

    /// In a model, a pause is a yield, and one is enough.
    pub(crate) const MAX_BACKOFF_STEP: u32 = 0;

    /// Returns `false`: in a model, a spin only adds equal interleavings.
    pub(crate) fn spinning_helps() -> bool {
        false
    }
}

/// A loom mutex with the interface of `parking_lot`: without poisoning.
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

/// Thread ids, which no thread has in a model. Statics outlive a model, so a model creates its own
/// `ThreadRegistry` and passes ids explicitly.
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
