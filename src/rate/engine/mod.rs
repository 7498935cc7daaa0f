//! The core of a limiter: one atomic state word, the quota in force, and the queue of waiters.
//!
//! The engine reads no clock other than those passed as arguments, and emits no events.

mod gcra;
mod wait_queue;
mod waiter;
mod word;

pub(super) use gcra::Gcra;
pub(super) use wait_queue::WakeUp;
pub(super) use waiter::{EngineRef, Waiter, WaiterPoll};
pub(super) use word::Word;

use super::grant::{Grant, History, RateLimitStatus};
use super::timeline::Nanos;
use crate::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed},
};
use crate::sync::{CachePadded, Decision, EpochWord, Live};
use wait_queue::{WaitQueue, Waiters};

/// The core of a limiter.
#[derive(Debug)]
pub(super) struct Engine {
    /// The only field that a grant writes. It shares its cache line with none of the others, which
    /// each decision reads: under contention, each access to this line can be a cache miss.
    word: CachePadded<AtomicU64>,
    counters: Counters,
    live: Live<2>,
    queue: WaitQueue,
}

/// The counters that decisions read, and that only refunds, debits and changes of the quota write.
#[derive(Debug)]
struct Counters {
    /// The total number of units that refunds have subtracted from the TAT. A refund uses it to
    /// compute how much other refunds have subtracted since its grant. Changed under the lock of
    /// the queue.
    refunded: AtomicU64,
    /// The number of changes of the quota. The word stores it only modulo 8. Changed under the lock
    /// of the queue.
    changes: AtomicU64,
    /// The largest [debt](Gcra::debt) that debits and reservations have caused so far, in units of
    /// the quota in force.
    max_debt: AtomicU64,
}

/// A decision on a request. The arguments are the quota, the time from which the request is
/// counted, and the current time. The result is the next TAT and the number of tokens granted, or
/// `None` if the request is denied.
trait Decide: Fn(&Gcra, u64, u64) -> Option<(u64, u32)> {}
impl<F: Fn(&Gcra, u64, u64) -> Option<(u64, u32)>> Decide for F {}

impl Engine {
    pub(super) fn new(gcra: Gcra) -> Self {
        Self {
            word: CachePadded::new(AtomicU64::new(Word::new(0, 0).to_bits())),
            counters: Counters {
                refunded: AtomicU64::new(0),
                changes: AtomicU64::new(0),
                max_debt: AtomicU64::new(0),
            },
            live: Live::new(gcra),
            queue: WaitQueue::new(),
        }
    }

    /// Returns the current state word.
    #[inline(always)]
    pub(super) fn word(&self) -> Word {
        // Ordering: acquire, with the release in `swap` by which `reconfigure` publishes a quota.
        Word::from_bits(self.word.load(Acquire))
    }

    /// Returns the quota of the epoch of `word`. If the word has changed since, the result may mix
    /// two quotas, and must be discarded.
    #[inline(always)]
    pub(super) fn gcra(&self, word: Word) -> Gcra {
        self.live.read(word.epoch())
    }

    /// Replaces the word `from` by `to`. Returns `false` if the word has changed.
    #[inline(always)]
    fn swap(&self, from: Word, to: Word) -> bool {
        self.word.compare_exchange(from.to_bits(), to.to_bits(), AcqRel, Relaxed).is_ok()
    }

    /// Returns the counters that a grant stores for a later refund. They must be read before the
    /// word is changed; see [`refund`](Self::refund).
    #[inline(always)]
    fn history(&self) -> History {
        // Ordering: relaxed. A grant changes the word with release ordering, after this read. A
        // refund or a change of the quota that comes later changes the word with acquire ordering
        // before it adds to a counter, so this read does not see its addition.
        History {
            refunded: self.counters.refunded.load(Relaxed),
            changes: self.counters.changes.load(Relaxed),
        }
    }

    fn max_debt(&self) -> u64 {
        // Ordering: relaxed, as in `history`: a thread that reads a TAT with acquire ordering also
        // reads the debt that was stored before that TAT.
        self.counters.max_debt.load(Relaxed)
    }

    /// Raises `max_debt` to `debt`. It must be called before the word is changed, because a TAT
    /// that is further ahead than `max_debt` allows is attributed to a clock that was set back. If
    /// the change of the word then fails, `max_debt` is too large, and a clock that is set back by
    /// a small amount may not be recognized.
    fn note_debt(&self, debt: u64) {
        if debt > 0 {
            self.counters.max_debt.fetch_max(debt, Relaxed);
        }
    }

    /// Returns the number of waiters, and the number of tokens that they wait for.
    pub(super) fn queued(&self) -> (usize, u64) {
        let waiters = self.queue.lock();
        (waiters.len(), self.queue.queued_tokens())
    }

