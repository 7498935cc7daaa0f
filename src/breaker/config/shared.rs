//! The part of a configuration that all breakers of one group share in a single copy.

use super::live::Config;
use super::trip_rule::TripRule;
use crate::backoff::Custom;
use crate::breaker::engine::OpenLimit;
use crate::random::Random;
use crate::sync::{Live, PlainMutex};
use std::fmt;

/// The data that decisions read besides the state. A single breaker has its own copy; all breakers
/// of a [`KeyedCircuitBreaker`](crate::breaker::KeyedCircuitBreaker) share one.
pub(crate) struct SharedConfig {
    pub(crate) live: Live<{ Config::WORDS }>,
    pub(crate) closures: PlainMutex<Closures>,
    pub(crate) random: Random,
    /// The limit on breakers open at the same time; `None` for a single breaker.
    pub(crate) open_limit: Option<OpenLimit>,
}

/// The user's closures, which are never called or dropped under a lock.
#[derive(Clone, Default)]
pub(crate) struct Closures {
    pub(crate) open_duration: Option<Custom>,
    pub(crate) trip_rule: Option<TripRule>,
}

impl SharedConfig {
    pub(crate) fn new(config: &Config, closures: Closures, random: Random) -> Self {
        let closures = PlainMutex::new(closures);
        Self { live: Live::new(*config), closures, random, open_limit: None }
    }
}

impl fmt::Debug for SharedConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedConfig").finish_non_exhaustive()
    }
}
