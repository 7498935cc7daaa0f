//! Events that policies report to observers: [`Event`], [`Observer`].
//!
//! Each policy has typed events of its own. An observer receives all of them as one flat record, so
//! that a log line, a metric or a test needs no knowledge of the policy.
//!
//! # Examples
//!
//! ```
//! use mainstay::breaker::CircuitBreaker;
//! use mainstay::event::Event;
//!
//! let breaker = CircuitBreaker::builder()
//!     .name("search")
//!     .observer(|event: &Event<'_>| println!("{event}"))
//!     .build()?;
//! # let _ = breaker;
//! # Ok::<(), mainstay::error::ConfigError>(())
//! ```
//!
//! # How it works
//!
//! *Changes of state* (a breaker that opens) are rare and ordered. A change is committed and its
//! event is queued in one atomic step. One thread at a time delivers the queued events, without
//! holding a lock. So an observer receives the changes of one policy in order, and each at most
//! once. The delivery may run on another thread than the call that caused the change, and may end
//! shortly after that call has returned. All observers of a policy receive one change before any
//! receives the next.
//!
//! *Rejections* (a rate limiter that denies a request) are frequent. Each is delivered by the
//! thread whose call was rejected, in no particular order.
//!
//! An observer given to a builder is called for as long as the policy lives. An observer added
//! later is called until its [`Subscription`] is dropped.
//!
//! ## Observers that use the policy
//!
//! An observer may use the policy that it observes. It is never called recursively on one thread.
//! An event that it causes while it runs is handled by kind:
//!
//! - A change of state is queued, and delivered after the observer has returned. If the observer of
//!   that event causes another, and so on, at most 16 further events of this chain are delivered.
//!   The rest are dropped.
//! - A rejection is dropped.
//!
//! # Overload
//!
//! At most 256 changes of state of one policy are queued for delivery. If an observer blocks and
//! more are queued, the oldest are dropped. The [`sequence`](Event::sequence) number of a dropped
//! event is not used again, so an observer can count the dropped events.
//!
//! # Panics
//!
//! When an observer panics, the other observers still receive the event; then the panic unwinds
//! through the call that delivers it. The event is not delivered again. The events queued after it
//! are delivered with the policy's next event.

mod nesting;
mod outbox;
mod subscribers;

pub(crate) use outbox::Outbox;
pub use subscribers::Subscription;
pub(crate) use subscribers::{Subscribers, for_all};

use crate::sync::PlainArc;
use crate::time::Instant;
use std::fmt;
use std::time::Duration;

/// An event of a policy, as a flat record.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Event<'a> {
    /// The kind of policy, such as `circuit_breaker`.
    pub policy: &'static str,
    /// The name given to the policy's builder.
    pub name: &'static str,
    /// What happened, such as `transition`.
    pub kind: &'static str,
    /// Whether the policy is one of many keyed policies that share the name, such as a breaker of a
    /// [keyed breaker](crate::breaker). The record does not contain the key.
    pub keyed: bool,
    /// The sequence number of the event among the policy's events of this kind, starting at 1.
    /// Keyed policies count each key separately. A gap means that events were dropped; see the
    /// [module](self#overload).
    pub sequence: u64,
    /// The time of the event, by the policy's clock.
    pub at: Instant,
    /// Details, by name, in a fixed order.
    pub fields: &'a [(&'static str, EventValue)],
}

impl Event<'_> {
    /// Returns the detail called `name`.
    ///
    /// ```
    /// use mainstay::event::{Event, EventValue};
    ///
    /// fn opens(event: &Event<'_>) -> bool {
    ///     event.field("to") == Some(EventValue::Label("open"))
    /// }
    /// # let _ = opens;
    /// ```
    #[must_use]
    pub fn field(&self, name: &str) -> Option<EventValue> {
        self.fields.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }
}

impl fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} #{}", self.name, self.kind, self.sequence)?;
        self.fields.iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

/// The value of one detail of an [`Event`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum EventValue {
    /// One of a small fixed set of words, such as a state. Suitable as the label of a metric.
    Label(&'static str),
    /// A number, such as the number of failed calls.
    Count(u64),
    /// A length of time.
    Duration(Duration),
}

impl fmt::Display for EventValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label(label) => f.write_str(label),
            Self::Count(count) => count.fmt(f),
            Self::Duration(duration) => write!(f, "{duration:?}"),
        }
    }
}

/// Receives events. Closures that take `&Event` are observers.
///
/// An observer runs inside the calls that use the policy, so it should be quick: log, count, or
/// pass the event on to another thread. An observer that blocks also blocks the call that delivers
/// the event, and delays later changes of state; see the [module](self#overload).
///
/// ```
/// use mainstay::event::{Event, Observer};
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// #[derive(Default)]
/// struct CountEvents(AtomicU64);
///
/// impl Observer for CountEvents {
///     fn observe(&self, _: &Event<'_>) {
///         self.0.fetch_add(1, Ordering::Relaxed);
///     }
/// }
/// ```
pub trait Observer: Send + Sync + 'static {
    /// Receives one event.
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
