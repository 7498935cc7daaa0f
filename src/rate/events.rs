//! The events that a limiter reports to its observer.

use super::POLICY;
use super::grant::Denied;
use crate::event::{Event, EventValue, Observer, Outbox};
use crate::sync::atomic::Ordering;
use crate::sync::{PlainArc, PlainAtomicU64};
use crate::time::Instant;

/// Reports the events of one limiter to its observer, if it has one.
pub(super) struct Emitter {
    pub(super) name: &'static str,
    observer: Option<PlainArc<dyn Observer>>,
    denials: PlainAtomicU64,
    changes: Outbox<Change>,
}

/// A change of the quota, queued for the observer.
#[derive(Clone, Copy)]
struct Change {
    sequence: u64,
    at: Instant,
    limit: u32,
}

impl Emitter {
    pub(super) fn new(name: &'static str, observer: Option<PlainArc<dyn Observer>>) -> Self {
        Self { name, observer, denials: PlainAtomicU64::new(0), changes: Outbox::new() }
    }

    /// Reports an event of kind `denied`, with the fields `wanted`, `limit`, `remaining` and, if
    /// known, `retry_after`. Returns `denied`.
    #[inline(always)]
    pub(super) fn denied(&self, denied: Denied, at: impl FnOnce() -> Instant) -> Denied {
        if let Some(observer) = &self.observer {
            // Passed by value: a reference would force `denied` into memory even without an
            // observer.
            self.emit_denied(&**observer, denied, at());
        }
        denied
    }

    #[cold]
    #[inline(never)]
    fn emit_denied(&self, observer: &dyn Observer, denied: Denied, at: Instant) {
        let retry_after = denied.retry_after();
        let fields = [
            ("wanted", EventValue::Count(denied.status.wanted.into())),
            ("limit", EventValue::Count(denied.limit().into())),
            ("remaining", EventValue::Count(denied.remaining().into())),
            ("retry_after", EventValue::Duration(retry_after.unwrap_or_default())),
        ];
        let fields = &fields[..fields.len() - usize::from(retry_after.is_none())];
        // Ordering: relaxed, because the sequence number only needs to be unique.
        let sequence = self.denials.fetch_add(1, Ordering::Relaxed) + 1;
        let event = self.event("denied", sequence, at, fields);
        self.changes.notify(|| observer.observe(&event), |change| self.emit(observer, change));
    }

    /// Reports an event of kind `reconfigured`, with the new limit in the field `limit`.
    pub(super) fn reconfigured(&self, limit: u32, at: Instant) {
        if let Some(observer) = &self.observer {
            self.changes.commit(|sequence| Some(Change { sequence, at, limit }));
            self.changes.deliver(|change| self.emit(&**observer, change));
        }
    }

    fn emit(&self, observer: &dyn Observer, Change { sequence, at, limit }: Change) {
        let fields = [("limit", EventValue::Count(limit.into()))];
        observer.observe(&self.event("reconfigured", sequence, at, &fields));
    }

    const fn event<'a>(
        &self,
        kind: &'static str,
        sequence: u64,
        at: Instant,
        fields: &'a [(&'static str, EventValue)],
    ) -> Event<'a> {
        Event { policy: POLICY, name: self.name, kind, keyed: false, sequence, at, fields }
    }
}
