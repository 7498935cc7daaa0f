//! Who works, who looks for work, who sleeps: the accounting by which no job is forgotten and nobody is woken
//! for nothing.
//!
//! A worker that finds the queue empty becomes the *searcher*: it looks again for a while, then sleeps.
//! There is one searcher at a time; whoever finds the queue empty meanwhile sleeps at once. *Spare* are
//! those who sleep, and those who may still be hired.
//!
//! ```text
//!              ┌── found a job ──► working ──┐
//!              │                     ▲       │ queue empty
//!   hired ► searching ◄──────────────┼───────┤
//!              ▲  │                  │       │ queue empty, and somebody searches
//!     roused by│  │ nothing came     │       ▼
//!   a submitter└──┴──────────────► asleep ◄──┘
//! ```
//!
//! The queue's *flags* lie in the words that pushes move, so that a submitter learns from its own push
//! whether anybody is to be called, and while none is raised it pays nothing, not even a fence.
//!
//! *Invariant.* While somebody is spare and nobody searches, every flag is raised, or a thread is on its way
//! to [`call`](IdleWorkers::call).
//!
//! * Flags are raised under the lock only, each in one step with seeing its lane empty: a push comes
//!   either before, and then raising fails, or after, and then sees the flag and calls.
//! * Whoever goes to sleep counts itself among the spare by the same read-modify-write of the word that shows
//!   it whether somebody searches. If so, that one's own later step, away from searching, shows it the
//!   sleeper: it calls. If not, the sleeper raises the flags itself.
//! * Who is called finds a searcher, who has yet to look and will see the job; or raises the flags over
//!   queues that are empty; or rouses one of the spare, who is the searcher from that moment on, long
//!   before it wakes up. Until it has looked nobody else is roused.
//!
//! So whenever there is a job and somebody spare, somebody is going to look: the searcher, who on finding
//! it calls the next.

use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::sync::thread::{ParkDeadline, Parker};
use crate::sync::{Arc, CachePadded, Mutex};
use std::task::Waker;
use std::time::Duration;

/// The flags of the queue that a idle works on.
pub(crate) trait Flags {
    /// Raises all, each in one step with seeing its lane empty and open; false, with none raised by this,
    /// if one is not.
    fn raise(&self) -> bool;
    fn lower(&self);
}

pub(crate) struct IdleWorkers {
    /// `spare << 1 | SEARCHING`. The count moves under the lock, the bit at any time.
    word: CachePadded<AtomicU64>,
    /// The surplus of the roster, to be looked at in passing.
    surplus: AtomicUsize,
    roster: Mutex<Roster>,
}

struct Roster {
    /// The one that went to sleep last is woken first: its stack and its caches are warm, and those below
    /// it can sleep long enough to be let go.
    asleep: Vec<Arc<Sleeper>>,
    /// How many more may be hired.
    vacant: usize,
    /// Hired and not told to go.
    hired: usize,
    /// How many of these are to go, whoever comes first.
    surplus: usize,
    /// Threads that have not ended.
    present: usize,
    /// Never let go for lack of work below this.
    least: usize,
    closed: bool,
    /// Of those who wait for the last to end.
    wakers: Vec<Waker>,
}

const SEARCHING: u64 = 1;
const SPARE: u64 = 2;

/// Where a worker sleeps.
pub(crate) struct Sleeper {
    call: AtomicUsize,
    waker: Waker,
}

const NONE: usize = 0;
const ROUSED: usize = 1;
const DISMISSED: usize = 2;

/// A worker's own part.
pub(crate) struct Worker {
    sleeper: Arc<Sleeper>,
    parker: Parker,
    /// How long it sleeps before it may be let go.
    idle_timeout: Option<Duration>,
}

impl Worker {
    /// For the running thread.
    pub(crate) fn new(idle_timeout: Option<Duration>) -> Self {
        let parker = Parker::current();
        let sleeper =
            Arc::new(Sleeper { call: AtomicUsize::new(NONE), waker: parker.waker().clone() });
        Self { sleeper, parker, idle_timeout }
    }
}