    /// Grants or denies `n` tokens in the common case. Returns `None` if the caller must use
    /// [`take`](Self::take): there are waiters, `n` is zero or exceeds the burst, the quota was
    /// changed concurrently, or the clock may have been set back.
    ///
    /// A decision that loses the race for the word is made again here, with the same `now`: under
    /// contention, the time between a read of the word and its exchange decides how many exchanges
    /// fail.
    #[inline(always)]
    pub(super) fn take_fast(&self, n: u32, now: Nanos) -> Option<Result<Grant, RateLimitStatus>> {
        loop {
            let word = self.word();
            let gcra = self.gcra(word);
            let units = gcra.units(now);
            let history = self.history();
            let status = |ahead, granted| RateLimitStatus { gcra, ahead, now, wanted: n, granted };
            if word.is_slow() || !gcra.is_ordinary(n) {
                return None;
            }
            match gcra.take(Gcra::start(word.tat(), units), units, n) {
                Some(next) if self.swap(word, word.with_tat(next)) => {
                    return Some(Ok(Grant { status: status(next, n), history }));
                }
                // Another thread changed the word concurrently.
                Some(_) => {}
                None if Live::<2>::is_current(&self.word, word)
                    && !gcra.is_ahead(word.tat(), units, self.max_debt()) =>
                {
                    return Some(Err(status(word.tat(), 0)));
                }
                None => return None,
            }
        }
    }

    /// Grants `n` tokens if they are available and there are no waiters.
    #[inline(never)]
    pub(super) fn take(&self, n: u32, now: Nanos) -> Result<Grant, RateLimitStatus> {
        self.decide(n, now, |gcra, start, now| Some((gcra.take(start, now, n)?, n)))
    }

    /// Grants as many of `n` tokens as are available.
    pub(super) fn take_up_to(&self, n: u32, now: Nanos) -> Result<Grant, RateLimitStatus> {
        // Requests 1 token, not `n`: a request for more tokens than the burst would not be
        // ordinary.
        let result = self.decide(n.min(1), now, |gcra, start, now| {
            let granted = gcra.remaining(start, now).min(n);
            gcra.take(start, now, granted).filter(|_| granted > 0).map(|next| (next, granted))
        });
        result.map(|grant| grant.up_to(n))
    }

    /// Reserves `n` tokens for use as soon as they are available, unless there are waiters.
    pub(super) fn reserve(&self, n: u32, now: Nanos) -> Result<Grant, RateLimitStatus> {
        self.decide(n, now, |gcra, start, now| {
            let next = gcra.reserve(start, now, n)?;
            self.note_debt(gcra.debt(next, now));
            Some((next, n))
        })
    }

    /// Decides on a request for `n` tokens. The closure computes the next TAT of an ordinary
    /// request. The lock of the queue is taken only if the `slow` bit is set although no tokens are
    /// queued.
    #[inline(always)]
    fn decide(&self, n: u32, now: Nanos, decide: impl Decide) -> Result<Grant, RateLimitStatus> {
        let decided = self.live.decide(&self.word, |word: Word, gcra: Gcra| {
            let history = self.history();
            let status = |ahead, granted| RateLimitStatus { gcra, ahead, now, wanted: n, granted };
            let queued = if word.is_slow() { self.queue.queued_tokens() } else { 0 };
            let ahead = word.tat().saturating_add(gcra.large_cost(queued));
            if n == 0 || gcra.is_unlimited() {
                return Decision::Keep(Some(Ok(Grant { status: status(ahead, n), history })));
            }
            if queued > 0 || !gcra.is_ordinary(n) {
                return Decision::Keep(Some(Err(status(ahead, 0))));
            }
            if word.is_slow() {
                return Decision::Done(None);
            }
            let units = gcra.units(now);
            match decide(&gcra, Gcra::start(word.tat(), units), units) {
                Some((next, granted)) => Decision::Replace(
                    word.with_tat(next),
                    Some(Ok(Grant { status: status(next, granted), history })),
                ),
                None => Decision::Keep(Some(Err(status(word.tat(), 0)))),
            }
        });
        decided.unwrap_or_else(|| self.decide_locked(n, now, decide))
    }

