//! The shell around the state machine: atomics, settings, window. It is told the time and tells nobody
//! what happened; that is for the breaker around it.

use super::config::Settings;
use super::state::{self, Admission, Cause, Phase, Trial, Verdict, Word};
use super::transition::{State, Transition};
use crate::backoff::Custom;
use crate::event::Outbox;
use crate::random::Random;
use crate::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, SeqCst},
    fence,
};
use crate::sync::{CachePadded, Live, PlainMutex};
use crate::time::{Instant, Reading, nanos};
use crate::window::{Counts, Sample, Window};
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Core {
    gate: CachePadded<Gate>,
    tallies: CachePadded<Tallies>,
    window: Window,
    live: Live<{ Settings::WORDS }>,
    openings: Openings,
    /// Its lock is the one under which transitions are committed.
    pub(super) outbox: Outbox<Transition>,
}

/// What every call reads and only transitions write, while the breaker is closed.
#[derive(Debug)]
struct Gate {
    word: AtomicU64,
    /// Of the present opening. Written before the word says open, read after.
    open_until: AtomicU64,
    /// When the youngest lease of the present trial ends. Put off before a probe takes its slot.
    lease_until: AtomicU64,
}

/// Figures for the snapshot, which decide nothing.
#[derive(Debug)]
struct Tallies {
    rejected: AtomicU64,
    stale: AtomicU64,
}

/// How often it has opened since it was last closed, and what follows for the wait. Changed under the
/// outbox's lock alone.
struct Openings {
    count: AtomicU32,
    last_wait: AtomicU64,
    custom_wait: PlainMutex<Option<Custom>>,
    random: Random,
}

/// What an admitted call remembers: the word that admitted it, and since when. Two plain words, so that
/// it stays in registers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    admitted: Word,
    /// [`UNTIMED`](Self::UNTIMED) if nobody is interested.
    started: Instant,
}

impl Ticket {
    const UNTIMED: Instant = Instant::FAR_FUTURE;

    fn new(admitted: Word, timed: bool, reading: &mut Reading<'_>) -> Self {
        let timed = timed || admitted.is_timed();
        Self { admitted, started: if timed { reading.now() } else { Self::UNTIMED } }
    }

    #[inline]
    pub(super) const fn is_probe(&self) -> bool {
        !self.admitted.is_closed()
    }

    pub(super) fn elapsed(&self, reading: &mut Reading<'_>) -> Option<Duration> {
        (self.started != Self::UNTIMED).then(|| reading.now() - self.started)
    }
}

/// Nobody was admitted; try again then, if that is known.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) until: Option<Instant>,
    pub(super) now: Instant,
}

/// Whether there is something to deliver.
pub(super) type Moved = bool;

impl Core {
    pub(super) fn new(
        window: Window,
        settings: &Settings,
        custom_wait: Option<Custom>,
        random: Random,
    ) -> Self {
        Self {
            gate: CachePadded::new(Gate {
                word: AtomicU64::new(Word::new(settings).to_bits()),
                open_until: AtomicU64::new(0),
                lease_until: AtomicU64::new(0),
            }),
            tallies: CachePadded::new(Tallies { rejected: AtomicU64::new(0), stale: AtomicU64::new(0) }),
            window,
            live: Live::new(*settings),
            openings: Openings {
                count: AtomicU32::new(0),
                last_wait: AtomicU64::new(0),
                custom_wait: PlainMutex::new(custom_wait),
                random,
            },
            outbox: Outbox::new(),
        }
    }

    #[inline]
    fn word(&self) -> Word {
        // Ordering: acquire, with the release in `swap`: who sees a word sees what was written for it
        // before, its settings, its wait, its window.
        Word::from_bits(self.gate.word.load(Acquire))
    }

    fn swap(&self, from: Word, to: Word) -> bool {
        self.gate.word.compare_exchange(from.to_bits(), to.to_bits(), AcqRel, Relaxed).is_ok()
    }

    fn settings(&self, word: Word) -> Settings {
        self.live.read(word.epoch())
    }

    /// Admits a call if the breaker is closed and takes no time: nearly always, in one load.
    #[inline]
    pub(super) fn admit_at_once(&self) -> Option<Ticket> {
        let word = self.word();
        word.is_closed_and_untimed().then_some(Ticket { admitted: word, started: Ticket::UNTIMED })
    }

