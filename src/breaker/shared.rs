//! The state that handles of one breaker share, and the state that breakers of one group share.

use super::CircuitBreaker;
use super::config::CircuitBreakerBuilder;
use super::engine::Engine;
use super::events::{Key, Notice};
use super::mode::{CircuitBreakerControl, CircuitBreakerMode, ModeTarget};
use super::permit::CircuitBreakerPermit;
use crate::error::{Reason, Rejection};
use crate::event::Subscribers;
use crate::sync::{PlainArc, PlainMutex};
use crate::time::{Clock, Reading};
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

/// The state that all handles of one breaker share.
pub(crate) struct Shared {
    pub(super) engine: Engine,
    pub(super) group: PlainArc<Group>,
    /// The breaker's key, if it belongs to a keyed breaker.
    pub(super) key: Option<Key>,
}

/// The state that all breakers of one builder share: a single breaker, or all breakers of a
/// [`KeyedCircuitBreaker`](super::KeyedCircuitBreaker).
pub(crate) struct Group {
    pub(super) name: &'static str,
    pub(super) clock: Clock,
    pub(super) listeners: PlainArc<Subscribers<Notice>>,
    /// The builder with the current settings.
    pub(super) config: PlainMutex<CircuitBreakerBuilder>,
    pub(super) control: CircuitBreakerControl,
    /// A closed breaker of a key is removed after this time without use.
    pub(super) idle_timeout: Duration,
}

impl CircuitBreaker {
    pub(super) const fn from_shared(shared: PlainArc<Shared>) -> Self {
        Self(shared)
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.0
    }
}

impl Shared {
    #[inline]
    pub(super) fn reading(&self) -> Reading<'_> {
        Reading::of(&self.group.clock)
    }

    /// Admits a call or rejects it. If `timed` is true, the call is timed even if the breaker does
    /// not need it.
    #[inline]
    pub(super) fn admit(
        &self,
        timed: bool,
        reading: Reading<'_>,
    ) -> Result<CircuitBreakerPermit<'_>, Rejection> {
        match self.engine.try_enter() {
            Some(ticket) if !timed => Ok(CircuitBreakerPermit::new(self, ticket)),
            _ => self.admit_slow(timed, reading),
        }
    }

    #[inline(never)]
    fn admit_slow(
        &self,
        timed: bool,
        mut reading: Reading<'_>,
    ) -> Result<CircuitBreakerPermit<'_>, Rejection> {
        let entry = self.engine.enter(timed, &mut reading);
        // The permit is created before observers run: if one panics, the permit gives the slot
        // back.
        let admitted = entry.result.map(|ticket| CircuitBreakerPermit::new(self, ticket));
        if entry.change.is_committed() {
            self.deliver();
        }
        if let Ok(permit) = &admitted
            && let Some(sequence) = permit.shadow_sequence()
        {
            self.emit_would_reject(sequence, &mut reading);
        }
        admitted.map_err(|refusal| {
            let rejection = Rejection::new(Reason::CircuitOpen, self.group.name);
            match refusal.retry_at {
                Some(at) => rejection.with_retry_after(at - refusal.now),
                None => rejection,
            }
        })
    }
}

// A panic of user code leaves every structure usable: no lock is held while it runs, and permits
// give back what they hold when they are dropped.
impl UnwindSafe for Shared {}
impl RefUnwindSafe for Shared {}

impl ModeTarget for Shared {
    fn apply_mode(&self, mode: CircuitBreakerMode) {
        if self.engine.switch_mode(mode, self.group.clock.now()).is_committed() {
            self.deliver();
        }
    }
}

impl fmt::Debug for CircuitBreaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreaker")
            .field("name", &self.name())
            .field("state", &self.state())
            .finish()
    }
}
