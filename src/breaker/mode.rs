//! Modes that override the rules of a breaker, and a control that sets the mode of many breakers.

use super::engine::{Override, Phase};
use crate::event::for_all;
use crate::sync::{PlainArc, PlainMutex, PlainWeak};
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};

/// A mode of a breaker, which applies its rules or overrides them.
///
/// | mode | rejects | counts | opens and closes |
/// |---|---|---|---|
/// | `Automatic` | by its rules | yes | by its rules |
/// | `Shadow` | nothing | the calls that its rules admit | by its rules |
/// | `ForcedClosed` | nothing | yes | no |
/// | `ForcedOpen` | everything | no | no |
/// | `Disabled` | nothing | no | no |
///
/// A mode stays in effect until another one is set;
/// [`reconfigure`](super::CircuitBreaker::reconfigure) and
/// [`reset`](super::CircuitBreaker::reset) do not change it. A breaker that leaves `ForcedOpen` or
/// `Disabled` is closed, with an empty window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CircuitBreakerMode {
    /// The rules decide.
    #[default]
    Automatic,
    /// The rules decide and nothing is rejected: a way to test a breaker in production. A call that
    /// would have been rejected is admitted, counted as
    /// [`shadow_rejected`](super::CircuitBreakerSnapshot::shadow_rejected) and reported to observers as
    /// `would_reject`. Its outcome does not affect the rules.
    Shadow,
    /// Forced closed: all calls are admitted and counted, and the breaker never opens. Other
    /// libraries call this mode *metrics only*.
    ForcedClosed,
    /// Forced open: all calls are rejected, without a retry time.
    ForcedOpen,
    /// Disabled: all calls are admitted and none is counted.
    Disabled,
}

impl CircuitBreakerMode {
    /// Returns how the mode overrides the rules, and the phase that it fixes, if any.
    pub(super) const fn parts(self) -> (Override, Option<Phase>) {
        match self {
            Self::Automatic => (Override::None, None),
            Self::Shadow => (Override::Shadow, None),
            Self::ForcedClosed => (Override::Fixed, Some(Phase::CLOSED)),
            Self::ForcedOpen => (Override::Fixed, Some(Phase::Open)),
            Self::Disabled => (Override::Fixed, Some(Phase::Bypass)),
        }
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Automatic => "automatic",
            Self::Shadow => "shadow",
            Self::ForcedClosed => "forced closed",
            Self::ForcedOpen => "forced open",
            Self::Disabled => "disabled",
        }
    }
}

impl fmt::Display for CircuitBreakerMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A handle that sets the [mode](CircuitBreakerMode) of many breakers. Pass it to their builders
/// and keep a clone.
///
/// Breakers that are built later start in its current mode. A control does not keep its breakers
/// alive and adds no cost to their calls: a new mode is written into the state of each breaker.
///
/// ```
/// use mainstay::breaker::{CircuitBreaker, CircuitBreakerState};
/// use mainstay::breaker::{CircuitBreakerControl, CircuitBreakerMode};
///
/// let europe = CircuitBreakerControl::new();
/// let search = CircuitBreaker::builder().control(&europe).build()?;
/// let prices = CircuitBreaker::builder().control(&europe).build()?;
///
/// europe.set_mode(CircuitBreakerMode::ForcedOpen); // maintenance
/// assert!(search.try_acquire().is_err() && prices.try_acquire().is_err());
/// europe.set_mode(CircuitBreakerMode::Automatic);
/// assert_eq!(search.state(), CircuitBreakerState::Closed);
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
#[derive(Clone, Default)]
pub struct CircuitBreakerControl(PlainArc<PlainMutex<Targets>>);

#[derive(Default)]
struct Targets {
    mode: CircuitBreakerMode,
    targets: Vec<PlainWeak<dyn ModeTarget>>,
}

// No user code runs under the lock.
impl UnwindSafe for CircuitBreakerControl {}
impl RefUnwindSafe for CircuitBreakerControl {}

/// A breaker, or a group of breakers, whose mode can be set.
pub(super) trait ModeTarget: Send + Sync {
    fn apply_mode(&self, mode: CircuitBreakerMode);
}

impl CircuitBreakerControl {
    /// Creates a control without breakers, in mode [`Automatic`](CircuitBreakerMode::Automatic).
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the mode that was set last.
    #[must_use]
    pub fn mode(&self) -> CircuitBreakerMode {
        self.0.lock().mode
    }

    /// Sets the mode of all breakers of this control.
    ///
    /// When this returns, all breakers are in that mode, unless another thread has set another mode
    /// since, or a breaker's mode was [set individually](super::CircuitBreaker::set_mode).
    ///
    /// ```
    /// # use mainstay::{CircuitBreaker, CircuitBreakerControl, CircuitBreakerMode};
    /// let control = CircuitBreakerControl::new();
    /// let breaker = CircuitBreaker::builder().control(&control).build()?;
    /// control.set_mode(CircuitBreakerMode::ForcedOpen);
    /// assert!(breaker.try_acquire().is_err());
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if an observer panics. The panic unwinds after the mode of all breakers has been set.
    pub fn set_mode(&self, mode: CircuitBreakerMode) {
        let targets: Vec<_> = {
            let mut control = self.0.lock();
            control.mode = mode;
            control.targets.iter().filter_map(PlainWeak::upgrade).collect()
        };
        // Outside the lock, because observers run here and the last handle to a breaker may be
        // dropped.
        for_all(targets, |target| self.apply(&*target));
    }

    /// Attaches `target` to this control, and applies the current mode to it.
    pub(super) fn attach(&self, target: &PlainArc<dyn ModeTarget>) {
        {
            let mut control = self.0.lock();
            if control.targets.len() == control.targets.capacity() {
                control.targets.retain(|target| target.strong_count() > 0);
            }
            control.targets.push(PlainArc::downgrade(target));
        }
        self.apply(&**target);
    }

    /// Applies the current mode to `target`. Reads the mode again afterwards, so that the later of
    /// two concurrent changes takes effect.
    pub(super) fn apply(&self, target: &dyn ModeTarget) {
        let mut last = None;
        let modes = std::iter::from_fn(|| {
            let mode = self.mode();
            (last.replace(mode) != Some(mode)).then_some(mode)
        });
        for_all(modes, |mode| target.apply_mode(mode));
    }
}

impl fmt::Debug for CircuitBreakerControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreakerControl").field("mode", &self.mode()).finish_non_exhaustive()
    }
}