    /// Does the same as [`decide`](Self::decide), under the lock of the queue. `n` must not be
    /// zero.
    #[cold]
    fn decide_locked(
        &self,
        n: u32,
        now: Nanos,
        decide: impl Decide,
    ) -> Result<Grant, RateLimitStatus> {
        let mut waiters = self.queue.lock();
        self.return_to_later_time(&mut waiters, now);
        loop {
            let word = self.word();
            let gcra = self.gcra(word);
            let history = self.history();
            let (tat, units) = (word.tat(), gcra.units(now));
            let status = |ahead, granted| RateLimitStatus { gcra, ahead, now, wanted: n, granted };
            if gcra.is_unlimited() {
                return Ok(Grant { status: status(tat, n), history });
            }
            let decided = match waiters.len() == 0 && gcra.is_ordinary(n) {
                true => decide(&gcra, waiters.start(&gcra, tat, units), units),
                false => None,
            };
            let (next, granted) = decided.unwrap_or((tat, 0));
            if decided.is_some() {
                waiters.is_catching_up = next < units;
            }
            if !self.swap(word, word.with_tat(next).with_slow(waiters.is_slow())) {
                continue;
            }
            if decided.is_some() {
                return Ok(Grant { status: status(next, granted), history });
            }
            let queued = self.queue.queued_tokens();
            return Err(status(tat.saturating_add(gcra.large_cost(queued)), 0));
        }
    }

    /// Returns the status as if `n` tokens had been requested and denied, without taking any.
    pub(super) fn peek(&self, n: u32, now: Nanos) -> RateLimitStatus {
        let word = self.word();
        if word.is_slow() && self.queue.queued_tokens() == 0 {
            self.return_to_later_time(&mut self.queue.lock(), now);
        }
        self.live.decide(&self.word, |word: Word, gcra: Gcra| {
            let queued = if word.is_slow() { self.queue.queued_tokens() } else { 0 };
            let ahead = word.tat().saturating_add(gcra.large_cost(queued));
            let status = RateLimitStatus { gcra, ahead, now, wanted: n, granted: 0 };
            Decision::<Word, _>::Keep(status)
        })
    }

    /// Checks whether `n` tokens would be granted now, without taking any.
    pub(super) fn would_take(&self, n: u32, now: Nanos) -> Result<(), RateLimitStatus> {
        let has_waiters = self.word().is_slow() && self.queue.queued_tokens() > 0;
        let status = self.peek(n, now);
        let gcra = &status.gcra;
        let is_free = n == 0 || gcra.is_unlimited();
        let available = gcra.is_ordinary(n) && gcra.due(status.ahead, n) <= gcra.units(now);
        if is_free || (available && !has_waiters) { Ok(()) } else { Err(status) }
    }

    /// Takes `n` tokens, whether they are available or not.
    pub(super) fn debit(&self, n: u32, now: Nanos) -> Grant {
        let mut waiters = None;
        loop {
            let word = self.word();
            if word.is_slow() && waiters.is_none() {
                let locked = waiters.insert(self.queue.lock());
                self.return_to_later_time(locked, now);
                continue;
            }
            let gcra = self.gcra(word);
            let history = self.history();
            let units = gcra.units(now);
            // If `gcra` mixes two quotas, the swap fails, but the value must still fit into the
            // word.
            let next = gcra.debit(word.tat(), units, n);
            self.note_debt(gcra.debt(next, units));
            if self.swap(word, word.with_tat(next)) {
                let status = RateLimitStatus { gcra, ahead: next, now, wanted: n, granted: n };
                return Grant { status, history };
            }
        }
    }

    /// Returns `n` of the tokens of `grant` to the limiter, except those that have become available
    /// again over time. `clock` reads the time.
    ///
    /// The lock of the queue serializes refunds. A refund adds to `refunded` *after* it has changed
    /// the word, and a grant reads `refunded` *before* it changes the word. The difference between
    /// the two reads therefore includes all refunds since the grant, and possibly one earlier
    /// refund, which makes this refund smaller. The same holds for `changes`: a grant by an earlier
    /// quota, whose TAT is in other units, returns nothing.
    pub(super) fn refund(&self, grant: &Grant, n: u32, clock: impl Fn() -> Nanos) {
        let n = n.min(grant.status.granted);
        loop {
            let word = self.word();
            // The clock is read after the word, because the thread that wrote the word had read the
            // clock before. It is read outside of the lock, because a clock may run user code.
            let now = clock();
            let mut waiters = self.queue.lock();
            let gcra = self.gcra(word);
            let history = self.history();
            if history.changes != grant.history.changes {
                return;
            }
            let since = history.refunded.wrapping_sub(grant.history.refunded);
            let granted_tat = grant.status.ahead.saturating_sub(since);
            let next = gcra.refund(word.tat(), gcra.units(now), granted_tat, n);
            if self.swap(word, word.with_tat(next)) {
                self.counters.refunded.fetch_add(word.tat() - next, Relaxed);
                let wake_up = waiters.wake_first();
                drop(waiters);
                return wake_up.wake();
            }
        }
    }

