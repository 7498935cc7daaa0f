//! Admission and rejection of calls.

use super::in_flight::Entered;
use super::record::Trigger;
use super::state::{self, Admission, Verdict};
use super::ticket::{Ticket, TicketGuard};
use super::transitions::Conclusion;
use super::word::{Override, Phase, Trial, Word};
use super::{Change, Engine, ramp};
use crate::breaker::config::Config;
use crate::breaker::transition::TransitionCause;
use crate::sync::Decision;
use crate::sync::atomic::Ordering::Relaxed;
use crate::time::{Instant, Reading};

/// The result of [`Engine::enter`].
pub(crate) struct Entry {
    pub(crate) result: Result<Ticket, Refusal>,
    pub(crate) change: Change,
}

/// The rejection of a call. `retry_at` is the earliest useful retry, if known.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) retry_at: Option<Instant>,
    pub(crate) now: Instant,
}

impl Engine {
    /// Admits a call if the word is [plain](Word), which is the common case and costs one load.
    #[inline]
    pub(crate) fn try_enter(&self) -> Option<Ticket> {
        let word = self.word();
        word.is_plain().then_some(Ticket::untimed(word))
    }

    /// Admits a call or rejects it. If `timed` is true, the call is timed even if the breaker does
    /// not need its duration.
    pub(crate) fn enter(&self, timed: bool, reading: &mut Reading<'_>) -> Entry {
        let mut change = Change::None;
        loop {
            let word = self.word();
            if word.admits_all() && self.in_flight.is_none() {
                return Entry { result: Ok(Ticket::new(word, timed, reading)), change };
            }
            let now = reading.now();
            let (word, admission) = self.decide(word, now);
            let admitted = match admission {
                Admission::Counted => {
                    let ticket = Ticket::new(word, timed, reading);
                    if self.enter_in_flight(&ticket, reading).is_committed() {
                        change = Change::Committed;
                        continue;
                    }
                    return Entry { result: Ok(ticket), change };
                }
                Admission::Uncounted => Word::UNCOUNTED,
                Admission::Reject(retry_at) => {
                    self.correct_instants(word, now);
                    let retry_at = retry_at.map(|_| self.open_until());
                    if word.overridden() != Override::Shadow {
                        self.stats.rejected.fetch_add(1, Relaxed);
                        return Entry { result: Err(Refusal { retry_at, now }), change };
                    }
                    Word::shadowed(self.stats.shadowed.fetch_add(1, Relaxed) + 1)
                }
                Admission::Probe(_) => word,
                Admission::StartTrial => match self.start_trial(word, now) {
                    Some(next) => {
                        change = Change::Committed;
                        next
                    }
                    None => continue,
                },
                Admission::EndRamp => {
                    self.end_ramp(word);
                    continue;
                }
                Admission::TimeOutProbes(trial) => {
                    change = change.or(self.time_out_probes(word, trial, now));
                    continue;
                }
                Admission::Conclude(verdict, trial) => {
                    let open_cause = TransitionCause::ProbesFailed;
                    let conclusion = Conclusion { verdict, trial, open_cause };
                    change = change.or(self.conclude(word, now, &conclusion, &self.config(word)));
                    continue;
                }
                Admission::Outdated => continue,
            };
            return Entry { result: Ok(Ticket::new(admitted, timed, reading)), change };
        }
    }

    /// Decides whether to admit a call; returns the word to which the decision applies. The
    /// configuration is read only if needed: a rejection by an open breaker does not need it.
    fn decide(&self, word: Word, now: Instant) -> (Word, Admission) {
        let admission = match word.phase() {
            Phase::Bypass => Admission::Uncounted,
            Phase::Closed { ramping: false, .. } => Admission::Counted,
            Phase::Open if word.overridden() == Override::Fixed => Admission::Reject(None),
            Phase::Open => state::admit_open(now, self.open_until()),
            Phase::Closed { ramping: true, .. } | Phase::HalfOpen(_) => {
                return self.decide_by_config(now);
            }
        };
        (word, admission)
    }

