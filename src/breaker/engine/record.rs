//! Records the outcome of a call, which may trip the breaker or decide a trial.

use super::state::{self, Effect, Verdict};
use super::ticket::{Ticket, TicketGuard};
use super::transitions::{Conclusion, Opening};
use super::word::{Override, Phase, Word};
use super::{Change, Engine};
use crate::breaker::config::{CallClass, Config, TripStats};
use crate::breaker::transition::TransitionCause;
use crate::outcome::Outcome;
use crate::sync::atomic::{
    Ordering::{Relaxed, SeqCst},
    fence,
};
use crate::sync::{Decision, EpochWord};
use crate::time::{Instant, Reading};
use crate::window::{Sample, WindowCounts};

/// A call that has ended with an outcome that is counted.
#[derive(Clone, Copy)]
pub(super) struct Completed<'a> {
    class: &'a CallClass,
    effect: Effect,
}

/// Why the rules of a closed breaker are evaluated.
#[derive(Clone, Copy)]
pub(super) enum Trigger<'a> {
    /// A call failed or was slow. The number is the count of consecutive failures up to it.
    Completed(Completed<'a>, u32),
    /// Calls in flight may have become overdue.
    TimePassed,
}

impl Engine {
    /// Records a success if that needs no clock, the state has not changed since the admission, and
    /// there are no consecutive failures to clear. If this returns false, the caller must
    /// [complete](Self::complete) the call.
    #[inline]
    pub(crate) fn try_record_success(&self, ticket: Ticket) -> bool {
        let word = self.word();
        word == ticket.admitted
            && word.is_plain()
            && !word.has_streak()
            && self.window.try_record_success(word.generation())
    }

    /// Records the outcome of a call.
    #[inline]
    pub(crate) fn complete(
        &self,
        ticket: Ticket,
        outcome: Outcome,
        class: &CallClass,
        reading: &mut Reading<'_>,
    ) -> Change {
        let word = self.word();
        let usual = outcome == Outcome::Success
            && word.generation() == ticket.admitted.generation()
            && ticket.admitted.admits_all()
            && self.in_flight.is_none();
        if usual && !(word.is_timed() && self.is_slow(word, &ticket, class, reading)) {
            return self.complete_success(word, &ticket, class, reading);
        }
        self.complete_unusual(ticket, outcome, class, reading)
    }

    /// Records a success that was not slow, in a closed breaker.
    #[inline]
    fn complete_success(
        &self,
        word: Word,
        ticket: &Ticket,
        class: &CallClass,
        reading: &mut Reading<'_>,
    ) -> Change {
        let now = if self.window.is_timed() { reading.now() } else { Instant::ORIGIN };
        if !self.window.record(word.generation(), now, Sample::SUCCESS) {
            self.stats.stale.fetch_add(1, Relaxed);
            return Change::None;
        }
        if self.window.has_latency() {
            self.record_latency(ticket, reading);
        }
        if word.has_streak() {
            return self.evaluate(word, Completed { class, effect: Effect::SUCCESS }, reading);
        }
        Change::None
    }

