//! The shipped platform: the standard library and `parking_lot`.

pub(crate) use parking_lot::{Mutex, MutexGuard};
pub(crate) use std::sync::Arc;

pub(crate) mod atomic {
    pub(crate) use std::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };

    /// The light half of an asymmetric fence: keeps the compiler from reordering a store and a
    /// later load. The other thread must allow for the time that the store takes to become visible.
    #[inline(always)]
    pub(crate) fn light_fence() {
        std::sync::atomic::compiler_fence(Ordering::SeqCst);
    }
}

pub(crate) mod heap {
    pub(crate) use std::alloc::{alloc, dealloc};
}

pub(crate) mod hint {
    pub(crate) use std::hint::spin_loop;
}

pub(crate) mod thread {
    use std::cell::OnceCell;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU8, Ordering};
    use std::task::{Wake, Waker};
    use std::time::{Duration, Instant};

    pub(crate) use std::thread::{Thread, current, park, yield_now};

    /// The calling thread as a waiter that is woken through a [`Waker`], so that threads and tasks
    /// can wait in one queue.
    #[derive(Debug)]
    pub(crate) struct Parker {
        waker: Waker,
    }

    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }

        fn wake_by_ref(self: &Arc<Self>) {
            self.0.unpark();
        }
    }

    impl Parker {
        /// Allocates once per thread.
        pub(crate) fn current() -> Self {
            thread_local! { static WAKER: OnceCell<Waker> = const { OnceCell::new() } }
            let make = || Waker::from(Arc::new(Unpark(current())));
            // The destructors of a thread that ends may wait after its locals were destroyed.
            let waker =
                WAKER.try_with(|waker| waker.get_or_init(make).clone()).unwrap_or_else(|_| make());
            Self { waker }
        }

        pub(crate) fn waker(&self) -> &Waker {
            &self.waker
        }

        /// Parks until woken. May return spuriously: the thread's token may be left over from an
        /// earlier wait.
        pub(crate) fn park(&self) {
            park();
        }

        /// Parks until woken or until `deadline`; returns `false` if the deadline had passed
        /// before.
        pub(crate) fn park_until(&self, deadline: ParkDeadline) -> bool {
            let Some(end) = deadline.end else {
                park();
                return true;
            };
            let left = end.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                std::thread::park_timeout(left);
            }
            !left.is_zero()
        }
    }

    /// The instant at which a thread stops waiting.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct ParkDeadline {
        /// `None` if it is later than the machine's clock can express.
        end: Option<Instant>,
    }

    impl ParkDeadline {
        pub(crate) fn after(timeout: Duration) -> Self {
            Self { end: Instant::now().checked_add(timeout) }
        }
    }

    /// How often a thread yields the processor before it parks.
    pub(crate) const YIELDS: u32 = 1;

    /// Whether a worker searches for work again for a while before it sleeps.
    pub(crate) const LOOKS_AGAIN: bool = true;

    /// The longest backoff after a lost compare-and-swap, as a power of two of pauses.
    pub(crate) const MAX_BACKOFF_STEP: u32 = 5;

    /// Whether other threads can make progress while this one spins.
    #[inline]
    pub(crate) fn spinning_helps() -> bool {
        const UNKNOWN: u8 = 0;
        const ONE_CORE: u8 = 1;
        const SEVERAL: u8 = 2;
        static CORES: AtomicU8 = AtomicU8::new(UNKNOWN);

        #[cold]
        fn detect() -> u8 {
            let parallel = std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1);
            let cores = if parallel { SEVERAL } else { ONE_CORE };
            CORES.store(cores, Ordering::Relaxed);
            cores
        }
        let cores = match CORES.load(Ordering::Relaxed) {
            UNKNOWN => detect(),
            known => known,
        };
        cores == SEVERAL
    }
}

/// `core::cell::UnsafeCell` with loom's interface: an access lasts as long as a closure, so that
/// loom sees where it begins and ends.
#[derive(Debug)]
pub(crate) struct UnsafeCell<T>(core::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(core::cell::UnsafeCell::new(value))
    }

    #[inline(always)]
    pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        f(self.0.get())
    }

    #[inline(always)]
    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}

/// The id of the calling thread.
pub(crate) mod thread_id {
    use super::Mutex;
    use crate::sync::thread_registry::{Numbers, Position};
    use crate::sync::{ThreadId, ThreadRegistry};
    use std::cell::Cell;

    static REGISTRY: ThreadRegistry = ThreadRegistry::over(Mutex::new(Numbers::new()));

    const UNKNOWN: Position = Position { bucket: u32::MAX, index: 0 };
    const LEAVING: Position = Position { bucket: u32::MAX, index: 1 };

    thread_local! {
        /// Const-initialized and without a destructor: reading it is one load, also while the
        /// thread's other locals are destroyed.
        static POSITION: Cell<Position> = const { Cell::new(UNKNOWN) };
        /// Returns the id to the registry when the thread ends.
        static HOLDER: Holder = const { Holder };
    }

    struct Holder;

    impl Drop for Holder {
        fn drop(&mut self) {
            // Cleared before it is returned: later destructors of this thread find no id, and so
            // never use one that another thread holds by then.
            let position = POSITION.replace(LEAVING);
            if position != UNKNOWN {
                REGISTRY.release(ThreadId::held(position));
            }
        }
    }

    /// Returns the id of the calling thread if it has one.
    #[inline]
    pub(crate) fn known() -> Option<ThreadId> {
        let position = POSITION.get();
        // This is the only bounds check that a look-up in a table of `BUCKETS` buckets needs.
        ((position.bucket as usize) < ThreadId::BUCKETS).then(|| ThreadId::held(position))
    }

    /// Returns the id of the calling thread, and registers the thread if it has none; `None` if the
    /// thread is ending.
    pub(crate) fn current() -> Option<ThreadId> {
        known().or_else(register)
    }

    #[cold]
    fn register() -> Option<ThreadId> {
        if POSITION.get() == UNKNOWN {
            // Accessing the holder registers its destructor, which returns the id. If it is too
            // late for the destructor, it is too late for an id.
            let armed = HOLDER.try_with(|_| POSITION.set(REGISTRY.acquire().position));
            if armed.is_err() {
                POSITION.set(LEAVING);
            }
        }
        let position = POSITION.get();
        (position != LEAVING).then(|| ThreadId::held(position))
    }

    pub(crate) fn registry() -> Option<&'static ThreadRegistry> {
        Some(&REGISTRY)
    }
}
