//! Who decides: the rules, or somebody. One [`CircuitBreakerControl`] for as many breakers as wanted.

use super::word::{Hand, Phase};
use crate::event::for_all;
use crate::sync::{PlainArc, PlainMutex, PlainWeak};
use std::fmt;

/// Who decides whether calls pass: the breaker's rules, or somebody.
///
/// | mode | rejects | counts | opens and closes |
/// |---|---|---|---|
/// | `Automatic` | by its rules | yes | by its rules |
/// | `Shadow` | nothing | as if it rejected | by its rules |
/// | `ForcedClosed` | nothing | yes | no |
/// | `ForcedOpen` | everything | no | no |
/// | `Disabled` | nothing | no | no |
///
/// A mode stays until another is set; live [settings](super::CircuitBreaker::reconfigure) and
/// [`reset`](super::CircuitBreaker::reset) leave it as it is. Whoever lets go of a breaker that was forced
/// open or disabled finds it closed, with an empty window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CircuitBreakerMode {
    /// The rules decide.
    #[default]
    Automatic,
    /// The rules decide and nobody obeys: try a breaker out in production before it may reject. Calls that
    /// it would have rejected pass, are counted as [`shadowed`](super::CircuitBreakerSnapshot::shadowed) and told to
    /// observers as `would_reject`; for the rules they have not been made.
    Shadow,
    /// Closed by hand: calls pass and are counted, whatever the window says. (Elsewhere: *metrics only*.)
    ForcedClosed,
    /// Opened by hand: all calls are rejected, and nobody can tell until when.
    ForcedOpen,
    /// As if there were no breaker.
    Disabled,
}

impl CircuitBreakerMode {
    /// Who decides, and the phase that goes with it if there is only one.
    pub(super) const fn parts(self) -> (Hand, Option<Phase>) {
        match self {
            Self::Automatic => (Hand::Rules, None),
            Self::Shadow => (Hand::Shadow, None),
            Self::ForcedClosed => (Hand::Held, Some(Phase::CLOSED)),
            Self::ForcedOpen => (Hand::Held, Some(Phase::Open)),
            Self::Disabled => (Hand::Held, Some(Phase::Off)),
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

/// A switch for the [`CircuitBreakerMode`] of many breakers: hand it to their builders, and keep a clone.
///
/// Breakers that are built later begin in its present mode. It keeps none of them alive, and costs their
/// calls nothing: a new mode is written into each breaker's own state.
///
/// ```
/// use mainstay::breaker::{CircuitBreaker, CircuitBreakerControl, CircuitBreakerMode, CircuitBreakerState};
///
/// let europe = CircuitBreakerControl::new();
/// let search = CircuitBreaker::builder().control(&europe).build()?;
/// let prices = CircuitBreaker::builder().control(&europe).build()?;
///
/// europe.set(CircuitBreakerMode::ForcedOpen); // maintenance
/// assert!(search.try_acquire().is_err() && prices.try_acquire().is_err());
/// europe.set(CircuitBreakerMode::Automatic);
/// assert_eq!(search.state(), CircuitBreakerState::Closed);
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
#[derive(Clone, Default)]
pub struct CircuitBreakerControl(PlainArc<PlainMutex<Panel>>);

#[derive(Default)]
struct Panel {
    mode: CircuitBreakerMode,
    followers: Vec<PlainWeak<dyn Follow>>,
}

/// Takes on the mode of a control.
pub(super) trait Follow: Send + Sync {
    fn take_on(&self, mode: CircuitBreakerMode);
}

impl CircuitBreakerControl {
    /// In mode [`Automatic`](CircuitBreakerMode::Automatic), and nobody follows it yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What it was last set to.
    #[must_use]
    pub fn mode(&self) -> CircuitBreakerMode {
        self.0.lock().mode
    }

    /// Puts all breakers that follow it into `mode`. When this returns they are, unless another thread has
    /// set another since, or one of them was set by [itself](super::CircuitBreaker::set_mode). If an observer
    /// panics, that unwinds from here when all of them are.
    pub fn set(&self, mode: CircuitBreakerMode) {
        let followers: Vec<_> = {
            let mut panel = self.0.lock();
            panel.mode = mode;
            panel.followers.iter().filter_map(PlainWeak::upgrade).collect()
        };
        // Observers hear of it, and the last owner of a breaker may turn out to be us: not under the lock.
        for_all(followers, |follower| self.apply(&*follower));
    }

    /// From here on `follower` does as this control says.
    pub(super) fn enlist(&self, follower: &PlainArc<dyn Follow>) {
        {
            let mut panel = self.0.lock();
            if panel.followers.len() == panel.followers.capacity() {
                panel.followers.retain(|follower| follower.strong_count() > 0);
            }
            panel.followers.push(PlainArc::downgrade(follower));
        }
        self.apply(&**follower);
    }

    /// Of two who set different modes at once, each looks again: so the later mode is what stays.
    pub(super) fn apply(&self, follower: &dyn Follow) {
        let mut last = None;
        let looks = std::iter::from_fn(|| {
            let mode = self.mode();
            (last.replace(mode) != Some(mode)).then_some(mode)
        });
        for_all(looks, |mode| follower.take_on(mode));
    }
}

impl fmt::Debug for CircuitBreakerControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreakerControl").field("mode", &self.mode()).finish_non_exhaustive()
    }
}
