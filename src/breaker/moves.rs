//! What changes the state. Every transition is committed under the outbox's lock, with its event.

use super::config::Settings;
use super::core::{Core, Moved};
use super::manual::CircuitBreakerMode;
use super::places::Places;
use super::rule::Closures;
use super::state::Verdict;
use super::transition::{CircuitBreakerState, Transition, TransitionCause};
use super::word::{Phase, Trial, Word};
use crate::sync::atomic::Ordering::Relaxed;
use crate::time::{Instant, nanos};
use crate::window::WindowCounts as Counts;
use std::time::Duration;

/// How many openings, and the last wait in nanoseconds.
type Openings = (u32, u64);

impl Core {
    pub(super) fn decide(
        &self,
        word: Word,
        verdict: Verdict,
        trial: Trial,
        now: Instant,
        settings: &Settings,
        bad: TransitionCause,
    ) -> Moved {
        match verdict {
            Verdict::Undecided => false,
            Verdict::Close => {
                let phase = if settings.ramp_up.is_zero() { Phase::CLOSED } else { Phase::RAMPING };
                self.close(
                    word,
                    word.moved_to(phase),
                    now,
                    TransitionCause::ProbesSucceeded,
                    trial.counts(),
                )
            }
            Verdict::Open => self.open(word, now, bad, trial.counts(), settings, None),
        }
    }

    /// `pause`: for that long, within reason, if somebody knows better than the backoff.
    pub(super) fn open(
        &self,
        word: Word,
        now: Instant,
        cause: TransitionCause,
        counts: Counts,
        settings: &Settings,
        pause: Option<Duration>,
    ) -> Moved {
        // The wait may be the user's own function: not under the lock. If others open the breaker in
        // the meantime, the word has changed and this wait is not used.
        let before = self.openings();
        let openings = before.0.saturating_add(1);
        let wait = pause.map(|pause| pause.min(settings.max_retry_after)).unwrap_or_else(|| {
            let custom = self.laws.closures.lock().wait.clone();
            let last = Duration::from_nanos(before.1);
            settings.wait.delay(openings, last, &self.laws.random, custom.as_ref())
        });
        let next = word.moved_to(Phase::Open);
        self.transition(word, next, now, cause, counts, || {
            if self.openings() != before {
                return false; // read while another transition was about to come to nothing
            }
            self.gate.open_until.store((now + wait).as_nanos(), Relaxed);
            self.set_openings((openings, nanos(wait)));
            true
        })
    }

    /// `to` is closed, of the next generation. Its openings are forgotten, unless it has yet to ramp up.
    fn close(
        &self,
        from: Word,
        to: Word,
        now: Instant,
        cause: TransitionCause,
        counts: Counts,
    ) -> Moved {
        self.transition(from, to, now, cause, counts, || {
            if to.phase() == Phase::RAMPING {
                self.tallies.draws.store(0, Relaxed);
            } else {
                self.set_openings((0, 0));
            }
            self.gate.closed_at.store(now.as_nanos(), Relaxed);
            self.window.reset(to.generation(), now);
            if let Some(in_flight) = &self.in_flight {
                in_flight.begin_era(to);
            }
            true
        })
    }

    /// The ramp is over: closed for good.
    pub(super) fn end_ramp(&self, word: Word) {
        self.outbox.commit(|_| {
            if self.swap(word, word.without_ramp()) {
                self.set_openings((0, 0));
            }
            None
        });
    }

