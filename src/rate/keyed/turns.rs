//! The queues of the keys for which callers wait: [`Turns`].

use crate::rate::turn::Turn;
use crate::sync::atomic::{AtomicU32, Ordering::Relaxed};
use crate::sync::{Mutex, PlainArc};
use crate::time::Clock;
use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// A queue per key for which a caller waits.
pub(super) struct Turns<K> {
    /// The number of queues, so that a request that does not wait needs no lock while there are
    /// none. Changed under the lock. Ordering: relaxed. A request that misses a new queue is one
    /// that arrived before the waiter.
    len: AtomicU32,
    queues: Mutex<HashMap<K, Queue>>,
}

struct Queue {
    turn: PlainArc<Turn>,
    /// The number of callers that are in the queue. The last one removes it.
    callers: usize,
}

/// A caller in the queue of a key. Dropping it leaves the queue.
pub(super) struct QueuedCaller<'a, K: Hash + Eq + Borrow<Q>, Q: Hash + Eq + ?Sized> {
    turns: &'a Turns<K>,
    key: &'a Q,
    turn: PlainArc<Turn>,
}

impl<K> Turns<K> {
    pub(super) fn new() -> Self {
        Self { len: AtomicU32::new(0), queues: Mutex::new(HashMap::new()) }
    }

    /// Returns whether callers wait for any key.
    #[inline(always)]
    pub(super) fn may_be_taken(&self) -> bool {
        self.len.load(Relaxed) > 0
    }
}

impl<K: Hash + Eq> Turns<K> {
    pub(super) fn is_taken<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.queues.lock().contains_key(key)
    }

    /// Enters the queue of `key`. The caller then waits for its [turn](QueuedCaller::turn).
    pub(super) fn enter<'a, Q>(&'a self, key: &'a Q, clock: &Clock) -> QueuedCaller<'a, K, Q>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        // Cloned before the lock is taken, because it is code of the user.
        let mut owned = None;
        loop {
            let mut queues = self.queues.lock();
            if let Some(queue) = queues.get_mut(key) {
                queue.callers += 1;
                return QueuedCaller { turns: self, key, turn: queue.turn.clone() };
            }
            if let Some(owned) = owned.take() {
                let turn = PlainArc::new(Turn::new(clock));
                queues.insert(owned, Queue { turn: turn.clone(), callers: 1 });
                self.len.store(queues.len() as u32, Relaxed);
                return QueuedCaller { turns: self, key, turn };
            }
            drop(queues);
            owned = Some(key.to_owned());
        }
    }

    fn leave<Q>(&self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let mut queues = self.queues.lock();
        let Some(queue) = queues.get_mut(key) else { return };
        queue.callers -= 1;
        if queue.callers == 0 {
            let removed = queues.remove_entry(key);
            self.len.store(queues.len() as u32, Relaxed);
            // The destructor of the key is code of the user.
            drop(queues);
            drop(removed);
        }
    }
}

impl<K: Hash + Eq + Borrow<Q>, Q: Hash + Eq + ?Sized> QueuedCaller<'_, K, Q> {
    pub(super) fn turn(&self) -> &Turn {
        &self.turn
    }
}

impl<K: Hash + Eq + Borrow<Q>, Q: Hash + Eq + ?Sized> Drop for QueuedCaller<'_, K, Q> {
    fn drop(&mut self) {
        self.turns.leave(self.key);
    }
}
