//! Counts and reports hedges: [`Emitter`].

use super::POLICY;
use crate::event::{Event, EventValue, Observer, Outbox};
use crate::sync::{Counter, PlainArc};
use crate::time::Instant;
use std::convert::Infallible;
use std::panic::{RefUnwindSafe, UnwindSafe};

/// The counters of a hedge, and the emitter of its events.
pub(super) struct Emitter {
    pub(super) name: &'static str,
    observer: Option<PlainArc<dyn Observer>>,
    pub(super) hedges: Counter,
    pub(super) wins: Counter,
    pub(super) suppressed: Counter,
    pub(super) keyed: bool,
    outbox: Outbox<Infallible>,
}

// A counter is changed before an observer is called, so a panic of the observer leaves it valid.
impl UnwindSafe for Emitter {}
impl RefUnwindSafe for Emitter {}

impl Emitter {
    pub(super) fn new(
        name: &'static str,
        keyed: bool,
        observer: Option<PlainArc<dyn Observer>>,
    ) -> Self {
        Self {
            name,
            observer,
            hedges: Counter::default(),
            wins: Counter::default(),
            suppressed: Counter::default(),
            keyed,
            outbox: Outbox::new(),
        }
    }

    /// Reports that the further attempt `number` starts.
    pub(super) fn hedged(&self, number: u32, now: Instant) {
        self.emit("hedge", self.hedges.add(1), number, now);
    }

    /// Reports that the attempt `number` returned the result of the call.
    pub(super) fn won(&self, number: u32, now: Instant) {
        self.emit("won", self.wins.add(1), number, now);
    }

    /// Reports that the budget did not cover the attempt `number`.
    pub(super) fn suppressed(&self, number: u32, now: Instant) {
        self.emit("suppressed", self.suppressed.add(1), number, now);
    }

    fn emit(&self, kind: &'static str, sequence: u64, number: u32, at: Instant) {
        let Some(observer) = &self.observer else { return };
        let fields = [("attempt", EventValue::Count(number.into()))];
        let (policy, name, fields) = (POLICY, self.name, &fields[..]);
        let event = Event { policy, name, kind, keyed: self.keyed, sequence, at, fields };
        self.outbox.notify(|| observer.observe(&event), |never| match never {});
    }
}