    /// Decides about a call to a breaker that is half-open or ramping up. If it admits the call as
    /// a probe, it also takes a probe slot for the call.
    fn decide_by_config(&self, now: Instant) -> (Word, Admission) {
        self.config.live.decide(&self.line.word, |word: Word, config: Config| {
            let admission = match word.phase() {
                Phase::Closed { ramping: true, .. } => {
                    self.correct_instants(word, now);
                    match ramp::share(now - self.closed_at(), config.ramp_up_duration) {
                        None => Admission::EndRamp,
                        Some(share) if ramp::admits(self.next_ramp_call(), share) => {
                            Admission::Counted
                        }
                        Some(_) => Admission::Reject(None),
                    }
                }
                Phase::HalfOpen(trial) => {
                    state::admit_half_open(trial, now, self.probe_deadline(), &config)
                }
                _ => Admission::Outdated,
            };
            match admission {
                Admission::Probe(trial) => {
                    self.put_off_probe_deadline(now, &config);
                    let next = word.with_phase(Phase::HalfOpen(trial));
                    Decision::Replace(next, (next, admission))
                }
                _ => Decision::Keep((word, admission)),
            }
        })
    }

    fn next_ramp_call(&self) -> u32 {
        self.stats.ramp_calls.fetch_add(1, Relaxed)
    }

    /// Counts a call as in flight, if calls in flight are tracked. The first call of a time step
    /// also evaluates the rules, because calls that have become overdue since the previous step may
    /// trip the breaker.
    fn enter_in_flight(&self, ticket: &Ticket, reading: &mut Reading<'_>) -> Change {
        let Some(in_flight) = &self.in_flight else { return Change::None };
        let Some(start) = ticket.start(self.slow_after(ticket.admitted)) else {
            return Change::None;
        };
        let mut entered = in_flight.enter(&start);
        while entered == Entered::BehindBucket {
            entered = in_flight.enter_behind(&start, reading.read_again());
        }
        match entered {
            Entered::InPresentStep | Entered::BehindBucket => Change::None,
            Entered::FirstOfStep => {
                // The user's rule may panic.
                let guard = TicketGuard { engine: self, ticket: *ticket };
                let change = self.trip_if_due(ticket.admitted, Trigger::TimePassed, reading);
                if !change.is_committed() {
                    guard.disarm();
                }
                change
            }
        }
    }

    /// Moves the probe deadline to one probe timeout after `now`, never to an earlier time. Called
    /// before the probe's slot is taken, so that a thread that finds all slots taken reads the
    /// deadline of the youngest probe.
    fn put_off_probe_deadline(&self, now: Instant, config: &Config) {
        self.line.probe_deadline.fetch_max((now + config.probe_timeout).as_nanos(), Relaxed);
    }

    /// Corrects the instant stored for the current state if it is later than the instant that would
    /// be stored now. This happens if the clock was set back or the probe timeout was shortened;
    /// without the correction, the breaker would stay in its state until that instant.
    pub(crate) fn correct_instants(&self, word: Word, now: Instant) {
        let (instant, latest) = match word.phase() {
            Phase::Open if word.overridden() != Override::Fixed => {
                (&self.line.open_until, now + self.open_duration())
            }
            Phase::HalfOpen(_) => {
                (&self.line.probe_deadline, now + self.config(word).probe_timeout)
            }
            Phase::Closed { ramping: true, .. } => (&self.line.closed_at, now),
            _ => return,
        };
        let (ahead, latest) = (instant.load(Relaxed), latest.as_nanos());
        // Compares the latest word, so that the instant of a later state is not corrected.
        if ahead > latest && self.latest_word() == word {
            // On failure, another thread has written the instant in the meantime.
            let _ = instant.compare_exchange(ahead, latest, Relaxed, Relaxed);
        }
    }

    /// Times out the active probes, which `trial` already counts as failed and slow. The trial
    /// continues unless these failures decide it. The next generation makes the late outcomes of
    /// the probes stale.
    fn time_out_probes(&self, word: Word, trial: Trial, now: Instant) -> Change {
        let config = self.config(word);
        match state::decide_trial(&trial, &config) {
            Verdict::Undecided => {
                self.swap(word, word.next_generation(Phase::HalfOpen(trial)));
                Change::None
            }
            verdict => {
                let open_cause = TransitionCause::ProbesTimedOut;
                self.conclude(word, now, &Conclusion { verdict, trial, open_cause }, &config)
            }
        }
    }
}
