//! An event bus: typed publish and subscribe, by tenant and topic.
//!
//! # Examples
//!
//! ```
//! use mainstay::event_bus::Bus;
//!
//! let bus = Bus::<String, u32>::builder().build()?;
//! let mut orders = bus.subscribe("acme", "orders")?;
//! let mut everything = bus.subscribe_all("acme")?;
//! let mut other_tenant = bus.subscribe_all("globex")?;
//!
//! assert_eq!(bus.publish("acme", "orders", 17)?, 2);
//! assert_eq!(bus.publish("acme", "refunds", 4)?, 1);
//! assert_eq!(orders.try_recv().unwrap().into_event(), 17);
//! let first = everything.try_recv().unwrap();
//! assert_eq!((first.topic().as_str(), *first.event()), ("orders", 17));
//! assert_eq!(everything.try_recv().unwrap().into_event(), 4);
//! assert!(other_tenant.try_recv().is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How it works
//!
//! Each topic of a tenant that has subscribers has a [`broadcast`](crate::ring::broadcast()), found
//! by tenant and topic in a bounded table (see [`keyed`](crate::keyed)). The subscriptions to all
//! topics of a tenant share one more broadcast. A subscription belongs to the broadcast of one
//! tenant, so it cannot receive an event of another tenant. The types of keys and events are
//! parameters: there is no `dyn Any` and no cast.
//!
//! # Overload
//!
//! A publisher does not wait for subscribers to receive events. A topic keeps the last
//! [`capacity`](BusBuilder::capacity) events. A subscriber that falls further behind receives the
//! number of events that it has [missed](crate::ring::BroadcastRecvError::Missed).
//!
//! If [`max_topics`](BusBuilder::max_topics) topics have subscribers, a subscription to another
//! topic is rejected, and no subscription is lost. Topics are counted for all tenants together: an
//! application that does not trust its tenants must itself limit the topics of each tenant. A topic
//! whose last subscription has ended keeps its memory until a subscription to a new topic removes
//! it.
//!
//! # Shutdown
//!
//! A subscription ends when it is dropped. After [`Bus::close`], or when the last handle of the bus
//! is dropped, subscribers receive the events that are kept, then
//! [`Closed`](crate::ring::BroadcastRecvError::Closed).
//!
//! # Panics
//!
//! No handler runs on the thread of a publisher: subscribers receive on their own threads or tasks.
//! [`BusSubscription::handle`] and [`BusSubscription::handle_blocking`] catch the panics of a
//! handler, count them, and continue with the next event.
//!
//! # Performance
//!
//! Publishing costs one lookup, a clone of an `Arc` and a send. Once
//! [`subscribe_all`](Bus::subscribe_all) has been called for any tenant, it costs one more lookup.
//! If the topic has subscribers of its own as well as `subscribe_all` subscribers, the event is
//! cloned and sent twice. Publishing allocates only if there are just `subscribe_all` subscribers:
//! it then clones the name of the topic. Publishing to a topic without subscribers ends after the
//! lookups.
//!
//! # Defaults
//!
//! A topic keeps 64 events, and 100,000 topics can have subscribers.

mod address;
mod builder;
mod subscription;

pub use builder::BusBuilder;
pub use subscription::{BusHandlerReport, BusSubscription};

use self::address::{Address, AddressRef, Lookup};
use crate::error::{Reason, Rejection};
use crate::keyed::{Full, KeyState, Map, Retention};
use crate::ring::{BroadcastOverflow, BroadcastSender, try_broadcast};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Counter, PlainArc, keep_panic};
use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::panic::{RefUnwindSafe, UnwindSafe, resume_unwind};

/// An event bus for events of type `E`. Tenants and topics are keys of type `K`.
///
/// The [module documentation](self) describes it. Cloning is inexpensive, and all clones refer to
/// the same bus.
pub struct Bus<K, E, S = RandomState>(PlainArc<Shared<K, E, S>>);

struct Shared<K, E, S> {
    topics: Map<Address<K>, PlainArc<Topic<K, E>>, S>,
    /// Whether there has been a subscriber of all topics of a tenant.
    has_wildcards: AtomicBool,
    closed: AtomicBool,
    capacity: usize,
    name: &'static str,
    published: Counter,
    undelivered: Counter,
}

