//! What an admitted call remembers until it ends.

use super::Engine;
use super::in_flight::Start;
use super::word::Word;
use crate::time::{Instant, Reading};
use std::num::NonZeroU64;
use std::time::Duration;

/// An instant in eight bytes of which `Option` needs no more, at the cost of one nanosecond at the
/// far end of the range.
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

/// The word that admitted a call, and the start of the call if it is timed. Two plain words, so
/// that a ticket stays in registers.
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

    /// Reads the clock if calls that `admitted` admits are timed, or if `timed` asks for it.
    pub(super) fn new(admitted: Word, timed: bool, reading: &mut Reading<'_>) -> Self {
        let timed = timed || admitted.is_timed();
        Self { admitted, started: timed.then(|| PackedInstant::new(reading.now())) }
    }

    /// Whether the call holds nothing that must be given back.
    #[inline]
    pub(crate) const fn is_plain(&self) -> bool {
        self.admitted.is_plain()
    }

    #[inline]
    pub(super) const fn is_probe(&self) -> bool {
        !self.admitted.is_closed() && !self.admitted.is_bypass()
    }

    /// The number of the call among those that a breaker in shadow mode would have rejected, if it
    /// is one of them.
    pub(crate) const fn shadow_sequence(&self) -> Option<u64> {
        self.admitted.shadow_sequence()
    }

    /// The time since the call started, if it is timed.
    pub(crate) fn elapsed(&self, reading: &mut Reading<'_>) -> Option<Duration> {
        self.started.map(|started| reading.now() - started.get())
    }

    /// The key under which the call is counted as in flight. `slow_after` is the threshold of the
    /// configuration that admitted it. `None` if the call is untimed, and so not counted.
    pub(super) fn start(&self, slow_after: Duration) -> Option<Start> {
        let at = self.started?.get();
        Some(Start { admitted: self.admitted, at, slow_after })
    }
}

/// Gives back what a call holds (its entry among the calls in flight, a probe's slot) when dropped,
/// for instance by a panic in the user's code.
pub(super) struct TicketGuard<'a> {
    pub(super) engine: &'a Engine,
    pub(super) ticket: Ticket,
}

impl TicketGuard<'_> {
    /// Keeps what the call holds.
    pub(super) fn disarm(self) {
        std::mem::forget(self);
    }
}

impl Drop for TicketGuard<'_> {
    fn drop(&mut self) {
        self.engine.abandon(&self.ticket);
    }
}
