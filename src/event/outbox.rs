use crate::sync::Mutex;
use std::collections::VecDeque;

/// Transitions on their way to the observers, in the order in which they were committed; and the last few
/// of them, for whoever asks later.
///
/// Takes two words until the first transition: of many thousand policies, most never have one.
#[derive(Debug)]
pub(crate) struct Outbox<E> {
    queue: Mutex<Option<Box<Queue<E>>>>,
}

#[derive(Debug)]
struct Queue<E> {
    waiting: VecDeque<E>,
    /// The latest events, delivered or not, oldest first.
    recent: VecDeque<E>,
    /// How many events there have been.
    sequence: u64,
    /// Whether a thread is delivering. It is the only one, and looks again before it leaves.
    delivering: bool,
}

impl<E: Clone> Queue<E> {
    fn push(&mut self, event: E) {
        self.sequence += 1;
        if self.recent.len() == Outbox::<E>::REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back(event.clone());
        self.waiting.push_back(event);
    }
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), recent: VecDeque::new(), sequence: 0, delivering: false }
    }
}

impl<E: Clone> Outbox<E> {
    /// How many events can be asked for later.
    pub(crate) const REMEMBERED: usize = 16;

    pub(crate) fn new() -> Self {
        Self { queue: Mutex::new(None) }
    }

    /// Runs `commit` under the outbox's lock, with the number that its event would have, and queues the
    /// event if there is one; says whether there is. What `commit` did and the event that tells of it are
    /// one step for everyone who commits through this outbox.
    pub(crate) fn commit(&self, commit: impl FnOnce(u64) -> Option<E>) -> bool {
        let mut queue = self.queue.lock();
        let event = commit(queue.as_ref().map_or(0, |queue| queue.sequence) + 1);
        let committed = event.is_some();
        if let Some(event) = event {
            queue.get_or_insert_default().push(event);
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

    /// Delivers what is queued, unless another thread is at it already.
    pub(crate) fn deliver(&self, mut observe: impl FnMut(E)) {
        struct Turn<'a, E: Clone>(&'a Outbox<E>);
        impl<E: Clone> Drop for Turn<'_, E> {
            fn drop(&mut self) {
                // Only an observer's panic comes here: give the turn back, or nobody delivers again.
                if let Some(queue) = &mut *self.0.queue.lock() {
                    queue.delivering = false;
                }
            }
        }

        match &mut *self.queue.lock() {
            Some(queue) if !queue.delivering && !queue.waiting.is_empty() => {
                queue.delivering = true;
            }
            _ => return,
        }
        let turn = Turn(self);
        while let Some(event) = self.next() {
            observe(event);
        }
        std::mem::forget(turn);
    }

    /// For who delivers: the next event; or the turn is over, for there is none.
    fn next(&self) -> Option<E> {
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

    #[test]
    fn the_latest_are_remembered() {
        let outbox = Outbox::new();
        assert_eq!(outbox.recent(), Vec::<u32>::new());
        for event in 0..40 {
            commit(&outbox, event);
        }
        outbox.deliver(|_| ());
        assert_eq!(outbox.recent(), (24..40).collect::<Vec<_>>());
    }
}
