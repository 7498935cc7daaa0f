//! The transitions between states. Each is committed under the outbox's lock, together with its
//! event.

use super::state::Verdict;
use super::word::{Phase, Trial, Word};
use super::{Change, Engine};
use crate::breaker::config::{Closures, Config};
use crate::breaker::mode::CircuitBreakerMode;
use crate::breaker::transition::{CircuitBreakerState, CircuitBreakerTransition, TransitionCause};
use crate::sync::EpochWord;
use crate::sync::atomic::Ordering::Relaxed;
use crate::time::{Instant, nanos};
use crate::window::WindowCounts;
use std::time::Duration;

/// The reason for which a breaker opens.
pub(super) struct Opening {
    pub(super) cause: TransitionCause,
    pub(super) counts: WindowCounts,
    /// The pause that the dependency requested, if any.
    pub(super) retry_after: Option<Duration>,
}

/// The verdict on a trial, and the cause that is reported if the breaker opens.
pub(super) struct Conclusion {
    pub(super) verdict: Verdict,
    pub(super) trial: Trial,
    pub(super) open_cause: TransitionCause,
}

/// A change of state to be committed.
#[derive(Clone, Copy)]
struct Step {
    from: Word,
    to: Word,
    now: Instant,
    cause: TransitionCause,
    counts: WindowCounts,
    on_entry: OnEntry,
}

/// The data to write for a state before the state word changes to it.
#[derive(Clone, Copy)]
enum OnEntry {
    Nothing,
    /// Opens the breaker. Fails if the openings are no longer `from`, from which `to` was computed.
    Open {
        from: Openings,
        to: Openings,
    },
    /// Makes the breaker half-open. The first probe times out after this duration.
    StartTrial(Duration),
    /// Closes the breaker with an empty window. The openings are kept if a ramp follows.
    Close,
    /// Ends a ramp; the breaker stays closed.
    EndRamp,
}

/// The openings since the breaker was last closed and not ramping up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Openings {
    count: u32,
    /// The duration of the latest opening, in nanoseconds.
    latest: u64,
}

impl Openings {
    const NONE: Self = Self { count: 0, latest: 0 };
}

impl Engine {
    /// Opens a breaker that has tripped, or whose trial has failed.
    pub(super) fn open(
        &self,
        word: Word,
        now: Instant,
        opening: &Opening,
        config: &Config,
    ) -> Change {
        // The backoff may be the user's own function, so it is not called under the lock. If
        // another thread opens the breaker in the meantime, the word has changed and this duration
        // is discarded.
        let from = self.openings();
        let count = from.count.saturating_add(1);
        let duration = match opening.retry_after {
            Some(retry_after) => retry_after.min(config.max_retry_after),
            None => {
                let custom = self.config.closures.lock().open_duration.clone();
                let latest = Duration::from_nanos(from.latest);
                config.open_duration.delay(count, latest, &self.config.random, custom.as_ref())
            }
        };
        let to = Openings { count, latest: nanos(duration) };
        self.commit(Step {
            from: word,
            to: word.next_generation(Phase::Open),
            now,
            cause: opening.cause,
            counts: opening.counts,
            on_entry: OnEntry::Open { from, to },
        })
    }

    /// Makes the breaker half-open. Returns the word in which the caller holds the first probe's
    /// slot, or `None` if the word has changed.
    pub(super) fn start_trial(&self, word: Word, now: Instant) -> Option<Word> {
        let first = Trial { active: 1, ..Trial::default() };
        let to = word.next_generation(Phase::HalfOpen(first));
        let change = self.commit(Step {
            from: word,
            to,
            now,
            cause: TransitionCause::OpenDurationElapsed,
            counts: WindowCounts::default(),
            on_entry: OnEntry::StartTrial(self.config(word).probe_timeout),
        });
        change.is_committed().then_some(to)
    }

