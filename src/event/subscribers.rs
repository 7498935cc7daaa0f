use crate::sync::atomic::Ordering::Relaxed;
use crate::sync::{PlainArc, PlainAtomicU64, PlainMutex, PlainWeak};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

type Listener<E> = PlainArc<dyn Fn(&E) + Send + Sync>;

/// Who listens to a policy. Told outside the lock, so that a listener may subscribe, unsubscribe, and use
/// the policy.
pub(crate) struct Subscribers<E> {
    list: PlainMutex<List<E>>,
    /// The length of the list, for who would tell nobody.
    listening: PlainAtomicU64,
}

/// Copied when it changes, which is rare, so that telling it is one clone of an `Arc`.
struct List<E> {
    listeners: PlainArc<[(u64, Listener<E>)]>,
    next: u64,
}

impl<E: 'static> Subscribers<E> {
    pub(crate) fn new(listeners: impl IntoIterator<Item = Listener<E>>) -> Self {
        let listeners: PlainArc<[_]> = (0..).zip(listeners).collect();
        let next = listeners.len() as u64;
        Self {
            list: PlainMutex::new(List { listeners, next }),
            listening: PlainAtomicU64::new(next),
        }
    }

    /// From here on `listener` is told of every event, until the subscription ends.
    pub(crate) fn subscribe(
        self: &PlainArc<Self>,
        listener: impl Fn(&E) + Send + Sync + 'static,
    ) -> Subscription {
        let mut list = self.list.lock();
        let id = list.next;
        list.next += 1;
        let new = (id, PlainArc::new(listener) as Listener<E>);
        list.listeners = list.listeners.iter().cloned().chain([new]).collect();
        self.listening.store(list.listeners.len() as u64, Relaxed);
        let subscribers: PlainWeak<dyn Unsubscribe> = PlainArc::downgrade(&(self.clone() as _));
        Subscription(Some((subscribers, id)))
    }

    pub(crate) fn is_empty(&self) -> bool {
        // Ordering: relaxed. Who subscribes at this moment need not hear of this one.
        self.listening.load(Relaxed) == 0
    }

    /// Tells everyone. A panic comes through when all have been told; of several, the first.
    pub(crate) fn tell(&self, event: &E) {
        let listeners = self.list.lock().listeners.clone();
        for_all(&*listeners, |(_, listener)| listener(event));
    }
}

/// Does `act` to each, also after one that panics. A panic comes through when all have had their turn; of
/// several, the first.
pub(crate) fn for_all<T>(all: impl IntoIterator<Item = T>, mut act: impl FnMut(T)) {
    let mut panic = None;
    for each in all {
        let acted = catch_unwind(AssertUnwindSafe(|| act(each)));
        panic = panic.or(acted.err());
    }
    if let Some(panic) = panic {
        resume_unwind(panic);
    }
}

impl<E> fmt::Debug for Subscribers<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscribers").field("listeners", &self.list.lock().listeners.len()).finish()
    }
}

/// A [`Subscribers`], whatever it tells.
trait Unsubscribe: Send + Sync {
    fn unsubscribe(&self, id: u64);
}

impl<E: 'static> Unsubscribe for Subscribers<E> {
    fn unsubscribe(&self, id: u64) {
        let before = {
            let mut list = self.list.lock();
            let rest: PlainArc<[_]> =
                list.listeners.iter().filter(|(other, _)| *other != id).cloned().collect();
            self.listening.store(rest.len() as u64, Relaxed);
            std::mem::replace(&mut list.listeners, rest)
        };
        drop(before); // may hold the last of the listener, which is the user's: not under the lock
    }
}

/// Somebody listens, for as long as this lives.
///
/// Dropping it ends that: no event that happens later is told. One that is being told on another thread
/// at the time still is. It does not keep the policy alive.
#[must_use = "dropped at once, nobody listens"]
pub struct Subscription(Option<(PlainWeak<dyn Unsubscribe>, u64)>);

impl Subscription {
    /// Listens for as long as the policy lives.
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

    type Heard = PlainArc<PlainMutex<Vec<(char, u32)>>>;

    fn ear(heard: &Heard, name: char) -> impl Fn(&u32) + Send + Sync + 'static {
        let heard = heard.clone();
        move |event| heard.lock().push((name, *event))
    }

    #[test]
    fn a_subscription_lasts_as_long_as_its_guard() {
        let heard = Heard::default();
        let subscribers =
            PlainArc::new(Subscribers::new([PlainArc::new(ear(&heard, 'a')) as Listener<u32>]));
        let b = subscribers.subscribe(ear(&heard, 'b'));
        subscribers.subscribe(ear(&heard, 'c')).detach();
        subscribers.tell(&1);
        drop(b);
        subscribers.tell(&2);
        assert_eq!(*heard.lock(), [('a', 1), ('b', 1), ('c', 1), ('a', 2), ('c', 2)]);
        let late = subscribers.subscribe(ear(&heard, 'd'));
        drop(subscribers);
        drop(late); // outlives the policy
    }

    #[test]
    fn a_listener_may_subscribe_and_unsubscribe() {
        let heard = Heard::default();
        let subscribers = PlainArc::new(Subscribers::new([]));
        let own = PlainArc::new(PlainMutex::new(None));
        let (again, inside, ear) =
            (PlainArc::downgrade(&subscribers), own.clone(), ear(&heard, 'x'));
        let subscription = subscribers.subscribe(move |event| {
            ear(event);
            let ended = inside.lock().take();
            drop::<Option<Subscription>>(ended);
            if let Some(subscribers) = again.upgrade() {
                drop(subscribers.subscribe(|_| ()));
            }
        });
        *own.lock() = Some(subscription);
        subscribers.tell(&1);
        subscribers.tell(&2);
        assert_eq!(*heard.lock(), [('x', 1)]);
    }

    #[test]
    fn a_panic_is_heard_by_the_caller_after_everyone_heard_the_event() {
        let heard = Heard::default();
        let subscribers = PlainArc::new(Subscribers::new([]));
        let _first = subscribers.subscribe(|_| resume_unwind(Box::new("first")));
        let _second = subscribers.subscribe(|_| resume_unwind(Box::new("second")));
        let _third = subscribers.subscribe(ear(&heard, 'z'));
        for event in [1, 2] {
            let panic = catch_unwind(AssertUnwindSafe(|| subscribers.tell(&event))).unwrap_err();
            assert_eq!(panic.downcast_ref(), Some(&"first"));
        }
        assert_eq!(*heard.lock(), [('z', 1), ('z', 2)]);
    }
}
