use super::Shared;
use super::core::Ticket;
use crate::time::{Clock, Reading};
use std::fmt;
use std::time::Duration;

/// Leave to make one call, and the duty to say how it ended.
///
/// Consuming it says so. Dropping it says nothing about the dependency and gives back what it held: a
/// half-open breaker's slot for a probe. That is what a cancelled call does, and a panicking one too,
/// for a panic is a fault on this side of the wire; if a panic of yours does tell of the dependency,
/// catch it and call [`failure`](Self::failure).
///
/// Holding a permit holds no lock.
#[must_use = "a permit that is dropped counts as no call at all"]
pub struct Permit<'a> {
    breaker: &'a Shared,
    /// `None` once it has been settled.
    ticket: Option<Ticket>,
}

impl<'a> Permit<'a> {
    pub(super) const fn new(breaker: &'a Shared, ticket: Ticket) -> Self {
        Self { breaker, ticket: Some(ticket) }
    }

    /// The call succeeded. It still counts as slow if it took too long.
    #[inline]
    pub fn success(self) {
        self.settle(Some(false), None);
    }

    /// The call failed.
    #[inline]
    pub fn failure(self) {
        self.settle(Some(true), None);
    }

    /// The call says nothing about the dependency. The same as dropping the permit.
    #[inline]
    pub fn ignore(self) {
        self.settle(None, None);
    }

    /// The call succeeded if `result` is `Ok`, and failed otherwise.
    #[inline]
    pub fn record<T, E>(self, result: &Result<T, E>) {
        self.settle(Some(result.is_err()), None);
    }

    /// How long ago the call was admitted, if it is timed.
    pub(super) fn elapsed(&self, reading: &mut Reading<'_>) -> Option<Duration> {
        self.ticket.as_ref().and_then(|ticket| ticket.elapsed(reading))
    }

    pub(super) const fn clock(&self) -> &'a Clock {
        &self.breaker.clock
    }

    pub(super) fn is_timed(&self) -> bool {
        self.ticket.as_ref().is_some_and(Ticket::is_timed)
    }

    /// `failed`: whether it failed, if it says anything at all. `reading`: taken already, perhaps.
    #[inline]
    pub(super) fn settle(mut self, failed: Option<bool>, reading: Option<Reading<'_>>) {
        if let Some(ticket) = self.ticket.take() {
            let mut reading = reading.unwrap_or_else(|| Reading::of(&self.breaker.clock));
            if self.breaker.core.settle(ticket, failed, &mut reading) {
                self.breaker.deliver();
            }
        }
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        // Without an outcome there is no transition, so no observer runs here, perhaps in a panic.
        if let Some(ticket) = self.ticket.take() {
            self.breaker.core.settle(ticket, None, &mut Reading::of(&self.breaker.clock));
        }
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("breaker", &self.breaker.name).finish_non_exhaustive()
    }
}