    /// Ends a trial according to its verdict.
    pub(super) fn conclude(
        &self,
        word: Word,
        now: Instant,
        conclusion: &Conclusion,
        config: &Config,
    ) -> Change {
        let counts = conclusion.trial.counts();
        match conclusion.verdict {
            Verdict::Undecided => Change::None,
            Verdict::Open => {
                let opening = Opening { cause: conclusion.open_cause, counts, retry_after: None };
                self.open(word, now, &opening, config)
            }
            Verdict::Close => {
                let ramps = !config.ramp_up_duration.is_zero();
                let phase = if ramps { Phase::RAMPING } else { Phase::CLOSED };
                self.commit(Step {
                    from: word,
                    to: word.next_generation(phase),
                    now,
                    cause: TransitionCause::ProbesSucceeded,
                    counts,
                    on_entry: OnEntry::Close,
                })
            }
        }
    }

    /// Ends a ramp. Emits no event, because the state has been closed since the ramp began.
    pub(super) fn end_ramp(&self, word: Word) {
        self.outbox.commit(|_| {
            if self.swap(word, word.without_ramp()) {
                self.set_openings(Openings::NONE);
            }
            None
        });
    }

    /// Closes the breaker with an empty window, unless a mode keeps it open or disabled.
    pub(crate) fn close_and_clear(&self, now: Instant) -> Change {
        loop {
            let word = self.word();
            if matches!(word.mode(), CircuitBreakerMode::ForcedOpen | CircuitBreakerMode::Disabled)
            {
                return Change::None;
            }
            let change = self.commit(Step {
                from: word,
                to: word.next_generation(Phase::CLOSED),
                now,
                cause: TransitionCause::Reset,
                counts: self.window.counts(now),
                on_entry: OnEntry::Close,
            });
            if change.is_committed() {
                return change;
            }
        }
    }

    /// Enters `mode`, with the phase that belongs to it.
    pub(crate) fn switch_mode(&self, mode: CircuitBreakerMode, now: Instant) -> Change {
        let (overridden, phase) = mode.parts();
        loop {
            let word = self.word();
            let was = word.mode();
            if was == mode {
                return Change::None;
            }
            let window_is_void =
                matches!(was, CircuitBreakerMode::ForcedOpen | CircuitBreakerMode::Disabled);
            let (to, on_entry) = match phase {
                // The number of openings by the rules is kept.
                Some(phase @ (Phase::Open | Phase::Bypass)) => {
                    (word.next_generation(phase), OnEntry::Nothing)
                }
                _ if window_is_void => (word.next_generation(Phase::CLOSED), OnEntry::Close),
                Some(_) if !word.is_closed() => {
                    (word.next_generation(Phase::CLOSED), OnEntry::Close)
                }
                // A closed breaker is forced closed: the window is kept, and a ramp ends.
                Some(_) => (word.without_ramp(), OnEntry::EndRamp),
                None => (word, OnEntry::Nothing),
            };
            let change = self.commit(Step {
                from: word,
                to: to.with_override(overridden),
                now,
                cause: TransitionCause::ModeChanged,
                counts: self.window.counts(now),
                on_entry,
            });
            if change.is_committed() {
                return change;
            }
        }
    }

    /// Replaces the live configuration. After this returns, no decision uses the previous one.
    pub(crate) fn install(&self, config: &Config, mut closures: Closures) {
        self.outbox.commit(|_| {
            // A thread that opens the breaker reads the configuration first and the closures
            // second, and commits only if the epoch is unchanged under this lock. Therefore no
            // decision uses the configuration of one epoch and the closures of another.
            std::mem::swap(&mut *self.config.closures.lock(), &mut closures);
            // The lock makes this thread the only writer of the epoch. Other threads may change
            // only the detail of the word meanwhile.
            let epoch = self.word().epoch() + 1;
            self.config.live.write(epoch, *config);
            loop {
                let word = self.word();
                let mut next = word.with_config(epoch, config);
                if let Phase::Closed { ramping, .. } = next.phase()
                    && !next.counts_streaks()
                {
                    next = next.with_phase(Phase::Closed { consecutive_failures: 0, ramping });
                }
                if let Some(in_flight) = &self.in_flight {
                    in_flight.begin_era(next);
                }
                if self.swap(word, next) {
                    return None;
                }
            }
        });
        // Dropping the old closures may run user code, so it happens outside the lock.
        drop(closures);
    }

