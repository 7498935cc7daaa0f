//! The shipped platform: the standard library and `parking_lot`.

pub(crate) use parking_lot::{Mutex, MutexGuard};
pub(crate) use std::sync::Arc;

pub(crate) mod atomic {
    pub(crate) use std::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };

    /// The light half of an asymmetric fence: keeps the compiler from reordering a store and a
    /// later load. The other thread must wait for as long as the store can take to become visible.
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
    use std::sync::atomic::{AtomicU8, Ordering};
    use std::sync::{Arc, OnceLock};
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
        /// Returns the parker of the calling thread. Allocates once per thread.
        pub(crate) fn current() -> Self {
            thread_local! { static WAKER: OnceCell<Waker> = const { OnceCell::new() } }
            let make = || Waker::from(Arc::new(Unpark(current())));
            // A destructor can wait while the thread ends, after the local was destroyed.
            let waker =
                WAKER.try_with(|waker| waker.get_or_init(make).clone()).unwrap_or_else(|_| make());
            Self { waker }
        }

        pub(crate) fn waker(&self) -> &Waker {
            &self.waker
        }

        /// Parks until woken. Can return spuriously, because the thread's token can be left over
        /// from an earlier wait.
        pub(crate) fn park(&self) {
            park();
        }

        /// Parks until woken or until `deadline`. Returns `false` without parking if the deadline
        /// has already passed.
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
        /// `None` if the instant is later than `Instant` can represent.
        end: Option<Instant>,
    }

    impl ParkDeadline {
        pub(crate) fn after(timeout: Duration) -> Self {
            Self { end: Instant::now().checked_add(timeout) }
        }
    }

    /// Returns the nanoseconds since the first call of this function, which returns 1.
    pub(crate) fn uptime_nanos() -> u64 {
        static ORIGIN: OnceLock<Instant> = OnceLock::new();
        let elapsed = ORIGIN.get_or_init(Instant::now).elapsed();
        u64::try_from(elapsed.as_nanos() + 1).unwrap_or(u64::MAX)
    }

    /// The number of times that a thread yields the processor before it parks.
    pub(crate) const YIELDS: u32 = 1;

    /// Whether a thread retries for a few microseconds: a worker before it sleeps, and the last
    /// consumer of a ring at a busy slot.
    pub(crate) const RETRIES: bool = true;

    /// The longest backoff after a lost compare-and-swap: two to this power of pauses.
    pub(crate) const MAX_BACKOFF_STEP: u32 = 5;

    /// Returns whether other threads can make progress while this one spins.
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
        /// Const-initialized and without a destructor: reading it is one load, even while the other
        /// locals of the thread are being destroyed.
        static POSITION: Cell<Position> = const { Cell::new(UNKNOWN) };
        /// Returns the id to the registry when the thread ends.
        static HOLDER: Holder = const { Holder };
    }

    struct Holder;

    impl Drop for Holder {
        fn drop(&mut self) {
            // The position is cleared before the id is returned. Later destructors of this thread
            // then cannot use an id that another thread has acquired since.
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

    /// Returns the id of the calling thread, and registers the thread if it has none. Returns
    /// `None` if the thread is ending.
    pub(crate) fn current() -> Option<ThreadId> {
        known().or_else(register)
    }

    #[cold]
    fn register() -> Option<ThreadId> {
        if POSITION.get() == UNKNOWN {
            // Accessing the holder registers its destructor, which returns the id. If the
            // destructor can no longer run, the thread gets no id.
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