/// What is to be done about a job that nobody looks for.
#[must_use]
pub(crate) enum Rouse {
    Nobody,
    Wake(Arc<Sleeper>),
    /// Start a thread, which begins as the searcher.
    Hire,
}

/// How a sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slept {
    /// Not at all: there is something in the queue, or the pool is closed. Whoever searched still does, in
    /// the second case.
    Not,
    /// Roused, to be the searcher.
    Roused,
    /// There is no place for this worker any more. It does not search.
    Dismissed,
}

/// What a change of size asks for.
pub(crate) struct Resized {
    pub(crate) hire: usize,
    pub(crate) wake: Vec<Arc<Sleeper>>,
}

impl IdleWorkers {
    /// A idle of nobody that may hire up to `most`.
    pub(crate) fn new(least: usize, most: usize) -> Self {
        Self {
            word: CachePadded::new(AtomicU64::new(most as u64 * SPARE)),
            surplus: AtomicUsize::new(0),
            roster: Mutex::new(Roster {
                asleep: Vec::new(),
                vacant: most,
                hired: 0,
                surplus: 0,
                present: 0,
                least,
                closed: false,
                wakers: Vec::new(),
            }),
        }
    }

    /// Begins to search; false if somebody does already.
    pub(crate) fn begin_search(&self) -> bool {
        // Ordering: the word is the one thing that sleepers and searchers agree on, and every step is a
        // read-modify-write; acquire and release so that a sleeper's entry in the roster is not seen late.
        self.word.fetch_or(SEARCHING, Ordering::AcqRel) & SEARCHING == 0
    }

    /// Ends a search; true if somebody is spare, and then the caller goes on to [`call`](Self::call).
    #[must_use]
    pub(crate) fn end_search(&self) -> bool {
        self.word.fetch_and(!SEARCHING, Ordering::AcqRel) >= SPARE
    }

    /// Whether somebody searches at this moment.
    pub(crate) fn is_searched(&self) -> bool {
        // Ordering: acquire, though nothing rests on it: see `Queue::called`.
        self.word.load(Ordering::Acquire) & SEARCHING != 0
    }

    /// Sees to it that somebody looks for what is in the queue, if anybody is spare. Who does not let it hire
    /// calls again later.
    #[cold]
    pub(crate) fn call(&self, flags: &impl Flags, may_hire: bool) -> Rouse {
        let mut roster = self.roster.lock();
        let mut word = self.word.load(Ordering::Acquire);
        if word & SEARCHING != 0 || word < SPARE {
            // The searcher will see the job. Until it has looked there is no need to call.
            flags.lower();
            return Rouse::Nobody;
        }
        if flags.raise() {
            // Somebody else has taken it.
            return Rouse::Nobody;
        }
        if roster.asleep.is_empty() && !may_hire {
            return Rouse::Nobody;
        }
        while let Err(now) = self.exchange(word, (word - SPARE) | SEARCHING) {
            word = now;
            if word & SEARCHING != 0 {
                return Rouse::Nobody;
            }
        }
        flags.lower();
        match roster.asleep.pop() {
            Some(sleeper) => {
                sleeper.call.store(ROUSED, Ordering::Release);
                Rouse::Wake(sleeper)
            }
            None => {
                roster.vacant -= 1;
                roster.hire();
                Rouse::Hire
            }
        }
    }