    /// Admits a call or refuses it. `timed`: the call's time is of interest in any case.
    pub(super) fn admit(&self, timed: bool, reading: &mut Reading<'_>) -> (Result<Ticket, Refused>, Moved) {
        let mut moved = false;
        loop {
            let word = self.word();
            if word.is_closed() {
                return (Ok(Ticket::new(word, timed, reading)), moved);
            }
            let now = reading.now();
            let settings = || self.settings(word);
            let open_until = Instant::from_nanos(self.gate.open_until.load(Relaxed));
            let lease_until = Instant::from_nanos(self.gate.lease_until.load(Relaxed));
            let admitted = match state::admit(word, now, open_until, lease_until, settings) {
                Admission::Refuse(until) => {
                    if until.is_none() {
                        self.shorten_lease(word, now, lease_until, &settings());
                    }
                    self.tallies.rejected.fetch_add(1, Relaxed);
                    return (Err(Refused { until, now }), moved);
                }
                Admission::Probe(trial) => {
                    self.put_off_lease(now, &settings());
                    let next = word.with_phase(Phase::HalfOpen(trial));
                    if !self.swap(word, next) {
                        continue;
                    }
                    next
                }
                Admission::BeginTrial => {
                    let first = Trial { leased: 1, ..Trial::default() };
                    let next = word.moved_to(Phase::HalfOpen(first));
                    let lease = settings().probe_lease;
                    if !self.transition(word, next, now, Cause::WaitElapsed, Counts::default(), || {
                        // The leases of earlier trials, perhaps by a clock that has since been set
                        // back, are of no interest.
                        self.gate.lease_until.store((now + lease).as_nanos(), Relaxed);
                        true
                    }) {
                        continue;
                    }
                    moved = true;
                    next
                }
                Admission::CountLost(trial) => {
                    moved |= self.count_lost(word, trial, now, &settings());
                    continue;
                }
                Admission::Decide(verdict, trial) => {
                    moved |= self.decide(word, verdict, trial, now, &settings(), Cause::ProbesFailed);
                    continue;
                }
            };
            return (Ok(Ticket::new(admitted, timed, reading)), moved);
        }
    }

    /// Before the slot is taken: whoever finds all slots taken must find their lease.
    fn put_off_lease(&self, now: Instant, settings: &Settings) {
        self.gate.lease_until.fetch_max((now + settings.probe_lease).as_nanos(), Relaxed);
    }

    /// No lease ends later than one that begins now: where it does, the settings have become shorter or
    /// the clock was set back, and a lost probe would hold its slot for as long as that.
    fn shorten_lease(&self, word: Word, now: Instant, lease_until: Instant, settings: &Settings) {
        let longest = now + settings.probe_lease;
        if lease_until > longest && self.word() == word {
            // If it fails, somebody has put the lease off, or shortened it, meanwhile.
            let (from, to) = (lease_until.as_nanos(), longest.as_nanos());
            let _ = self.gate.lease_until.compare_exchange(from, to, Relaxed, Relaxed);
        }
    }

    /// Gives up the probes under way. The next generation makes their own results stale; the trial goes
    /// on with what is known, unless that decides it.
    fn count_lost(&self, word: Word, trial: Trial, now: Instant, settings: &Settings) -> Moved {
        match state::judge(&trial, settings) {
            Verdict::Undecided => {
                self.swap(word, word.moved_to(Phase::HalfOpen(trial)));
                false
            }
            verdict => self.decide(word, verdict, trial, now, settings, Cause::ProbesLost),
        }
    }

    fn decide(
        &self,
        word: Word,
        verdict: Verdict,
        trial: Trial,
        now: Instant,
        settings: &Settings,
        bad: Cause,
    ) -> Moved {
        match verdict {
            Verdict::Undecided => false,
            Verdict::Close => self.close(word, now, Cause::ProbesSucceeded, trial.counts()),
            Verdict::Open => self.open(word, now, bad, trial.counts(), settings),
        }
    }

    /// Counts a success if nothing has happened since its admission and the window needs no clock; else
    /// it is still to be [settled](Self::settle).
    #[inline]
    pub(super) fn count_at_once(&self, ticket: Ticket) -> bool {
        let word = self.word();
        word == ticket.admitted
            && word.is_closed_and_untimed()
            && !word.has_streak()
            && self.window.record_at_once(word.generation())
    }

