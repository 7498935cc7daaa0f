//! The events of a breaker: transitions in order, and the calls that a breaker in shadow mode would
//! have rejected.

use super::POLICY;
use super::shared::Shared;
use super::transition::CircuitBreakerTransition;
use crate::event::{Event, EventValue, Observer};
use crate::sync::PlainArc;
use crate::time::{Instant, Reading};
use std::any::Any;

/// An event, as the listeners of a breaker receive it.
pub(crate) enum Notice {
    /// A transition, and the key if the breaker is one of a group.
    Transition(CircuitBreakerTransition, Option<Key>),
    /// A call that was admitted only because the breaker is in shadow mode.
    WouldReject {
        sequence: u64,
        at: Instant,
        state: &'static str,
        /// Whether the breaker is one of a group.
        keyed: bool,
    },
}

/// The key of a breaker in a group.
pub(crate) type Key = PlainArc<dyn Any + Send + Sync>;

pub(super) type Listener = PlainArc<dyn Fn(&Notice) + Send + Sync>;

/// Returns a listener that passes each notice to `observer` as a flat record.
pub(super) fn observer_listener(
    name: &'static str,
    observer: impl Observer,
) -> impl Fn(&Notice) + Send + Sync + 'static {
    move |notice| match notice {
        Notice::Transition(transition, key) => {
            transition.emit(name, key.is_some(), |event| observer.observe(event));
        }
        Notice::WouldReject { sequence, at, state, keyed } => {
            let fields = [("state", EventValue::Label(state))];
            observer.observe(&Event {
                policy: POLICY,
                name,
                kind: "would_reject",
                keyed: *keyed,
                sequence: *sequence,
                at: *at,
                fields: &fields,
            });
        }
    }
}

impl Shared {
    /// Delivers the queued transitions, unless another thread is delivering them.
    #[cold]
    pub(super) fn deliver(&self) {
        self.engine.outbox.deliver(|transition| self.emit_transition(transition));
    }

    /// Reports a call that was admitted only because the breaker is in shadow mode.
    #[cold]
    pub(super) fn emit_would_reject(&self, sequence: u64, reading: &mut Reading<'_>) {
        if !self.group.listeners.is_empty() {
            let (at, state) = (reading.now(), self.engine.state().as_str());
            let notice = Notice::WouldReject { sequence, at, state, keyed: self.key.is_some() };
            self.engine.outbox.notify(
                || self.group.listeners.emit(&notice),
                |transition| self.emit_transition(transition),
            );
        }
    }

    fn emit_transition(&self, transition: CircuitBreakerTransition) {
        self.group.listeners.emit(&Notice::Transition(transition, self.key.clone()));
    }
}
