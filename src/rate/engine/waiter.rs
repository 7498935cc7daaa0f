//! The state of one waiter for tokens, from its first poll to its end: [`Waiter`].

use super::Engine;
use super::wait_queue::WakeUp;
use crate::rate::grant::{Grant, RateLimitStatus};
use crate::rate::timeline::Nanos;
use crate::wait::WaiterKey;
use std::task::Waker;

/// A pointer that gives access to an engine and keeps it alive.
pub(crate) trait EngineRef {
    fn engine(&self) -> &Engine;
}

impl EngineRef for &Engine {
    fn engine(&self) -> &Engine {
        self
    }
}

/// A waiter for tokens. Dropping it removes it from the queue.
#[derive(Debug)]
pub(crate) struct Waiter<R: EngineRef> {
    engine: R,
    cost: u32,
    /// `None` before the waiter has entered the queue and after it has left.
    key: Option<WaiterKey>,
}

/// The result of a poll.
#[derive(Debug)]
pub(crate) enum WaiterPoll {
    Granted(Grant),
    Denied(RateLimitStatus),
    /// The waiter is queued. It must be polled again when it is woken, or at this time.
    Pending(Option<Nanos>),
}

impl<R: EngineRef> Waiter<R> {
    pub(crate) const fn new(engine: R, cost: u32) -> Self {
        Self { engine, cost, key: None }
    }

    pub(crate) const fn cost(&self) -> u32 {
        self.cost
    }

    /// Takes the tokens, or enters the queue or stays in it. A waiter whose tokens will not be
    /// available by `deadline` is denied instead of entering the queue.
    pub(crate) fn poll(
        &mut self,
        now: Nanos,
        deadline: Option<Nanos>,
        waker: &Waker,
    ) -> WaiterPoll {
        // Cloning and dropping a waker may run user code. The waker is therefore cloned before the
        // lock is taken, and declared before the guard so that it is dropped after the guard.
        let mut waker = Some(waker.clone());
        let engine = self.engine.engine();
        let mut waiters = engine.queue.lock();
        if let Some(key) = self.key
            && !waiters.is_first(key)
        {
            waiters.set_waker(key, &mut waker);
            return WaiterPoll::Pending(None);
        }
        engine.return_to_later_time(&mut waiters, now);
        let is_queued = self.key.is_some();
        let others = waiters.len() > usize::from(is_queued);
        // If the queue is empty, a waiter that is not queued yet would be the first.
        let is_first = is_queued || !others;
        loop {
            let word = engine.word();
            let gcra = engine.gcra(word);
            let history = engine.history();
            let is_free = self.cost == 0 || gcra.is_unlimited();
            let tokens_before = if is_first { 0 } else { engine.queue.queued_tokens() };
            let units = gcra.units(now);
            let tat = word.tat();
            let ahead = tat.saturating_add(gcra.large_cost(tokens_before));
            let due = match gcra.is_ordinary(self.cost) {
                true => gcra.nanos(gcra.due(ahead, self.cost)),
                false => None,
            };
            let start = match is_queued {
                true => gcra.paced_start(tat, units),
                false => waiters.start(&gcra, tat, units),
            };
            let next = match is_free {
                true => Some(tat),
                false if due.is_none() || !is_first => None,
                false => gcra.take(start, units, self.cost),
            };
            let is_late =
                !is_queued && deadline.is_some_and(|deadline| due.is_none_or(|due| due > deadline));
            let stays = next.is_none() && due.is_some() && !is_late;

            // Every event that could make the tokens available earlier (a refund, a change of the
            // quota) takes the lock first, so this waiter cannot miss it. Only grants of the fast
            // path do not take the lock; they make the swap fail.
            let is_catching_up = match next {
                Some(next) if !is_free => next < units,
                _ => waiters.is_catching_up,
            };
            let slow = stays || others || is_catching_up || waiters.set_back_from.is_some();
            if !engine.swap(word, word.with_tat(next.unwrap_or(tat)).with_slow(slow)) {
                continue;
            }
            waiters.is_catching_up = is_catching_up;
            if stays {
                match self.key {
                    Some(key) => waiters.set_waker(key, &mut waker),
                    None => {
                        let key = engine.queue.enter(&mut waiters, self.cost, waker.take());
                        self.key = Some(key);
                    }
                }
                return WaiterPoll::Pending(due.filter(|_| is_first));
            }
            let (wake_up, _discarded) = match self.key.take() {
                Some(key) => engine.queue.leave(&mut waiters, key),
                None => (WakeUp::NONE, None),
            };
            drop(waiters);
            wake_up.wake();
            let granted = if next.is_some() { self.cost } else { 0 };
            let ahead = next.unwrap_or(ahead);
            let status = RateLimitStatus { gcra, ahead, now, wanted: self.cost, granted };
            return match next {
                Some(_) => WaiterPoll::Granted(Grant { status, history }),
                None => WaiterPoll::Denied(status),
            };
        }
    }

    /// Removes the waiter from the queue, if it is queued. If it was the first, wakes the next.
    pub(crate) fn leave(&mut self) {
        let Some(key) = self.key.take() else { return };
        let engine = self.engine.engine();
        let mut waiters = engine.queue.lock();
        let (wake_up, _discarded) = engine.queue.leave(&mut waiters, key);
        engine.update_slow(&waiters);
        drop(waiters);
        wake_up.wake();
    }
}

impl<R: EngineRef> Drop for Waiter<R> {
    fn drop(&mut self) {
        self.leave();
    }
}
