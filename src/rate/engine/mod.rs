//! The engine of a limiter: one atomic word, the quota in force, and the queue of waiters.
//!
//! It does not read a clock, except one that is passed in; it does not report events.

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

#[derive(Debug)]
pub(super) struct Engine {
    state: CachePadded<State>,
    live: Live<2>,
    queue: WaitQueue,
}

/// What every decision reads.
#[derive(Debug)]
struct State {
    word: AtomicU64,
    /// Units that refunds have taken off the TAT, so that a refund can tell which others came after
    /// its grant. Changed under the lock of the queue.
    refunded: AtomicU64,
    /// How many times the quota changed; the word knows this only modulo 8. Changed under the lock
    /// of the queue.
    changes: AtomicU64,
    /// The largest [debt](Gcra::debt) so far, of debits and reservations, in the units of the quota
    /// in force.
    max_debt: AtomicU64,
}

/// What a decision does to the TAT: the next, and how many tokens that grants. Its arguments are
/// the time from which the request is counted, and the time now.
trait Decide: Fn(&Gcra, u64, u64) -> Option<(u64, u32)> {}
impl<F: Fn(&Gcra, u64, u64) -> Option<(u64, u32)>> Decide for F {}

impl Engine {
    pub(super) fn new(gcra: Gcra) -> Self {
        Self {
            state: CachePadded::new(State {
                word: AtomicU64::new(Word::new(0, 0).to_bits()),
                refunded: AtomicU64::new(0),
                changes: AtomicU64::new(0),
                max_debt: AtomicU64::new(0),
            }),
            live: Live::new(gcra),
            queue: WaitQueue::new(),
        }
    }

    #[inline(always)]
    pub(super) fn word(&self) -> Word {
        // Ordering: acquire, with the release in `swap` by which `reconfigure` publishes a quota.
        Word::from_bits(self.state.word.load(Acquire))
    }

    #[inline(always)]
    pub(super) fn gcra(&self, word: Word) -> Gcra {
        self.live.read(word.epoch())
    }

    #[inline(always)]
    fn swap(&self, from: Word, to: Word) -> bool {
        self.state.word.compare_exchange(from.to_bits(), to.to_bits(), AcqRel, Relaxed).is_ok()
    }

    /// What a grant remembers for its refund. To be read before the word is changed; see
    /// [`refund`](Self::refund).
    #[inline(always)]
    fn history(&self) -> History {
        // Ordering: relaxed. A change of the word releases, and that of a refund or of another
        // quota acquires. If the change comes first, then so does this read, which does not see
        // what they add.
        History {
            refunded: self.state.refunded.load(Relaxed),
            changes: self.state.changes.load(Relaxed),
        }
    }

    fn max_debt(&self) -> u64 {
        // Ordering: relaxed, as in `history`: a thread that reads a TAT also reads the debt noted
        // before it was written.
        self.state.max_debt.load(Relaxed)
    }

    /// To be called before the word is changed: a TAT further ahead than the debt explains is taken
    /// for that of a clock set back. If the word is not changed after all, the number is too large,
    /// which makes only the recognition of such a clock less sharp.
    fn note_debt(&self, debt: u64) {
        if debt > 0 {
            self.state.max_debt.fetch_max(debt, Relaxed);
        }
    }

    /// The waiters, and the tokens they wait for.
    pub(super) fn queued(&self) -> (usize, u64) {
        let waiters = self.queue.lock();
        (waiters.len(), self.queue.queued_tokens())
    }

