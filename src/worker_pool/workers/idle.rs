//! Idle workers: which of them searches, which sleep, and which is woken for a job.
//!
//! A worker that finds the queue empty becomes the *searcher*: it checks the queue for a while,
//! then sleeps. There is one searcher at a time; other workers that find the queue empty sleep
//! immediately. A worker is *available* if it sleeps, or if its thread may still be started.
//!
//! ```text
//!                 ┌─ found a job ──► running ──┐
//!                 │                     ▲      │ queue empty
//!   started ► searching ◄───────────────┼──────┤
//!                 ▲  │                  │      │ queue empty, and another searches
//!     woken by a  │  │ found nothing    │      ▼
//!     submitter   └──┴───────────────► asleep ◄┘
//! ```
//!
//! The *flags* of the queue are part of the words that pushes modify. So the push itself returns
//! whether the submitter must wake a worker. While no flag is set this costs nothing, not even a
//! fence.
//!
//! *Invariant.* While a worker is available and none searches, every flag is set, or a thread is
//! about to call [`wake_one`](IdleWorkers::wake_one).
//!
//! * Flags are set under the lock, each in one atomic step with the check that its queue is empty.
//!   If a push comes before this step, setting the flag fails. If it comes after, the submitter
//!   finds the flag set and calls `wake_one`.
//! * A worker that goes to sleep adds itself to the available workers with a read-modify-write that
//!   also returns whether there is a searcher. If there is one, the searcher finds the sleeper when
//!   it ends its search, and calls `wake_one`. If there is none, the sleeper sets the flags itself.
//! * `wake_one` has one of three outcomes. It finds a searcher, which will check the queue again
//!   and find the job. It sets the flags over empty queues. Or it makes an available worker the
//!   searcher, before that worker wakes up; no other worker is woken until this one has checked the
//!   queue.
//!
//! So while there is a job and a worker is available, there is a searcher that will check the
//! queue, or will soon be one. A searcher that finds a job wakes the next worker.

use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::sync::thread::{ParkDeadline, Parker};
use crate::sync::{Arc, CachePadded, Mutex};
use std::task::Waker;
use std::time::Duration;

/// The flags of the queue that the workers take jobs from.
pub(crate) trait Flags {
    /// Sets all flags, each in one atomic step with the check that its queue is empty and open.
    /// Returns `false`, with no flag set by this call, if a queue is not empty or is closed.
    fn set(&self) -> bool;
    fn clear(&self);
}

/// The idle workers of a pool, and the number of threads that may still be started.
pub(crate) struct IdleWorkers {
    /// `available << 1 | SEARCHING`. The number changes under the lock only, the bit at any time.
    word: CachePadded<AtomicU64>,
    /// A copy of `Roster::surplus` that workers read without the lock.
    surplus: AtomicUsize,
    roster: Mutex<Roster>,
}

/// The state that the lock of [`IdleWorkers`] protects.
struct Roster {
    /// Sleeping workers, in the order in which they went to sleep. The last one is woken first: its
    /// stack and caches are warm, and the others can sleep long enough to reach the idle timeout.
    asleep: Vec<Arc<Sleeper>>,
    /// The number of threads that may still be started.
    startable: usize,
    /// The number of workers that have not retired.
    workers: usize,
    /// The number of these workers that must retire: the first ones that check.
    surplus: usize,
    /// The number of threads that have not ended.
    threads: usize,
    /// At or below this number of workers, none retires because of the idle timeout.
    min_workers: usize,
    closed: bool,
    /// Wakers of the tasks and threads that wait for the last worker thread to end.
    wakers: Vec<Waker>,
}

const SEARCHING: u64 = 1;
const AVAILABLE: u64 = 2;

/// The part of a worker that other threads use to wake it or make it retire.
pub(crate) struct Sleeper {
    signal: AtomicUsize,
    waker: Waker,
}

/// Signals of a [`Sleeper`].
const NONE: usize = 0;
const WAKE: usize = 1;
const RETIRE: usize = 2;

impl Sleeper {
    pub(crate) fn wake(&self) {
        self.waker.wake_by_ref();
    }
}

/// The part of a worker that belongs to its thread.
pub(crate) struct Worker {
    sleeper: Arc<Sleeper>,
    parker: Parker,
    /// How long the worker sleeps before it may retire.
    idle_timeout: Option<Duration>,
}

