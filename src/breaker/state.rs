//! The breaker as a pure state machine: what a word says, and what follows from it.
//!
//! No clock, no lock, no atomic in here. Every function takes what is known and says what to do.

use super::config::Settings;
use crate::time::Instant;
use crate::window::{Counts, Generation, Sample};
use std::fmt;

/// All that a decision about a call depends on, in 64 bits, so that one compare-and-swap decides:
///
/// ```text
///  63      62     61 60   59..54  53..28       27..0
/// [streaks|timed|phase   |epoch  |generation  |closed: failures in a row
///                                             |half-open: leased 7 | total 7 | failed 7 | slow 7]
/// ```
///
/// *Epoch* says which settings are live, *generation* changes with every transition. *Timed* and
/// *streaks* repeat two facts of the settings that the path of a success depends on, so that it need
/// not read them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Word(u64);

const GENERATION: u32 = 28;
const EPOCH: u32 = 54;
const EPOCH_MASK: u64 = (1 << 6) - 1;
const PHASE: u32 = 60;
const TIMED: u64 = 1 << 62;
const STREAKS: u64 = 1 << 63;
const DETAIL_MASK: u64 = (1 << GENERATION) - 1;
const TALLY_MASK: u64 = (1 << 7) - 1;

/// The most probes, and the most outcomes of a trial, that the word has room for.
pub(super) const MOST_PROBES: u32 = TALLY_MASK as u32;
/// The longest run of failures that the word has room for.
pub(super) const LONGEST_STREAK: u32 = DETAIL_MASK as u32;

/// Where a breaker stands, with what belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Closed { failures_in_a_row: u32 },
    Open,
    HalfOpen(Trial),
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

impl Word {
    pub(super) fn new(settings: &Settings) -> Self {
        Self(0)
            .with_generation(Generation::FIRST)
            .with_phase(Phase::Closed { failures_in_a_row: 0 })
            .with_settings(0, settings)
    }

    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(super) const fn to_bits(self) -> u64 {
        self.0
    }

    #[inline]
    pub(super) const fn is_closed(self) -> bool {
        self.0 >> PHASE & 3 == 0
    }

    #[inline]
    pub(super) const fn is_closed_and_untimed(self) -> bool {
        self.0 & (3 << PHASE | TIMED) == 0
    }

    /// Whether calls must be timed because slow ones count.
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

    pub(super) fn phase(self) -> Phase {
        let detail = self.0 & DETAIL_MASK;
        let tally = |n: u32| (detail >> (7 * n) & TALLY_MASK) as u32;
        match self.0 >> PHASE & 3 {
            0 => Phase::Closed { failures_in_a_row: detail as u32 },
            1 => Phase::Open,
            _ => {
                Phase::HalfOpen(Trial { leased: tally(3), total: tally(2), failed: tally(1), slow: tally(0) })
            }
        }
    }

    pub(super) fn with_phase(self, phase: Phase) -> Self {
        let (kind, detail) = match phase {
            Phase::Closed { failures_in_a_row } => (0, u64::from(failures_in_a_row)),
            Phase::Open => (1, 0),
            Phase::HalfOpen(trial) => (2, {
                let tallies = [trial.leased, trial.total, trial.failed, trial.slow];
                debug_assert!(tallies.iter().all(|tally| *tally <= MOST_PROBES));
                tallies.iter().fold(0, |detail, tally| detail << 7 | u64::from(*tally))
            }),
        };
        Self(self.0 & !(3 << PHASE | DETAIL_MASK) | kind << PHASE | detail)
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

    pub(super) fn with_settings(self, epoch: u64, settings: &Settings) -> Self {
        let cleared = self.0 & !(EPOCH_MASK << EPOCH | TIMED | STREAKS);
        let timed = if settings.slow_rate.is_finite() { TIMED } else { 0 };
        let streaks = if settings.failures_in_a_row != u32::MAX { STREAKS } else { 0 };
        Self(cleared | (epoch & EPOCH_MASK) << EPOCH | timed | streaks)
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?} epoch {}", self.phase(), self.generation(), self.epoch())
    }
}

/// Why a breaker went from one state to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// Too large a share of the calls in the window failed.
    FailureRate,
    /// Too large a share of the calls in the window was slow.
    SlowRate,
    /// Too many calls failed one after the other.
    ConsecutiveFailures,
    /// It had been open for as long as it should.
    WaitElapsed,
    /// The probes did well.
    ProbesSucceeded,
    /// Too many probes failed or were slow.
    ProbesFailed,
    /// Too many probes never came back.
    ProbesLost,
    /// Somebody called `reset`.
    Reset,
}

