//! The observers of a policy, which are added and removed while the policy is in use.

use crate::sync::atomic::Ordering::Relaxed;
use crate::sync::{PlainArc, PlainAtomicU64, PlainMutex, PlainWeak, keep_panic};
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe, resume_unwind};

type ObserverFn<E> = PlainArc<dyn Fn(&E) + Send + Sync>;

/// The observers of a policy. They are called outside the lock, so that an observer may subscribe,
/// unsubscribe, and use the policy.
pub(crate) struct Subscribers<E> {
    list: PlainMutex<List<E>>,
    /// The length of the list. No event is created while it is 0.
    len: PlainAtomicU64,
}

/// The list, copied on each change. Changes are rare, and an event costs one clone of an `Arc`.
struct List<E> {
    observers: PlainArc<[(u64, ObserverFn<E>)]>,
    next_id: u64,
}

impl<E: 'static> Subscribers<E> {
    pub(crate) fn new(observers: impl IntoIterator<Item = ObserverFn<E>>) -> Self {
        let observers: PlainArc<[_]> = (0..).zip(observers).collect();
        let next_id = observers.len() as u64;
        Self {
            list: PlainMutex::new(List { observers, next_id }),
            len: PlainAtomicU64::new(next_id),
        }
    }

    /// Adds `observer`, which is called with every event until the subscription is dropped.
    pub(crate) fn subscribe(
        self: &PlainArc<Self>,
        observer: impl Fn(&E) + Send + Sync + 'static,
    ) -> Subscription {
        let mut list = self.list.lock();
        let id = list.next_id;
        list.next_id += 1;
        let new = (id, PlainArc::new(observer) as ObserverFn<E>);
        list.observers = list.observers.iter().cloned().chain([new]).collect();
        self.len.store(list.observers.len() as u64, Relaxed);
        let subscribers: PlainWeak<dyn Unsubscribe> = PlainArc::downgrade(&(self.clone() as _));
        Subscription(Some((subscribers, id)))
    }

    pub(crate) fn is_empty(&self) -> bool {
        // Ordering: relaxed. An observer that is being added may miss a concurrent event.
        self.len.load(Relaxed) == 0
    }

    /// Calls every observer. If any of them panics, the first panic unwinds from here after all
    /// have been called.
    pub(crate) fn emit(&self, event: &E) {
        let observers = self.list.lock().observers.clone();
        for_all(&*observers, |(_, observer)| observer(event));
    }
}

/// Calls `act` with each item, even after it has panicked for an earlier one. The first panic
/// unwinds from here after the last item.
pub(crate) fn for_all<T>(all: impl IntoIterator<Item = T>, mut act: impl FnMut(T)) {
    let mut panic = None;
    for each in all {
        keep_panic(&mut panic, || act(each));
    }
    if let Some(panic) = panic {
        resume_unwind(panic);
    }
}

impl<E> fmt::Debug for Subscribers<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscribers").field("len", &self.list.lock().observers.len()).finish()
    }
}

/// A [`Subscribers`] whose event type is erased.
trait Unsubscribe: Send + Sync {
    fn unsubscribe(&self, id: u64);
}

impl<E: 'static> Unsubscribe for Subscribers<E> {
    fn unsubscribe(&self, id: u64) {
        let before = {
            let mut list = self.list.lock();
            let rest: PlainArc<[_]> =
                list.observers.iter().filter(|(other, _)| *other != id).cloned().collect();
            self.len.store(rest.len() as u64, Relaxed);
            std::mem::replace(&mut list.observers, rest)
        };
        // Dropped outside the lock: this may drop the observer, which runs user code.
        drop(before);
    }
}

/// Keeps an observer subscribed; dropping it unsubscribes the observer.
///
/// An event that another thread is delivering at that moment may still reach the observer. A
/// subscription does not keep the policy alive, and may outlive it.
///
/// ```
/// use mainstay::breaker::CircuitBreaker;
/// use mainstay::event::Event;
///
/// let breaker = CircuitBreaker::builder().build()?;
/// let subscription = breaker.observe(|event: &Event<'_>| println!("{event}"));
/// drop(subscription);
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
#[must_use = "the observer is unsubscribed when the subscription is dropped"]
pub struct Subscription(Option<(PlainWeak<dyn Unsubscribe>, u64)>);

// A panic in an observer does not change the list of observers.
impl UnwindSafe for Subscription {}
impl RefUnwindSafe for Subscription {}

impl Subscription {
    /// Keeps the observer subscribed for the life of the policy.
    pub fn detach(mut self) {
        self.0 = None;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some((subscribers, id)) = self.0.take()
            && let Some(subscribers) = subscribers.upgrade()
        {
            subscribers.unsubscribe(id);
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Subscription")
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;
    use crate::sync::PlainMutex;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    type Seen = PlainArc<PlainMutex<Vec<(char, u32)>>>;

    fn observer(seen: &Seen, name: char) -> impl Fn(&u32) + Send + Sync + 'static {
        let seen = seen.clone();
        move |event| seen.lock().push((name, *event))
    }

    #[test]
    fn a_subscription_lasts_as_long_as_its_guard() {
        let seen = Seen::default();
        let subscribers = PlainArc::new(Subscribers::new([
            PlainArc::new(observer(&seen, 'a')) as ObserverFn<u32>
        ]));
        let b = subscribers.subscribe(observer(&seen, 'b'));
        subscribers.subscribe(observer(&seen, 'c')).detach();
        subscribers.emit(&1);
        drop(b);
        subscribers.emit(&2);
        assert_eq!(*seen.lock(), [('a', 1), ('b', 1), ('c', 1), ('a', 2), ('c', 2)]);
        let late = subscribers.subscribe(observer(&seen, 'd'));
        drop(subscribers);
        drop(late); // outlives the policy
    }

    #[test]
    fn an_observer_may_subscribe_and_unsubscribe() {
        let seen = Seen::default();
        let subscribers = PlainArc::new(Subscribers::new([]));
        let own = PlainArc::new(PlainMutex::new(None));
        let (weak, inside, observer) =
            (PlainArc::downgrade(&subscribers), own.clone(), observer(&seen, 'x'));
        let subscription = subscribers.subscribe(move |event| {
            observer(event);
            let ended = inside.lock().take();
            drop::<Option<Subscription>>(ended);
            if let Some(subscribers) = weak.upgrade() {
                drop(subscribers.subscribe(|_| ()));
            }
        });
        *own.lock() = Some(subscription);
        subscribers.emit(&1);
        subscribers.emit(&2);
        assert_eq!(*seen.lock(), [('x', 1)]);
    }

    #[test]
    fn the_first_panic_unwinds_after_all_observers_have_been_called() {
        let seen = Seen::default();
        let subscribers = PlainArc::new(Subscribers::new([]));
        let _first = subscribers.subscribe(|_| resume_unwind(Box::new("first")));
        let _second = subscribers.subscribe(|_| resume_unwind(Box::new("second")));
        let _third = subscribers.subscribe(observer(&seen, 'z'));
        for event in [1, 2] {
            let panic = catch_unwind(AssertUnwindSafe(|| subscribers.emit(&event))).unwrap_err();
            assert_eq!(panic.downcast_ref(), Some(&"first"));
        }
        assert_eq!(*seen.lock(), [('z', 1), ('z', 2)]);
    }
}
