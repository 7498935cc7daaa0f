//! The lock-free core of a breaker: a state word, a window of outcomes, a configuration.
//!
//! The engine decides, counts and changes the state. The caller passes the time. The engine never
//! calls the breaker that contains it: a method that may change the state returns a [`Change`], and
//! its caller delivers the event.
//!
//! * A call begins in `admit.rs` ([`try_enter`](Engine::try_enter), [`enter`](Engine::enter)).
//! * It ends in `record.rs` ([`try_record_success`](Engine::try_record_success),
//!   [`complete`](Engine::complete), [`abandon`](Engine::abandon)).
//! * What to do is decided by the pure functions of `state.rs`.
//! * The state changes in `transitions.rs`.

mod admit;
mod in_flight;
mod open_limit;
mod ramp;
mod record;
mod state;
#[cfg(test)]
pub(super) mod tests;
mod ticket;
mod transitions;
mod word;

#[cfg(all(test, mainstay_loom))]
pub(crate) use admit::Refusal;
pub(crate) use open_limit::OpenLimit;
pub(crate) use ticket::{PackedInstant, Ticket};
pub(crate) use word::{Override, Phase, Trial, Word};

use super::config::{Config, SharedConfig};
use super::mode::CircuitBreakerMode;
use super::transition::{CircuitBreakerState, CircuitBreakerTransition};
use crate::event::Outbox;
use crate::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed},
};
use crate::sync::{Arc, EpochWord};
use crate::time::Instant;
use crate::window::{Window, WindowCounts};
use in_flight::InFlight;
use std::time::Duration;

/// The lock-free core of a breaker; see the [module](self).
#[derive(Debug)]
pub(crate) struct Engine {
    line: StateLine,
    stats: Stats,
    pub(super) window: Window,
    in_flight: Option<Box<InFlight>>,
    config: Arc<SharedConfig>,
    /// Transitions that the observers have not received yet. Each is committed under this lock.
    pub(super) outbox: Outbox<CircuitBreakerTransition>,
}

/// The state word, and the data of the state that does not fit into it.
///
/// Every call reads the word; while the breaker is closed, only transitions write here. Aligned to
/// one cache line, not to two as `CachePadded` would be: a process may hold very many keyed
/// breakers.
#[derive(Debug)]
#[repr(align(64))]
struct StateLine {
    word: AtomicU64,
    /// Open: when the open duration ends. Written before the word says open, read after.
    open_until: AtomicU64,
    /// Half-open: when the latest probe times out. Extended before a probe takes its slot.
    probe_deadline: AtomicU64,
    /// Closed: since when. Written before the word says closed, read after.
    closed_at: AtomicU64,
    /// Openings since the breaker was last closed for good, and the duration of the latest one in
    /// nanoseconds. Changed only under the outbox's lock.
    openings: AtomicU32,
    open_duration: AtomicU64,
}

/// Counters of calls that are not admitted or come too late.
#[derive(Debug)]
struct Stats {
    rejected: AtomicU64,
    shadowed: AtomicU64,
    stale: AtomicU64,
    /// Calls that asked to be admitted by a ramp.
    ramp_calls: AtomicU32,
}

/// Whether the state has changed, so that an event is to be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Change {
    None,
    Committed,
}

impl Change {
    const fn committed_if(committed: bool) -> Self {
        if committed { Self::Committed } else { Self::None }
    }

    pub(crate) const fn is_committed(self) -> bool {
        matches!(self, Self::Committed)
    }

    const fn or(self, other: Self) -> Self {
        if self.is_committed() { self } else { other }
    }
}

/// The state and the statistics of an engine at one moment.
pub(crate) struct EngineSnapshot {
    pub(crate) state: CircuitBreakerState,
    pub(crate) phase: Phase,
    pub(crate) mode: CircuitBreakerMode,
    pub(crate) open_until: Option<Instant>,
    pub(crate) counts: WindowCounts,
    pub(crate) overdue: u64,
    pub(crate) openings: u32,
    pub(crate) rejected: u64,
    pub(crate) shadowed: u64,
    pub(crate) stale: u64,
}

impl Engine {
    pub(crate) fn new(
        window: Window,
        config: &Config,
        mode: CircuitBreakerMode,
        shared: Arc<SharedConfig>,
    ) -> Self {
        let word = Word::new(config, mode);
        shared.open_limit.iter().for_each(OpenLimit::add_breaker);
        Self {
            line: StateLine {
                word: AtomicU64::new(word.to_bits()),
                open_until: AtomicU64::new(0),
                probe_deadline: AtomicU64::new(0),
                closed_at: AtomicU64::new(0),
                openings: AtomicU32::new(0),
                open_duration: AtomicU64::new(0),
            },
            stats: Stats {
                rejected: AtomicU64::new(0),
                shadowed: AtomicU64::new(0),
                stale: AtomicU64::new(0),
                ramp_calls: AtomicU32::new(0),
            },
            window,
            in_flight: config.tracks_in_flight.then(|| Box::new(InFlight::new(word))),
            config: shared,
            outbox: Outbox::new(),
        }
    }

