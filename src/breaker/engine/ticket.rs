//! The ticket that an admitted call holds until it ends.

use super::Engine;
use super::in_flight::Start;
use super::word::Word;
use crate::time::{Instant, Reading};
use std::num::NonZeroU64;
use std::time::Duration;

/// An instant in eight bytes with a niche, so that `Option<PackedInstant>` has the same size. The
/// last instant of the range is stored one nanosecond early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PackedInstant(NonZeroU64);

impl PackedInstant {
    pub(crate) const fn new(instant: Instant) -> Self {
        Self(NonZeroU64::MIN.saturating_add(instant.as_nanos()))
    }

    pub(crate) const fn get(self) -> Instant {
        Instant::from_nanos(self.0.get() - 1)
    }
}

/// The word that admitted a call, and the start of the call if it is timed. A ticket is two machine
/// words, so that it stays in registers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    pub(super) admitted: Word,
    started: Option<PackedInstant>,
}

impl Ticket {
    #[inline]
    pub(super) const fn untimed(admitted: Word) -> Self {
        Self { admitted, started: None }
    }

    /// Creates a ticket. Reads the clock if `admitted` times its calls or if `timed` is true.
    pub(super) fn new(admitted: Word, timed: bool, reading: &mut Reading<'_>) -> Self {
        let timed = timed || admitted.is_timed();
        Self { admitted, started: timed.then(|| PackedInstant::new(reading.now())) }
    }

    /// Returns true if the call holds nothing that must be released at its end.
    #[inline]
    pub(crate) const fn is_plain(&self) -> bool {
        self.admitted.is_plain()
    }

    #[inline]
    pub(super) const fn is_probe(&self) -> bool {
        !self.admitted.is_closed() && !self.admitted.is_bypass()
    }

    /// Returns the sequence number of the call among those that were admitted only because of
    /// shadow mode, or `None` for any other call.
    pub(crate) const fn shadow_sequence(&self) -> Option<u64> {
        self.admitted.shadow_sequence()
    }

    /// Returns the time since the call started, if it is timed.
    pub(crate) fn elapsed(&self, reading: &mut Reading<'_>) -> Option<Duration> {
        self.started.map(|started| reading.now() - started.get())
    }

    /// Returns the key under which the call is counted as in flight, or `None` if it is untimed and
    /// therefore not counted. `slow_after` is the threshold of the configuration that admitted the
    /// call.
    pub(super) fn start(&self, slow_after: Duration) -> Option<Start> {
        let at = self.started?.get();
        Some(Start { admitted: self.admitted, at, slow_after })
    }
}

/// A guard that releases what a call holds (its entry among the calls in flight, a probe's slot)
/// when dropped, for example by a panic in user code.
pub(super) struct TicketGuard<'a> {
    pub(super) engine: &'a Engine,
    pub(super) ticket: Ticket,
}

impl TicketGuard<'_> {
    /// Consumes the guard without releasing anything.
    pub(super) fn disarm(self) {
        std::mem::forget(self);
    }
}

impl Drop for TicketGuard<'_> {
    fn drop(&mut self) {
        self.engine.abandon(&self.ticket);
    }
}
