//! The part of a configuration that breakers of one group share: one copy for very many of them.

use super::live::Config;
use super::trip_rule::TripRule;
use crate::backoff::Custom;
use crate::breaker::engine::OpenLimit;
use crate::random::Random;
use crate::sync::{Live, PlainMutex};
use std::fmt;

/// What decisions read besides the state. One breaker has one by itself; the breakers of a
/// [`KeyedCircuitBreaker`](crate::breaker::KeyedCircuitBreaker) share one.
pub(crate) struct SharedConfig {
    pub(crate) live: Live<{ Config::WORDS }>,
    pub(crate) closures: PlainMutex<Closures>,
    pub(crate) random: Random,
    /// How many of the breakers may be open at the same time.
    pub(crate) open_limit: Option<OpenLimit>,
}

/// The user's functions; never called or dropped under a lock.
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
