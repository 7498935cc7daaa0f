//! How a call ends.

use super::admit::Ticket;
use super::class::CallClass;
use super::config::Settings;
use super::core::{Core, Moved};
use super::places::Places;
use super::rule::TripStats;
use super::state::{self, Verdict, Weighed};
use super::transition::TransitionCause;
use super::word::{Hand, LONGEST_STREAK, Phase, Word};
use crate::outcome::Outcome;
use crate::sync::atomic::{
    Ordering::{Relaxed, SeqCst},
    fence,
};
use crate::time::{Instant, Reading};
use crate::window::{Sample, WindowCounts as Counts};

/// A call that counts, and what is remarkable about it.
#[derive(Clone, Copy)]
pub(super) struct Ended<'a> {
    class: &'a CallClass,
    weighed: Weighed,
}

impl Core {
    /// Counts a success if nothing has happened since its admission and the window needs no clock; else
    /// it is still to be [settled](Self::settle).
    #[inline]
    pub(super) fn count_at_once(&self, ticket: Ticket) -> bool {
        let word = self.word();
        word == ticket.admitted
            && word.is_plain()
            && !word.has_streak()
            && self.window.try_record_success(word.generation())
    }

    /// Hears how a call ended.
    #[inline]
    pub(super) fn settle(
        &self,
        ticket: Ticket,
        outcome: Outcome,
        class: &CallClass,
        reading: &mut Reading<'_>,
    ) -> Moved {
        let word = self.word();
        let usual = outcome == Outcome::Success
            && word.generation() == ticket.admitted.generation()
            && ticket.admitted.admits_all()
            && self.in_flight.is_none();
        if usual && !(word.is_timed() && self.is_slow(word, &ticket, class, reading)) {
            return self.count_success(word, &ticket, class, reading);
        }
        self.settle_with_care(ticket, outcome, class, reading)
    }

    /// A success of an ordinary closed breaker, and not a slow one.
    #[inline]
    fn count_success(
        &self,
        word: Word,
        ticket: &Ticket,
        class: &CallClass,
        reading: &mut Reading<'_>,
    ) -> Moved {
        let now = if self.window.is_timed() { reading.now() } else { Instant::ORIGIN };
        if !self.window.record(word.generation(), now, Sample::OK) {
            self.tallies.stale.fetch_add(1, Relaxed);
            return false;
        }
        if self.window.has_latency() {
            self.record_latency(ticket, reading);
        }
        word.has_streak()
            && self.after_failure(word, &Ended { class, weighed: Weighed::SUCCESS }, reading)
    }

    #[inline(never)]
    fn settle_with_care(
        &self,
        ticket: Ticket,
        outcome: Outcome,
        class: &CallClass,
        reading: &mut Reading<'_>,
    ) -> Moved {
        if ticket.admitted.is_off() {
            return false;
        }
        let word = self.word();
        self.leave(&ticket);
        let weighed = state::weigh(outcome);
        if word.generation() != ticket.admitted.generation() {
            self.tallies.stale.fetch_add(u64::from(weighed.is_some()), Relaxed);
            return false;
        }
        let weighed = weighed.map(|weighed| Weighed {
            slow: weighed.slow || word.is_timed() && self.is_slow(word, &ticket, class, reading),
            ..weighed
        });
        if ticket.is_probe() {
            return self.settle_probe(ticket, weighed, reading);
        }
        let Some(weighed) = weighed else { return false };
        let now = if self.window.is_timed() { reading.now() } else { Instant::ORIGIN };
        let sample = Sample { failed: weighed.failed, slow: weighed.slow };
        if !(0..weighed.weight).all(|_| self.window.record(word.generation(), now, sample)) {
            self.tallies.stale.fetch_add(1, Relaxed);
            return false;
        }
        if !sample.failed && self.window.has_latency() {
            self.record_latency(&ticket, reading);
        }
        if sample != Sample::OK || word.has_streak() {
            return self.after_failure(word, &Ended { class, weighed }, reading);
        }
        false
    }

    #[inline]
    fn is_slow(
        &self,
        word: Word,
        ticket: &Ticket,
        class: &CallClass,
        reading: &mut Reading<'_>,
    ) -> bool {
        let threshold = || class.slow_after.unwrap_or_else(|| self.slow_after(word));
        ticket.elapsed(reading).is_some_and(|elapsed| elapsed >= threshold())
    }

    fn record_latency(&self, ticket: &Ticket, reading: &mut Reading<'_>) {
        if let Some(elapsed) = ticket.elapsed(reading) {
            self.window.record_latency(reading.now(), elapsed);
        }
    }

    /// A closed breaker has recorded a failed or slow call, or a success after failures.
    #[cold]
    fn after_failure(&self, seen: Word, ended: &Ended<'_>, reading: &mut Reading<'_>) -> Moved {
        let streak = self.count_streak(seen, ended.weighed);
        if !ended.weighed.failed && !ended.weighed.slow {
            return false;
        }
        // Ordering: sequentially consistent, with the same fence of others who fail. Each has recorded its
        // call, perhaps in another bucket than ours, and is about to sum up all of them: of two calls, one
        // at least must see both, or neither would trip.
        fence(SeqCst);
        self.judge_window(seen, streak, Some(ended), reading)
    }

