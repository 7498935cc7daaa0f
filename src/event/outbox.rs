//! Events on their way to the observers of one policy: in order, outside every lock, never nested.

use super::nesting;
use crate::sync::Mutex;
use std::collections::VecDeque;

/// The events of one policy that have been committed and not yet delivered, in the order in which
/// they were committed; and the latest events, for later queries.
///
/// Two ways of reporting:
///
/// - [`commit`](Self::commit) then [`deliver`](Self::deliver), for changes of state. One thread at
///   a time delivers; events keep their order.
/// - [`notify`](Self::notify), for frequent events without an order, such as rejections. Each
///   thread delivers its own.
///
/// Either way an observer is never called on a thread on which it has not returned yet. What it
/// causes while it runs is queued, up to [`MAX_DEPTH`](Self::MAX_DEPTH), or is dropped if it is a
/// notification.
///
/// Takes two words until the first event: of many thousand policies, most never have one.
#[derive(Debug)]
pub(crate) struct Outbox<E> {
    queue: Mutex<Option<Box<Queue<E>>>>,
}

#[derive(Debug)]
struct Queue<E> {
    /// With the depth of each event; see [`nesting::depth`].
    waiting: VecDeque<(u8, E)>,
    /// The latest events, delivered or not, oldest first.
    recent: VecDeque<E>,
    /// How many events there have been.
    sequence: u64,
    /// Whether a thread is delivering. It is the only one, and checks for more before it ends.
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
    /// How many of the latest events are kept for [`recent`](Self::recent).
    pub(crate) const REMEMBERED: usize = 16;
    /// How many events wait at most. The oldest is dropped to make room: the latest says which
    /// state a policy is in.
    pub(crate) const MAX_WAITING: usize = 256;
    /// How long a chain of events may be in which an observer, called with one, causes the next. It
    /// ends observers that change the state at every change of the state.
    pub(crate) const MAX_DEPTH: u8 = 16;

    pub(crate) fn new() -> Self {
        Self { queue: Mutex::new(None) }
    }

    /// Runs `commit` under the outbox's lock, with the sequence number that its event would have,
    /// and queues the event if there is one; returns whether there is. The change that `commit`
    /// makes and its event are one step for all threads that commit through this outbox.
    pub(crate) fn commit(&self, commit: impl FnOnce(u64) -> Option<E>) -> bool {
        let mut queue = self.queue.lock();
        let event = commit(queue.as_ref().map_or(0, |queue| queue.sequence) + 1);
        let committed = event.is_some();
        if let Some(event) = event {
            queue.get_or_insert_default().push(nesting::depth(self), event);
        }
        committed
    }

    /// The latest events, oldest first.
    pub(crate) fn recent(&self) -> Vec<E> {
        self.queue
            .lock()
            .as_ref()
            .map_or_else(Vec::new, |queue| queue.recent.iter().cloned().collect())
    }

    /// Delivers what is queued. Does nothing if another thread is delivering, which then delivers
    /// these events too, or if this thread is inside an observer of this outbox, which is followed
    /// by a delivery.
    pub(crate) fn deliver(&self, mut observe: impl FnMut(E)) {
        struct Turn<'a, E: Clone>(&'a Outbox<E>);
        impl<E: Clone> Drop for Turn<'_, E> {
            fn drop(&mut self) {
                // Only reached when an observer panics. Without this no thread would deliver again.
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
        let turn = Turn(self);
        while let Some((depth, event)) = self.next() {
            nesting::enter(self, depth, || observe(event));
        }
        std::mem::forget(turn);
    }

    /// Calls observers with an event that is not queued, by `notify`; then delivers what they
    /// caused. Returns false, and drops the event, if this thread is inside an observer of this
    /// outbox.
    pub(crate) fn notify(&self, notify: impl FnOnce(), observe: impl FnMut(E)) -> bool {
        let notified = nesting::enter(self, 0, notify);
        if notified {
            self.deliver(observe);
        }
        notified
    }

    /// The next event for the thread that delivers, or the end of its turn.
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
        assert_eq!(outbox.recent().last(), Some(&17), "dropped, and yet remembered");

        commit(&outbox, 100);
        assert_eq!(delivered(&outbox), [100], "an event of the next chain");
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
