//! Waiting until a word says otherwise.

use std::future::{Future, poll_fn};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::blocking::{block_on, block_on_for};
use super::list::{Key, List};
use super::spin::Spin;
use super::wakers::Wakers;
use crate::sync::Mutex;

/// What a queue's members wait for, kept by its owner in one atomic word together with a flag that
/// says "somebody waits".
///
/// The word that carries the flag is the very word that every change of the condition goes through by
/// a read-modify-write. So whoever makes the condition true cannot miss a flag that was raised before,
/// and [`raise`](Self::raise) cannot succeed after: one word has one order of modifications. That is
/// why waking costs nothing while nobody waits, not even a fence.
pub(crate) trait Condition {
    /// Raises the flag in one step with seeing that the condition does not hold; false if it may hold.
    fn raise(&self) -> bool;

    /// Takes the flag down.
    fn lower(&self);

    /// How a thread waits before it parks.
    fn spin(&self) -> Spin {
        Spin::new()
    }
}

/// Threads and tasks that wait for a [`Condition`], served in order of arrival.
///
/// Raised and lowered under the lock only, the flag is up whenever the queue has a member. Whoever
/// makes the condition true and finds the flag up calls [`notify`](Self::notify) afterwards.
///
/// To be notified is a hint, not a gift: another caller may get there first, and then the waiter comes
/// back to the front of the queue. A hint is never lost: a [`Wait`] that ends without having used its
/// own passes it on.
#[derive(Debug)]
pub(crate) struct WaitQueue {
    waiters: Mutex<List<Waker>>,
}

/// A waiter's relation to the queue.
#[derive(Debug, Default)]
pub(crate) enum Ticket {
    #[default]
    Away,
    /// In the queue, or notified without knowing it yet.
    Waiting(Key),
    /// Holds a hint that was neither used nor passed on.
    Notified,
}

/// What came of trying to get what is waited for.
#[derive(Debug)]
pub(crate) enum Attempt<R> {
    Done(R),
    /// A peer is in the middle of something: not worth a wait.
    Busy,
    /// The condition did not hold.
    Refused,
}

/// One wait, from the first look to the end, however it comes: dropping it leaves the queue and passes
/// on an unused hint.
#[derive(Debug)]
pub(crate) struct Wait<'a, C: Condition> {
    queue: &'a WaitQueue,
    condition: C,
    ticket: Ticket,
}

impl<'a, C: Condition> Wait<'a, C> {
    #[inline]
    pub(crate) fn new(queue: &'a WaitQueue, condition: C) -> Self {
        Self::resume(queue, condition, Ticket::Away)
    }

    /// Goes on with a wait that was put aside by [`suspend`](Self::suspend).
    #[inline]
    pub(crate) fn resume(queue: &'a WaitQueue, condition: C, ticket: Ticket) -> Self {
        Self { queue, condition, ticket }
    }

    /// Keeps the place in the queue for later. The ticket must come back, lest a hint be lost.
    #[inline]
    pub(crate) fn suspend(mut self) -> Ticket {
        std::mem::take(&mut self.ticket)
    }

