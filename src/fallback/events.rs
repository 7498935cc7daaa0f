//! The counter and the events of degraded results: [`Emitter`].

use super::POLICY;
use crate::event::{Event, EventValue, Observer, Outbox};
use crate::sync::{Counter, PlainArc};
use crate::time::Clock;
use std::convert::Infallible;
use std::panic::{RefUnwindSafe, UnwindSafe};

/// The settings and the counter of a fallback, and the emitter of events of kind `degraded`.
pub(super) struct Emitter {
    pub(super) name: &'static str,
    pub(super) clock: Clock,
    /// The share of the remaining time that is reserved for another operation.
    pub(super) share: f64,
    observer: Option<PlainArc<dyn Observer>>,
    degraded: Counter,
    outbox: Outbox<Infallible>,
}

// The counter is changed before an observer is called, so a panic of the observer leaves it valid.
impl UnwindSafe for Emitter {}
impl RefUnwindSafe for Emitter {}

impl Emitter {
    pub(super) fn new(
        name: &'static str,
        clock: Clock,
        share: f64,
        observer: Option<PlainArc<dyn Observer>>,
    ) -> Self {
        Self { name, clock, share, observer, degraded: Counter::default(), outbox: Outbox::new() }
    }

    /// Counts and reports that the fallback replaced an error with the label `cause`.
    pub(super) fn degraded(&self, cause: &'static str) {
        let sequence = self.degraded.add(1);
        let Some(observer) = &self.observer else { return };
        let event = Event {
            policy: POLICY,
            name: self.name,
            kind: "degraded",
            keyed: false,
            sequence,
            at: self.clock.now(),
            fields: &[("cause", EventValue::Label(cause))],
        };
        self.outbox.notify(|| observer.observe(&event), |never| match never {});
    }

    pub(super) fn count(&self) -> u64 {
        self.degraded.get()
    }
}