    /// Hears how a call ended; `None` says nothing about the dependency.
    pub(super) fn settle(&self, ticket: Ticket, failed: Option<bool>, reading: &mut Reading<'_>) -> Moved {
        let word = self.word();
        if word.generation() != ticket.admitted.generation() {
            if failed.is_some() {
                self.tallies.stale.fetch_add(1, Relaxed);
            }
            return false;
        }
        let sample = failed.map(|failed| Sample { failed, slow: self.is_slow(word, &ticket, reading) });
        if ticket.is_probe() {
            return self.settle_probe(ticket, sample, reading);
        }
        let Some(sample) = sample else { return false };
        let now = if self.window.is_timed() { reading.now() } else { Instant::ORIGIN };
        if !self.window.record(word.generation(), now, sample) {
            self.tallies.stale.fetch_add(1, Relaxed);
            return false;
        }
        if sample != Sample::OK || word.has_streak() {
            return self.after_failure(word, sample, reading);
        }
        false
    }

    #[inline]
    fn is_slow(&self, word: Word, ticket: &Ticket, reading: &mut Reading<'_>) -> bool {
        word.is_timed()
            && ticket.elapsed(reading).is_some_and(|elapsed| elapsed >= self.settings(word).slow_after)
    }

    /// A closed breaker has recorded a failed or slow call, or a success after failures.
    #[cold]
    fn after_failure(&self, seen: Word, sample: Sample, reading: &mut Reading<'_>) -> Moved {
        let streak = self.count_streak(seen, sample);
        if sample == Sample::OK {
            return false;
        }
        // Ordering: sequentially consistent, with the same fence of others who fail. Each has recorded its
        // call, perhaps in another bucket than ours, and is about to sum up all of them: of two calls, one
        // at least must see both, or neither would trip.
        fence(SeqCst);
        loop {
            let word = self.word();
            if word.generation() != seen.generation() {
                return false;
            }
            let settings = self.settings(word);
            let now = if self.window.is_timed() { reading.now() } else { Instant::ORIGIN };
            let counts = self.window.counts(now);
            match state::trip(&counts, streak, &settings) {
                None if self.still(word) => return false,
                None => {}
                Some(cause) if self.open(word, reading.now(), cause, counts, &settings) => return true,
                Some(_) => {}
            }
        }
    }

    /// Whether the settings that were read for `word` are in force, so that not to trip is their verdict
    /// and not that of a mixture.
    fn still(&self, word: Word) -> bool {
        // Ordering: acquire, so that the settings were read before the epoch is looked at again.
        fence(Acquire);
        self.word().epoch() == word.epoch()
    }

    /// How many calls in a row have failed, this one included.
    fn count_streak(&self, seen: Word, sample: Sample) -> u32 {
        loop {
            let word = self.word();
            let Phase::Closed { failures_in_a_row: streak } = word.phase() else { return 0 };
            if word.generation() != seen.generation() || !word.counts_streaks() {
                return 0;
            }
            let next = if sample.failed { (streak + 1).min(state::LONGEST_STREAK) } else { 0 };
            if next == streak || self.swap(word, word.with_phase(Phase::Closed { failures_in_a_row: next })) {
                return next;
            }
        }
    }

    /// A probe gives its slot back, with an outcome or without.
    #[cold]
    fn settle_probe(&self, ticket: Ticket, sample: Option<Sample>, reading: &mut Reading<'_>) -> Moved {
        loop {
            let word = self.word();
            let Phase::HalfOpen(trial) = word.phase() else { return false };
            if word.generation() != ticket.admitted.generation() {
                if sample.is_some() {
                    self.tallies.stale.fetch_add(1, Relaxed);
                }
                return false;
            }
            let trial = trial.with_outcome(sample);
            let settings = self.settings(word);
            // Without an outcome nothing can have been decided, but settings may have changed.
            let verdict = sample.map_or(Verdict::Undecided, |_| state::judge(&trial, &settings));
            let settled = match verdict {
                Verdict::Undecided => self.swap(word, word.with_phase(Phase::HalfOpen(trial))),
                _ => self.decide(word, verdict, trial, reading.now(), &settings, Cause::ProbesFailed),
            };
            if settled {
                return verdict != Verdict::Undecided;
            }
        }
    }

    fn open(&self, word: Word, now: Instant, cause: Cause, counts: Counts, settings: &Settings) -> Moved {
        // The wait may be the user's own function: not under the lock. If others open the breaker in
        // the meantime, the word has changed and this wait is not used.
        let before = self.openings.so_far();
        let openings = before.0.saturating_add(1);
        let last = Duration::from_nanos(before.1);
        let custom = self.openings.custom_wait.lock().clone();
        let wait = settings.wait.delay(openings, last, &self.openings.random, custom.as_ref());
        let next = word.moved_to(Phase::Open);
        self.transition(word, next, now, cause, counts, || {
            if self.openings.so_far() != before {
                return false; // read while another transition was about to come to nothing
            }
            self.gate.open_until.store((now + wait).as_nanos(), Relaxed);
            self.openings.set((openings, nanos(wait)));
            true
        })
    }