    /// Sleeps until roused. A worker that `searching` says is the searcher is so no more.
    pub(crate) fn sleep(&self, worker: &Worker, searching: bool, flags: &impl Flags) -> Slept {
        let mut roster = self.roster.lock();
        if roster.closed {
            return Slept::Not;
        }
        if roster.surplus > 0 {
            self.leave(&mut roster);
            drop(roster);
            return self.dismissed(searching);
        }
        worker.sleeper.call.store(NONE, Ordering::Relaxed);
        roster.asleep.push(Arc::clone(&worker.sleeper));
        let step = if searching { SPARE - SEARCHING } else { SPARE };
        let before = self.word.fetch_add(step, Ordering::AcqRel);
        let another_searches = !searching && before & SEARCHING != 0;
        if !another_searches && !flags.raise() {
            roster.asleep.pop();
            self.word.fetch_sub(SPARE, Ordering::AcqRel);
            return Slept::Not;
        }
        drop(roster);
        self.until_called(worker)
    }

    fn until_called(&self, worker: &Worker) -> Slept {
        let mut limit = None;
        loop {
            // Ordering: acquire, with the release of who called.
            match worker.sleeper.call.load(Ordering::Acquire) {
                ROUSED => return Slept::Roused,
                DISMISSED => return Slept::Dismissed,
                _ => {}
            }
            limit = limit.or_else(|| self.idle_timeout(worker).map(ParkDeadline::after));
            match limit {
                None => worker.parker.park(),
                Some(end) if worker.parker.park_until(end) => {}
                Some(_) if self.let_go(worker) => return Slept::Dismissed,
                Some(_) => limit = None,
            }
        }
    }

    /// For how long this worker sleeps before it may go; `None`: it may not.
    fn idle_timeout(&self, worker: &Worker) -> Option<Duration> {
        worker.idle_timeout.filter(|_| {
            let roster = self.roster.lock();
            roster.hired > roster.least
        })
    }

    /// Lets a sleeper go that nobody has needed for long, and may hire another in its place: the number of the
    /// spare stays.
    fn let_go(&self, worker: &Worker) -> bool {
        let mut roster = self.roster.lock();
        let place = roster.asleep.iter().position(|sleeper| Arc::ptr_eq(sleeper, &worker.sleeper));
        let Some(place) = place.filter(|_| roster.hired > roster.least) else { return false };
        roster.asleep.remove(place);
        roster.hired -= 1;
        roster.vacant += 1;
        true
    }

    /// Whether this worker, who is neither searching nor asleep, is one too many; then it must go.
    #[inline(always)]
    pub(crate) fn is_surplus(&self) -> bool {
        // Ordering: relaxed; looked at again under the lock.
        self.surplus.load(Ordering::Relaxed) != 0 && self.take_leave()
    }

    #[cold]
    fn take_leave(&self) -> bool {
        let mut roster = self.roster.lock();
        let surplus = roster.surplus > 0;
        if surplus {
            self.leave(&mut roster);
        }
        surplus
    }

    fn leave(&self, roster: &mut Roster) {
        roster.surplus -= 1;
        roster.hired -= 1;
        self.surplus.store(roster.surplus, Ordering::Relaxed);
    }

    fn dismissed(&self, searching: bool) -> Slept {
        if searching {
            self.word.fetch_and(!SEARCHING, Ordering::AcqRel);
        }
        Slept::Dismissed
    }

    /// Takes up to `count` of the vacant places: so many threads are to be started, which do not search.
    pub(crate) fn hire(&self, count: usize) -> usize {
        let mut roster = self.roster.lock();
        let count = count.min(roster.vacant);
        roster.vacant -= count;
        (0..count).for_each(|_| roster.hire());
        self.word.fetch_sub(count as u64 * SPARE, Ordering::AcqRel);
        count
    }