    /// Commits a change of state and queues its event in one step, unless the word has changed.
    fn commit(&self, step: Step) -> Change {
        let Step { from, to, now, cause, counts, on_entry } = step;
        let committed = self.outbox.commit(|sequence| {
            // Every transition holds this lock. From here on, other threads may change the detail
            // of the word or start the next generation of a trial, but not change the phase. No
            // other thread reads or writes the data of the next phase.
            if self.word() != from {
                return None;
            }
            let before = self.openings();
            if !self.prepare(to, now, on_entry) {
                return None;
            }
            let openings = self.openings().count;
            if !self.swap_within_limit(from, to) {
                // The failed step must leave the openings unchanged.
                self.set_openings(before);
                return None;
            }
            Some(CircuitBreakerTransition {
                sequence,
                at: now,
                from: CircuitBreakerState::of(from),
                to: CircuitBreakerState::of(to),
                cause,
                counts,
                // Closing clears the count, but its event reports the count before.
                openings: openings.max(before.count),
                open_duration: self.retry_at(to).map(|until| until - now),
                mode: to.mode(),
            })
        });
        Change::committed_if(committed)
    }

    /// Writes the data of the state in `to`; returns false if the step no longer applies.
    fn prepare(&self, to: Word, now: Instant, on_entry: OnEntry) -> bool {
        match on_entry {
            OnEntry::Nothing => {}
            OnEntry::Open { from, to } => {
                if self.openings() != from {
                    // `from` was read during a transition that then failed.
                    return false;
                }
                let until = now + Duration::from_nanos(to.latest);
                self.line.open_until.store(until.as_nanos(), Relaxed);
                self.set_openings(to);
            }
            OnEntry::StartTrial(probe_timeout) => {
                // Overwrites the deadline of an earlier trial, which is later if the clock was set
                // back.
                self.line.probe_deadline.store((now + probe_timeout).as_nanos(), Relaxed);
            }
            OnEntry::Close => {
                if to.is_ramping() {
                    self.stats.ramp_calls.store(0, Relaxed);
                } else {
                    self.set_openings(Openings::NONE);
                }
                self.line.closed_at.store(now.as_nanos(), Relaxed);
                self.window.reset(to.generation(), now);
                if let Some(in_flight) = &self.in_flight {
                    in_flight.begin_era(to);
                }
            }
            OnEntry::EndRamp => self.set_openings(Openings::NONE),
        }
        true
    }

    /// Swaps the word, unless that would exceed the group's limit on open breakers.
    fn swap_within_limit(&self, from: Word, to: Word) -> bool {
        let Some(limit) = &self.config.open_limit else { return self.swap(from, to) };
        let opens = !from.is_tripped() && to.is_tripped();
        let closes = from.is_tripped() && !to.is_tripped();
        if opens && !limit.try_open() {
            return false;
        }
        // Ordering: the swap releases what `prepare` wrote.
        let swapped = self.swap(from, to);
        if opens && !swapped || closes && swapped {
            limit.release();
        }
        swapped
    }

    fn openings(&self) -> Openings {
        Openings {
            count: self.line.openings.load(Relaxed),
            latest: self.line.open_duration.load(Relaxed),
        }
    }

    fn set_openings(&self, openings: Openings) {
        self.line.openings.store(openings.count, Relaxed);
        self.line.open_duration.store(openings.latest, Relaxed);
    }
}
