//! A job in a cache line, and jobs that borrow: all unsafe code of the pool.
//!
//! Invariants, on which it rests:
//!
//! 1. The room of a [`Job`] holds a value of the type that its call pointer was made for, from `erase`
//!    until the pointer is called. It is called once: both ways to it take the job for good.
//! 2. A closure that borrows for `'scope` is known to nobody but the [`InlineJobs`] it was added to, and
//!    [`lend`] does not return before these have run or dropped every one of them.
#![allow(unsafe_code)]

use super::panics::quietly;
use crate::sync::PlainArc;
use crate::worker_pool::inline::InlineJobs;
use crate::worker_pool::run::{Closure, Discard, JobEnd, Run, RunContext};
use std::fmt;
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, MaybeUninit};

/// Work without its type: what to call, and up to 48 bytes of it in place. With the stamp of its slot in
/// the ring that is one cache line. Larger work lies in a box.
///
/// Dropped without having been run, it is discarded because of a shutdown.
pub(crate) struct Job {
    call: unsafe fn(*mut Room, Action<'_, '_>) -> JobEnd,
    room: Room,
}

type Room = MaybeUninit<[u64; 6]>;

#[derive(Clone, Copy)]
enum Action<'a, 'b> {
    Run(&'a RunContext<'b>),
    Discard(Discard),
}

/// Whether `W` lies in the job itself.
pub(crate) const fn fits<W>() -> bool {
    size_of::<W>() <= size_of::<Room>() && align_of::<W>() <= align_of::<Room>()
}

impl Job {
    #[inline(always)]
    pub(crate) fn new<W: Run + 'static>(work: W) -> Self {
        // SAFETY: it borrows nothing.
        unsafe { Self::erase(work) }
    }

    /// # Safety
    /// The job must be run, discarded or dropped before anything ends that `work` borrows.
    #[inline(always)]
    unsafe fn erase<W: Run>(work: W) -> Self {
        if const { fits::<W>() } { Self::in_place(work) } else { Self::in_place(Box::new(work)) }
    }

    #[inline(always)]
    fn in_place<W: Run>(work: W) -> Self {
        debug_assert!(fits::<W>());
        let mut room = Room::uninit();
        // SAFETY: the room is large enough and aligned for `W`: `erase` looked, and a box always fits.
        unsafe { room.as_mut_ptr().cast::<W>().write(work) };
        Self { call: call::<W>, room }
    }

    /// Runs the work. A panic of it comes out.
    #[inline(always)]
    pub(crate) fn run(self, context: &RunContext<'_>) -> JobEnd {
        self.call(Action::Run(context))
    }

    /// Drops the work and lets know why whoever waits for it.
    pub(crate) fn discard(self, why: Discard) -> JobEnd {
        self.call(Action::Discard(why))
    }

    #[inline(always)]
    fn call(self, verb: Action<'_, '_>) -> JobEnd {
        let mut job = ManuallyDrop::new(self);
        let call = job.call;
        // SAFETY: invariant 1; `job` is taken by value and not dropped, so that this is the only call.
        unsafe { call(&raw mut job.room, verb) }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        // Quietly, for many may be dropped at once.
        quietly(|| {
            // SAFETY: invariant 1; whoever else calls keeps this from being reached.
            unsafe { (self.call)(&raw mut self.room, Action::Discard(Discard::ShutDown)) };
        });
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").finish_non_exhaustive()
    }
}

/// # Safety
/// `room` must hold a `W`, which is moved out.
unsafe fn call<W: Run>(room: *mut Room, verb: Action<'_, '_>) -> JobEnd {
    // SAFETY: the caller's promise. Moved out before anything can panic: it is dropped once, here.
    let work = unsafe { room.cast::<W>().read() };
    match verb {
        Action::Run(context) => work.run(context),
        Action::Discard(why) => work.discard(why),
    }
}

/// The right to add jobs that borrow for `'scope` to inline_jobs.
///
/// Both lifetimes are invariant: `'scope` cannot be shortened to less than the wait in [`lend`], nor
/// `'env` lengthened.
pub(crate) struct Loan<'scope, 'env: 'scope> {
    inline_jobs: PlainArc<InlineJobs>,
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

impl<'scope> Loan<'scope, '_> {
    pub(crate) fn add(&'scope self, body: impl FnOnce() + Send + 'scope) {
        // SAFETY: what `'scope` borrows outlives the call of `lend` that made this loan, and `lend` does
        // not return before the inline_jobs are rid of the job (invariant 2).
        self.inline_jobs.add(unsafe { Job::erase(Closure(body)) });
    }

    pub(crate) fn inline_jobs(&self) -> &PlainArc<InlineJobs> {
        &self.inline_jobs
    }
}

/// Runs `body`, then what it added to the inline_jobs, and returns when all of that has ended.
pub(crate) fn lend<'env, R>(
    inline_jobs: PlainArc<InlineJobs>,
    context: &RunContext<'_>,
    body: impl for<'scope> FnOnce(&'scope Loan<'scope, 'env>) -> R,
) -> R {
    /// Waits also when `body` panics; and rather ends the process than return too early.
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
    let loan = Loan { inline_jobs, scope: PhantomData, env: PhantomData };
    let _finish = Finish(&loan.inline_jobs, context);
    body(&loan)
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;
    use crate::ring::Ring;
    use crate::worker_pool::run::Stamped;

    #[test]
    fn a_job_is_a_cache_line_less_a_stamp() {
        assert_eq!(size_of::<Job>(), 56);
        assert_eq!(size_of::<Ring<Job>>(), size_of::<Ring<[u64; 7]>>());
        assert!(
            fits::<Closure<[u64; 6]>>() && !fits::<Closure<[u64; 7]>>() && !fits::<Closure<u128>>()
        );
        assert!(fits::<Stamped<Closure<[u64; 5]>>>());
    }

    /// Whatever becomes of a job, what it captured is dropped once; in place or boxed.
    #[test]
    fn captures_are_dropped_once() {
        fn check(job: impl Fn(PlainArc<()>) -> Job) {
            let count = PlainArc::new(());
            drop(job(count.clone()));
            job(count.clone()).discard(Discard::Shed);
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