    #[inline]
    pub(crate) fn word(&self) -> Word {
        // Ordering: acquire, with the release in `swap`: a thread that reads a word also reads what
        // was written for it before, its configuration, its open duration, its window.
        Word::from_bits(self.line.word.load(Acquire))
    }

    /// Returns the last word in the modification order, for a thread that does not otherwise
    /// synchronize with the threads that write it.
    pub(crate) fn latest_word(&self) -> Word {
        // Ordering: a read-modify-write reads the last of all modifications.
        Word::from_bits(self.line.word.fetch_or(0, AcqRel))
    }

    fn swap(&self, from: Word, to: Word) -> bool {
        self.line.word.compare_exchange(from.to_bits(), to.to_bits(), AcqRel, Relaxed).is_ok()
    }

    fn config(&self, word: Word) -> Config {
        self.config.live.read(word.epoch())
    }

    #[inline]
    fn slow_after(&self, word: Word) -> Duration {
        Duration::from_nanos(self.config.live.read_word(word.epoch(), Config::SLOW_AFTER))
    }

    fn closed_at(&self) -> Instant {
        Instant::from_nanos(self.line.closed_at.load(Relaxed))
    }

    fn open_until(&self) -> Instant {
        Instant::from_nanos(self.line.open_until.load(Relaxed))
    }

    /// The duration of the latest opening.
    fn open_duration(&self) -> Duration {
        Duration::from_nanos(self.line.open_duration.load(Relaxed))
    }

    fn probe_deadline(&self) -> Instant {
        Instant::from_nanos(self.line.probe_deadline.load(Relaxed))
    }

    /// Returns when a breaker with `word` admits a probe, if it is open and the time is known.
    fn retry_at(&self, word: Word) -> Option<Instant> {
        let by_rules = word.phase() == Phase::Open && word.overridden() != Override::Fixed;
        by_rules.then(|| self.open_until())
    }

    /// Returns whether the breaker is ramping up: a ramp ends with its time, even without calls.
    pub(crate) fn is_ramping(&self, word: Word, now: Instant) -> bool {
        let duration = || self.config(word).ramp_up_duration;
        self.correct_instants(word, now);
        word.is_ramping() && ramp::share(now - self.closed_at(), duration()).is_some()
    }

    /// Returns whether the breaker is open or half-open, and less than `grace` past the end of its
    /// open duration or of its probe timeout.
    pub(crate) fn is_recently_tripped(&self, word: Word, now: Instant, grace: Duration) -> bool {
        self.correct_instants(word, now);
        let until = match word.phase() {
            Phase::Open => self.open_until(),
            _ => self.probe_deadline(),
        };
        word.is_tripped() && now < until + grace
    }

    /// Returns the counts of the window, and the number of overdue calls. The counts include
    /// overdue calls as slow calls if calls in flight are tracked.
    fn counts(&self, word: Word, config: &Config, now: Instant) -> (WindowCounts, u64) {
        let counts = self.window.counts(now);
        match &self.in_flight {
            Some(in_flight) => {
                let overdue = in_flight.overdue(word, now, config.slow_after());
                (state::with_overdue(counts, overdue, self.window.calls()), overdue)
            }
            None => (counts, 0),
        }
    }

    pub(crate) fn state(&self) -> CircuitBreakerState {
        CircuitBreakerState::of(self.word())
    }

    pub(crate) fn snapshot(&self, now: Instant) -> EngineSnapshot {
        let word = self.word();
        EngineSnapshot {
            state: CircuitBreakerState::of(word),
            phase: word.phase(),
            mode: word.mode(),
            open_until: self.retry_at(word).map(|at| at.min(now + self.open_duration())),
            counts: self.window.counts(now),
            overdue: self.counts(word, &self.config(word), now).1,
            openings: self.line.openings.load(Relaxed),
            rejected: self.stats.rejected.load(Relaxed),
            shadowed: self.stats.shadowed.load(Relaxed),
            stale: self.stats.stale.load(Relaxed),
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(limit) = &self.config.open_limit {
            limit.remove_breaker();
            if self.latest_word().is_tripped() {
                limit.release();
            }
        }
    }
}
