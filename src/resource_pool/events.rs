//! The events that a pool reports to its observer.

use super::POLICY;
use super::snapshot::{ResourceCloseReason, ResourceLeak};
use crate::event::{Event, EventValue, Observer, Outbox};
use crate::sync::atomic::Ordering::Relaxed;
use crate::sync::{PlainArc, PlainAtomicU64};
use crate::time::Instant;
use std::convert::Infallible;
use std::time::Duration;

/// Reports events to the observer, on the threads that cause them and in no particular order.
pub(super) struct Emitter {
    name: &'static str,
    /// Whether the pools of many keys share the name.
    keyed: bool,
    observer: Option<PlainArc<dyn Observer>>,
    /// The number of events reported, for each kind.
    sequences: [PlainAtomicU64; 6],
    outbox: Outbox<Infallible>,
}

/// An event of a pool.
#[derive(Clone, Copy, Debug)]
pub(super) enum PoolEvent {
    Created { took: Duration },
    CreationFailed { took: Duration },
    CreationRejected { reason: &'static str },
    Closed { reason: ResourceCloseReason, age: Duration },
    TimedOut { waited: Duration, in_use: usize, waiting: usize },
    Leaked(ResourceLeak),
}

impl Emitter {
    pub(super) fn new(
        name: &'static str,
        keyed: bool,
        observer: Option<PlainArc<dyn Observer>>,
    ) -> Self {
        let sequences = [const { PlainAtomicU64::new(0) }; 6];
        Self { name, keyed, observer, sequences, outbox: Outbox::new() }
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Reports an event. Must not be called under a lock.
    pub(super) fn emit(&self, event: PoolEvent, at: Instant) {
        let Some(observer) = &self.observer else { return };
        let count = |n: usize| EventValue::Count(n as u64);
        match event {
            PoolEvent::Created { took } => {
                self.notify(observer, 0, "created", at, &[("took", EventValue::Duration(took))]);
            }
            PoolEvent::CreationFailed { took } => {
                let fields = [("took", EventValue::Duration(took))];
                self.notify(observer, 1, "creation_failed", at, &fields);
            }
            PoolEvent::CreationRejected { reason } => {
                let fields = [("reason", EventValue::Label(reason))];
                self.notify(observer, 4, "creation_rejected", at, &fields);
            }
            PoolEvent::Closed { reason, age } => {
                let fields = [
                    ("reason", EventValue::Label(reason.as_str())),
                    ("age", EventValue::Duration(age)),
                ];
                self.notify(observer, 2, "closed", at, &fields);
            }
            PoolEvent::Leaked(leak) => {
                let fields = [
                    ("held_for", EventValue::Duration(leak.held_for)),
                    ("file", EventValue::Label(leak.acquired_at.file())),
                    ("line", EventValue::Count(u64::from(leak.acquired_at.line()))),
                ];
                self.notify(observer, 5, "leaked", at, &fields);
            }
            PoolEvent::TimedOut { waited, in_use, waiting } => {
                let fields = [
                    ("waited", EventValue::Duration(waited)),
                    ("in_use", count(in_use)),
                    ("waiting", count(waiting)),
                ];
                self.notify(observer, 3, "timed_out", at, &fields);
            }
        }
    }

    fn notify(
        &self,
        observer: &PlainArc<dyn Observer>,
        sequence: usize,
        kind: &'static str,
        at: Instant,
        fields: &[(&'static str, EventValue)],
    ) {
        // Ordering: relaxed; the number must only be unique.
        let sequence = self.sequences[sequence].fetch_add(1, Relaxed) + 1;
        let Self { name, keyed, .. } = *self;
        let event = Event { policy: POLICY, name, kind, keyed, sequence, at, fields };
        self.outbox.notify(|| observer.observe(&event), |never| match never {});
    }
}