    /// Opens the breaker if the rules say so, upon a call that has just ended or because others do not end.
    pub(super) fn judge_window(
        &self,
        seen: Word,
        streak: u32,
        ended: Option<&Ended<'_>>,
        reading: &mut Reading<'_>,
    ) -> Moved {
        loop {
            let word = self.word();
            if word.generation() != seen.generation() || word.hand() == Hand::Held {
                return false;
            }
            let mut settings = self.settings(word);
            if let Some(Ended { class: CallClass { failure_rate: Some(rate), .. }, weighed }) =
                ended
                && weighed.failed
            {
                settings.failure_rate = *rate;
            }
            let timed = self.window.is_timed() || self.in_flight.is_some() || settings.has_rule;
            let now = if timed { reading.now() } else { Instant::ORIGIN };
            let (counts, _) = self.counts(word, &settings, now);
            let pause = ended.and_then(|ended| ended.weighed.leave_alone);
            let cause = match pause {
                Some(_) => Some(TransitionCause::AskedTo),
                None => state::trip(&counts, streak, &settings)
                    .or_else(|| self.ask_rule(word, &settings, counts, streak, now)),
            };
            match cause {
                None if self.still(word) => return false,
                None => {}
                Some(_) if self.laws.places.as_ref().is_some_and(Places::is_full) => {
                    self.laws.places.iter().for_each(Places::spare);
                    return false;
                }
                Some(cause) if self.open(word, reading.now(), cause, counts, &settings, pause) => {
                    return true;
                }
                Some(_) => {}
            }
        }
    }

    /// Asks the user's own rule, if there is one.
    fn ask_rule(
        &self,
        word: Word,
        settings: &Settings,
        counts: Counts,
        streak: u32,
        now: Instant,
    ) -> Option<TransitionCause> {
        if !settings.has_rule {
            return None;
        }
        // Cloned, not called, under the locks. That of the outbox keeps settings and closures from changing:
        // either this is the rule that belongs to `word`, or the epoch is another and all is asked again.
        let mut rule = None;
        self.outbox.commit(|_| {
            rule = self
                .laws
                .closures
                .lock()
                .rule
                .clone()
                .filter(|_| self.word().epoch() == word.epoch());
            None
        });
        let rule = rule?;
        let latency = self.window.latency(now);
        let figures = TripStats { counts, failures_in_a_row: streak, latency };
        rule(&figures).then_some(TransitionCause::Rule)
    }

    /// How many calls in a row have failed, this one included.
    fn count_streak(&self, seen: Word, ended: Weighed) -> u32 {
        loop {
            let word = self.word();
            let Phase::Closed { failures_in_a_row: streak, ramping } = word.phase() else {
                return 0;
            };
            if word.generation() != seen.generation() || !word.counts_streaks() {
                return 0;
            }
            let longer = streak.saturating_add(u32::from(ended.weight)).min(LONGEST_STREAK);
            let next = if ended.failed { longer } else { 0 };
            if next == streak
                || self
                    .swap(word, word.with_phase(Phase::Closed { failures_in_a_row: next, ramping }))
            {
                return next;
            }
        }
    }

    /// A probe has ended, with an outcome or without.
    #[cold]
    fn settle_probe(
        &self,
        ticket: Ticket,
        weighed: Option<Weighed>,
        reading: &mut Reading<'_>,
    ) -> Moved {
        let slot = Held { core: self, ticket }; // should the user's wait function panic
        let Some(weighed) = weighed else { return false };
        loop {
            let word = self.word();
            let Phase::HalfOpen(trial) = word.phase() else { return false };
            if word.generation() != ticket.admitted.generation() {
                self.tallies.stale.fetch_add(1, Relaxed);
                return false;
            }
            let trial =
                trial.with_outcome(Some(Sample { failed: weighed.failed, slow: weighed.slow }));
            let settings = self.settings(word);
            if let Some(pause) = weighed.leave_alone {
                let (now, pause) = (reading.now(), Some(pause));
                if self.open(word, now, TransitionCause::AskedTo, trial.counts(), &settings, pause)
                {
                    return true;
                }
                continue;
            }
            let verdict = state::judge(&trial, &settings);
            let settled = match verdict {
                Verdict::Undecided => self.swap(word, word.with_phase(Phase::HalfOpen(trial))),
                _ => self.decide(
                    word,
                    verdict,
                    trial,
                    reading.now(),
                    &settings,
                    TransitionCause::ProbesFailed,
                ),
            };
            if settled {
                slot.settled();
                return verdict != Verdict::Undecided;
            }
        }
    }

    /// The other end of `enter`.
    fn leave(&self, ticket: &Ticket) {
        if let Some(in_flight) = &self.in_flight
            && ticket.admitted.is_closed()
        {
            in_flight.leave(&ticket.start(self.slow_after(ticket.admitted)));
        }
    }

    /// A call has ended and counts as none: what it held is free again.
    pub(super) fn give_back(&self, ticket: &Ticket) {
        self.leave(ticket);
        while ticket.is_probe() {
            let word = self.word();
            let Phase::HalfOpen(trial) = word.phase() else { return };
            if word.generation() != ticket.admitted.generation()
                || self.swap(word, word.with_phase(Phase::HalfOpen(trial.with_outcome(None))))
            {
                return;
            }
        }
    }
}

/// What a call holds: a place among those under way, a probe's slot. Given back when this is dropped, by a
/// panic in the user's code perhaps.
pub(super) struct Held<'a> {
    pub(super) core: &'a Core,
    pub(super) ticket: Ticket,
}

impl Held<'_> {
    /// It is accounted for, or still needed.
    pub(super) fn settled(self) {
        std::mem::forget(self);
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.core.give_back(&self.ticket);
    }
}
