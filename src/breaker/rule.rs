//! What of a breaker's settings is code, or is shared by many breakers.

use super::config::Settings;
use super::places::Places;
use crate::backoff::Custom;
use crate::random::Random;
use crate::sync::{Live, PlainArc, PlainMutex};
use crate::window::{LatencyHistogram, WindowCounts as Counts};
use std::fmt;

/// What a rule of your own is asked about; see [`trip_when`](super::CircuitBreakerBuilder::trip_when).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TripStats {
    /// What the window holds, the call that just ended included; and where [calls under
    /// way](super::CircuitBreakerBuilder::track_in_flight) are watched, those that are overdue as slow ones.
    pub counts: Counts,
    /// How many calls have failed one after the other, if [runs of
    /// failures](super::CircuitBreakerBuilder::consecutive_failures) are counted; else 0.
    pub failures_in_a_row: u32,
    /// How long calls took, if [that is kept](super::CircuitBreakerBuilder::record_latency).
    pub latency: Option<LatencyHistogram>,
}

pub(super) type Rule = PlainArc<dyn Fn(&TripStats) -> bool + Send + Sync>;

/// What decisions go by. Many breakers may share one.
pub(super) struct Laws {
    pub(super) live: Live<{ Settings::WORDS }>,
    pub(super) closures: PlainMutex<Closures>,
    pub(super) random: Random,
    /// Of breakers for each key: how many may be shut at once.
    pub(super) places: Option<Places>,
}

/// The user's, and so never called or dropped under a lock.
#[derive(Clone, Default)]
pub(super) struct Closures {
    pub(super) wait: Option<Custom>,
    pub(super) rule: Option<Rule>,
}

impl Laws {
    pub(super) fn new(settings: &Settings, closures: Closures, random: Random) -> Self {
        Self {
            live: Live::new(*settings),
            closures: PlainMutex::new(closures),
            random,
            places: None,
        }
    }
}

impl fmt::Debug for Laws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Laws").finish_non_exhaustive()
    }
}
