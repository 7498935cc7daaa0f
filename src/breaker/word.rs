//! The breaker's state in one word, and its unpacking.

use super::config::Settings;
use super::manual::CircuitBreakerMode;
use crate::window::{Sample, WindowCounts as Counts, WindowGeneration as Generation};
use std::fmt;

/// All that a decision about a call depends on, in 64 bits, so that one compare-and-swap decides:
///
/// ```text
///  63      62     61-60 59..57  56..52  51..28       27..0
/// [streaks|timed |hand |phase  |epoch  |generation  |closed: failures in a row
///                                                   |half-open: leased 7 | total 7 | failed 7 | slow 7]
/// ```
///
/// *Epoch* says which settings are live, *generation* changes with every transition, *hand* says who
/// decides. *Timed* and *streaks* repeat two facts of the settings that the path of a success depends on,
/// so that it need not read them. A word with phase and *timed* zero is *plain*: its calls are admitted
/// and counted without a further look. Whatever is special about a breaker shows in those four bits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Word(u64);

const GENERATION: u32 = 28;
const EPOCH: u32 = GENERATION + Generation::BITS;
const EPOCH_MASK: u64 = (1 << 5) - 1;
const PHASE: u32 = 57;
const PHASE_MASK: u64 = 7 << PHASE;
const BELOW_PHASE: u64 = (1 << PHASE) - 1;
const HAND: u32 = 60;
const HAND_MASK: u64 = 3 << HAND;
const TIMED: u64 = 1 << 62;
const STREAKS: u64 = 1 << 63;
const DETAIL_MASK: u64 = (1 << GENERATION) - 1;
const TALLY_MASK: u64 = (1 << 7) - 1;

const CLOSED: u64 = 0;
const OPEN: u64 = 1;
const HALF_OPEN: u64 = 2;
const RAMPING: u64 = 3;
const OFF: u64 = 4;

/// The most probes, and the most outcomes of a trial, that the word has room for.
pub(super) const MOST_PROBES: u32 = TALLY_MASK as u32;
/// The longest run of failures that the word has room for.
pub(super) const LONGEST_STREAK: u32 = DETAIL_MASK as u32;

/// Where a breaker stands, with what belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Closed {
        failures_in_a_row: u32,
        /// Closed a short while ago: admits a share of the calls only.
        ramping: bool,
    },
    Open,
    HalfOpen(Trial),
    /// Passes calls and counts none.
    Off,
}

impl Phase {
    pub(super) const CLOSED: Self = Self::Closed { failures_in_a_row: 0, ramping: false };
    pub(super) const RAMPING: Self = Self::Closed { failures_in_a_row: 0, ramping: true };
}

/// Who decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hand {
    /// The rules.
    Rules,
    /// The rules, but nobody obeys.
    Shadow,
    /// Somebody has: the phase stays what it is.
    Held,
}

/// What the probes of a half-open breaker have shown so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Trial {
    /// Probes under way.
    pub(super) leased: u32,
    /// Probes that ended with an outcome.
    pub(super) total: u32,
    pub(super) failed: u32,
    pub(super) slow: u32,
}

impl Trial {
    /// A probe has ended, perhaps without an outcome. A probe counts once, however much it weighs.
    pub(super) fn with_outcome(self, sample: Option<Sample>) -> Self {
        let ended = Self { leased: self.leased - 1, ..self };
        match sample {
            None => ended,
            Some(sample) => Self {
                total: ended.total + 1,
                failed: ended.failed + u32::from(sample.failed),
                slow: ended.slow + u32::from(sample.slow),
                ..ended
            },
        }
    }

    /// All probes under way are given up. A probe that never came back has failed, and was slow.
    pub(super) fn with_lost(self) -> Self {
        let sum = |tally: u32| (tally + self.leased).min(MOST_PROBES);
        Self { leased: 0, total: sum(self.total), failed: sum(self.failed), slow: sum(self.slow) }
    }

    pub(super) fn counts(self) -> Counts {
        Counts { total: self.total.into(), failed: self.failed.into(), slow: self.slow.into() }
    }
}

impl Word {
    /// Of a call that passed a breaker that is off.
    pub(super) const UNCOUNTED: Self = Self(OFF << PHASE);

    /// Of the `nth` call, from 1, that passed a breaker in shadow which would have rejected it.
    pub(super) const fn shadowed(nth: u64) -> Self {
        Self(OFF << PHASE | nth & BELOW_PHASE)
    }

    /// The inverse, of the word of a call.
    pub(super) const fn nth_shadowed(self) -> Option<u64> {
        match self.0 & BELOW_PHASE {
            nth if nth > 0 && self.is_off() => Some(nth),
            _ => None,
        }
    }

    pub(super) fn new(settings: &Settings, mode: CircuitBreakerMode) -> Self {
        let (hand, held) = mode.parts();
        Self(0)
            .with_generation(Generation::FIRST)
            .with_phase(held.unwrap_or(Phase::CLOSED))
            .with_hand(hand)
            .with_settings(0, settings)
    }

    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(super) const fn to_bits(self) -> u64 {
        self.0
    }

    /// Closed, and nothing about it is special: its calls need neither settings nor clock.
    #[inline]
    pub(super) const fn is_plain(self) -> bool {
        self.0 & (PHASE_MASK | TIMED) == 0
    }

    /// Closed, perhaps ramping up: its calls are counted in the window.
    #[inline]
    pub(super) const fn is_closed(self) -> bool {
        matches!((self.0 & PHASE_MASK) >> PHASE, CLOSED | RAMPING)
    }

