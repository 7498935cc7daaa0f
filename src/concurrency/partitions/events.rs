//! The events that a partitioned bulkhead reports to its observer.

use super::POLICY;
use super::engine::PartitionFigures;
use crate::error::Rejection;
use crate::event::{Event, EventValue, Observer, Outbox};
use crate::sync::atomic::Ordering::Relaxed;
use crate::sync::{PlainArc, PlainAtomicU64};
use crate::time::Instant;

/// An emitter of rejections (events of kind `rejected`) and new settings (`reconfigured`).
pub(super) struct Emitter {
    pub(super) name: &'static str,
    observer: Option<PlainArc<dyn Observer>>,
    rejections: PlainAtomicU64,
    changes: Outbox<Change>,
}

/// New settings, queued for the observer.
#[derive(Clone, Copy)]
struct Change {
    sequence: u64,
    at: Instant,
    limit: u32,
}

impl Emitter {
    pub(super) fn new(name: &'static str, observer: Option<PlainArc<dyn Observer>>) -> Self {
        let (rejections, changes) = (PlainAtomicU64::new(0), Outbox::new());
        Self { name, observer, rejections, changes }
    }

    /// Reports a rejection, on the thread whose call was rejected. `figures` returns the figures of
    /// the partition and the current time.
    pub(super) fn rejected(
        &self,
        rejection: Rejection,
        figures: impl FnOnce() -> (PartitionFigures, Instant),
    ) {
        let Some(observer) = &self.observer else { return };
        let (figures, at) = figures();
        let fields = [
            ("reason", EventValue::Label(rejection.reason().as_str())),
            ("limit", EventValue::Count(figures.share.max.into())),
            ("in_flight", EventValue::Count(figures.share.in_use.into())),
            ("queued", EventValue::Count(figures.queued.into())),
        ];
        let sequence = self.rejections.fetch_add(1, Relaxed) + 1;
        let event = event(rejection.policy(), "rejected", sequence, at, &fields);
        self.changes.notify(|| observer.observe(&event), |change| self.emit(change));
    }

    /// Reports new settings.
    pub(super) fn reconfigured(&self, limit: u32, at: impl FnOnce() -> Instant) {
        if self.observer.is_some() {
            let at = at();
            self.changes.commit(|sequence| Some(Change { sequence, at, limit }));
            self.changes.deliver(|change| self.emit(change));
        }
    }

    fn emit(&self, Change { sequence, at, limit }: Change) {
        let Some(observer) = &self.observer else { return };
        let fields = [("limit", EventValue::Count(limit.into()))];
        observer.observe(&event(self.name, "reconfigured", sequence, at, &fields));
    }
}

const fn event<'a>(
    name: &'static str,
    kind: &'static str,
    sequence: u64,
    at: Instant,
    fields: &'a [(&'static str, EventValue)],
) -> Event<'a> {
    Event { policy: POLICY, name, kind, keyed: false, sequence, at, fields }
}
