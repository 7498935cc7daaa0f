//! The state of a breaker in one 64-bit word: its layout, packing and unpacking.

use super::super::config::Config;
use super::super::mode::CircuitBreakerMode;
use crate::sync::EpochWord;
use crate::window::{Sample, WindowCounts, WindowGeneration};
use std::fmt;

/// The phase of a breaker with its counts, its mode and its configuration epoch, so that one
/// compare-and-swap changes them together. The instants of a phase do not fit into the word; they
/// are stored beside it, in `StateLine`.
///
/// ```text
///  63      62     61-60     59..57 56..52 51..28      27..0
/// [streaks|timed |override |phase |epoch |generation |closed: consecutive failures
///                                                    |half-open: active 7 | total 7 | failed 7 | slow 7]
/// ```
///
/// * *Epoch* selects the live configuration.
/// * *Generation* changes with every transition, so that an outcome of an earlier state is
///   recognized.
/// * *Override* says whether a mode other than `Automatic` is set.
/// * *Timed* (calls must be timed) and *streaks* (consecutive failures are counted) are copied from
///   the configuration, so that recording a success does not read the configuration.
///
/// A word whose *phase* and *timed* bits are zero is *plain*: its calls are admitted and counted
/// without a further check. Any condition that requires a further check sets at least one of those
/// four bits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Word(u64);

const GENERATION: u32 = 28;
const EPOCH: u32 = GENERATION + WindowGeneration::BITS;
const EPOCH_MASK: u64 = (1 << 5) - 1;
const PHASE: u32 = 57;
const PHASE_MASK: u64 = 7 << PHASE;
const BELOW_PHASE: u64 = (1 << PHASE) - 1;
const OVERRIDE: u32 = 60;
const OVERRIDE_MASK: u64 = 3 << OVERRIDE;
const TIMED: u64 = 1 << 62;
const STREAKS: u64 = 1 << 63;
const DETAIL_MASK: u64 = (1 << GENERATION) - 1;
const COUNT_BITS: u32 = 7;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;

const CLOSED: u64 = 0;
const OPEN: u64 = 1;
const HALF_OPEN: u64 = 2;
const RAMPING: u64 = 3;
const BYPASS: u64 = 4;

/// The state of the breaker, with the data of that state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Calls are admitted and counted.
    Closed {
        /// Failures since the last success.
        consecutive_failures: u32,
        /// True during the ramp after closing: only a share of the calls is admitted.
        ramping: bool,
    },
    /// Calls are rejected.
    Open,
    /// A few calls are admitted as probes.
    HalfOpen(Trial),
    /// Calls are admitted and not counted.
    Bypass,
}

impl Phase {
    pub(crate) const CLOSED: Self = Self::Closed { consecutive_failures: 0, ramping: false };
    pub(crate) const RAMPING: Self = Self::Closed { consecutive_failures: 0, ramping: true };
}

/// The effect of the mode on the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Override {
    /// The rules decide.
    None,
    /// The rules decide, and nothing is rejected.
    Shadow,
    /// The phase is fixed until the mode changes.
    Fixed,
}

/// The results of the probes of a half-open breaker so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trial {
    /// Probes in flight.
    pub(crate) active: u32,
    /// Probes that ended with an outcome.
    pub(crate) total: u32,
    pub(crate) failed: u32,
    pub(crate) slow: u32,
}

impl Trial {
    /// The maximum number of probes in flight, and of outcomes, that fits into the word.
    pub(crate) const MAX: u32 = COUNT_MASK as u32;

