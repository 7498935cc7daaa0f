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
//! Several observers of one policy all hear of one event before the next is told. An observer that
//! panics does so alone: the others still hear of the event, then the panic unwinds through whichever call
//! was delivering. The event counts as delivered, and what is queued behind it comes with the next
//! transition.
//!
//! # How long
//!
//! What is given to a builder listens for as long as the policy lives. What is added later listens as long
//! as its [`Subscription`].

mod outbox;
mod subscribers;

pub(crate) use outbox::Outbox;
pub use subscribers::Subscription;
pub(crate) use subscribers::{Subscribers, for_all};

use crate::sync::PlainArc;
use crate::time::Instant;
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
    /// Whether it happened to one of a [family](crate::breaker::KeyedCircuitBreaker), who share a name. Which one, a flat
    /// record does not tell; so no state is that of the name.
    pub keyed: bool,
    /// Counts this policy's events of this kind, from 1, without gaps; in a family, each member's by
    /// themselves.
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
        Self { policy, name, kind, keyed: false, sequence, at, fields }
    }

    pub(crate) fn of_family(self, keyed: bool) -> Self {
        Self { keyed, ..self }
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
/// over, and leave slow work to another thread. One that blocks for ever takes the thread that delivers with
/// it: transitions that follow are queued behind it without bound, and heard by nobody.
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
