//! The shell around the algorithm: one atomic word, the plan in force, the line of those who wait. It is
//! told the time, in nanoseconds since the limiter's origin.

use super::answer::{Answer, Before};
use super::gcra::{BITS, Plan};
use super::line::{Head, Line};
use crate::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed},
};
use crate::sync::{CachePadded, Decision, EpochWord, Live};

/// `[arrival: 60 | epoch: 3 | waiting: 1]`.
///
/// The epoch says which plan counts, and in whose units the arrival is. An arrival and an epoch come again
/// together only after eight changes of the plan, each of which moves an arrival that has passed to its own
/// present: no decision takes so long, for a word to deceive it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word(u64);

const WAITING: u64 = 1;
const EPOCH: u64 = 0b1110;

impl Word {
    pub(super) const fn new(arrival: u64, epoch: u64) -> Self {
        Self(arrival << (u64::BITS - BITS) | (epoch << 1 & EPOCH))
    }

    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(super) const fn to_bits(self) -> u64 {
        self.0
    }

    pub(super) const fn arrival(self) -> u64 {
        self.0 >> (u64::BITS - BITS)
    }

    pub(super) const fn epoch(self) -> u64 {
        (self.0 & EPOCH) >> 1
    }

    pub(super) const fn with_arrival(self, arrival: u64) -> Self {
        Self(arrival << (u64::BITS - BITS) | self.0 & (EPOCH | WAITING))
    }

    /// Whether anybody waits.
    pub(super) const fn is_waiting(self) -> bool {
        self.0 & WAITING != 0
    }

    pub(super) const fn waiting(self, waiting: bool) -> Self {
        Self(self.0 & !WAITING | waiting as u64)
    }
}

impl EpochWord for Word {
    #[inline(always)]
    fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    #[inline(always)]
    fn to_bits(self) -> u64 {
        self.0
    }

    #[inline(always)]
    fn epoch(self) -> u64 {
        (self.0 & EPOCH) >> 1
    }
}

#[derive(Debug)]
pub(super) struct Core {
    gate: CachePadded<Gate>,
    live: Live<2>,
    pub(super) line: Line,
}

/// What every decision touches.
#[derive(Debug)]
struct Gate {
    word: AtomicU64,
    /// Units that refunds have taken off the arrival, so that a refund can tell what others have done since
    /// its taking. Changes under the line's lock.
    refunded: AtomicU64,
    /// How often the plan changed, which in the word comes round. Changes under the line's lock.
    changes: AtomicU64,
}

impl Core {
    pub(super) fn new(plan: Plan) -> Self {
        let word = Word::new(0, 0).to_bits();
        Self {
            gate: CachePadded::new(Gate {
                word: AtomicU64::new(word),
                refunded: AtomicU64::new(0),
                changes: AtomicU64::new(0),
            }),
            live: Live::new(plan),
            line: Line::new(),
        }
    }

    #[inline(always)]
    pub(super) fn word(&self) -> Word {
        // Ordering: acquire, with the release in `swap` by which `reconfigure` publishes a plan.
        Word::from_bits(self.gate.word.load(Acquire))
    }

    #[inline(always)]
    pub(super) fn plan(&self, word: Word) -> Plan {
        self.live.read(word.epoch())
    }

    #[inline(always)]
    pub(super) fn swap(&self, from: Word, to: Word) -> bool {
        self.gate.word.compare_exchange(from.to_bits(), to.to_bits(), AcqRel, Relaxed).is_ok()
    }

    /// Takes `n` tokens or refuses them in the ordinary case; `None` where there is more to it: somebody
    /// waits, `n` is out of the ordinary, others came between.
    #[inline(always)]
    pub(super) fn take_at_once(&self, n: u32, nanos: u64) -> Option<Result<Answer, Answer>> {
        let word = self.word();
        let plan = self.plan(word);
        let now = plan.units(nanos);
        // To be read before the swap.
        let before = self.before();
        let answer =
            |ahead, granted| Answer { plan, ahead, now: nanos, wanted: n, granted, before };
        if word.is_waiting() || !plan.is_ordinary(n) {
            return None;
        }
        match plan.take(word.arrival(), now, n) {
            Some(next) if self.swap(word, word.with_arrival(next)) => Some(Ok(answer(next, n))),
            None if Live::<2>::is_current(&self.gate.word, word) => {
                Some(Err(answer(word.arrival(), 0)))
            }
            _ => None,
        }
    }