/// One topic of one tenant, or all topics of one tenant.
struct Topic<K, E> {
    /// `None` for all topics.
    name: Option<PlainArc<K>>,
    sender: BroadcastSender<BusEvent<K, E>>,
}

impl<K, E> KeyState for PlainArc<Topic<K, E>> {
    type Now = ();

    fn retention(&self, (): ()) -> Retention {
        // The caller holds the lock under which subscribers are added, so the number cannot
        // increase.
        match self.sender.subscribers() {
            0 => Retention::Disposable,
            _ => Retention::Required,
        }
    }
}

/// An event, with the topic to which it was published.
#[derive(Debug)]
pub struct BusEvent<K, E> {
    topic: PlainArc<K>,
    event: E,
}

impl<K, E> BusEvent<K, E> {
    /// Returns the topic to which the event was published.
    pub fn topic(&self) -> &K {
        &self.topic
    }

    /// Returns the event.
    pub fn event(&self) -> &E {
        &self.event
    }

    /// Returns the event by value.
    pub fn into_event(self) -> E {
        self.event
    }
}

impl<K, E: Clone> Clone for BusEvent<K, E> {
    fn clone(&self) -> Self {
        Self { topic: self.topic.clone(), event: self.event.clone() }
    }
}

/// The counters of a [`Bus`] at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BusSnapshot {
    /// The number of topics in the table. It includes topics whose last subscription has ended,
    /// until they are removed.
    pub topics: usize,
    /// The maximum number of topics with subscribers.
    pub max_topics: usize,
    /// The number of events that were published.
    pub published: u64,
    /// The number of events that were published without a subscriber.
    pub undelivered: u64,
    /// The number of subscriptions that were rejected because the maximum number of topics was
    /// reached.
    pub rejected: u64,
}

impl<K, E> Bus<K, E> {
    /// Returns a builder of a bus.
    ///
    /// ```
    /// # use mainstay::event_bus::Bus;
    /// let bus = Bus::<u64, String>::builder().capacity(1024).max_topics(1_000).build()?;
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn builder() -> BusBuilder<K, E> {
        BusBuilder::new()
    }
}

