//! A queued job without its type, and jobs that borrow: all unsafe code of the pool.
//!
//! Invariants that the unsafe code relies on:
//!
//! 1. The storage of a [`Job`] holds a value of the type that its functions were instantiated for,
//!    from `erase` until the value is consumed. It is consumed once: every method that does so
//!    consumes the job.
//! 2. A closure that borrows for `'scope` is owned by the [`InlineJobs`] that it was added to, and
//!    [`run_scope`] does not return before these have run or dropped every one of them.
#![allow(unsafe_code)]

use super::inline::{InlineJobs, Ticket};
use super::panics::quietly;
use super::run::{Closure, DiscardReason, JobEnd, QueuedState, Run, RunContext};
use crate::sync::PlainArc;
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, MaybeUninit};

/// Type-erased work: a function pointer, and up to 48 bytes of captures in place. Together with the
/// stamp of its slot in the ring that is one cache line. Larger work is boxed.
///
/// Dropping a job discards it as a shutdown does.
pub(crate) struct Job {
    act: unsafe fn(*mut Storage, Action<'_, '_>) -> JobEnd,
    storage: Storage,
}

type Storage = MaybeUninit<[u64; 6]>;

#[derive(Clone, Copy)]
enum Action<'a, 'b> {
    Run(&'a RunContext<'b>),
    Discard(DiscardReason),
    /// Leaves the work where it is.
    Inspect(&'a Cell<QueuedState>),
}

/// Returns whether an `R` is stored in the job itself.
pub(crate) const fn fits<R>() -> bool {
    size_of::<R>() <= size_of::<Storage>() && align_of::<R>() <= align_of::<Storage>()
}

impl Job {
    #[inline(always)]
    pub(crate) fn new<R: Run + 'static>(work: R) -> Self {
        // SAFETY: `work` is `'static`, so it borrows nothing that can end.
        unsafe { Self::erase(work) }
    }

    /// # Safety
    ///
    /// The job must be run, discarded or dropped before anything that `work` borrows ends.
    #[inline(always)]
    unsafe fn erase<R: Run>(work: R) -> Self {
        if const { fits::<R>() } { Self::in_place(work) } else { Self::in_place(Box::new(work)) }
    }

    #[inline(always)]
    fn in_place<R: Run>(work: R) -> Self {
        debug_assert!(fits::<R>());
        let mut storage = Storage::uninit();
        // SAFETY: the storage is large enough and aligned for `R`: `erase` checked, and a box fits.
        unsafe { storage.as_mut_ptr().cast::<R>().write(work) };
        Self { act: act::<R>, storage }
    }

    /// Runs the work. A panic of the work unwinds to the caller.
    #[inline(always)]
    pub(crate) fn run(self, context: &RunContext<'_>) -> JobEnd {
        self.consume(Action::Run(context))
    }

    /// Drops the work and passes the reason to its handle, if it has one.
    pub(crate) fn discard(self, reason: DiscardReason) -> JobEnd {
        self.consume(Action::Discard(reason))
    }

    pub(crate) fn queued_state(&self) -> QueuedState {
        let state = Cell::new(QueuedState::Detached);
        let storage = (&raw const self.storage).cast_mut();
        // SAFETY: invariant 1. `Inspect` only reads the value.
        unsafe { (self.act)(storage, Action::Inspect(&state)) };
        state.get()
    }

    #[inline(always)]
    fn consume(self, action: Action<'_, '_>) -> JobEnd {
        let mut job = ManuallyDrop::new(self);
        let act = job.act;
        // SAFETY: invariant 1. `job` was taken by value and is not dropped, so this is the only one
        // that consumes.
        unsafe { act(&raw mut job.storage, action) }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        // Many jobs may be dropped together: a panic in one must not prevent the drop of the rest.
        quietly(|| {
            // SAFETY: invariant 1; the consuming methods do not drop the job.
            unsafe { (self.act)(&raw mut self.storage, Action::Discard(DiscardReason::ShutDown)) };
        });
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").finish_non_exhaustive()
    }
}

