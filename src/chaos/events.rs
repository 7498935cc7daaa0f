//! Counts and reports injected faults: [`Emitter`].

use super::POLICY;
use crate::event::{Event, EventValue, Observer, Outbox};
use crate::sync::{Counter, PlainArc};
use crate::time::Instant;
use std::convert::Infallible;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

/// The counters of a chaos policy, and the emitter of its events.
pub(super) struct Emitter {
    pub(super) name: &'static str,
    observer: Option<PlainArc<dyn Observer>>,
    pub(super) calls: Counter,
    pub(super) latencies: Counter,
    pub(super) hangs: Counter,
    pub(super) panics: Counter,
    pub(super) errors: Counter,
    pub(super) rejections: Counter,
    injections: Counter,
    outbox: Outbox<Infallible>,
}

// A counter is changed before an observer is called, so a panic of the observer leaves it valid.
impl UnwindSafe for Emitter {}
impl RefUnwindSafe for Emitter {}

impl Emitter {
    pub(super) fn new(name: &'static str, observer: Option<PlainArc<dyn Observer>>) -> Self {
        Self {
            name,
            observer,
            calls: Counter::default(),
            latencies: Counter::default(),
            hangs: Counter::default(),
            panics: Counter::default(),
            errors: Counter::default(),
            rejections: Counter::default(),
            injections: Counter::default(),
            outbox: Outbox::new(),
        }
    }

    /// Reports that call `number` is delayed by `delay`.
    pub(super) fn latency(&self, number: u64, delay: Duration, at: Instant) {
        self.latencies.add(1);
        self.emit("latency", number, Some(delay), at);
    }

    pub(super) fn hang(&self, number: u64, at: Instant) {
        self.hangs.add(1);
        self.emit("hang", number, None, at);
    }

    pub(super) fn panic(&self, number: u64, at: Instant) {
        self.panics.add(1);
        self.emit("panic", number, None, at);
    }

    pub(super) fn error(&self, number: u64, at: Instant) {
        self.errors.add(1);
        self.emit("error", number, None, at);
    }

    pub(super) fn rejection(&self, number: u64, at: Instant) {
        self.rejections.add(1);
        self.emit("rejection", number, None, at);
    }

    fn emit(&self, fault: &'static str, number: u64, delay: Option<Duration>, at: Instant) {
        let sequence = self.injections.add(1);
        let Some(observer) = &self.observer else { return };
        let fields = [
            ("fault", EventValue::Label(fault)),
            ("call", EventValue::Count(number)),
            ("delay", EventValue::Duration(delay.unwrap_or_default())),
        ];
        let fields = &fields[..fields.len() - usize::from(delay.is_none())];
        let (policy, name, kind) = (POLICY, self.name, "injected");
        let event = Event { policy, name, kind, keyed: false, sequence, at, fields };
        self.outbox.notify(|| observer.observe(&event), |never| match never {});
    }
}