    /// Takes `n` tokens, past nobody who waits.
    #[inline(never)]
    pub(super) fn take(&self, n: u32, nanos: u64) -> Result<Answer, Answer> {
        self.change(n, nanos, |plan, arrival, now| Some((plan.take(arrival, now, n)?, n)))
    }

    /// Takes as many of `n` tokens as there are.
    pub(super) fn take_up_to(&self, n: u32, nanos: u64) -> Result<Answer, Answer> {
        // Any number is an ordinary one, as long as there is a limit.
        let result = self.change(n.min(1), nanos, |plan, arrival, now| {
            let most = plan.remaining(arrival, now).min(n);
            plan.take(arrival, now, most).filter(|_| most > 0).map(|next| (next, most))
        });
        result.map(|answer| answer.up_to(n))
    }

    /// Promises `n` tokens for as soon as they are there, past nobody who waits.
    pub(super) fn promise(&self, n: u32, nanos: u64) -> Result<Answer, Answer> {
        self.change(n, nanos, |plan, arrival, now| Some((plan.promise(arrival, now, n)?, n)))
    }

    /// Decides by `decide`, which says what becomes of the arrival, and how many tokens that grants.
    #[inline(always)]
    fn change(
        &self,
        n: u32,
        nanos: u64,
        decide: impl Fn(&Plan, u64, u64) -> Option<(u64, u32)>,
    ) -> Result<Answer, Answer> {
        self.live.decide(&self.gate.word, |word: Word, plan: Plan| {
            let before = self.before();
            let answer =
                |ahead, granted| Answer { plan, ahead, now: nanos, wanted: n, granted, before };
            let free = n == 0 || plan.is_unlimited();
            if free || word.is_waiting() || !plan.is_ordinary(n) {
                let ahead = match word.is_waiting() {
                    true => word.arrival().saturating_add(plan.large_cost(self.line.queued())),
                    false => word.arrival(),
                };
                return Decision::Keep(if free {
                    Ok(answer(ahead, n))
                } else {
                    Err(answer(ahead, 0))
                });
            }
            match decide(&plan, word.arrival(), plan.units(nanos)) {
                Some((next, granted)) => {
                    Decision::Replace(word.with_arrival(next), Ok(answer(next, granted)))
                }
                None => Decision::Keep(Err(answer(word.arrival(), 0))),
            }
        })
    }

    /// The figures, without a change.
    pub(super) fn peek(&self, n: u32, nanos: u64) -> Answer {
        self.live.decide(&self.gate.word, |word: Word, plan: Plan| {
            let queued = if word.is_waiting() { self.line.queued() } else { 0 };
            Decision::<Word, _>::Keep(Answer {
                plan,
                ahead: word.arrival().saturating_add(plan.large_cost(queued)),
                now: nanos,
                wanted: n,
                granted: 0,
                before: Before::default(),
            })
        })
    }

    /// Whether `n` tokens would be granted at once.
    pub(super) fn would_take(&self, n: u32, nanos: u64) -> Result<(), Answer> {
        let waiting = self.word().is_waiting();
        let answer = self.peek(n, nanos);
        let plan = &answer.plan;
        let free = n == 0 || plan.is_unlimited();
        let there = plan.is_ordinary(n) && plan.due(answer.ahead, n) <= plan.units(nanos);
        if free || (there && !waiting) { Ok(()) } else { Err(answer) }
    }

