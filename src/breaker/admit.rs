//! How a call gets in.

use super::config::Settings;
use super::core::{Core, Moved};
use super::in_flight::Start;
use super::settle::Held;
use super::state::{self, Admission, Verdict};
use super::transition::TransitionCause;
use super::word::{Hand, Phase, Trial, Word};
use crate::sync::atomic::Ordering::Relaxed;
use crate::time::{Instant, Reading};
use crate::window::WindowCounts as Counts;
use std::time::Duration;

/// What an admitted call remembers: the word that admitted it, and since when. Two plain words, so that
/// it stays in registers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    pub(super) admitted: Word,
    /// [`UNTIMED`](Self::UNTIMED) if nobody is interested.
    started: Instant,
}

impl Ticket {
    const UNTIMED: Instant = Instant::FAR_FUTURE;

    fn new(admitted: Word, timed: bool, reading: &mut Reading<'_>) -> Self {
        let timed = timed || admitted.is_timed();
        Self { admitted, started: if timed { reading.now() } else { Self::UNTIMED } }
    }

    /// Whether it took the way in that nearly all take, and holds nothing that must be given back.
    #[inline]
    pub(super) const fn is_plain(&self) -> bool {
        self.admitted.is_plain()
    }

    #[inline]
    pub(super) const fn is_probe(&self) -> bool {
        !self.admitted.is_closed() && !self.admitted.is_off()
    }

    pub(super) fn elapsed(&self, reading: &mut Reading<'_>) -> Option<Duration> {
        (self.started != Self::UNTIMED).then(|| reading.now() - self.started)
    }

    /// What it entered itself with as a call under way; `slow_after` by the settings that admitted it.
    pub(super) const fn start(&self, slow_after: Duration) -> Start {
        Start { admitted: self.admitted, at: self.started, slow_after }
    }
}

/// Nobody was admitted; try again then, if that is known.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) until: Option<Instant>,
    pub(super) now: Instant,
}

impl Core {
    /// Admits a call if nothing is special about the breaker: nearly always, in one load.
    #[inline]
    pub(super) fn admit_at_once(&self) -> Option<Ticket> {
        let word = self.word();
        word.is_plain().then_some(Ticket { admitted: word, started: Ticket::UNTIMED })
    }

    /// Admits a call or refuses it. `timed`: the call's time is of interest in any case.
    pub(super) fn admit(
        &self,
        timed: bool,
        reading: &mut Reading<'_>,
    ) -> (Result<Ticket, Refused>, Moved) {
        let mut moved = false;
        loop {
            let word = self.word();
            if word.admits_all() && self.in_flight.is_none() {
                return (Ok(Ticket::new(word, timed, reading)), moved);
            }
            let now = reading.now();
            // Read only by those who need them: a rejection does not.
            let settings = || self.settings(word);
            let draw = || self.tallies.draws.fetch_add(1, Relaxed);
            let admitted = match state::admit(word, now, &self.times(), settings, draw) {
                Admission::Count => {
                    let ticket = Ticket::new(word, timed, reading);
                    if self.enter(&ticket) {
                        let place = Held { core: self, ticket }; // should a rule of the user's panic
                        if self.judge_window(word, 0, None, reading) {
                            moved = true;
                            continue; // the calls before this one hang
                        }
                        place.settled();
                    }
                    return (Ok(ticket), moved);
                }
                Admission::Pass => Word::UNCOUNTED,
                Admission::EndRamp => {
                    self.end_ramp(word);
                    continue;
                }
                Admission::Refuse(until) => {
                    if matches!(word.phase(), Phase::HalfOpen(_)) {
                        self.shorten_lease(word, now, &settings());
                    }
                    if word.hand() != Hand::Shadow {
                        self.tallies.rejected.fetch_add(1, Relaxed);
                        return (Err(Refused { until, now }), moved);
                    }
                    Word::shadowed(self.tallies.shadowed.fetch_add(1, Relaxed) + 1)
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
                    let lease = settings().probe_timeout;
                    if !self.transition(
                        word,
                        next,
                        now,
                        TransitionCause::WaitElapsed,
                        Counts::default(),
                        || {
                            // The leases of earlier trials, perhaps by a clock that has since been set
                            // back, are of no interest.
                            self.gate.lease_until.store((now + lease).as_nanos(), Relaxed);
                            true
                        },
                    ) {
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
                    moved |= self.decide(
                        word,
                        verdict,
                        trial,
                        now,
                        &settings(),
                        TransitionCause::ProbesFailed,
                    );
                    continue;
                }
            };
            return (Ok(Ticket::new(admitted, timed, reading)), moved);
        }
    }

    /// Counts a call as under way, if those are watched. True if others may have become overdue meanwhile.
    fn enter(&self, ticket: &Ticket) -> bool {
        match &self.in_flight {
            Some(in_flight) => in_flight.enter(&ticket.start(self.slow_after(ticket.admitted))),
            None => false,
        }
    }

    /// Before the slot is taken: whoever finds all slots taken must find their lease.
    fn put_off_lease(&self, now: Instant, settings: &Settings) {
        self.gate.lease_until.fetch_max((now + settings.probe_timeout).as_nanos(), Relaxed);
    }

    /// No lease ends later than one that begins now: where it does, the settings have become shorter or
    /// the clock was set back, and a lost probe would hold its slot for as long as that.
    fn shorten_lease(&self, word: Word, now: Instant, settings: &Settings) {
        let (until, longest) = (self.times().lease_until, now + settings.probe_timeout);
        if until > longest && self.word() == word {
            // If it fails, somebody has put the lease off, or shortened it, meanwhile.
            let (from, to) = (until.as_nanos(), longest.as_nanos());
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
            verdict => {
                self.decide(word, verdict, trial, now, settings, TransitionCause::ProbesLost)
            }
        }
    }
}
