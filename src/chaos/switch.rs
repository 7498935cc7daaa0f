//! The switch that turns chaos policies on for a limited time: [`ChaosSwitch`].

use crate::error::ConfigError;
use crate::sync::atomic::{AtomicBool, Ordering::Relaxed};
use crate::sync::{Mutex, PlainArc};
use crate::time::{Clock, Instant};
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

/// A switch for any number of [`Chaos`](super::Chaos) policies. It is off when it is created, and
/// is turned on only for a limited time.
///
/// All clones control the same switch. Each time it is turned on, a new *run* begins: every policy
/// numbers its calls from 0 again, and starts its script again.
///
/// ```
/// use mainstay::chaos::ChaosSwitch;
/// use std::time::Duration;
///
/// let switch = ChaosSwitch::new();
/// assert!(!switch.is_on());
/// switch.turn_on_for(Duration::from_secs(600))?;
/// assert!(switch.is_on());
/// switch.turn_off(); // or after ten minutes
/// assert!(!switch.is_on());
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct ChaosSwitch(PlainArc<Shared>);

struct Shared {
    /// Ordering: relaxed. A call that reads an old `false` is not affected by the faults. A call
    /// that reads an old `true` reads the current run under the lock.
    may_be_on: AtomicBool,
    runs: Mutex<Runs>,
    clock: Clock,
}

/// The current run, and the number of runs so far.
#[derive(Debug, Default)]
pub(super) struct Runs {
    count: u64,
    current: Option<Run>,
}

/// A period for which the switch is turned on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// From 1.
    pub(super) number: u64,
    pub(super) started: Instant,
    pub(super) ends: Instant,
}

// No user code runs under the lock, so a panic of user code leaves the state valid.
impl UnwindSafe for ChaosSwitch {}
impl RefUnwindSafe for ChaosSwitch {}

const MAX_DURATION: Duration = Duration::from_secs(86_400);

impl ChaosSwitch {
    /// Creates a switch with the system clock, turned off.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(Clock::system())
    }

    /// Creates a switch with this clock, turned off. The policies of the switch use its clock.
    ///
    /// ```
    /// # use mainstay::{ChaosSwitch, ManualClock};
    /// # use std::time::Duration;
    /// let time = ManualClock::new();
    /// let switch = ChaosSwitch::with_clock(time.clock());
    /// switch.turn_on_for(Duration::from_secs(60))?;
    /// time.advance(Duration::from_secs(60));
    /// assert!(!switch.is_on());
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub fn with_clock(clock: Clock) -> Self {
        Self(PlainArc::new(Shared {
            may_be_on: AtomicBool::new(false),
            runs: Mutex::new(Runs::default()),
            clock,
        }))
    }

    /// Turns the switch on for `duration`, and begins a new run. A run that is in progress ends.
    ///
    /// ```
    /// # use mainstay::ChaosSwitch;
    /// # use std::time::Duration;
    /// let switch = ChaosSwitch::new();
    /// switch.turn_on_for(Duration::from_secs(60))?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if `duration` is zero or longer than a day. The switch is then unchanged.
    pub fn turn_on_for(&self, duration: Duration) -> Result<(), ConfigError> {
        if duration.is_zero() || duration > MAX_DURATION {
            return Err(ConfigError::new("duration", duration, "above zero, at most one day"));
        }
        let now = self.0.clock.now();
        let mut runs = self.0.runs.lock();
        runs.start(now, duration);
        self.0.may_be_on.store(true, Relaxed);
        Ok(())
    }

    /// Turns the switch off. Calls that are delayed or hang continue within 100 ms.
    pub fn turn_off(&self) {
        let mut runs = self.0.runs.lock();
        runs.current = None;
        self.0.may_be_on.store(false, Relaxed);
    }

    /// Returns whether the switch is on.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.may_be_on() && self.run_at(self.0.clock.now()).is_some()
    }

    /// Returns the time until the switch turns off, or `None` if it is off.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        let now = self.0.clock.now();
        self.run_at(now).map(|run| run.ends - now)
    }

    /// Returns `false` if the switch is off. A `true` can be out of date: the time of the run may
    /// be over.
    #[inline(always)]
    pub(super) fn may_be_on(&self) -> bool {
        self.0.may_be_on.load(Relaxed)
    }

    /// Returns the run in progress at `now`.
    pub(super) fn run_at(&self, now: Instant) -> Option<Run> {
        let mut runs = self.0.runs.lock();
        let run = runs.at(now);
        if run.is_none() {
            self.0.may_be_on.store(false, Relaxed);
        }
        run
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.0.clock
    }
}

impl Runs {
    pub(super) fn start(&mut self, now: Instant, duration: Duration) {
        self.count += 1;
        self.current = Some(Run { number: self.count, started: now, ends: now + duration });
    }

    /// Returns the run in progress at `now`. A run that has expired is removed, so it does not
    /// resume if the clock is set back.
    pub(super) fn at(&mut self, now: Instant) -> Option<Run> {
        self.current = self.current.filter(|run| now < run.ends);
        self.current
    }
}

impl Default for ChaosSwitch {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ChaosSwitch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChaosSwitch").field("remaining", &self.remaining()).finish()
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::ORIGIN + Duration::from_secs(seconds)
    }

    #[test]
    fn a_run_lasts_for_its_duration_and_does_not_resume() {
        let mut runs = Runs::default();
        assert_eq!(runs.at(at(10)), None);
        runs.start(at(10), Duration::from_secs(5));
        let first = Run { number: 1, started: at(10), ends: at(15) };
        for (now, expected) in [
            (10, Some(first)),
            (14, Some(first)),
            (3, Some(first)), // the clock was set back
            (15, None),
            (14, None),
        ] {
            assert_eq!(runs.at(at(now)), expected, "at {now} s");
        }
        runs.start(at(20), Duration::from_secs(5));
        runs.start(at(21), Duration::from_secs(1));
        assert_eq!(runs.at(at(21)), Some(Run { number: 3, started: at(21), ends: at(22) }));
    }
}
