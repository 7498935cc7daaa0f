//! What policies tell the outside: [`Event`], [`Observer`].
//!
//! Every policy has typed events of its own; towards an observer they all turn into one flat record,
//! so that a log line, a metric or a test needs to know no policy. Policies emit; who listens is
//! none of their business.
//!
//! # Delivery
//!
//! *Transitions* (a breaker opening, say) are rare and ordered: each is committed and queued in one
//! step, and one thread at a time delivers, outside every lock. So an observer sees the transitions of
//! one policy in order, each exactly once, perhaps on another thread than the one whose call caused
//! it, perhaps shortly after that call returned. An observer may use the policy that it observes.
//!
//! An observer that panics unwinds through whichever call was delivering. The event counts as
//! delivered, and what is queued behind it comes with the next transition.

use crate::sync::{Mutex, PlainArc};
use crate::time::Instant;
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

/// Something happened to a policy: a flat record.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Event<'a> {
    /// The kind of policy: `circuit_breaker`, say.
    pub policy: &'static str,
    /// The policy's own name, given at build.
    pub name: &'static str,
    /// What happened: `transition`, say.
    pub kind: &'static str,
    /// Counts this policy's events of this kind, from 1, without gaps.
    pub sequence: u64,
    /// When, by the policy's clock.
    pub at: Instant,
    /// Details, in an order that does not change.
    pub fields: &'a [(&'static str, Value)],
}

impl Event<'_> {
    /// The detail called `name`.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<Value> {
        self.fields.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }
}

impl<'a> Event<'a> {
    pub(crate) fn new(
        (policy, name): (&'static str, &'static str),
        kind: &'static str,
        (sequence, at): (u64, Instant),
        fields: &'a [(&'static str, Value)],
    ) -> Self {
        Self { policy, name, kind, sequence, at, fields }
    }
}

impl fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} #{}", self.name, self.kind, self.sequence)?;
        self.fields.iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

/// One detail of an [`Event`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// A word out of a small fixed set.
    Word(&'static str),
    /// A count.
    Count(u64),
    /// A length of time.
    Time(Duration),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => f.write_str(word),
            Self::Count(count) => count.fmt(f),
            Self::Time(time) => write!(f, "{time:?}"),
        }
    }
}

/// Listens to events. Closures that take `&Event` are observers.
///
/// It runs inside the calls of whoever uses the policy, so it should be quick: note, count or hand
/// over, and leave slow work to another thread.
pub trait Observer: Send + Sync + 'static {
    /// Called for each event.
    fn observe(&self, event: &Event<'_>);
}

impl<F: Fn(&Event<'_>) + Send + Sync + 'static> Observer for F {
    fn observe(&self, event: &Event<'_>) {
        self(event);
    }
}

impl<O: Observer + ?Sized> Observer for PlainArc<O> {
    fn observe(&self, event: &Event<'_>) {
        (**self).observe(event);
    }
}

/// Transitions on their way to the observer, in the order in which they were committed.
#[derive(Debug)]
pub(crate) struct Outbox<E> {
    queue: Mutex<Queue<E>>,
}

#[derive(Debug)]
struct Queue<E> {
    waiting: VecDeque<E>,
    /// How many events there have been.
    sequence: u64,
    /// Whether a thread is delivering. It is the only one, and looks again before it leaves.
    delivering: bool,
}

impl<E> Outbox<E> {
    pub(crate) fn new() -> Self {
        Self { queue: Mutex::new(Queue { waiting: VecDeque::new(), sequence: 0, delivering: false }) }
    }

    /// Runs `commit` under the outbox's lock, with the number that its event would have, and queues the
    /// event if there is one; says whether there is. What `commit` did and the event that tells of it are
    /// one step for everyone who commits through this outbox.
    pub(crate) fn commit(&self, commit: impl FnOnce(u64) -> Option<E>) -> bool {
        let mut queue = self.queue.lock();
        let event = commit(queue.sequence + 1);
        let committed = event.is_some();
        queue.sequence += u64::from(committed);
        queue.waiting.extend(event);
        committed
    }

    /// Delivers what is queued, unless another thread is at it already.
    pub(crate) fn deliver(&self, mut observe: impl FnMut(E)) {
        struct Turn<'a, E>(&'a Outbox<E>);
        impl<E> Drop for Turn<'_, E> {
            fn drop(&mut self) {
                // Only an observer's panic comes here: give the turn back, or nobody delivers again.
                self.0.queue.lock().delivering = false;
            }
        }

        {
            let mut queue = self.queue.lock();
            if queue.delivering || queue.waiting.is_empty() {
                return;
            }
            queue.delivering = true;
        }
        let turn = Turn(self);
        loop {
            let next = {
                let mut queue = self.queue.lock();
                let next = queue.waiting.pop_front();
                queue.delivering = next.is_some();
                next
            };
            match next {
                Some(event) => observe(event),
                None => return std::mem::forget(turn),
            }
        }
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    fn commit(outbox: &Outbox<u32>, event: u32) {
        assert!(outbox.commit(|_| Some(event)));
    }

    #[test]
    fn an_observer_may_cause_further_events() {
        let outbox = Outbox::new();
        commit(&outbox, 1);
        let mut seen = Vec::new();
        outbox.deliver(|event| {
            seen.push(event);
            if event < 3 {
                commit(&outbox, event + 1);
                outbox.deliver(|_| panic!("a second drainer"));
            }
        });
        assert_eq!(seen, [1, 2, 3]);
    }

    #[test]
    fn a_panicking_observer_loses_nothing_but_its_own_event() {
        let outbox = Outbox::new();
        commit(&outbox, 1);
        commit(&outbox, 2);
        let panicked = catch_unwind(AssertUnwindSafe(|| outbox.deliver(|_| panic!("observer"))));
        assert!(panicked.is_err());
        commit(&outbox, 3);
        let mut seen = Vec::new();
        outbox.deliver(|event| seen.push(event));
        assert_eq!(seen, [2, 3]);
    }
}