/// What to do with a caller who asks to be admitted by a breaker that is not closed.
#[derive(Debug, PartialEq)]
pub(super) enum Admission {
    /// Take a probe's slot, then admit.
    Probe(Trial),
    /// The wait is over: become half-open with this caller as the first probe.
    BeginTrial,
    /// The probes under way have outlived their lease: count them as lost and look again.
    CountLost(Trial),
    /// The settings have changed such that the trial is decided already.
    Decide(Verdict, Trial),
    /// Refuse until then, or for an unknown time.
    Refuse(Option<Instant>),
}

pub(super) fn admit(
    word: Word,
    now: Instant,
    open_until: Instant,
    lease_until: Instant,
    settings: impl FnOnce() -> Settings,
) -> Admission {
    match word.phase() {
        Phase::Open if now >= open_until => Admission::BeginTrial,
        Phase::Open | Phase::Closed { .. } => Admission::Refuse(Some(open_until)),
        Phase::HalfOpen(trial) => admit_probe(trial, now, lease_until, &settings()),
    }
}

fn admit_probe(trial: Trial, now: Instant, lease_until: Instant, settings: &Settings) -> Admission {
    match judge(&trial, settings) {
        // No more probes than outcomes are wanted: the rest would only load the dependency.
        Verdict::Undecided if trial.leased < settings.probes.min(settings.trial_calls - trial.total) => {
            Admission::Probe(Trial { leased: trial.leased + 1, ..trial })
        }
        Verdict::Undecided if trial.leased > 0 && now >= lease_until => {
            Admission::CountLost(trial.with_lost())
        }
        Verdict::Undecided => Admission::Refuse(None),
        decided => Admission::Decide(decided, trial),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Undecided,
    Close,
    Open,
}

/// What the trial shows, as soon as the outcomes still to come cannot change it: with half of ten
/// probes failing being too many, five failures decide it, and so do six successes.
pub(super) fn judge(trial: &Trial, settings: &Settings) -> Verdict {
    let calls = f64::from(settings.trial_calls);
    // Where only runs of failures trip, a failed probe goes on with the run that opened the breaker.
    let failure_rate = match settings.failure_rate.is_infinite() && settings.counts_streaks() {
        true => f64::MIN_POSITIVE,
        false => settings.failure_rate,
    };
    // As a share, not as a number of calls: see `trip`.
    let too_many = |bad: u32, rate: f64| bad > 0 && f64::from(bad) / calls >= rate;
    if too_many(trial.failed, failure_rate) || too_many(trial.slow, settings.slow_rate) {
        return Verdict::Open;
    }
    let to_come = settings.trial_calls.saturating_sub(trial.total);
    if too_many(trial.failed + to_come, failure_rate) || too_many(trial.slow + to_come, settings.slow_rate) {
        return Verdict::Undecided;
    }
    if trial.total == 0 { Verdict::Undecided } else { Verdict::Close }
}

impl Trial {
    /// A probe has ended, perhaps without an outcome.
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
    fn with_lost(self) -> Self {
        let sum = |tally: u32| (tally + self.leased).min(MOST_PROBES);
        Self { leased: 0, total: sum(self.total), failed: sum(self.failed), slow: sum(self.slow) }
    }

    pub(super) fn counts(self) -> Counts {
        Counts { total: self.total.into(), failed: self.failed.into(), slow: self.slow.into() }
    }
}

/// Whether a closed breaker trips, asked after a failed or slow call.
pub(super) fn trip(counts: &Counts, failures_in_a_row: u32, settings: &Settings) -> Option<Cause> {
    // The quotient of two counts is rounded as the decimal that a user writes is, so that seven of a
    // hundred are 0.07; the product 0.07 * 100 is above seven.
    let exceeds = |bad: u64, rate: f64, minimum: u32| {
        counts.total >= minimum.into() && bad > 0 && bad as f64 / counts.total as f64 >= rate
    };
    if failures_in_a_row >= settings.failures_in_a_row {
        Some(Cause::ConsecutiveFailures)
    } else if exceeds(counts.failed, settings.failure_rate, settings.minimum_calls) {
        Some(Cause::FailureRate)
    } else if exceeds(counts.slow, settings.slow_rate, settings.slow_minimum_calls) {
        Some(Cause::SlowRate)
    } else {
        None
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::super::CircuitBreaker;
    use super::*;

    /// "At least this share", for every share that is a number of percent.
    #[test]
    fn a_rate_of_n_percent_trips_at_n_of_a_hundred() {
        for percent in 1..=100_u32 {
            let builder = CircuitBreaker::builder().trial_calls(100);
            let settings = builder.failure_rate(f64::from(percent) / 100.0).settings().unwrap();
            let trips = |failed: u32| {
                let counts = Counts { total: 100, failed: failed.into(), slow: 0 };
                let trial = Trial { leased: 0, total: 100, failed, slow: 0 };
                let tripped = trip(&counts, 0, &settings).is_some();
                assert_eq!(judge(&trial, &settings) == Verdict::Open, tripped);
                tripped
            };
            assert!(trips(percent) && !trips(percent - 1), "{percent} %");
        }
    }
}