    /// For a task: `attempt` is made until it is done or there is reason to wait.
    #[inline]
    pub(crate) fn poll<R>(
        &mut self,
        cx: &mut Context<'_>,
        mut attempt: impl FnMut() -> Attempt<R>,
    ) -> Poll<R> {
        self.queue.look(&mut self.ticket);
        let mut spin = Spin::new();
        loop {
            match attempt() {
                Attempt::Done(result) => {
                    self.queue.served(&mut self.ticket, &self.condition);
                    return Poll::Ready(result);
                }
                Attempt::Busy => {
                    if !spin.again() {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
                Attempt::Refused => {
                    if self.queue.enter(&mut self.ticket, cx.waker(), &self.condition) {
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    /// For a thread whose `first` attempt was made already: spins a little, then parks.
    pub(crate) fn block_after<R>(
        self,
        first: Attempt<R>,
        attempt: impl FnMut() -> Attempt<R>,
    ) -> R {
        self.spin_or_park(first, attempt, |future| Some(block_on(future))).expect("without limit")
    }

    /// For a thread, for no longer than `patience`.
    pub(crate) fn block_for<R>(
        self,
        patience: Duration,
        mut attempt: impl FnMut() -> Attempt<R>,
    ) -> Option<R> {
        self.spin_or_park(attempt(), attempt, |future| block_on_for(future, patience))
    }

    fn spin_or_park<R, A: FnMut() -> Attempt<R>>(
        mut self,
        first: Attempt<R>,
        mut attempt: A,
        park: impl FnOnce(&mut (dyn Future<Output = R> + Unpin)) -> Option<R>,
    ) -> Option<R> {
        let start = self.condition.spin();
        let spinning = |mut last: Attempt<R>, attempt: &mut A| {
            let mut spin = start.clone();
            loop {
                match last {
                    Attempt::Done(result) => return Attempt::Done(result),
                    unsuccessful if !spin.again() => return unsuccessful,
                    _ => last = attempt(),
                }
            }
        };
        match spinning(first, &mut attempt) {
            Attempt::Done(result) => Some(result),
            _ => park(&mut poll_fn(|cx| self.poll(cx, || spinning(attempt(), &mut attempt)))),
        }
    }
}

impl<C: Condition> Drop for Wait<'_, C> {
    #[inline]
    fn drop(&mut self) {
        self.queue.leave(&mut self.ticket, &self.condition);
    }
}

impl WaitQueue {
    pub(crate) fn new() -> Self {
        Self { waiters: Mutex::new(List::new()) }
    }

    /// To be asked when a waiter looks again, before it tries what it waits for: a hint that came
    /// before the try is used up by success, one that comes later belongs to somebody else.
    fn look(&self, ticket: &mut Ticket) {
        if let Ticket::Waiting(key) = *ticket
            && self.waiters.lock().get_mut(key).is_none()
        {
            *ticket = Ticket::Notified;
        }
    }

    /// Waits: `waker` will be called after the condition may have come true. False if it may be true
    /// already, and then the caller tries again.
    fn enter(&self, ticket: &mut Ticket, waker: &Waker, condition: &impl Condition) -> bool {
        // Cloning and dropping a waker runs the code of others: outside the lock, which is declared
        // after it and so released before.
        let mut waker = waker.clone();
        let mut waiters = self.waiters.lock();
        if let Ticket::Waiting(key) = *ticket {
            let Some(known) = waiters.get_mut(key) else {
                *ticket = Ticket::Notified;
                return false;
            };
            // The flag is still up, so that no change since the caller looked can be missed.
            std::mem::swap(known, &mut waker);
            return true;
        }
        if !condition.raise() {
            return false;
        }
        let key = match ticket {
            Ticket::Notified => waiters.push_front(waker),
            _ => waiters.push_back(waker),
        };
        *ticket = Ticket::Waiting(key);
        true
    }

    /// Wakes the `count` that waited longest, or as many as there are.
    #[cold]
    pub(crate) fn notify(&self, mut count: usize, condition: &impl Condition) {
        let mut wakers = Wakers::new();
        loop {
            let mut waiters = self.waiters.lock();
            while count > 0 && !wakers.is_full() {
                let Some(waker) = waiters.pop_front() else { break };
                wakers.take(waker);
                count -= 1;
            }
            let more = count > 0 && !waiters.is_empty();
            if waiters.is_empty() {
                condition.lower();
            }
            drop(waiters);
            if !more {
                return wakers.finish();
            }
            wakers.wake();
        }
    }

    /// Wakes everybody: the condition will hold for ever.
    pub(crate) fn notify_all(&self, condition: &impl Condition) {
        self.notify(usize::MAX, condition);
    }

    /// Ends a wait that succeeded: a hint that came before the last [`look`](Self::look) is used up.
    #[inline]
    fn served(&self, ticket: &mut Ticket, condition: &impl Condition) {
        match ticket {
            Ticket::Away => {}
            Ticket::Notified => *ticket = Ticket::Away,
            Ticket::Waiting(_) => self.leave(ticket, condition),
        }
    }

    /// Ends a wait that did not succeed: a hint that came is passed on.
    #[inline]
    fn leave(&self, ticket: &mut Ticket, condition: &impl Condition) {
        match std::mem::take(ticket) {
            Ticket::Away => {}
            Ticket::Waiting(key) => self.withdraw(key, condition),
            Ticket::Notified => self.notify(1, condition),
        }
    }

    #[cold]
    fn withdraw(&self, key: Key, condition: &impl Condition) {
        let mut waiters = self.waiters.lock();
        let waker = waiters.remove(key);
        if waker.is_some() && waiters.is_empty() {
            condition.lower();
        }
        drop(waiters);
        if waker.is_none() {
            self.notify(1, condition);
        }
    }
}