    /// Charges `n` tokens, come what may.
    pub(super) fn debit(&self, n: u32, nanos: u64) -> Answer {
        loop {
            let word = self.word();
            let plan = self.plan(word);
            let before = self.before();
            let next = plan.debit(word.arrival(), plan.units(nanos), n);
            // Of a mixture: only to be thrown away, but it must be an arrival.
            if self.swap(word, word.with_arrival(next)) {
                return Answer { plan, ahead: next, now: nanos, wanted: n, granted: n, before };
            }
        }
    }

    /// Takes `n` tokens back that `answer` granted, as far as time has not given them back already.
    /// `clock` reads the time, once it matters.
    ///
    /// Refunds come one at a time, and each adds to `refunded` *after* it has changed the word; a taking
    /// reads it *before* it changes the word. So between the two readings lies every refund since, and
    /// perhaps one more, which makes this one smaller. With `changes` it is the same: what was granted by
    /// another plan, and so is in other units, comes to nothing.
    pub(super) fn refund(&self, answer: &Answer, n: u32, clock: impl Fn() -> u64) {
        let n = n.min(answer.granted);
        loop {
            let word = self.word();
            // After the word was read, for whoever changed it had read the clock before; and a clock may be
            // the user's own, so not under the lock.
            let nanos = clock();
            let mut line = self.line.lock();
            let plan = self.plan(word);
            let present = self.before();
            if present.changes != answer.before.changes {
                return;
            }
            let since = present.refunded.wrapping_sub(answer.before.refunded);
            let then = answer.ahead.saturating_sub(since);
            let next = plan.refund(word.arrival(), plan.units(nanos), then, n);
            if self.swap(word, word.with_arrival(next)) {
                self.gate.refunded.fetch_add(word.arrival() - next, Relaxed);
                let head = line.wake_head();
                drop(line);
                return head.wake();
            }
        }
    }

    /// Takes a promise back, if nothing was promised or taken since.
    pub(super) fn withdraw(&self, answer: &Answer) {
        let mut line = self.line.lock();
        loop {
            let word = self.word();
            let unchanged = word.arrival() == answer.ahead && self.before() == answer.before;
            if !unchanged {
                return;
            }
            let next = word.arrival().saturating_sub(answer.plan.cost(answer.granted));
            if self.swap(word, word.with_arrival(next)) {
                let head = line.wake_head();
                drop(line);
                return head.wake();
            }
        }
    }

    /// To be read before the word is changed; see [`refund`](Self::refund).
    #[inline(always)]
    pub(super) fn before(&self) -> Before {
        // Ordering: relaxed. A change of the word releases, and that of a refund or of another plan acquires:
        // if the change comes first, then so does this reading, and it does not see what they add.
        Before {
            refunded: self.gate.refunded.load(Relaxed),
            changes: self.gate.changes.load(Relaxed),
        }
    }

    /// The line is empty; under its lock.
    pub(super) fn nobody_waits(&self) {
        // Ordering: relaxed; it hands nothing over.
        self.gate.word.fetch_and(!WAITING, Relaxed);
    }

    /// Puts `plan` into force, unless the word has changed since it was read as `word`, which must have been
    /// before the clock was: else somebody who took in between would be credited with the time from this
    /// `nanos` on by the new rate. If it did, no decision by the old plan comes after this, and the head of
    /// the line is to be woken. Callers come one at a time.
    pub(super) fn reconfigure(&self, word: Word, plan: Plan, nanos: u64) -> Option<Head> {
        let mut line = self.line.lock();
        // The plan goes where the one before the present one was, so the epoch must be the present one.
        if self.word() != word {
            return None;
        }
        let epoch = word.epoch() + 1;
        self.live.write(epoch, plan);
        let arrival = plan.carry(&self.plan(word), word.arrival(), nanos);
        // Ordering: the swap releases the plan.
        if !self.swap(word, Word::new(arrival, epoch).waiting(word.is_waiting())) {
            return None;
        }
        self.gate.changes.fetch_add(1, Relaxed);
        Some(line.wake_head())
    }
}
