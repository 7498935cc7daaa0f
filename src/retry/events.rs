//! Counts and reports retries: [`Emitter`].

use crate::error::Error;
use crate::event::{Event, EventValue, Observer, Outbox};
use crate::sync::{Counter, PlainArc};
use crate::time::Clock;
use std::convert::Infallible;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

/// The counters of a retry, and the emitter of its events.
pub(super) struct Emitter {
    observer: Option<PlainArc<dyn Observer>>,
    retries: Counter,
    suppressed: Counter,
    outbox: Outbox<Infallible>,
}

// A counter is changed before an observer is called, so a panic of the observer leaves it valid.
impl UnwindSafe for Emitter {}
impl RefUnwindSafe for Emitter {}

impl Emitter {
    pub(super) fn new(observer: Option<PlainArc<dyn Observer>>) -> Self {
        Self {
            observer,
            retries: Counter::default(),
            suppressed: Counter::default(),
            outbox: Outbox::new(),
        }
    }

    /// Reports that the attempt `number` ended with `result` and is followed by another after
    /// `wait`.
    pub(super) fn retrying<T, E>(
        &self,
        name: &'static str,
        clock: &Clock,
        number: u32,
        result: &Result<T, Error<E>>,
        wait: Duration,
    ) {
        let sequence = self.retries.add(1);
        let fields = [
            ("attempt", EventValue::Count(number.into())),
            ("result", EventValue::Label(label(result))),
            ("wait", EventValue::Duration(wait)),
        ];
        self.emit(name, clock, "retry", sequence, &fields);
    }

    /// Reports that the budget did not cover a retry after the attempt `number`.
    pub(super) fn suppressed<T, E>(
        &self,
        name: &'static str,
        clock: &Clock,
        number: u32,
        result: &Result<T, Error<E>>,
    ) {
        let sequence = self.suppressed.add(1);
        let fields = [
            ("attempt", EventValue::Count(number.into())),
            ("result", EventValue::Label(label(result))),
        ];
        self.emit(name, clock, "suppressed", sequence, &fields);
    }

    pub(super) fn retries(&self) -> u64 {
        self.retries.get()
    }

    pub(super) fn suppressions(&self) -> u64 {
        self.suppressed.get()
    }

    fn emit(
        &self,
        name: &'static str,
        clock: &Clock,
        kind: &'static str,
        sequence: u64,
        fields: &[(&'static str, EventValue)],
    ) {
        let Some(observer) = &self.observer else { return };
        let (policy, at) = (super::config::POLICY, clock.now());
        let event = Event { policy, name, kind, keyed: false, sequence, at, fields };
        self.outbox.notify(|| observer.observe(&event), |never| match never {});
    }
}

/// Returns the kind of the result as a label.
const fn label<T, E>(result: &Result<T, Error<E>>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(Error::Operation(_)) => "operation",
        Err(Error::Timeout(_)) => "timeout",
        Err(Error::Rejected(_)) => "rejected",
    }
}

impl fmt::Debug for Emitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emitter").finish_non_exhaustive()
    }
}