    /// Returns the trial after one probe has ended. `None` means an end without an outcome. A probe
    /// counts once, whatever the weight of its outcome.
    pub(super) fn with_outcome(self, sample: Option<Sample>) -> Self {
        let ended = Self { active: self.active - 1, ..self };
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

    /// Returns the trial after all active probes have timed out. Each of them counts as failed and
    /// slow.
    pub(super) fn with_active_timed_out(self) -> Self {
        let sum = |count: u32| (count + self.active).min(Self::MAX);
        Self { active: 0, total: sum(self.total), failed: sum(self.failed), slow: sum(self.slow) }
    }

    pub(crate) fn counts(self) -> WindowCounts {
        WindowCounts {
            total: self.total.into(),
            failed: self.failed.into(),
            slow: self.slow.into(),
        }
    }
}

impl Word {
    /// The maximum number of consecutive failures that fits into the word.
    pub(crate) const MAX_CONSECUTIVE_FAILURES: u32 = DETAIL_MASK as u32;

    /// The word in the ticket of a call that a bypassed breaker admitted.
    pub(super) const UNCOUNTED: Self = Self(BYPASS << PHASE);

    /// Returns the word for the ticket of a call that was admitted only because of shadow mode.
    /// Such calls are numbered from 1.
    pub(super) const fn shadowed(sequence: u64) -> Self {
        Self(BYPASS << PHASE | sequence & BELOW_PHASE)
    }

    /// Returns the number passed to [`shadowed`](Self::shadowed), or `None` for any other word.
    pub(super) const fn shadow_sequence(self) -> Option<u64> {
        match self.0 & BELOW_PHASE {
            sequence if sequence > 0 && self.is_bypass() => Some(sequence),
            _ => None,
        }
    }

    pub(super) fn new(config: &Config, mode: CircuitBreakerMode) -> Self {
        let (overridden, phase) = mode.parts();
        Self(0)
            .with_generation(WindowGeneration::FIRST)
            .with_phase(phase.unwrap_or(Phase::CLOSED))
            .with_override(overridden)
            .with_config(0, config)
    }

    /// Returns true if the word is plain: calls need neither the configuration nor the clock.
    #[inline]
    pub(super) const fn is_plain(self) -> bool {
        self.0 & (PHASE_MASK | TIMED) == 0
    }

    /// Returns true if the breaker is closed, ramping up or not: its calls are counted in the
    /// window.
    #[inline]
    pub(super) const fn is_closed(self) -> bool {
        matches!((self.0 & PHASE_MASK) >> PHASE, CLOSED | RAMPING)
    }

    /// Returns true if the breaker is closed and not ramping up.
    #[inline]
    pub(super) const fn admits_all(self) -> bool {
        self.0 & PHASE_MASK == 0
    }

    pub(super) const fn is_ramping(self) -> bool {
        (self.0 & PHASE_MASK) >> PHASE == RAMPING
    }

    /// Returns true if the rules, not a mode, have made the breaker open or half-open.
    pub(crate) const fn is_tripped(self) -> bool {
        matches!((self.0 & PHASE_MASK) >> PHASE, OPEN | HALF_OPEN)
            && !matches!(self.overridden(), Override::Fixed)
    }

    #[inline]
    pub(super) const fn is_bypass(self) -> bool {
        (self.0 & PHASE_MASK) >> PHASE == BYPASS
    }

    /// Returns true if calls must be timed, for slow calls, calls in flight or latencies.
    #[inline]
    pub(crate) const fn is_timed(self) -> bool {
        self.0 & TIMED != 0
    }

    /// Returns true if consecutive failures are counted.
    #[inline]
    pub(super) const fn counts_streaks(self) -> bool {
        self.0 & STREAKS != 0
    }

    /// Returns true if consecutive failures are counted and the last counted call failed.
    #[inline]
    pub(crate) const fn has_streak(self) -> bool {
        self.counts_streaks() && self.0 & DETAIL_MASK != 0
    }

    /// Returns the consecutive failures of a closed breaker, or 0 if they are not counted.
    pub(super) fn streak(self) -> u32 {
        match self.phase() {
            Phase::Closed { consecutive_failures, .. } if self.counts_streaks() => {
                consecutive_failures
            }
            _ => 0,
        }
    }

    #[inline]
    pub(super) const fn generation(self) -> WindowGeneration {
        WindowGeneration::from_bits((self.0 >> GENERATION) as u32)
    }