    /// Commits a transition and queues its event in one step; false if the word is no longer `from`, or
    /// if `prepare` says so.
    pub(super) fn transition(
        &self,
        from: Word,
        to: Word,
        now: Instant,
        cause: TransitionCause,
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
            let before = self.openings();
            if !prepare() {
                return None;
            }
            let openings = self.openings().0;
            let (takes, gives) = (!from.is_shut() && to.is_shut(), from.is_shut() && !to.is_shut());
            let places = self.laws.places.as_ref();
            let has_place = !takes || places.is_none_or(Places::take);
            // Ordering: the swap releases what `prepare` wrote.
            let moved = has_place && self.swap(from, to);
            if let Some(places) = places
                && (moved && gives || !moved && takes && has_place)
            {
                places.give_back();
            }
            if !moved {
                // Comes to nothing, and must not count: neither as one more opening nor as none.
                self.set_openings(before);
                return None;
            }
            Some(Transition {
                sequence,
                at: now,
                from: CircuitBreakerState::of(from),
                to: CircuitBreakerState::of(to),
                cause,
                counts,
                // Closing sets the count back, but its event says how often it had opened.
                openings: openings.max(before.0),
                wait: self.open_until(to).map(|until| until - now),
                mode: to.mode(),
            })
        })
    }

    /// Closed, with an empty window, unless somebody holds it open or has disabled it.
    pub(super) fn reset(&self, now: Instant) -> Moved {
        loop {
            let word = self.word();
            if matches!(word.mode(), CircuitBreakerMode::ForcedOpen | CircuitBreakerMode::Disabled)
            {
                return false;
            }
            let counts = self.window.counts(now);
            if self.close(word, word.moved_to(Phase::CLOSED), now, TransitionCause::Reset, counts) {
                return true;
            }
        }
    }

    /// Puts somebody in charge, or the rules.
    pub(super) fn set_mode(&self, mode: CircuitBreakerMode, now: Instant) -> Moved {
        let (hand, held) = mode.parts();
        loop {
            let word = self.word();
            if word.mode() == mode {
                return false;
            }
            let counts = self.window.counts(now);
            let let_go = matches!(
                word.mode(),
                CircuitBreakerMode::ForcedOpen | CircuitBreakerMode::Disabled
            );
            let by_hand = TransitionCause::ByHand;
            let moved = match held {
                Some(phase @ (Phase::Open | Phase::Off)) => {
                    // An opening of the rules' own is neither counted nor forgotten.
                    let to = word.moved_to(phase).with_hand(hand);
                    self.transition(word, to, now, by_hand, counts, || {
                        self.gate.open_until.store(Instant::FAR_FUTURE.as_nanos(), Relaxed);
                        true
                    })
                }
                _ if let_go || held.is_some() && !word.is_closed() => {
                    let to = word.moved_to(Phase::CLOSED).with_hand(hand);
                    self.close(word, to, now, by_hand, counts)
                }
                // Closed already, with a window that goes on being filled; all pass, also if it was ramping
                // up.
                Some(_) => self.transition(
                    word,
                    word.without_ramp().with_hand(hand),
                    now,
                    by_hand,
                    counts,
                    || {
                        self.set_openings((0, 0));
                        true
                    },
                ),
                None => self.transition(word, word.with_hand(hand), now, by_hand, counts, || true),
            };
            if moved {
                return true;
            }
        }
    }

    /// Puts `settings` into force: no decision by the old ones comes after this.
    pub(super) fn reconfigure(&self, settings: &Settings, mut closures: Closures) {
        self.outbox.commit(|_| {
            // Who opens reads the settings first and the closures second, and must find the same
            // epoch under this lock. So nobody gets away with the settings of one epoch and the
            // closures of the other.
            std::mem::swap(&mut *self.laws.closures.lock(), &mut closures);
            // The lock makes this the only writer; only details of the word change meanwhile.
            let epoch = self.word().epoch() + 1;
            self.laws.live.write(epoch, *settings);
            loop {
                let word = self.word();
                let mut next = word.with_settings(epoch, settings);
                if let Phase::Closed { ramping, .. } = next.phase()
                    && !next.counts_streaks()
                {
                    next = next.with_phase(Phase::Closed { failures_in_a_row: 0, ramping });
                }
                if let Some(in_flight) = &self.in_flight {
                    in_flight.begin_era(next);
                }
                if self.swap(word, next) {
                    return None;
                }
            }
        });
        drop(closures); // the old ones are the user's: not under the lock
    }

    fn openings(&self) -> Openings {
        (self.gate.openings.load(Relaxed), self.gate.last_wait.load(Relaxed))
    }

    fn set_openings(&self, (count, last_wait): Openings) {
        self.gate.openings.store(count, Relaxed);
        self.gate.last_wait.store(last_wait, Relaxed);
    }
}
