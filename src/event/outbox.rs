//! The queue of events between a policy and its observers. Delivery is ordered, holds no lock and
//! is never nested.

use super::nesting;
use crate::sync::Mutex;
use std::collections::VecDeque;

/// The events of one policy that have been committed and not yet delivered, in the order in which
/// they were committed; and the latest events, for later queries.
///
/// There are two ways to report an event:
///
/// - [`commit`](Self::commit) then [`deliver`](Self::deliver), for changes of state. One thread at
///   a time delivers; events keep their order.
/// - [`notify`](Self::notify), for frequent events without an order, such as rejections. Each
///   thread delivers its own.
///
/// Neither calls an observer recursively on one thread. An event that an observer commits while it
/// runs is queued, up to [`MAX_DEPTH`](Self::MAX_DEPTH); a notification is dropped.
///
/// An outbox takes two words until its first event: of many thousand policies, most never have one.
#[derive(Debug)]
pub(crate) struct Outbox<E> {
    queue: Mutex<Option<Box<Queue<E>>>>,
}

#[derive(Debug)]
struct Queue<E> {
    /// The events to deliver, oldest first, each with its depth; see [`nesting::depth`].
    waiting: VecDeque<(u8, E)>,
    /// The latest events, delivered or not, oldest first.
    recent: VecDeque<E>,
    /// The number of events committed so far.
    sequence: u64,
    /// Whether a thread is delivering. No other thread delivers meanwhile, and this thread
    /// continues until the queue is empty.
    delivering: bool,
}

impl<E: Clone> Queue<E> {
    fn push(&mut self, depth: u8, event: E) {
        self.sequence += 1;
        if self.recent.len() == Outbox::<E>::REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back(event.clone());
        if depth > Outbox::<E>::MAX_DEPTH {
            return;
        }
        if self.waiting.len() == Outbox::<E>::MAX_WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back((depth, event));
    }
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), recent: VecDeque::new(), sequence: 0, delivering: false }
    }
}

impl<E: Clone> Outbox<E> {
    /// The number of latest events kept for [`recent`](Self::recent).
    pub(crate) const REMEMBERED: usize = 16;
    /// The maximum number of queued events. The oldest is dropped first, because the latest one
    /// contains the current state of the policy.
    pub(crate) const MAX_WAITING: usize = 256;
    /// The maximum length of a chain of events in which the observer of each event causes the next.
    /// It stops an observer that changes the state at every change of state.
    pub(crate) const MAX_DEPTH: u8 = 16;

    pub(crate) fn new() -> Self {
        Self { queue: Mutex::new(None) }
    }

    /// Runs `commit` under the outbox's lock, passes it the next sequence number, and queues the
    /// event that it returns. Returns whether it returned one. The change that `commit` makes and
    /// its event are one atomic step for all threads that commit through this outbox.
    pub(crate) fn commit(&self, commit: impl FnOnce(u64) -> Option<E>) -> bool {
        let mut queue = self.queue.lock();
        let event = commit(queue.as_ref().map_or(0, |queue| queue.sequence) + 1);
        let committed = event.is_some();
        if let Some(event) = event {
            queue.get_or_insert_default().push(nesting::depth(self), event);
        }
        committed
    }

    /// Returns the latest events, oldest first.
    pub(crate) fn recent(&self) -> Vec<E> {
        self.queue
            .lock()
            .as_ref()
            .map_or_else(Vec::new, |queue| queue.recent.iter().cloned().collect())
    }