    #[inline(never)]
    fn complete_unusual(
        &self,
        ticket: Ticket,
        outcome: Outcome,
        class: &CallClass,
        reading: &mut Reading<'_>,
    ) -> Change {
        if ticket.admitted.is_bypass() {
            return Change::None;
        }
        let word = self.word();
        self.leave_in_flight(&ticket);
        let effect = Effect::of(outcome);
        if word.generation() != ticket.admitted.generation() {
            self.stats.stale.fetch_add(u64::from(effect.is_some()), Relaxed);
            return Change::None;
        }
        let effect = effect.map(|effect| Effect {
            slow: effect.slow || word.is_timed() && self.is_slow(word, &ticket, class, reading),
            ..effect
        });
        if ticket.is_probe() {
            return self.complete_probe(ticket, effect, reading);
        }
        let Some(effect) = effect else { return Change::None };
        let now = if self.window.is_timed() { reading.now() } else { Instant::ORIGIN };
        let sample = Sample { failed: effect.failed, slow: effect.slow };
        if !(0..effect.weight).all(|_| self.window.record(word.generation(), now, sample)) {
            self.stats.stale.fetch_add(1, Relaxed);
            return Change::None;
        }
        if !sample.failed && self.window.has_latency() {
            self.record_latency(&ticket, reading);
        }
        if sample != Sample::SUCCESS || word.has_streak() {
            return self.evaluate(word, Completed { class, effect }, reading);
        }
        Change::None
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

    /// Updates the consecutive failures of a closed breaker. If the call failed or was slow, also
    /// evaluates the rules.
    #[cold]
    fn evaluate(&self, seen: Word, completed: Completed<'_>, reading: &mut Reading<'_>) -> Change {
        let streak = self.count_streak(seen, completed.effect);
        if !completed.effect.failed && !completed.effect.slow {
            return Change::None;
        }
        // Ordering: sequentially consistent, pairs with this fence in other threads. Each thread
        // has recorded its call, perhaps in another bucket, and then sums all buckets. Of two
        // threads, at least one must read both calls; otherwise neither would trip.
        fence(SeqCst);
        self.trip_if_due(seen, Trigger::Completed(completed, streak), reading)
    }

    /// Opens the breaker if a rule is met.
    pub(super) fn trip_if_due(
        &self,
        seen: Word,
        trigger: Trigger<'_>,
        reading: &mut Reading<'_>,
    ) -> Change {
        self.config.live.decide(&self.line.word, |word: Word, mut config: Config| {
            if word.generation() != seen.generation() || word.overridden() == Override::Fixed {
                return Decision::Done(Change::None);
            }
            let timed = self.window.is_timed() || self.in_flight.is_some() || config.has_trip_rule;
            let now = if timed { reading.now() } else { Instant::ORIGIN };
            let (counts, overdue) = self.counts(word, &config, now);
            let (evaluates, streak, retry_after) = match trigger {
                Trigger::Completed(Completed { class, effect }, streak) => {
                    if effect.failed && class.failure_rate.is_some() {
                        config.failure_rate = class.failure_rate;
                    }
                    (true, streak, effect.retry_after)
                }
                // Overdue calls count as slow. Without any, the counts have not changed.
                Trigger::TimePassed => (overdue > 0, word.streak(), None),
            };
            let cause = match retry_after {
                Some(_) => Some(TransitionCause::Unavailable),
                None if !evaluates => None,
                None => state::trip_cause(&counts, streak, &config).or_else(|| {
                    let by_rule =
                        config.has_trip_rule && self.trip_rule_is_met(word, counts, streak, now);
                    by_rule.then_some(TransitionCause::TripRule)
                }),
            };
            let Some(cause) = cause else { return Decision::Keep(Change::None) };
            if let Some(limit) = &self.config.open_limit
                && limit.is_reached()
            {
                limit.count_suppressed();
                return Decision::Done(Change::None);
            }
            let opening = Opening { cause, counts, retry_after };
            match self.open(word, reading.now(), &opening, &config) {
                Change::None => Decision::Retry,
                Change::Committed => Decision::Done(Change::Committed),
            }
        })
    }

    /// Evaluates the user's trip rule; returns whether to trip.
    fn trip_rule_is_met(
        &self,
        word: Word,
        counts: WindowCounts,
        streak: u32,
        now: Instant,
    ) -> bool {
        // The rule is only cloned under the locks, and called after their release. The outbox's
        // lock keeps configuration and closures from changing: either this rule belongs to `word`,
        // or the epoch has changed and the caller decides again.
        let mut rule = None;
        self.outbox.commit(|_| {
            if self.word().epoch() == word.epoch() {
                rule.clone_from(&self.config.closures.lock().trip_rule);
            }
            None
        });
        let latency = self.window.latency(now);
        let stats = TripStats { counts, consecutive_failures: streak, latency };
        rule.is_some_and(|rule| rule(&stats))
    }

    /// Updates the number of consecutive failures and returns it.
    fn count_streak(&self, seen: Word, effect: Effect) -> u32 {
        loop {
            let word = self.word();
            let Phase::Closed { consecutive_failures: streak, ramping } = word.phase() else {
                return 0;
            };
            if word.generation() != seen.generation() || !word.counts_streaks() {
                return 0;
            }
            let longer = streak.saturating_add(u32::from(effect.weight));
            let next = if effect.failed { longer.min(Word::MAX_CONSECUTIVE_FAILURES) } else { 0 };
            let phase = Phase::Closed { consecutive_failures: next, ramping };
            if next == streak || self.swap(word, word.with_phase(phase)) {
                return next;
            }
        }
    }

    /// Records the end of a probe. Without an outcome, only its slot is released.
    #[cold]
    fn complete_probe(
        &self,
        ticket: Ticket,
        effect: Option<Effect>,
        reading: &mut Reading<'_>,
    ) -> Change {
        let slot = TicketGuard { engine: self, ticket }; // the user's backoff may panic
        let Some(effect) = effect else { return Change::None };
        let change = self.config.live.decide(&self.line.word, |word: Word, config: Config| {
            let Phase::HalfOpen(trial) = word.phase() else {
                return Decision::Done(Change::None);
            };
            if word.generation() != ticket.admitted.generation() {
                self.stats.stale.fetch_add(1, Relaxed);
                return Decision::Done(Change::None);
            }
            let trial =
                trial.with_outcome(Some(Sample { failed: effect.failed, slow: effect.slow }));
            let change = match (effect.retry_after, state::decide_trial(&trial, &config)) {
                (None, Verdict::Undecided) => {
                    return Decision::Replace(
                        word.with_phase(Phase::HalfOpen(trial)),
                        Change::None,
                    );
                }
                (Some(_), _) => {
                    let opening = Opening {
                        cause: TransitionCause::Unavailable,
                        counts: trial.counts(),
                        retry_after: effect.retry_after,
                    };
                    self.open(word, reading.now(), &opening, &config)
                }
                (None, verdict) => {
                    let open_cause = TransitionCause::ProbesFailed;
                    let conclusion = Conclusion { verdict, trial, open_cause };
                    self.conclude(word, reading.now(), &conclusion, &config)
                }
            };
            match change {
                Change::None => Decision::Retry,
                Change::Committed => Decision::Done(Change::Committed),
            }
        });
        slot.disarm();
        change
    }

    /// Removes the call from the calls in flight, to which `enter_in_flight` added it.
    fn leave_in_flight(&self, ticket: &Ticket) {
        if let Some(in_flight) = &self.in_flight
            && ticket.admitted.is_closed()
            && let Some(start) = ticket.start(self.slow_after(ticket.admitted))
        {
            in_flight.leave(&start);
        }
    }

    /// Ends a call without an outcome: releases its probe slot and removes it from the calls in
    /// flight.
    pub(crate) fn abandon(&self, ticket: &Ticket) {
        self.leave_in_flight(ticket);
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
