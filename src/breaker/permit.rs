use super::admit::Ticket;
use super::{CallClass, Shared};
use crate::outcome::Outcome;
use crate::time::{Instant, Reading};
use std::fmt;
use std::mem::ManuallyDrop;
use std::time::Duration;

/// Leave to make one call, and the duty to say how it ended.
///
/// Consuming it says so. Dropping it says nothing about the dependency and gives back what it held: a
/// half-open breaker's slot for a probe, and its place among the calls under way. That is what a cancelled call does, and a panicking one too,
/// for a panic is a fault on this side of the wire; if a panic of yours does tell of the dependency,
/// catch it and call [`failure`](Self::failure).
///
/// Holding a permit holds no lock.
#[must_use = "a permit that is dropped counts as no call at all"]
pub struct CircuitBreakerPermit<'a> {
    breaker: &'a Shared,
    ticket: Ticket,
}

impl<'a> CircuitBreakerPermit<'a> {
    #[inline]
    pub(super) const fn new(breaker: &'a Shared, ticket: Ticket) -> Self {
        Self { breaker, ticket }
    }

    /// The call succeeded. It still counts as slow if it took too long.
    #[inline]
    pub fn success(self) {
        self.settle(Outcome::Success, &CallClass::ORDINARY, None);
    }

    /// The call failed.
    #[inline]
    pub fn failure(self) {
        self.settle(Outcome::Failure, &CallClass::ORDINARY, None);
    }

    /// The call says nothing about the dependency. The same as dropping the permit.
    #[inline]
    pub fn ignore(self) {
        self.settle(Outcome::Ignore, &CallClass::ORDINARY, None);
    }

    /// The call succeeded if `result` is `Ok`, and failed otherwise, whatever the error: if yours may be a
    /// rejection by another policy, which says nothing about the dependency, [`ignore`](Self::ignore) it.
    #[inline]
    pub fn record<T, E>(self, result: &Result<T, E>) {
        let outcome = if result.is_ok() { Outcome::Success } else { Outcome::Failure };
        self.settle(outcome, &CallClass::ORDINARY, None);
    }

    /// The call ended as `outcome` says.
    #[inline]
    pub fn outcome(self, outcome: Outcome) {
        self.settle(outcome, &CallClass::ORDINARY, None);
    }

    /// Whether the breaker, were it not in [shadow](super::CircuitBreakerMode::Shadow), would have rejected this call.
    #[must_use]
    pub const fn would_reject(&self) -> bool {
        self.nth_shadowed().is_some()
    }

    /// Which of the calls it is that would have been rejected.
    pub(super) const fn nth_shadowed(&self) -> Option<u64> {
        self.ticket.admitted.nth_shadowed()
    }

    /// A look at the clock for those who judge this call, and how long it took, if it is timed.
    pub(super) fn elapsed(&self, reading: &mut Reading<'_>) -> Option<Duration> {
        self.ticket.elapsed(reading)
    }

    pub(super) fn reading(&self) -> Reading<'a> {
        Reading::of(&self.breaker.family.clock)
    }

    /// What it holds, without giving it back.
    #[inline]
    pub(super) fn into_ticket(self) -> Ticket {
        ManuallyDrop::new(self).ticket
    }

    /// `now`: if the clock has been read.
    #[inline(always)]
    pub(super) fn settle(self, outcome: Outcome, class: &CallClass, now: Option<Instant>) {
        let permit = ManuallyDrop::new(self);
        if outcome == Outcome::Success && permit.breaker.core.count_at_once(permit.ticket) {
            return;
        }
        permit.breaker.settle(permit.ticket, outcome, class, now);
    }
}

impl Drop for CircuitBreakerPermit<'_> {
    #[inline]
    fn drop(&mut self) {
        // Without an outcome there is no transition, so no observer runs here, perhaps in a panic.
        if !self.ticket.is_plain() {
            self.breaker.give_back(self.ticket);
        }
    }
}

impl fmt::Debug for CircuitBreakerPermit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreakerPermit")
            .field("breaker", &self.breaker.family.name)
            .finish_non_exhaustive()
    }
}