    /// Delivers the queued events. Does nothing if another thread is delivering: that thread
    /// delivers these events too. Does nothing if an observer of this outbox is running on this
    /// thread: its caller delivers these events after it has returned. Does nothing either if too
    /// many observers are nested on this thread: the events stay queued until the next event.
    pub(crate) fn deliver(&self, mut observe: impl FnMut(E)) {
        struct Delivery<'a, E: Clone>(&'a Outbox<E>);
        impl<E: Clone> Drop for Delivery<'_, E> {
            fn drop(&mut self) {
                // Runs only when an observer panics. Without this, no thread would deliver again.
                if let Some(queue) = &mut *self.0.queue.lock() {
                    queue.delivering = false;
                }
            }
        }

        if !nesting::can_enter(self) {
            return;
        }
        match &mut *self.queue.lock() {
            Some(queue) if !queue.delivering && !queue.waiting.is_empty() => {
                queue.delivering = true;
            }
            _ => return,
        }
        let delivery = Delivery(self);
        while let Some((depth, event)) = self.next() {
            nesting::enter(self, depth, || observe(event));
        }
        std::mem::forget(delivery);
    }

    /// Runs `notify`, which calls the observers with an event that is not queued; then delivers the
    /// events that they committed. Returns false without running it if an observer of this outbox
    /// is running on this thread.
    pub(crate) fn notify(&self, notify: impl FnOnce(), observe: impl FnMut(E)) -> bool {
        let notified = nesting::enter(self, 0, notify);
        if notified {
            self.deliver(observe);
        }
        notified
    }

    /// Returns the next event for the delivering thread. If there is none, ends the delivery.
    fn next(&self) -> Option<(u8, E)> {
        let mut queue = self.queue.lock();
        let queue = queue.as_mut()?;
        let next = queue.waiting.pop_front();
        queue.delivering = next.is_some();
        next
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

    fn delivered(outbox: &Outbox<u32>) -> Vec<u32> {
        let mut seen = Vec::new();
        outbox.deliver(|event| seen.push(event));
        seen
    }

    #[test]
    fn an_event_that_an_observer_causes_is_delivered_after_the_observer_returns() {
        let outbox = Outbox::new();
        commit(&outbox, 1);
        let mut seen = Vec::new();
        outbox.deliver(|event| {
            seen.push(event);
            if event < 3 {
                commit(&outbox, event + 1);
                outbox.deliver(|_| panic!("an observer is called again before it returned"));
            }
        });
        assert_eq!(seen, [1, 2, 3]);
    }

    #[test]
    fn an_observer_that_causes_an_event_at_every_event_is_stopped() {
        let outbox = Outbox::new();
        commit(&outbox, 0);
        let mut seen = Vec::new();
        outbox.deliver(|event| {
            seen.push(event);
            commit(&outbox, event + 1);
            commit(&outbox, event + 1);
        });
        assert_eq!((seen[0], *seen.last().unwrap()), (0, Outbox::<u32>::MAX_DEPTH.into()));
        assert!(seen.len() <= 1 + 16 * Outbox::<u32>::MAX_WAITING, "{}", seen.len());
        assert_eq!(outbox.recent().last(), Some(&17), "remembered although it was dropped");

        commit(&outbox, 100);
        assert_eq!(delivered(&outbox), [100], "an event that starts a new chain");
    }

    #[test]
    fn the_latest_256_events_wait_for_an_observer_that_does_not_return() {
        let outbox = Outbox::new();
        commit(&outbox, 0);
        let mut seen = Vec::new();
        outbox.deliver(|event| {
            seen.push(event);
            if event == 0 {
                std::thread::scope(|scope| {
                    scope.spawn(|| (1..=300).for_each(|event| commit(&outbox, event)));
                });
            }
        });
        let expected: Vec<_> = std::iter::once(0).chain(45..=300).collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_nested_notification_is_dropped() {
        let outbox = Outbox::<u32>::new();
        let mut calls = 0;
        let notified = outbox.notify(
            || {
                calls += 1;
                assert!(!outbox.notify(|| unreachable!(), |_| unreachable!()));
            },
            |_| unreachable!(),
        );
        assert!(notified);
        assert_eq!(calls, 1);
    }

    #[test]
    fn an_event_that_a_notification_causes_is_delivered_after_it() {
        let outbox = Outbox::new();
        let seen = std::cell::RefCell::new(Vec::new());
        outbox.notify(
            || {
                commit(&outbox, 1);
                outbox.deliver(|_| panic!("an observer is called again before it returned"));
                seen.borrow_mut().push(0);
            },
            |event| {
                assert!(!outbox.notify(|| unreachable!(), |_| unreachable!()));
                seen.borrow_mut().push(event);
            },
        );
        assert_eq!(seen.into_inner(), [0, 1]);
    }

    #[test]
    fn an_observer_that_panics_loses_only_its_own_event() {
        let outbox = Outbox::new();
        commit(&outbox, 1);
        commit(&outbox, 2);
        let panicked = catch_unwind(AssertUnwindSafe(|| outbox.deliver(|_| panic!("observer"))));
        assert!(panicked.is_err());
        commit(&outbox, 3);
        assert_eq!(delivered(&outbox), [2, 3]);
    }

    #[test]
    fn the_latest_events_are_remembered() {
        let outbox = Outbox::new();
        assert_eq!(outbox.recent(), Vec::<u32>::new());
        for event in 0..40 {
            commit(&outbox, event);
        }
        outbox.deliver(|_| ());
        assert_eq!(outbox.recent(), (24..40).collect::<Vec<_>>());
    }
}
