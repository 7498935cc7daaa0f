//! A job in a cache line, and jobs that borrow: all unsafe code of the pool.
//!
//! Invariants, on which it rests:
//!
//! 1. The room of a [`Job`] holds a value of the type that its call pointer was made for, from `erase`
//!    until the pointer is called. It is called once: both ways to it take the job for good.
//! 2. A closure that borrows for `'scope` is known to nobody but the [`Errands`] it was added to, and
//!    [`lend`] does not return before these have run or dropped every one of them.
#![allow(unsafe_code)]

use super::errands::Errands;
use super::panics::quietly;
use super::work::{Desk, Discard, Fate, Plain, Work};
use crate::sync::PlainArc;
use std::fmt;
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, MaybeUninit};

/// Work without its type: what to call, and up to 48 bytes of it in place. With the stamp of its slot in
/// the ring that is one cache line. Larger work lies in a box.
///
/// Dropped without having been run, it is discarded because of a shutdown.
pub(super) struct Job {
    call: unsafe fn(*mut Room, Verb<'_, '_>) -> Fate,
    room: Room,
}

type Room = MaybeUninit<[u64; 6]>;

#[derive(Clone, Copy)]
enum Verb<'a, 'b> {
    Run(&'a Desk<'b>),
    Discard(Discard),
}

/// Whether `W` lies in the job itself.
pub(super) const fn fits<W>() -> bool {
    size_of::<W>() <= size_of::<Room>() && align_of::<W>() <= align_of::<Room>()
}

impl Job {
    #[inline(always)]
    pub(super) fn new<W: Work + 'static>(work: W) -> Self {
        // SAFETY: it borrows nothing.
        unsafe { Self::erase(work) }
    }

    /// # Safety
    /// The job must be run, discarded or dropped before anything ends that `work` borrows.
    #[inline(always)]
    unsafe fn erase<W: Work>(work: W) -> Self {
        if const { fits::<W>() } { Self::in_place(work) } else { Self::in_place(Box::new(work)) }
    }

    #[inline(always)]
    fn in_place<W: Work>(work: W) -> Self {
        debug_assert!(fits::<W>());
        let mut room = Room::uninit();
        // SAFETY: the room is large enough and aligned for `W`: `erase` looked, and a box always fits.
        unsafe { room.as_mut_ptr().cast::<W>().write(work) };
        Self { call: call::<W>, room }
    }

    /// Runs the work. A panic of it comes out.
    #[inline(always)]
    pub(super) fn run(self, desk: &Desk<'_>) -> Fate {
        self.call(Verb::Run(desk))
    }

    /// Drops the work and lets know why whoever waits for it.
    pub(super) fn discard(self, why: Discard) -> Fate {
        self.call(Verb::Discard(why))
    }

    #[inline(always)]
    fn call(self, verb: Verb<'_, '_>) -> Fate {
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
            unsafe { (self.call)(&raw mut self.room, Verb::Discard(Discard::ShutDown)) };
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
unsafe fn call<W: Work>(room: *mut Room, verb: Verb<'_, '_>) -> Fate {
    // SAFETY: the caller's promise. Moved out before anything can panic: it is dropped once, here.
    let work = unsafe { room.cast::<W>().read() };
    match verb {
        Verb::Run(desk) => work.run(desk),
        Verb::Discard(why) => work.discard(why),
    }
}

/// The right to add jobs that borrow for `'scope` to errands.
///
/// Both lifetimes are invariant: `'scope` cannot be shortened to less than the wait in [`lend`], nor
/// `'env` lengthened.
pub(super) struct Loan<'scope, 'env: 'scope> {
    errands: PlainArc<Errands>,
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

impl<'scope> Loan<'scope, '_> {
    pub(super) fn add(&'scope self, body: impl FnOnce() + Send + 'scope) {
        // SAFETY: what `'scope` borrows outlives the call of `lend` that made this loan, and `lend` does
        // not return before the errands are rid of the job (invariant 2).
        self.errands.add(unsafe { Job::erase(Plain(body)) });
    }

    pub(super) fn errands(&self) -> &PlainArc<Errands> {
        &self.errands
    }
}

/// Runs `body`, then what it added to the errands, and returns when all of that has ended.
pub(super) fn lend<'env, R>(
    errands: PlainArc<Errands>,
    desk: &Desk<'_>,
    body: impl for<'scope> FnOnce(&'scope Loan<'scope, 'env>) -> R,
) -> R {
    /// Waits also when `body` panics; and rather ends the process than return too early.
    struct Finish<'a, 'b>(&'a Errands, &'a Desk<'b>);
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
    let loan = Loan { errands, scope: PhantomData, env: PhantomData };
    let _finish = Finish(&loan.errands, desk);
    body(&loan)
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;
    use crate::ring::Ring;
    use crate::worker_pool::work::Stamped;

    #[test]
    fn a_job_is_a_cache_line_less_a_stamp() {
        assert_eq!(size_of::<Job>(), 56);
        assert_eq!(size_of::<Ring<Job>>(), size_of::<Ring<[u64; 7]>>());
        assert!(fits::<Plain<[u64; 6]>>() && !fits::<Plain<[u64; 7]>>() && !fits::<Plain<u128>>());
        assert!(fits::<Stamped<Plain<[u64; 5]>>>());
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
        check(|count| Job::new(Plain(move || drop(count))));
        check(|count| {
            let large = [0u8; 100];
            Job::new(Plain(move || drop((count, large))))
        });
        #[repr(align(64))]
        struct Aligned(PlainArc<()>);
        check(|count| {
            let aligned = Aligned(count);
            Job::new(Plain(move || drop(aligned.0)))
        });
    }
}