    /// Grants or denies `n` tokens in the usual case. `None` in all others, for
    /// [`take`](Self::take): there are waiters, `n` is zero or too large, another thread came
    /// first, or the clock may have been set back.
    #[inline(always)]
    pub(super) fn take_fast(&self, n: u32, now: Nanos) -> Option<Result<Grant, RateLimitStatus>> {
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
                Some(Ok(Grant { status: status(next, n), history }))
            }
            None if Live::<2>::is_current(&self.state.word, word)
                && !gcra.is_ahead(word.tat(), units, self.max_debt()) =>
            {
                Some(Err(status(word.tat(), 0)))
            }
            _ => None,
        }
    }

    /// Grants `n` tokens if they are available and there are no waiters.
    #[inline(never)]
    pub(super) fn take(&self, n: u32, now: Nanos) -> Result<Grant, RateLimitStatus> {
        self.decide(n, now, |gcra, start, now| Some((gcra.take(start, now, n)?, n)))
    }

    /// Grants as many of `n` tokens as are available.
    pub(super) fn take_up_to(&self, n: u32, now: Nanos) -> Result<Grant, RateLimitStatus> {
        // Any `n` is an ordinary request, as long as there is a limit.
        let result = self.decide(n.min(1), now, |gcra, start, now| {
            let most = gcra.remaining(start, now).min(n);
            gcra.take(start, now, most).filter(|_| most > 0).map(|next| (next, most))
        });
        result.map(|grant| grant.up_to(n))
    }

    /// Grants `n` tokens for the time at which they will be available, unless there are waiters.
    pub(super) fn reserve(&self, n: u32, now: Nanos) -> Result<Grant, RateLimitStatus> {
        self.decide(n, now, |gcra, start, now| {
            let next = gcra.reserve(start, now, n)?;
            self.note_debt(gcra.debt(next, now));
            Some((next, n))
        })
    }

    #[inline(always)]
    fn decide(&self, n: u32, now: Nanos, decide: impl Decide) -> Result<Grant, RateLimitStatus> {
        let decided = self.live.decide(&self.state.word, |word: Word, gcra: Gcra| {
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

    /// As [`decide`](Self::decide), under the lock of the queue. `n` is not zero.
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

    /// The status as if `n` tokens had been requested, without a change.
    pub(super) fn peek(&self, n: u32, now: Nanos) -> RateLimitStatus {
        let word = self.word();
        if word.is_slow() && self.queue.queued_tokens() == 0 {
            self.return_to_later_time(&mut self.queue.lock(), now);
        }
        self.live.decide(&self.state.word, |word: Word, gcra: Gcra| {
            let queued = if word.is_slow() { self.queue.queued_tokens() } else { 0 };
            let ahead = word.tat().saturating_add(gcra.large_cost(queued));
            let status = RateLimitStatus { gcra, ahead, now, wanted: n, granted: 0 };
            Decision::<Word, _>::Keep(status)
        })
    }

    /// Whether `n` tokens would be granted now.
    pub(super) fn would_take(&self, n: u32, now: Nanos) -> Result<(), RateLimitStatus> {
        let has_waiters = self.word().is_slow() && self.queue.queued_tokens() > 0;
        let status = self.peek(n, now);
        let gcra = &status.gcra;
        let is_free = n == 0 || gcra.is_unlimited();
        let available = gcra.is_ordinary(n) && gcra.due(status.ahead, n) <= gcra.units(now);
        if is_free || (available && !has_waiters) { Ok(()) } else { Err(status) }
    }

    /// Takes `n` tokens, available or not.
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
            // Of a mixture of two quotas it is discarded, but it must be a TAT.
            let next = gcra.debit(word.tat(), units, n);
            self.note_debt(gcra.debt(next, units));
            if self.swap(word, word.with_tat(next)) {
                let status = RateLimitStatus { gcra, ahead: next, now, wanted: n, granted: n };
                return Grant { status, history };
            }
        }
    }

    /// Returns `n` of the tokens of `grant`, as far as they have not become available again with
    /// time. `clock` reads the time.
    ///
    /// Refunds come one at a time. Each adds to `refunded` *after* it has changed the word, and a
    /// grant reads `refunded` *before* it changes the word. So between the two reads lie all
    /// refunds since the grant, and perhaps one more, which makes this one smaller. The same holds
    /// for `changes`: a grant by an earlier quota, whose TAT is in other units, returns nothing.
    pub(super) fn refund(&self, grant: &Grant, n: u32, clock: impl Fn() -> Nanos) {
        let n = n.min(grant.status.granted);
        loop {
            let word = self.word();
            // After the word was read, because the thread that wrote it had read the clock before.
            // And not under the lock, because a clock may be the user's own.
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
                self.state.refunded.fetch_add(word.tat() - next, Relaxed);
                let wake_up = waiters.wake_first();
                drop(waiters);
                return wake_up.wake();
            }
        }
    }

    /// Undoes a reservation, if nothing was taken or reserved since.
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

    /// Returns `now`, unless the TAT is further ahead than a burst and the largest debt so far.
    /// Then the clock is read again. If it was set back, the limiter is empty as of the time it
    /// shows, and returns to the present TAT when the clock returns to the later time.
    #[inline]
    pub(super) fn check_clock(&self, now: Nanos, clock: impl Fn() -> Nanos) -> Nanos {
        let word = self.word();
        let gcra = self.gcra(word);
        match gcra.is_ahead(word.tat(), gcra.units(now), self.max_debt()) {
            false => now,
            true => self.set_back(clock),
        }
    }

    #[cold]
    fn set_back(&self, clock: impl Fn() -> Nanos) -> Nanos {
        loop {
            let word = self.word();
            // After the word was read: a reading that is merely old is not that of a clock set
            // back.
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

    /// After the clock was set back: if it has returned to the time before that, so does the TAT.
    fn return_to_later_time(&self, waiters: &mut Waiters, now: Nanos) {
        let Some(tat) = waiters.set_back_from else { return };
        let word = self.word();
        let gcra = self.gcra(word);
        if !gcra.is_ahead(tat, gcra.units(now), self.max_debt()) {
            waiters.set_back_from = None;
            // The word is slow, so no other thread changes it meanwhile.
            let tat = tat.max(word.tat());
            let swapped = self.swap(word, word.with_tat(tat).with_slow(waiters.is_slow()));
            debug_assert!(swapped, "a slow word is changed under the lock");
        }
    }

    /// Corrects the `slow` bit of the word; under the lock of the queue.
    fn update_slow(&self, waiters: &Waiters) {
        if !waiters.is_slow() {
            // Ordering: relaxed; it publishes nothing.
            self.state.word.fetch_and(!word::SLOW, Relaxed);
        }
    }

    /// Puts `gcra` into force, unless the word has changed since it was read as `word`. The word
    /// must have been read before the clock was: otherwise a grant in between would be credited
    /// with the time since `now` by the new rate. On success no decision by the old quota comes
    /// after this, and the first waiter is to be woken. The caller serializes calls.
    pub(super) fn reconfigure(&self, word: Word, gcra: Gcra, now: Nanos) -> Option<WakeUp> {
        let mut waiters = self.queue.lock();
        // The slot of the new quota is that of the one before the present: so the epoch must be the
        // present one.
        if self.word() != word {
            return None;
        }
        let old = self.gcra(word);
        let epoch = word.epoch() + 1;
        self.live.write(epoch, gcra);
        let tat = gcra.convert(&old, word.tat(), now);
        let set_back_from = waiters.set_back_from.and_then(|tat| old.nanos(tat));
        let slow = waiters.len() > 0 || set_back_from.is_some();
        // Ordering: the swap releases the quota.
        if !self.swap(word, Word::new(tat, epoch).with_slow(slow)) {
            return None;
        }
        waiters.set_back_from = set_back_from.map(|nanos| gcra.units(nanos));
        waiters.is_catching_up = false;
        self.state.max_debt.store(gcra.debt(tat, gcra.units(now)), Relaxed);
        self.state.changes.fetch_add(1, Relaxed);
        Some(waiters.wake_first())
    }
}