/// # Safety
///
/// `storage` must hold an `R`, which is moved out, except by `Inspect`.
unsafe fn act<R: Run>(storage: *mut Storage, action: Action<'_, '_>) -> JobEnd {
    if let Action::Inspect(state) = action {
        // SAFETY: the caller's promise.
        state.set(unsafe { &*storage.cast::<R>() }.queued_state());
        return JobEnd::Counted;
    }
    // SAFETY: the caller's promise. Moved out before anything can panic, so it is dropped once,
    // here.
    let work = unsafe { storage.cast::<R>().read() };
    match action {
        Action::Run(context) => work.run(context),
        Action::Discard(reason) => work.discard(reason),
        Action::Inspect(_) => unreachable!("returned above"),
    }
}

/// The permission to add jobs that borrow for `'scope` to the jobs of a scope.
///
/// Both lifetimes are invariant: `'scope` cannot be shortened to less than the wait in
/// [`run_scope`], nor `'env` lengthened.
pub(crate) struct ScopeJobs<'scope, 'env: 'scope> {
    jobs: PlainArc<InlineJobs>,
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

impl<'scope> ScopeJobs<'scope, '_> {
    pub(crate) fn add(&'scope self, body: impl FnOnce() + Send + 'scope) -> Ticket {
        // SAFETY: what `'scope` borrows outlives the call of `run_scope` that created this value,
        // and `run_scope` does not return before the job is gone (invariant 2).
        self.jobs.add(unsafe { Job::erase(Closure(body)) })
    }
}

/// Calls `body`, then runs the jobs that it added, and returns when all of them have ended.
pub(crate) fn run_scope<'env, T>(
    jobs: PlainArc<InlineJobs>,
    context: &RunContext<'_>,
    body: impl for<'scope> FnOnce(&'scope ScopeJobs<'scope, 'env>) -> T,
) -> T {
    /// Waits for the jobs even if `body` panics, and aborts the process instead of returning too
    /// early.
    struct Finish<'a, 'b>(&'a InlineJobs, &'a RunContext<'b>);
    impl Drop for Finish<'_, '_> {
        fn drop(&mut self) {
            struct Abort;
            impl Drop for Abort {
                fn drop(&mut self) {
                    std::process::abort();
                }
            }
            let abort = Abort;
            self.0.finish(self.1);
            std::mem::forget(abort);
        }
    }
    let scope = ScopeJobs { jobs, scope: PhantomData, env: PhantomData };
    let _finish = Finish(&scope.jobs, context);
    body(&scope)
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;
    use crate::ring::Ring;
    use crate::worker_pool::run::Stamped;

    #[test]
    fn a_job_and_its_stamp_fill_a_cache_line() {
        assert_eq!(size_of::<Job>(), 56);
        assert_eq!(size_of::<Ring<Job>>(), size_of::<Ring<[u64; 7]>>());
        assert!(fits::<Closure<[u64; 6]>>());
        assert!(!fits::<Closure<[u64; 7]>>() && !fits::<Closure<u128>>());
        assert!(fits::<Stamped<Closure<[u64; 5]>>>());
    }

    #[test]
    fn captures_are_dropped_once_in_place_and_boxed() {
        fn check(job: impl Fn(PlainArc<()>) -> Job) {
            let count = PlainArc::new(());
            drop(job(count.clone()));
            job(count.clone()).discard(DiscardReason::Shed);
            assert_eq!(PlainArc::strong_count(&count), 1);
        }
        check(|count| Job::new(Closure(move || drop(count))));
        check(|count| {
            let large = [0u8; 100];
            Job::new(Closure(move || drop((count, large))))
        });
        #[repr(align(64))]
        struct Aligned(PlainArc<()>);
        check(|count| {
            let aligned = Aligned(count);
            Job::new(Closure(move || drop(aligned.0)))
        });
    }
}