impl Worker {
    /// Creates the worker of the current thread.
    pub(crate) fn new(idle_timeout: Option<Duration>) -> Self {
        let parker = Parker::current();
        let waker = parker.waker().clone();
        let sleeper = Arc::new(Sleeper { signal: AtomicUsize::new(NONE), waker });
        Self { sleeper, parker, idle_timeout }
    }
}

/// What the caller must do so that a worker searches the queue.
#[must_use]
pub(crate) enum WakeUp {
    Unnecessary,
    /// Wake this worker, which is the searcher.
    Sleeper(Arc<Sleeper>),
    /// Start a thread, which begins as the searcher.
    StartThread,
}

/// How a sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SleepEnd {
    /// The worker did not sleep: the queue is not empty, or the pool is closed. In the first case
    /// the worker no longer searches.
    NotSlept,
    /// The worker was woken, and is the searcher.
    Woken,
    /// The worker must end. It does not search.
    Retired,
}

/// What the caller must do after a resize.
pub(crate) struct Resize {
    /// How many threads to start.
    pub(crate) start: usize,
    pub(crate) wake: Vec<Arc<Sleeper>>,
}

impl IdleWorkers {
    /// Creates the state of a pool that has no workers yet and may start up to `max_workers`.
    pub(crate) fn new(min_workers: usize, max_workers: usize) -> Self {
        Self {
            word: CachePadded::new(AtomicU64::new(max_workers as u64 * AVAILABLE)),
            surplus: AtomicUsize::new(0),
            roster: Mutex::new(Roster {
                asleep: Vec::new(),
                startable: max_workers,
                workers: 0,
                surplus: 0,
                threads: 0,
                min_workers,
                closed: false,
                wakers: Vec::new(),
            }),
        }
    }

    /// Makes the caller the searcher; returns `false` if there already is a searcher.
    pub(crate) fn begin_search(&self) -> bool {
        // Ordering: acquire and release, so that a sleeper's entry in the roster is visible.
        // Sleepers and searchers synchronize through this word alone, and every step is a
        // read-modify-write.
        self.word.fetch_or(SEARCHING, Ordering::AcqRel) & SEARCHING == 0
    }

    /// Ends a search. Returns `true` if a worker is available; then the caller must call
    /// [`wake_one`](Self::wake_one).
    #[must_use]
    pub(crate) fn end_search(&self) -> bool {
        self.word.fetch_and(!SEARCHING, Ordering::AcqRel) >= AVAILABLE
    }

    /// Returns whether there is a searcher.
    pub(crate) fn is_searched(&self) -> bool {
        // Ordering: acquire, though nothing depends on it: see `Queue::wake_after_push`.
        self.word.load(Ordering::Acquire) & SEARCHING != 0
    }

    /// Ensures that a worker searches the queue, if one is available. A caller that passes `false`
    /// for `may_start` must call this method again later.
    #[cold]
    pub(crate) fn wake_one(&self, flags: &impl Flags, may_start: bool) -> WakeUp {
        let mut roster = self.roster.lock();
        let mut word = self.word.load(Ordering::Acquire);
        if word & SEARCHING != 0 || word < AVAILABLE {
            // Either a searcher will find the job, or no worker is available. Submitters need not
            // call this method until that changes.
            flags.clear();
            return WakeUp::Unnecessary;
        }
        if flags.set() {
            // Another worker has taken the job.
            return WakeUp::Unnecessary;
        }
        if roster.asleep.is_empty() && !may_start {
            return WakeUp::Unnecessary;
        }
        while let Err(now) = self.exchange(word, (word - AVAILABLE) | SEARCHING) {
            word = now;
            if word & SEARCHING != 0 {
                return WakeUp::Unnecessary;
            }
        }
        flags.clear();
        match roster.asleep.pop() {
            Some(sleeper) => {
                sleeper.signal.store(WAKE, Ordering::Release);
                WakeUp::Sleeper(sleeper)
            }
            None => {
                roster.startable -= 1;
                roster.add_worker();
                WakeUp::StartThread
            }
        }
    }

