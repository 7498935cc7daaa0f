//! The face that ships: std and `parking_lot`.

pub(crate) use parking_lot::{Mutex, MutexGuard};
pub(crate) use std::sync::Arc;

pub(crate) mod atomic {
    pub(crate) use std::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };

    /// The light half of an asymmetric fence: keeps the compiler from reordering a store and a later
    /// load. The other thread must allow for the time that the store takes to become visible.
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

    /// The calling thread as something that waits for a [`Waker`], so that threads and tasks can stand
    /// in one queue.
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
        /// Allocates once a thread.
        pub(crate) fn current() -> Self {
            thread_local! { static WAKER: OnceCell<Waker> = const { OnceCell::new() } }
            let make = || Waker::from(Arc::new(Unpark(current())));
            // A thread that is being torn down has lost its locals, yet its destructors may wait.
            let waker =
                WAKER.try_with(|waker| waker.get_or_init(make).clone()).unwrap_or_else(|_| make());
            Self { waker }
        }

        pub(crate) fn waker(&self) -> &Waker {
            &self.waker
        }

        /// Until woken, or for no reason: the thread's token may be left over from an earlier wait.
        pub(crate) fn park(&self) {
            park();
        }

        /// The same with an end; false if that had already come.
        pub(crate) fn park_until(&self, limit: ParkDeadline) -> bool {
            let Some(end) = limit.end else {
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

    /// The end of a thread's patience.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct ParkDeadline {
        /// `None`: further away than the machine's clock can tell.
        end: Option<Instant>,
    }

    impl ParkDeadline {
        pub(crate) fn after(patience: Duration) -> Self {
            Self { end: Instant::now().checked_add(patience) }
        }
    }

    /// How often to yield the processor before parking.
    pub(crate) const YIELDS: u32 = 16;

    /// Whether to look again for a while before sleeping.
    pub(crate) const LOOKS_AGAIN: bool = true;

    /// How long, as a power of two of pauses, to step aside at most after losing a race.
    pub(crate) const MAX_BACKOFF_STEP: u32 = 5;

    /// Whether others can make progress while this thread spins.
    #[inline]
    pub(crate) fn spinning_helps() -> bool {
        const UNKNOWN: u8 = 0;
        const ALONE: u8 = 1;
        const PARALLEL: u8 = 2;
        static CORES: AtomicU8 = AtomicU8::new(UNKNOWN);

        #[cold]
        fn ask() -> u8 {
            let parallel = std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1);
            let answer = if parallel { PARALLEL } else { ALONE };
            CORES.store(answer, Ordering::Relaxed);
            answer
        }
        let answer = match CORES.load(Ordering::Relaxed) {
            UNKNOWN => ask(),
            known => known,
        };
        answer == PARALLEL
    }
}

/// `core::cell::UnsafeCell` behind loom's interface: access lasts as long as a closure, so that loom
/// can see where it begins and ends.
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

/// The id of the thread that asks.
pub(crate) mod thread_id {
    use super::Mutex;
    use crate::sync::thread_registry::{Numbers, Place};
    use crate::sync::{Registry, ThreadId};
    use std::cell::Cell;

    static REGISTRY: Registry = Registry::over(Mutex::new(Numbers::new()));

    const UNKNOWN: Place = Place { bucket: u32::MAX, index: 0 };
    const LEAVING: Place = Place { bucket: u32::MAX, index: 1 };

    thread_local! {
        /// Const and without a destructor: reading it is one load, also while the thread's other
        /// locals are being destroyed.
        static PLACE: Cell<Place> = const { Cell::new(UNKNOWN) };
        /// Hands the id back when the thread ends.
        static HOLDER: Holder = const { Holder };
    }

    struct Holder;

    impl Drop for Holder {
        fn drop(&mut self) {
            // Forgotten first, handed back second: what the thread's later destructors do is done
            // without an id, and the next holder never meets this one.
            let place = PLACE.replace(LEAVING);
            if place != UNKNOWN {
                REGISTRY.release(ThreadId::held(place));
            }
        }
    }

    /// The id of a thread that has one already.
    #[inline]
    pub(crate) fn known() -> Option<ThreadId> {
        let place = PLACE.get();
        // The one check that a look-up in a table of so many buckets needs.
        ((place.bucket as usize) < ThreadId::BUCKETS).then(|| ThreadId::held(place))
    }

    /// As [`known`], but gives one to a thread that has none; `None` if it is on its way out.
    pub(crate) fn current() -> Option<ThreadId> {
        known().or_else(register)
    }

    #[cold]
    fn register() -> Option<ThreadId> {
        if PLACE.get() == UNKNOWN {
            // Touching the holder arms its destructor, which will find the id; too late to arm it
            // means too late for an id.
            let armed = HOLDER.try_with(|_| PLACE.set(REGISTRY.acquire().place));
            if armed.is_err() {
                PLACE.set(LEAVING);
            }
        }
        let place = PLACE.get();
        (place != LEAVING).then(|| ThreadId::held(place))
    }

    pub(crate) fn registry() -> Option<&'static Registry> {
        Some(&REGISTRY)
    }
}
