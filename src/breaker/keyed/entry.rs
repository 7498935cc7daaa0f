//! The breaker of one key, and whether it may be evicted.

use crate::breaker::engine::PackedInstant;
use crate::breaker::shared::Shared;
use crate::keyed::{KeyState, Retention};
use crate::sync::PlainArc;
use crate::time::Instant;
use std::cell::Cell;

/// The breaker of a key.
pub(super) struct Entry {
    pub(super) breaker: PlainArc<Shared>,
    /// The instant at which the breaker was first found unused; `None` after each use.
    idle_since: Cell<Option<PackedInstant>>,
}

impl Entry {
    pub(super) fn new(shared: Shared) -> Self {
        Self { breaker: PlainArc::new(shared), idle_since: Cell::new(None) }
    }

    /// Returns a handle and marks the entry as used.
    pub(super) fn use_breaker(&self) -> PlainArc<Shared> {
        self.idle_since.set(None);
        self.breaker.clone()
    }
}

impl KeyState for Entry {
    type Now = Instant;

    fn retention(&self, now: Instant) -> Retention {
        // The count cannot rise from 1 meanwhile: the handle of the entry is cloned only under the
        // lock that is held here.
        if PlainArc::strong_count(&self.breaker) > 1 {
            return Retention::Required;
        }
        let (engine, group) = (&self.breaker.engine, &self.breaker.group);
        // The drop of the last handle does not synchronize with this thread: read the latest word.
        let word = engine.latest_word();
        // A new breaker would start in the mode of the control, and lose its own mode.
        let has_own_mode = word.mode() != group.control.mode();
        if has_own_mode
            || engine.is_ramping(word, now)
            || engine.is_recently_tripped(word, now, group.idle_timeout)
        {
            return Retention::Required;
        }
        let idle_since = self.idle_since.get().map_or(now, |since| since.get().min(now));
        self.idle_since.set(Some(PackedInstant::new(idle_since)));
        // The word keeps a run of failures for longer than a time window keeps its calls.
        let is_as_new =
            || !word.is_tripped() && !word.has_streak() && engine.window.counts(now).total == 0;
        match now - idle_since >= group.idle_timeout || is_as_new() {
            true => Retention::Disposable,
            false => Retention::Evictable,
        }
    }
}