    /// A thread could not be started. The pool goes on with those that it has, and starts no more until it is
    /// resized, rather than try in vain at every job.
    pub(crate) fn not_hired(&self) {
        let mut roster = self.roster.lock();
        if roster.surplus > 0 {
            // The pool has shrunk meanwhile, and counts on one to go who never came.
            self.leave(&mut roster);
        } else {
            roster.hired -= 1;
            let vacant = std::mem::take(&mut roster.vacant);
            self.word.fetch_sub(vacant as u64 * SPARE, Ordering::AcqRel);
        }
        let wakers = roster.depart();
        drop(roster);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// A worker's thread ends.
    pub(crate) fn depart(&self) {
        let wakers = self.roster.lock().depart();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Changes how many there are to be. The caller starts threads, wakes sleepers and
    /// [calls](Self::call).
    pub(crate) fn resize(&self, least: usize, most: usize) -> Resized {
        let mut roster = self.roster.lock();
        if roster.closed {
            return Resized { hire: 0, wake: Vec::new() };
        }
        let spare = roster.spare();
        let may_go = least < std::mem::replace(&mut roster.least, least);
        // Those who were to go and have not gone may stay.
        let staying = roster.hired - roster.surplus;
        let stay = roster.surplus.min(most.saturating_sub(staying));
        roster.surplus -= stay;
        let staying = staying + stay;

        let hire = least.saturating_sub(staying);
        (0..hire).for_each(|_| roster.hire());
        roster.vacant = most.saturating_sub(staying + hire);
        let too_many = staying.saturating_sub(most);
        // Who sleeps goes first, and who has slept longest.
        let asleep = too_many.min(roster.asleep.len());
        let mut wake: Vec<_> = roster.asleep.drain(..asleep).collect();
        for sleeper in &wake {
            sleeper.call.store(DISMISSED, Ordering::Release);
        }
        roster.hired -= asleep;
        roster.surplus += too_many - asleep;
        self.surplus.store(roster.surplus, Ordering::Relaxed);
        // Wraps, as a difference of two counts of the same word may.
        let change = (roster.spare() as u64).wrapping_sub(spare as u64).wrapping_mul(SPARE);
        self.word.fetch_add(change, Ordering::AcqRel);
        if may_go {
            // So that they see for how long they may sleep now.
            wake.extend_from_slice(&roster.asleep);
        }
        Resized { hire, wake }
    }

    /// Ends hiring and sleeping, when pushing has ended. The caller wakes who slept.
    pub(crate) fn close(&self) -> Vec<Arc<Sleeper>> {
        let mut roster = self.roster.lock();
        roster.closed = true;
        let asleep = std::mem::take(&mut roster.asleep);
        for sleeper in &asleep {
            sleeper.call.store(ROUSED, Ordering::Release);
        }
        roster.vacant = 0;
        self.word.fetch_and(SEARCHING, Ordering::AcqRel);
        asleep
    }

    /// Threads that have not ended, and how many of them sleep.
    pub(crate) fn present(&self) -> (usize, usize) {
        let roster = self.roster.lock();
        (roster.present, roster.asleep.len())
    }

    /// How many workers there may be.
    pub(crate) fn most(&self) -> usize {
        let roster = self.roster.lock();
        roster.hired - roster.surplus + roster.vacant
    }

    /// Whether all threads have ended; if not, `waker` will be called when they have.
    pub(crate) fn all_gone(&self, waker: &Waker) -> bool {
        let waker = waker.clone();
        let mut roster = self.roster.lock();
        let gone = roster.present == 0;
        if !gone && !roster.wakers.iter().any(|known| known.will_wake(&waker)) {
            roster.wakers.push(waker);
        }
        gone
    }

    fn exchange(&self, from: u64, to: u64) -> Result<u64, u64> {
        self.word.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
    }
}

impl Roster {
    fn spare(&self) -> usize {
        self.asleep.len() + self.vacant
    }

    fn hire(&mut self) {
        self.hired += 1;
        self.present += 1;
    }

    /// Whom to wake because nobody is left.
    fn depart(&mut self) -> Vec<Waker> {
        self.present -= 1;
        if self.present == 0 { std::mem::take(&mut self.wakers) } else { Vec::new() }
    }
}

impl Sleeper {
    pub(crate) fn wake(&self) {
        self.waker.wake_by_ref();
    }
}