impl<K, E, S> Bus<K, E, S>
where
    K: Hash + Eq,
    E: Clone,
    S: BuildHasher,
{
    /// Publishes `event` to the subscribers of `topic` of `tenant`, and to those of all topics of
    /// `tenant`. Returns the number of subscriptions.
    ///
    /// This method does not wait for subscribers to receive the event.
    ///
    /// # Errors
    ///
    /// Returns a rejection with [`Reason::ShutDown`] if the bus is closed.
    pub fn publish<Q>(&self, tenant: &Q, topic: &Q, event: E) -> Result<usize, Rejection>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let shared = &*self.0;
        self.check_open()?;
        shared.published.add(1);
        let find = |topic| {
            let address: &dyn Lookup<Q> = &AddressRef { tenant, topic };
            let found = shared.topics.get(address, |topic| PlainArc::clone(topic));
            found.filter(|topic| topic.sender.subscribers() > 0)
        };
        let one = find(Some(topic));
        // Ordering: relaxed. A publish that happens after a call of `subscribe_all` sees the flag.
        let all = match shared.has_wildcards.load(Ordering::Relaxed) {
            true => find(None),
            false => None,
        };
        let count = |topic: &Option<PlainArc<Topic<K, E>>>| {
            topic.as_ref().map_or(0, |topic| topic.sender.subscribers())
        };
        let subscribers = count(&one) + count(&all);
        let known = one.as_ref().and_then(|topic| topic.name.clone());
        match (one, all) {
            (None, None) => {
                shared.undelivered.add(1);
            }
            (Some(target), None) | (None, Some(target)) => {
                let topic = known.unwrap_or_else(|| PlainArc::new(topic.to_owned()));
                target.send(BusEvent { topic, event });
            }
            (Some(one), Some(all)) => {
                let topic = known.unwrap_or_else(|| PlainArc::new(topic.to_owned()));
                let event = BusEvent { topic, event };
                let mut panic = None;
                keep_panic(&mut panic, || one.send(event.clone()));
                keep_panic(&mut panic, || all.send(event));
                if let Some(panic) = panic {
                    resume_unwind(panic);
                }
            }
        }
        Ok(subscribers)
    }

    /// Subscribes to one topic of a tenant. The subscription receives the events that are published
    /// from now on.
    ///
    /// The keys are cloned only if the topic has no other subscriber.
    ///
    /// # Errors
    ///
    /// Returns a rejection with [`Reason::Exhausted`] if the maximum number of topics have
    /// subscribers, and with [`Reason::ShutDown`] if the bus is closed.
    pub fn subscribe<Q>(&self, tenant: &Q, topic: &Q) -> Result<BusSubscription<K, E>, Rejection>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.subscribe_to(&AddressRef { tenant, topic: Some(topic) })
    }

    /// Subscribes to all topics of one tenant. The subscription receives the events that are
    /// published from now on.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`subscribe`](Self::subscribe).
    pub fn subscribe_all<Q>(&self, tenant: &Q) -> Result<BusSubscription<K, E>, Rejection>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let subscription = self.subscribe_to(&AddressRef { tenant, topic: None })?;
        self.0.has_wildcards.store(true, Ordering::Relaxed);
        Ok(subscription)
    }

    fn subscribe_to<Q>(
        &self,
        address: &AddressRef<'_, Q>,
    ) -> Result<BusSubscription<K, E>, Rejection>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let shared = &*self.0;
        let make = || {
            let sender = try_broadcast(shared.capacity, BroadcastOverflow::OverwriteOldest);
            let topic = Topic {
                name: address.topic.map(|topic| PlainArc::new(topic.to_owned())),
                sender: sender.expect("the builder checked the capacity"),
            };
            (address.to_owned(), PlainArc::new(topic))
        };
        let lookup: &dyn Lookup<Q> = address;
        let subscribe = |topic: &mut PlainArc<Topic<K, E>>| topic.sender.subscribe();
        let subscriber = shared.topics.get_or_insert(lookup, || (), make, subscribe);
        let subscriber =
            subscriber.map_err(|Full| Rejection::new(Reason::Exhausted, shared.name))?;
        // `close` sets the flag before it removes the topics. If it did not remove this topic, the
        // topic was inserted later, and the flag is visible here.
        self.check_open()?;
        Ok(BusSubscription::new(subscriber))
    }

    fn check_open(&self) -> Result<(), Rejection> {
        match self.is_closed() {
            true => Err(Rejection::new(Reason::ShutDown, self.0.name)),
            false => Ok(()),
        }
    }
}

impl<K, E, S> Bus<K, E, S> {
    /// Closes the bus. Subscribers receive the events that are kept, then
    /// [`Closed`](crate::ring::BroadcastRecvError::Closed).
    pub fn close(&self) {
        self.0.closed.store(true, Ordering::Release);
        // Dropping the senders closes the broadcasts.
        self.0.topics.clear();
    }

    /// Returns whether the bus is closed.
    pub fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Acquire)
    }

    /// Returns the name of the bus.
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// Returns the current counters of the bus.
    pub fn snapshot(&self) -> BusSnapshot {
        BusSnapshot {
            topics: self.0.topics.len(),
            max_topics: self.0.topics.max_keys(),
            published: self.0.published.get(),
            undelivered: self.0.undelivered.get(),
            rejected: self.0.topics.rejected(),
        }
    }
}

impl<K, E: Clone> Topic<K, E> {
    fn send(&self, event: BusEvent<K, E>) {
        // Waits only while another publisher sends to the topic, or while subscribers clone the
        // items of all slots. Fails only if the bus was closed in the meantime.
        let _ = self.sender.send_blocking(event);
    }
}

// A panic leaves the table and the broadcasts consistent. Of the user code of keys, only `Eq` and
// `Borrow` run under a lock.
impl<K, E, S> UnwindSafe for Bus<K, E, S> {}
impl<K, E, S> RefUnwindSafe for Bus<K, E, S> {}

impl<K, E, S> Clone for Bus<K, E, S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K, E, S> fmt::Debug for Bus<K, E, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus")
            .field("name", &self.name())
            .field("snapshot", &self.snapshot())
            .finish()
    }
}