    /// Sleeps until woken. A worker that is `searching` ends its search.
    pub(crate) fn sleep(&self, worker: &Worker, searching: bool, flags: &impl Flags) -> SleepEnd {
        let mut roster = self.roster.lock();
        if roster.closed {
            return SleepEnd::NotSlept;
        }
        if roster.surplus > 0 {
            self.retire_one(&mut roster);
            drop(roster);
            if searching {
                self.word.fetch_and(!SEARCHING, Ordering::AcqRel);
            }
            return SleepEnd::Retired;
        }
        worker.sleeper.signal.store(NONE, Ordering::Relaxed);
        roster.asleep.push(Arc::clone(&worker.sleeper));
        let step = if searching { AVAILABLE - SEARCHING } else { AVAILABLE };
        let before = self.word.fetch_add(step, Ordering::AcqRel);
        let another_searches = !searching && before & SEARCHING != 0;
        if !another_searches && !flags.set() {
            roster.asleep.pop();
            self.word.fetch_sub(AVAILABLE, Ordering::AcqRel);
            return SleepEnd::NotSlept;
        }
        drop(roster);
        self.park_until_signal(worker)
    }

    fn park_until_signal(&self, worker: &Worker) -> SleepEnd {
        let mut limit = None;
        loop {
            // Ordering: acquire, pairs with the release of the thread that sent the signal.
            match worker.sleeper.signal.load(Ordering::Acquire) {
                WAKE => return SleepEnd::Woken,
                RETIRE => return SleepEnd::Retired,
                _ => {}
            }
            limit = limit.or_else(|| self.idle_timeout(worker).map(ParkDeadline::after));
            match limit {
                None => worker.parker.park(),
                Some(end) if worker.parker.park_until(end) => {}
                Some(_) if self.retire_sleeper(worker) => return SleepEnd::Retired,
                Some(_) => limit = None,
            }
        }
    }

    /// Returns how long this worker sleeps before it may retire; `None` if it may not.
    fn idle_timeout(&self, worker: &Worker) -> Option<Duration> {
        worker.idle_timeout.filter(|_| {
            let roster = self.roster.lock();
            roster.workers > roster.min_workers
        })
    }

    /// Retires a sleeper that has reached the idle timeout. Returns `false` if it was woken, or if
    /// the pool has no more than the minimum of workers. Another thread may be started in its place
    /// later, so the number of available workers stays the same.
    fn retire_sleeper(&self, worker: &Worker) -> bool {
        let mut roster = self.roster.lock();
        let place = roster.asleep.iter().position(|other| Arc::ptr_eq(other, &worker.sleeper));
        let Some(place) = place.filter(|_| roster.workers > roster.min_workers) else {
            return false;
        };
        roster.asleep.remove(place);
        roster.workers -= 1;
        roster.startable += 1;
        true
    }

    /// Returns whether the calling worker, which is neither searching nor asleep, must retire as
    /// surplus.
    #[inline(always)]
    pub(crate) fn must_retire(&self) -> bool {
        // Ordering: relaxed; checked again under the lock.
        self.surplus.load(Ordering::Relaxed) != 0 && self.retire_if_surplus()
    }

    #[cold]
    fn retire_if_surplus(&self) -> bool {
        let mut roster = self.roster.lock();
        let surplus = roster.surplus > 0;
        if surplus {
            self.retire_one(&mut roster);
        }
        surplus
    }

    fn retire_one(&self, roster: &mut Roster) {
        roster.surplus -= 1;
        roster.workers -= 1;
        self.surplus.store(roster.surplus, Ordering::Relaxed);
    }

    /// Reserves up to `count` of the threads that may be started, and returns how many. They do not
    /// begin as searchers.
    pub(crate) fn reserve_starts(&self, count: usize) -> usize {
        let mut roster = self.roster.lock();
        let count = count.min(roster.startable);
        roster.startable -= count;
        (0..count).for_each(|_| roster.add_worker());
        self.word.fetch_sub(count as u64 * AVAILABLE, Ordering::AcqRel);
        count
    }