    /// Cancels a reservation, unless the state has changed since: tokens were taken, reserved or
    /// refunded, or the quota was changed.
    pub(super) fn cancel_reservation(&self, grant: &Grant) {
        let mut waiters = self.queue.lock();
        loop {
            let word = self.word();
            let unchanged = word.tat() == grant.status.ahead && self.history() == grant.history;
            if !unchanged {
                return;
            }
            let next = word.tat().saturating_sub(grant.status.gcra.cost(grant.status.granted));
            if self.swap(word, word.with_tat(next)) {
                let wake_up = waiters.wake_first();
                drop(waiters);
                return wake_up.wake();
            }
        }
    }

    /// Returns `now`, or a new reading if the TAT is further ahead of `now` than a burst and the
    /// largest debt allow. If the new reading confirms that the clock was set back, the limiter
    /// becomes empty at that time. The previous TAT applies again when the clock returns to the
    /// later time.
    #[inline]
    pub(super) fn check_clock(&self, now: Nanos, clock: impl Fn() -> Nanos) -> Nanos {
        let word = self.word();
        let gcra = self.gcra(word);
        match gcra.is_ahead(word.tat(), gcra.units(now), self.max_debt()) {
            false => now,
            true => self.set_back(clock),
        }
    }

    /// Reads the clock again and, if it was set back, makes the limiter empty; see
    /// [`check_clock`](Self::check_clock).
    #[cold]
    fn set_back(&self, clock: impl Fn() -> Nanos) -> Nanos {
        loop {
            let word = self.word();
            // The clock is read after the word, because an old reading looks like a clock that was
            // set back.
            let now = clock();
            let mut waiters = self.queue.lock();
            if self.word() != word {
                continue;
            }
            let gcra = self.gcra(word);
            let units = gcra.units(now);
            if !gcra.is_ahead(word.tat(), units, self.max_debt()) {
                return now;
            }
            if self.swap(word, word.with_tat(gcra.empty(units)).with_slow(true)) {
                waiters.set_back_from = waiters.set_back_from.max(Some(word.tat()));
                waiters.is_catching_up = false;
                let wake_up = waiters.wake_first();
                drop(waiters);
                wake_up.wake();
                return now;
            }
        }
    }

    /// Restores the TAT from before the clock was set back, if the clock has returned to the later
    /// time.
    fn return_to_later_time(&self, waiters: &mut Waiters, now: Nanos) {
        let Some(tat) = waiters.set_back_from else { return };
        let word = self.word();
        let gcra = self.gcra(word);
        if !gcra.is_ahead(tat, gcra.units(now), self.max_debt()) {
            waiters.set_back_from = None;
            // The `slow` bit is set, so only the holder of the lock changes the word.
            let tat = tat.max(word.tat());
            let swapped = self.swap(word, word.with_tat(tat).with_slow(waiters.is_slow()));
            debug_assert!(swapped, "a slow word is changed under the lock");
        }
    }

    /// Clears the `slow` bit of the word if it is no longer needed. The caller holds the lock of
    /// the queue.
    fn update_slow(&self, waiters: &Waiters) {
        if !waiters.is_slow() {
            // Ordering: relaxed, because clearing the bit publishes no other data.
            self.word.fetch_and(!word::SLOW, Relaxed);
        }
    }

    /// Replaces the quota by `gcra`, unless the word has changed since it was read as `word`. The
    /// word must have been read before the clock. Otherwise a grant between the two reads would be
    /// credited with the time since `now` at the new rate. On success, all later decisions use the
    /// new quota, and the caller must wake the first waiter. The caller serializes calls.
    pub(super) fn reconfigure(&self, word: Word, gcra: Gcra, now: Nanos) -> Option<WakeUp> {
        let mut waiters = self.queue.lock();
        // The new quota overwrites the slot of the quota before the current one, so `word` must
        // have the current epoch.
        if self.word() != word {
            return None;
        }
        let old = self.gcra(word);
        let epoch = word.epoch() + 1;
        self.live.write(epoch, gcra);
        let tat = gcra.convert(&old, word.tat(), now);
        let set_back_from = waiters.set_back_from.and_then(|tat| old.nanos(tat));
        let slow = waiters.len() > 0 || set_back_from.is_some();
        // Ordering: the release of the swap publishes the quota.
        if !self.swap(word, Word::new(tat, epoch).with_slow(slow)) {
            return None;
        }
        waiters.set_back_from = set_back_from.map(|nanos| gcra.units(nanos));
        waiters.is_catching_up = false;
        self.counters.max_debt.store(gcra.debt(tat, gcra.units(now)), Relaxed);
        self.counters.changes.fetch_add(1, Relaxed);
        Some(waiters.wake_first())
    }
}
