//! The events that a bulkhead reports to its observer.

use super::POLICY;
use super::config::Config;
use crate::error::Rejection;
use crate::event::{Event, EventValue, Observer, Outbox};
use crate::sync::atomic::Ordering::Relaxed;
use crate::sync::{PlainArc, PlainAtomicU64};
use crate::time::Instant;

/// An emitter of rejections (events of kind `rejected`) and new settings (`reconfigured`).
pub(super) struct Emitter {
    pub(super) name: &'static str,
    keyed: bool,
    observer: Option<PlainArc<dyn Observer>>,
    rejections: PlainAtomicU64,
    changes: Outbox<Change>,
}

/// New settings, queued for the observer.
#[derive(Clone, Copy)]
struct Change {
    sequence: u64,
    at: Instant,
    config: Config,
}

/// The values in the event of a rejection.
pub(super) struct RejectionFigures {
    pub(super) limit: u32,
    pub(super) in_flight: u32,
    pub(super) queued: u32,
    pub(super) at: Instant,
}

impl Emitter {
    pub(super) fn new(
        name: &'static str,
        keyed: bool,
        observer: Option<PlainArc<dyn Observer>>,
    ) -> Self {
        let (rejections, changes) = (PlainAtomicU64::new(0), Outbox::new());
        Self { name, keyed, observer, rejections, changes }
    }

    /// Reports a rejection, on the thread whose call was rejected.
    pub(super) fn rejected(
        &self,
        rejection: Rejection,
        figures: impl FnOnce() -> RejectionFigures,
    ) {
        let Some(observer) = &self.observer else { return };
        let RejectionFigures { limit, in_flight, queued, at } = figures();
        let fields = [
            ("reason", EventValue::Label(rejection.reason().as_str())),
            ("limit", EventValue::Count(limit.into())),
            ("in_flight", EventValue::Count(in_flight.into())),
            ("queued", EventValue::Count(queued.into())),
        ];
        let sequence = self.rejections.fetch_add(1, Relaxed) + 1;
        let event = self.event("rejected", sequence, at, &fields);
        self.changes.notify(|| observer.observe(&event), |change| self.emit(change));
    }

    /// Reports new settings.
    pub(super) fn reconfigured(&self, config: Config, at: impl FnOnce() -> Instant) {
        if self.observer.is_some() {
            let at = at();
            self.changes.commit(|sequence| Some(Change { sequence, at, config }));
            self.changes.deliver(|change| self.emit(change));
        }
    }

    fn emit(&self, Change { sequence, at, config }: Change) {
        let Some(observer) = &self.observer else { return };
        let fields = [
            ("limit", EventValue::Count(config.max_concurrent.into())),
            ("max_queue", EventValue::Count(config.max_queue.into())),
        ];
        observer.observe(&self.event("reconfigured", sequence, at, &fields));
    }

    const fn event<'a>(
        &self,
        kind: &'static str,
        sequence: u64,
        at: Instant,
        fields: &'a [(&'static str, EventValue)],
    ) -> Event<'a> {
        Event { policy: POLICY, name: self.name, kind, keyed: self.keyed, sequence, at, fields }
    }
}
