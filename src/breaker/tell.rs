//! Who hears what: transitions in order, and of a breaker in shadow the calls it would have rejected.

use super::{CircuitBreaker, POLICY, Shared, Transition};
use crate::event::{Event, EventValue, Observer, Subscription};
use crate::sync::PlainArc;
use crate::time::{Instant, Reading};
use std::any::Any;

/// What there is to hear.
pub(super) enum Notice {
    /// With the key, of a breaker for a key.
    Moved(Transition, Option<Subject>),
    WouldReject {
        sequence: u64,
        at: Instant,
        state: &'static str,
        /// Of a breaker for a key.
        keyed: bool,
    },
}

/// The key that a breaker is for.
pub(super) type Subject = PlainArc<dyn Any + Send + Sync>;

pub(super) type Listener = PlainArc<dyn Fn(&Notice) + Send + Sync>;

/// Turns what happens into flat records.
pub(super) fn to_observer(
    name: &'static str,
    observer: impl Observer,
) -> impl Fn(&Notice) + Send + Sync {
    move |notice| match notice {
        Notice::Moved(transition, key) => {
            transition.tell(name, |event| observer.observe(&event.of_family(key.is_some())));
        }
        Notice::WouldReject { sequence, at, state, keyed } => {
            let fields = [("state", EventValue::Label(state))];
            let event = Event::new((POLICY, name), "would_reject", (*sequence, *at), &fields);
            observer.observe(&event.of_family(*keyed));
        }
    }
}

impl CircuitBreaker {
    /// Tells `observer` of each [`Transition`] from here on, as a flat record, and of a breaker in
    /// [shadow](super::CircuitBreakerMode::Shadow) each call that it would have rejected (`would_reject`, with the field
    /// `state`); until the subscription is dropped. How they are delivered: [`event`](crate::event). Of a
    /// breaker out of a [`KeyedCircuitBreaker`](super::KeyedCircuitBreaker) it hears what happens to all of them; each counts its own
    /// events.
    pub fn observe(&self, observer: impl Observer) -> Subscription {
        self.0.family.listeners.subscribe(to_observer(self.name(), observer))
    }

    /// Tells `listener` of each transition from here on, until the subscription is dropped.
    ///
    /// ```
    /// use mainstay::breaker::{CircuitBreaker, CircuitBreakerState, Transition};
    /// use std::sync::mpsc;
    ///
    /// let breaker = CircuitBreaker::builder().min_calls(1).build()?;
    /// let (sender, receiver) = mpsc::channel();
    /// let subscription = breaker.on_transition(move |transition: &Transition| {
    ///     let _ = sender.send(*transition);
    /// });
    /// breaker.try_acquire()?.failure();
    /// let opened = receiver.try_recv()?;
    /// assert_eq!((opened.to, opened.counts.failed), (CircuitBreakerState::Open, 1));
    /// drop(subscription);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_transition(
        &self,
        listener: impl Fn(&Transition) + Send + Sync + 'static,
    ) -> Subscription {
        self.0.family.listeners.subscribe(move |notice| match notice {
            Notice::Moved(transition, _) => listener(transition),
            Notice::WouldReject { .. } => {}
        })
    }

    /// The latest transitions, oldest first, at most 16: why did it open?
    ///
    /// ```
    /// # use mainstay::breaker::{CircuitBreaker, TransitionCause, CircuitBreakerState};
    /// # let breaker = CircuitBreaker::builder().min_calls(1).build()?;
    /// # breaker.try_acquire().unwrap().failure();
    /// let last = breaker.history().into_iter().rfind(|transition| transition.to == CircuitBreakerState::Open);
    /// let why = last.expect("it has opened");
    /// assert_eq!(why.cause, TransitionCause::FailureRate);
    /// println!("{}: {} of {} calls failed", why.cause, why.counts.failed, why.counts.total);
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn history(&self) -> Vec<Transition> {
        self.0.core.outbox.recent()
    }
}

impl Shared {
    #[cold]
    pub(super) fn deliver(&self) {
        self.core.outbox.deliver(|transition| self.emit_transition(transition));
    }

    #[cold]
    pub(super) fn tell_of_shadow(&self, sequence: u64, reading: &mut Reading<'_>) {
        if !self.family.listeners.is_empty() {
            let (at, state, keyed) =
                (reading.now(), self.core.state().as_str(), self.subject.is_some());
            let notice = Notice::WouldReject { sequence, at, state, keyed };
            self.core.outbox.notify(
                || self.family.listeners.emit(&notice),
                |transition| self.emit_transition(transition),
            );
        }
    }

    fn emit_transition(&self, transition: Transition) {
        self.family.listeners.emit(&Notice::Moved(transition, self.subject.clone()));
    }
}