    /// Closed, and all calls pass.
    #[inline]
    pub(super) const fn admits_all(self) -> bool {
        self.0 & PHASE_MASK == 0
    }

    /// Closed a short while ago, and not for good.
    pub(super) const fn is_ramping(self) -> bool {
        (self.0 & PHASE_MASK) >> PHASE == RAMPING
    }

    /// Open or half-open, by the rules and not by hand.
    pub(super) const fn is_shut(self) -> bool {
        matches!((self.0 & PHASE_MASK) >> PHASE, OPEN | HALF_OPEN)
            && self.0 & HAND_MASK != 2 << HAND
    }

    #[inline]
    pub(super) const fn is_off(self) -> bool {
        (self.0 & PHASE_MASK) >> PHASE == OFF
    }

    /// Whether calls must be timed: because slow ones count, or those under way, or latencies are kept.
    #[inline]
    pub(super) const fn is_timed(self) -> bool {
        self.0 & TIMED != 0
    }

    /// Whether failures in a row are counted.
    #[inline]
    pub(super) const fn counts_streaks(self) -> bool {
        self.0 & STREAKS != 0
    }

    /// Whether failures in a row are counted and there are some.
    #[inline]
    pub(super) const fn has_streak(self) -> bool {
        self.counts_streaks() && self.0 & DETAIL_MASK != 0
    }

    pub(super) const fn epoch(self) -> u64 {
        self.0 >> EPOCH & EPOCH_MASK
    }

    #[inline]
    pub(super) const fn generation(self) -> Generation {
        Generation::from_bits((self.0 >> GENERATION) as u32)
    }

    pub(super) const fn hand(self) -> Hand {
        match self.0 >> HAND & 3 {
            0 => Hand::Rules,
            1 => Hand::Shadow,
            _ => Hand::Held,
        }
    }

    pub(super) const fn mode(self) -> CircuitBreakerMode {
        match (self.hand(), self.0 >> PHASE & 7) {
            (Hand::Rules, _) => CircuitBreakerMode::Automatic,
            (Hand::Shadow, _) => CircuitBreakerMode::Shadow,
            (Hand::Held, OPEN) => CircuitBreakerMode::ForcedOpen,
            (Hand::Held, OFF) => CircuitBreakerMode::Disabled,
            (Hand::Held, _) => CircuitBreakerMode::ForcedClosed,
        }
    }

    pub(super) fn phase(self) -> Phase {
        let detail = self.0 & DETAIL_MASK;
        let tally = |n: u32| (detail >> (7 * n) & TALLY_MASK) as u32;
        match self.0 >> PHASE & 7 {
            phase @ (CLOSED | RAMPING) => {
                Phase::Closed { failures_in_a_row: detail as u32, ramping: phase == RAMPING }
            }
            OPEN => Phase::Open,
            HALF_OPEN => Phase::HalfOpen(Trial {
                leased: tally(3),
                total: tally(2),
                failed: tally(1),
                slow: tally(0),
            }),
            _ => Phase::Off,
        }
    }

    pub(super) fn with_phase(self, phase: Phase) -> Self {
        let (kind, detail) = match phase {
            Phase::Closed { failures_in_a_row, ramping } => {
                (if ramping { RAMPING } else { CLOSED }, u64::from(failures_in_a_row))
            }
            Phase::Open => (OPEN, 0),
            Phase::HalfOpen(trial) => (HALF_OPEN, {
                let tallies = [trial.leased, trial.total, trial.failed, trial.slow];
                debug_assert!(tallies.iter().all(|tally| *tally <= MOST_PROBES));
                tallies.iter().fold(0, |detail, tally| detail << 7 | u64::from(*tally))
            }),
            Phase::Off => (OFF, 0),
        };
        Self(self.0 & !(PHASE_MASK | DETAIL_MASK) | kind << PHASE | detail)
    }

    /// The same; if it is ramping up, that is over.
    pub(super) fn without_ramp(self) -> Self {
        match self.phase() {
            Phase::Closed { failures_in_a_row, .. } => {
                self.with_phase(Phase::Closed { failures_in_a_row, ramping: false })
            }
            _ => self,
        }
    }

    /// The phase that follows a transition: of the next generation, so that calls admitted before it
    /// are told apart.
    pub(super) fn moved_to(self, phase: Phase) -> Self {
        self.with_generation(self.generation().next()).with_phase(phase)
    }

    fn with_generation(self, generation: Generation) -> Self {
        let mask = DETAIL_MASK | u64::MAX << EPOCH;
        Self(self.0 & mask | u64::from(generation.to_bits()) << GENERATION)
    }

    pub(super) fn with_hand(self, hand: Hand) -> Self {
        Self(self.0 & !HAND_MASK | (hand as u64) << HAND)
    }

    pub(super) fn with_settings(self, epoch: u64, settings: &Settings) -> Self {
        let cleared = self.0 & !(EPOCH_MASK << EPOCH | TIMED | STREAKS);
        let timed = if settings.is_timed() { TIMED } else { 0 };
        let streaks = if settings.counts_streaks() { STREAKS } else { 0 };
        Self(cleared | (epoch & EPOCH_MASK) << EPOCH | timed | streaks)
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} {:?} {:?} epoch {}",
            self.mode(),
            self.phase(),
            self.generation(),
            self.epoch()
        )
    }
}
