//! The shell around the state machine: atomics, window, settings. It is told the time and tells nobody
//! what happened; that is for the breaker around it.
//!
//! How a call gets in stands in `admit.rs`, how it ends in `settle.rs`, what changes the state in `moves.rs`.

use super::config::Settings;
use super::in_flight::InFlight;
use super::manual::CircuitBreakerMode;
use super::places::Places;
use super::ramp;
use super::rule::Laws;
use super::state::{self, Times};
use super::transition::{CircuitBreakerState, Transition};
use super::word::{Hand, Phase, Word};
use crate::event::Outbox;
use crate::sync::Arc;
use crate::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed},
    fence,
};
use crate::time::Instant;
use crate::window::{Window, WindowCounts as Counts};
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Core {
    pub(super) gate: Gate,
    pub(super) tallies: Tallies,
    pub(super) window: Window,
    pub(super) in_flight: Option<Box<InFlight>>,
    pub(super) laws: Arc<Laws>,
    /// Its lock is the one under which transitions are committed.
    pub(super) outbox: Outbox<Transition>,
}

/// What every call reads and only transitions write, while the breaker is closed. On a cache line of its
/// own, and not on two as `CachePadded` would have it: of keyed breakers there are very many.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Gate {
    word: AtomicU64,
    /// Of the present opening. Written before the word says open, read after.
    pub(super) open_until: AtomicU64,
    /// When the youngest lease of the present trial ends. Put off before a probe takes its slot.
    pub(super) lease_until: AtomicU64,
    /// When it closed last. Written before the word says closed, read after.
    pub(super) closed_at: AtomicU64,
    /// How often it has opened since it was last closed for good, and the last wait. Changed under the
    /// outbox's lock alone.
    pub(super) openings: AtomicU32,
    pub(super) last_wait: AtomicU64,
}

/// TripStats that change with calls that are not admitted.
#[derive(Debug)]
pub(super) struct Tallies {
    pub(super) rejected: AtomicU64,
    pub(super) shadowed: AtomicU64,
    pub(super) stale: AtomicU64,
    /// Callers who asked to be in the share of a ramp.
    pub(super) draws: AtomicU32,
}

/// Whether there is something to deliver.
pub(super) type Moved = bool;

impl Core {
    pub(super) fn new(
        window: Window,
        settings: &Settings,
        mode: CircuitBreakerMode,
        laws: Arc<Laws>,
    ) -> Self {
        let word = Word::new(settings, mode);
        laws.places.iter().for_each(Places::join);
        Self {
            gate: Gate {
                word: AtomicU64::new(word.to_bits()),
                open_until: AtomicU64::new(Instant::FAR_FUTURE.as_nanos()),
                lease_until: AtomicU64::new(0),
                closed_at: AtomicU64::new(0),
                openings: AtomicU32::new(0),
                last_wait: AtomicU64::new(0),
            },
            tallies: Tallies {
                rejected: AtomicU64::new(0),
                shadowed: AtomicU64::new(0),
                stale: AtomicU64::new(0),
                draws: AtomicU32::new(0),
            },
            window,
            in_flight: settings.in_flight.then(|| Box::new(InFlight::new(word))),
            laws,
            outbox: Outbox::new(),
        }
    }

    #[inline]
    pub(super) fn word(&self) -> Word {
        // Ordering: acquire, with the release in `swap`: who sees a word sees what was written for it
        // before, its settings, its wait, its window.
        Word::from_bits(self.gate.word.load(Acquire))
    }

    /// The word as it is now, for who has no part in the order in which it came about.
    pub(super) fn latest_word(&self) -> Word {
        // Ordering: a read-modify-write sees the last of all modifications.
        Word::from_bits(self.gate.word.fetch_or(0, AcqRel))
    }

    pub(super) fn swap(&self, from: Word, to: Word) -> bool {
        self.gate.word.compare_exchange(from.to_bits(), to.to_bits(), AcqRel, Relaxed).is_ok()
    }

    pub(super) fn settings(&self, word: Word) -> Settings {
        self.laws.live.read(word.epoch())
    }

    #[inline]
    pub(super) fn slow_after(&self, word: Word) -> Duration {
        Duration::from_nanos(self.laws.live.read_word(word.epoch(), Settings::SLOW_AFTER))
    }

    /// Whether the settings that were read for `word` are in force, so that not to trip is their verdict
    /// and not that of a mixture.
    pub(super) fn still(&self, word: Word) -> bool {
        // Ordering: acquire, so that the settings were read before the epoch is looked at again.
        fence(Acquire);
        self.word().epoch() == word.epoch()
    }

    pub(super) fn times(&self) -> Times {
        let read = |instant: &AtomicU64| Instant::from_nanos(instant.load(Relaxed));
        Times {
            open_until: read(&self.gate.open_until),
            lease_until: read(&self.gate.lease_until),
            closed_at: read(&self.gate.closed_at),
        }
    }

    /// Whether it is still ramping up: the ramp ends with its time, even if nobody calls.
    pub(super) fn is_ramping(&self, word: Word, now: Instant) -> bool {
        let length = || self.settings(word).ramp_up;
        word.is_ramping() && ramp::share(now - self.times().closed_at, length()).is_some()
    }

    /// Whether it is shut, unless its wait, or the lease of its last probe, ended `grace` ago or longer.
    pub(super) fn must_stay_shut(&self, word: Word, now: Instant, grace: Duration) -> bool {
        let times = self.times();
        let until = if word.phase() == Phase::Open { times.open_until } else { times.lease_until };
        word.is_shut() && now < until + grace
    }

    /// What the window holds, with the calls that are overdue, if those are watched; and how many they are.
    pub(super) fn counts(&self, word: Word, settings: &Settings, now: Instant) -> (Counts, u64) {
        let counts = self.window.counts(now);
        match &self.in_flight {
            Some(in_flight) => {
                let overdue = in_flight.overdue(word, now, settings.slow_after);
                (state::with_overdue(counts, overdue, self.window.calls()), overdue)
            }
            None => (counts, 0),
        }
    }

    pub(super) fn look(&self, now: Instant) -> Look {
        let word = self.word();
        Look {
            state: CircuitBreakerState::of(word),
            phase: word.phase(),
            mode: word.mode(),
            open_until: self.open_until(word),
            counts: self.window.counts(now),
            overdue: self.counts(word, &self.settings(word), now).1,
            openings: self.gate.openings.load(Relaxed),
            rejected: self.tallies.rejected.load(Relaxed),
            shadowed: self.tallies.shadowed.load(Relaxed),
            stale: self.tallies.stale.load(Relaxed),
        }
    }

    /// When the wait of an open breaker ends, if it ever does.
    pub(super) fn open_until(&self, word: Word) -> Option<Instant> {
        let until = Instant::from_nanos(self.gate.open_until.load(Relaxed));
        (word.phase() == Phase::Open && word.hand() != Hand::Held).then_some(until)
    }

    pub(super) fn state(&self) -> CircuitBreakerState {
        CircuitBreakerState::of(self.word())
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        if let Some(places) = &self.laws.places {
            places.part(self.latest_word().is_shut());
        }
    }
}

/// What there is to see from outside.
pub(super) struct Look {
    pub(super) state: CircuitBreakerState,
    pub(super) phase: Phase,
    pub(super) mode: CircuitBreakerMode,
    pub(super) open_until: Option<Instant>,
    pub(super) counts: Counts,
    pub(super) overdue: u64,
    pub(super) openings: u32,
    pub(super) rejected: u64,
    pub(super) shadowed: u64,
    pub(super) stale: u64,
}