    /// Records that a reserved thread could not be started. The pool continues with the workers
    /// that it has, and starts no more threads until it is resized, so that it does not fail again
    /// for every job.
    pub(crate) fn start_failed(&self) {
        let mut roster = self.roster.lock();
        if roster.surplus > 0 {
            // The pool has shrunk in the meantime. This thread counts as the surplus worker that
            // retires.
            self.retire_one(&mut roster);
        } else {
            roster.workers -= 1;
            let startable = std::mem::take(&mut roster.startable);
            self.word.fetch_sub(startable as u64 * AVAILABLE, Ordering::AcqRel);
        }
        let wakers = roster.remove_thread();
        drop(roster);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Records that the thread of a worker ends.
    pub(crate) fn thread_ended(&self) {
        let wakers = self.roster.lock().remove_thread();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Changes the limits of the number of workers. The caller starts threads, wakes sleepers and
    /// calls [`wake_one`](Self::wake_one).
    pub(crate) fn resize(&self, min_workers: usize, max_workers: usize) -> Resize {
        let mut roster = self.roster.lock();
        if roster.closed {
            return Resize { start: 0, wake: Vec::new() };
        }
        let available = roster.available();
        let more_may_retire = min_workers < std::mem::replace(&mut roster.min_workers, min_workers);
        // Surplus workers that have not retired yet can stay.
        let staying = roster.workers - roster.surplus;
        let stay = roster.surplus.min(max_workers.saturating_sub(staying));
        roster.surplus -= stay;
        let staying = staying + stay;

        let start = min_workers.saturating_sub(staying);
        (0..start).for_each(|_| roster.add_worker());
        roster.startable = max_workers.saturating_sub(staying + start);
        let too_many = staying.saturating_sub(max_workers);
        // Sleepers retire first, beginning with those that have slept longest.
        let retiring_sleepers = too_many.min(roster.asleep.len());
        let mut wake: Vec<_> = roster.asleep.drain(..retiring_sleepers).collect();
        for sleeper in &wake {
            sleeper.signal.store(RETIRE, Ordering::Release);
        }
        roster.workers -= retiring_sleepers;
        roster.surplus += too_many - retiring_sleepers;
        self.surplus.store(roster.surplus, Ordering::Relaxed);
        // A negative difference wraps around; adding it wraps around again.
        let change = (roster.available() as u64).wrapping_sub(available as u64);
        self.word.fetch_add(change.wrapping_mul(AVAILABLE), Ordering::AcqRel);
        if more_may_retire {
            // Sleepers compute their idle timeout anew.
            wake.extend_from_slice(&roster.asleep);
        }
        Resize { start, wake }
    }

    /// Prevents workers from starting or sleeping. Called after the queue was closed. The caller
    /// wakes the returned sleepers.
    pub(crate) fn close(&self) -> Vec<Arc<Sleeper>> {
        let mut roster = self.roster.lock();
        roster.closed = true;
        let asleep = std::mem::take(&mut roster.asleep);
        for sleeper in &asleep {
            sleeper.signal.store(WAKE, Ordering::Release);
        }
        roster.startable = 0;
        self.word.fetch_and(SEARCHING, Ordering::AcqRel);
        asleep
    }

    /// Returns the number of threads that have not ended, and the number of those that sleep.
    pub(crate) fn present(&self) -> (usize, usize) {
        let roster = self.roster.lock();
        (roster.threads, roster.asleep.len())
    }

    /// Returns the maximum number of workers.
    pub(crate) fn max_workers(&self) -> usize {
        let roster = self.roster.lock();
        roster.workers - roster.surplus + roster.startable
    }

    /// Returns whether all threads have ended. If not, `waker` is called when they have.
    pub(crate) fn all_ended(&self, waker: &Waker) -> bool {
        let waker = waker.clone();
        let mut roster = self.roster.lock();
        let ended = roster.threads == 0;
        if !ended && !roster.wakers.iter().any(|known| known.will_wake(&waker)) {
            roster.wakers.push(waker);
        }
        ended
    }

    fn exchange(&self, from: u64, to: u64) -> Result<u64, u64> {
        self.word.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
    }
}

impl Roster {
    fn available(&self) -> usize {
        self.asleep.len() + self.startable
    }

    fn add_worker(&mut self) {
        self.workers += 1;
        self.threads += 1;
    }

    /// Returns the wakers to call because the last thread has ended.
    fn remove_thread(&mut self) -> Vec<Waker> {
        self.threads -= 1;
        if self.threads == 0 { std::mem::take(&mut self.wakers) } else { Vec::new() }
    }
}
