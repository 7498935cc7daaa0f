//! The counters of a cache and the events of replaced errors: [`Emitter`].

use super::POLICY;
use crate::event::{Event, EventValue, Observer, Outbox};
use crate::sync::{Counter, PlainArc};
use crate::time::Instant;
use std::convert::Infallible;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

/// The counters of a cache, and the emitter of events of kind `stale_on_error`.
pub(super) struct Emitter {
    pub(super) name: &'static str,
    observer: Option<PlainArc<dyn Observer>>,
    pub(super) hits: Counter,
    pub(super) stale: Counter,
    pub(super) misses: Counter,
    pub(super) refreshes: Counter,
    pub(super) errors_replaced: Counter,
    outbox: Outbox<Infallible>,
}

// The counters are changed before the observer is called, so a panic of the observer leaves them
// valid.
impl UnwindSafe for Emitter {}
impl RefUnwindSafe for Emitter {}

impl Emitter {
    pub(super) fn new(name: &'static str, observer: Option<PlainArc<dyn Observer>>) -> Self {
        Self {
            name,
            observer,
            hits: Counter::default(),
            stale: Counter::default(),
            misses: Counter::default(),
            refreshes: Counter::default(),
            errors_replaced: Counter::default(),
            outbox: Outbox::new(),
        }
    }

    /// Counts and reports that a value of the given age replaced an error with the label `cause`.
    pub(super) fn error_replaced(&self, cause: &'static str, age: Duration, at: Instant) {
        let sequence = self.errors_replaced.add(1);
        let Some(observer) = &self.observer else { return };
        let event = Event {
            policy: POLICY,
            name: self.name,
            kind: "stale_on_error",
            keyed: false,
            sequence,
            at,
            fields: &[("cause", EventValue::Label(cause)), ("age", EventValue::Duration(age))],
        };
        self.outbox.notify(|| observer.observe(&event), |never| match never {});
    }
}