    pub(super) const fn overridden(self) -> Override {
        match self.0 >> OVERRIDE & 3 {
            0 => Override::None,
            1 => Override::Shadow,
            _ => Override::Fixed,
        }
    }

    pub(crate) const fn mode(self) -> CircuitBreakerMode {
        match (self.overridden(), self.0 >> PHASE & 7) {
            (Override::None, _) => CircuitBreakerMode::Automatic,
            (Override::Shadow, _) => CircuitBreakerMode::Shadow,
            (Override::Fixed, OPEN) => CircuitBreakerMode::ForcedOpen,
            (Override::Fixed, BYPASS) => CircuitBreakerMode::Disabled,
            (Override::Fixed, _) => CircuitBreakerMode::ForcedClosed,
        }
    }

    pub(crate) fn phase(self) -> Phase {
        let detail = self.0 & DETAIL_MASK;
        let count = |n: u32| (detail >> (COUNT_BITS * n) & COUNT_MASK) as u32;
        match self.0 >> PHASE & 7 {
            phase @ (CLOSED | RAMPING) => {
                Phase::Closed { consecutive_failures: detail as u32, ramping: phase == RAMPING }
            }
            OPEN => Phase::Open,
            HALF_OPEN => Phase::HalfOpen(Trial {
                active: count(3),
                total: count(2),
                failed: count(1),
                slow: count(0),
            }),
            _ => Phase::Bypass,
        }
    }

    /// Returns the word with another phase, or other data of the phase, in the same generation.
    pub(super) fn with_phase(self, phase: Phase) -> Self {
        let (kind, detail) = match phase {
            Phase::Closed { consecutive_failures, ramping } => {
                (if ramping { RAMPING } else { CLOSED }, u64::from(consecutive_failures))
            }
            Phase::Open => (OPEN, 0),
            Phase::HalfOpen(trial) => (HALF_OPEN, {
                let counts = [trial.active, trial.total, trial.failed, trial.slow];
                debug_assert!(counts.iter().all(|count| *count <= Trial::MAX));
                counts.iter().fold(0, |detail, count| detail << COUNT_BITS | u64::from(*count))
            }),
            Phase::Bypass => (BYPASS, 0),
        };
        Self(self.0 & !(PHASE_MASK | DETAIL_MASK) | kind << PHASE | detail)
    }

    /// Returns the word without the ramp, if it was ramping up.
    pub(super) fn without_ramp(self) -> Self {
        match self.phase() {
            Phase::Closed { consecutive_failures, .. } => {
                self.with_phase(Phase::Closed { consecutive_failures, ramping: false })
            }
            _ => self,
        }
    }

    /// Returns the word with `phase` in the next generation, so that calls admitted before the
    /// transition are recognized.
    pub(super) fn next_generation(self, phase: Phase) -> Self {
        self.with_generation(self.generation().next()).with_phase(phase)
    }

    fn with_generation(self, generation: WindowGeneration) -> Self {
        let mask = DETAIL_MASK | u64::MAX << EPOCH;
        Self(self.0 & mask | u64::from(generation.to_bits()) << GENERATION)
    }

    pub(super) fn with_override(self, overridden: Override) -> Self {
        let bits = match overridden {
            Override::None => 0,
            Override::Shadow => 1,
            Override::Fixed => 2,
        };
        Self(self.0 & !OVERRIDE_MASK | bits << OVERRIDE)
    }

    pub(super) fn with_config(self, epoch: u64, config: &Config) -> Self {
        let cleared = self.0 & !(EPOCH_MASK << EPOCH | TIMED | STREAKS);
        let timed = if config.is_timed() { TIMED } else { 0 };
        let streaks = if config.consecutive_failures.is_some() { STREAKS } else { 0 };
        Self(cleared | (epoch & EPOCH_MASK) << EPOCH | timed | streaks)
    }
}

impl EpochWord for Word {
    #[inline]
    fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    #[inline]
    fn to_bits(self) -> u64 {
        self.0
    }

    #[inline]
    fn epoch(self) -> u64 {
        self.0 >> EPOCH & EPOCH_MASK
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