    fn close(&self, word: Word, now: Instant, cause: Cause, counts: Counts) -> Moved {
        let next = word.moved_to(Phase::Closed { failures_in_a_row: 0 });
        self.transition(word, next, now, cause, counts, || {
            self.openings.set((0, 0));
            self.window.reset(next.generation(), now);
            true
        })
    }

    /// Commits a transition and queues its event in one step; false if the word is no longer `from`, or
    /// if `prepare` says so.
    fn transition(
        &self,
        from: Word,
        to: Word,
        now: Instant,
        cause: Cause,
        counts: Counts,
        prepare: impl FnOnce() -> bool,
    ) -> Moved {
        self.outbox.commit(|sequence| {
            // All transitions hold this lock, so from here on the word may change its detail, or go on
            // to the next generation of a trial, but not change its phase; and what belongs to the coming
            // phase is nobody else's to write or read.
            if self.word() != from {
                return None;
            }
            let before = self.openings.so_far();
            if !prepare() {
                return None;
            }
            let openings = self.openings.so_far().0;
            // Ordering: the swap releases what `prepare` wrote.
            if !self.swap(from, to) {
                // Comes to nothing, and must not count: neither as one more opening nor as none.
                self.openings.set(before);
                return None;
            }
            Some(Transition {
                sequence,
                at: now,
                from: State::of(from),
                to: State::of(to),
                cause,
                counts,
                // Closing sets the count back, but its event says how often it had opened.
                openings: openings.max(before.0),
                wait: self.open_until(to).map(|until| until - now),
            })
        })
    }

    fn open_until(&self, word: Word) -> Option<Instant> {
        (word.phase() == Phase::Open).then(|| Instant::from_nanos(self.gate.open_until.load(Relaxed)))
    }

    /// Closed, with an empty window.
    pub(super) fn reset(&self, now: Instant) -> Moved {
        loop {
            let word = self.word();
            let counts = self.window.counts(now);
            if self.close(word, now, Cause::Reset, counts) {
                return true;
            }
        }
    }

    /// Puts `settings` into force: no decision by the old ones comes after this.
    pub(super) fn reconfigure(&self, settings: &Settings, mut custom_wait: Option<Custom>) {
        self.outbox.commit(|_| {
            // Who opens reads the settings first and the wait function second, and must find the same
            // epoch under this lock. So nobody gets away with the settings of one epoch and the
            // function of the other.
            std::mem::swap(&mut *self.openings.custom_wait.lock(), &mut custom_wait);
            // The lock makes this the only writer; only details of the word change meanwhile.
            let epoch = self.word().epoch() + 1;
            self.live.write(epoch, *settings);
            loop {
                let word = self.word();
                let mut next = word.with_settings(epoch, settings);
                if let Phase::Closed { .. } = next.phase()
                    && !next.counts_streaks()
                {
                    next = next.with_phase(Phase::Closed { failures_in_a_row: 0 });
                }
                if self.swap(word, next) {
                    return None;
                }
            }
        });
        drop(custom_wait); // the old one is the user's: not under the lock
    }

    pub(super) fn look(&self, now: Instant) -> Look {
        let word = self.word();
        Look {
            phase: word.phase(),
            open_until: self.open_until(word),
            counts: self.window.counts(now),
            openings: self.openings.count.load(Relaxed),
            rejected: self.tallies.rejected.load(Relaxed),
            stale: self.tallies.stale.load(Relaxed),
        }
    }

    pub(super) fn state(&self) -> State {
        State::of(self.word())
    }

    pub(super) fn window(&self) -> &Window {
        &self.window
    }
}

impl Openings {
    /// How many, and the last wait.
    fn so_far(&self) -> (u32, u64) {
        (self.count.load(Relaxed), self.last_wait.load(Relaxed))
    }

    fn set(&self, (count, last_wait): (u32, u64)) {
        self.count.store(count, Relaxed);
        self.last_wait.store(last_wait, Relaxed);
    }
}

/// What there is to see from outside.
pub(super) struct Look {
    pub(super) phase: Phase,
    pub(super) open_until: Option<Instant>,
    pub(super) counts: Counts,
    pub(super) openings: u32,
    pub(super) rejected: u64,
    pub(super) stale: u64,
}

impl std::fmt::Debug for Openings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Openings").field("count", &self.count).field("last_wait", &self.last_wait).finish()
    }
}
