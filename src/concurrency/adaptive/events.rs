//! The events that a limiter reports to its observer.

use super::POLICY;
use crate::concurrency::controller::LimitReason;
use crate::error::Rejection;
use crate::event::{Event, EventValue, Observer, Outbox};
use crate::sync::atomic::Ordering::Relaxed;
use crate::sync::{PlainArc, PlainAtomicU64};
use crate::time::Instant;

/// An emitter of rejections (events of kind `rejected`) and new limits (`limit_changed`).
pub(super) struct Emitter {
    pub(super) name: &'static str,
    observer: Option<PlainArc<dyn Observer>>,
    rejections: PlainAtomicU64,
    changes: Outbox<LimitChange>,
}

/// A change of the limit, in whole permits.
#[derive(Clone, Copy, Debug)]
pub(super) struct LimitChange {
    pub(super) sequence: u64,
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) reason: LimitReason,
    pub(super) at: Instant,
}

impl Emitter {
    pub(super) fn new(name: &'static str, observer: Option<PlainArc<dyn Observer>>) -> Self {
        Self { name, observer, rejections: PlainAtomicU64::new(0), changes: Outbox::new() }
    }

    /// Reports a rejection, on the thread whose call was rejected.
    pub(super) fn rejected(&self, rejection: Rejection, limit: u32, at: impl FnOnce() -> Instant) {
        let Some(observer) = &self.observer else { return };
        let fields = [
            ("reason", EventValue::Label(rejection.reason().as_str())),
            ("limit", EventValue::Count(limit.into())),
        ];
        let sequence = self.rejections.fetch_add(1, Relaxed) + 1;
        let event = Event {
            policy: POLICY,
            name: self.name,
            kind: "rejected",
            keyed: false,
            sequence,
            at: at(),
            fields: &fields,
        };
        self.changes.notify(|| observer.observe(&event), |change| self.emit(change));
    }

    /// Queues a change. Must be called in the order of the changes.
    pub(super) fn changed(&self, change: LimitChange) {
        if self.observer.is_some() {
            self.changes.commit(|sequence| Some(LimitChange { sequence, ..change }));
        }
    }

    /// Delivers the queued changes. Must be called outside every lock.
    pub(super) fn deliver(&self) {
        if self.observer.is_some() {
            self.changes.deliver(|change| self.emit(change));
        }
    }

    fn emit(&self, change: LimitChange) {
        let Some(observer) = &self.observer else { return };
        let fields = [
            ("from", EventValue::Count(change.from.into())),
            ("limit", EventValue::Count(change.to.into())),
            ("reason", EventValue::Label(change.reason.as_str())),
        ];
        observer.observe(&Event {
            policy: POLICY,
            name: self.name,
            kind: "limit_changed",
            keyed: false,
            sequence: change.sequence,
            at: change.at,
            fields: &fields,
        });
    }
}
