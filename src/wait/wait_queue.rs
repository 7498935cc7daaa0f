//! A queue of threads and tasks that wait for a condition to become true.

use std::future::{Future, poll_fn};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::waiter_list::{WaiterKey, WaiterList};
use crate::sync::{Mutex, SpinWait, Wakers, block_on, block_on_timeout};

/// The condition that the members of a [`WaitQueue`] wait for. The owner of the queue keeps the
/// state of the condition and a *waiting flag* in one atomic word.
///
/// Every change that makes the condition true is a read-modify-write of that word, and all
/// modifications of the word have one total order. If the change comes after the flag was set, it
/// finds the flag set and calls [`notify`](WaitQueue::notify). If it comes before,
/// [`set_waiting`](Self::set_waiting) finds the condition true and fails. So no wake-up is lost.
/// While the queue is empty, a change has no extra cost, not even a fence.
pub(crate) trait Condition {
    /// Sets the waiting flag if the condition does not hold, in one atomic step; returns `false` if
    /// it may hold.
    fn set_waiting(&self) -> bool;

    /// Clears the waiting flag.
    fn clear_waiting(&self);

    /// Returns the spin policy of a thread before it parks.
    fn spin_wait(&self) -> SpinWait {
        SpinWait::new()
    }
}

/// Threads and tasks that wait for a [`Condition`], notified in order of arrival.
///
/// The waiting flag is set and cleared under the queue's lock only, and is set whenever the queue
/// has a member. A thread that makes the condition true and finds the flag set calls
/// [`notify`](Self::notify) afterwards.
///
/// A notification is a hint, not a grant: another caller may take what became available, and then
/// the waiter goes back to the front of the queue. Hints are not lost: a [`Wait`] that ends without
/// having used its hint passes it on.
#[derive(Debug)]
pub(crate) struct WaitQueue {
    waiters: Mutex<WaiterList<Waker>>,
}

/// The state of one wait.
#[derive(Debug, Default)]
pub(crate) enum WaitState {
    /// Not in the queue, and not notified.
    #[default]
    Idle,
    /// In the queue, or removed from it by a notification that the waiter has not observed yet.
    Queued(WaiterKey),
    /// Notified; the hint was neither used nor passed on.
    Notified,
}

/// The result of one attempt to complete the waiting operation.
#[derive(Debug)]
pub(crate) enum Attempt<R> {
    Done(R),
    /// Another thread is in the middle of an operation: try again soon, without waiting.
    Busy,
    /// The condition does not hold.
    NotReady,
}

/// A wait in progress. Dropping it leaves the queue and passes on an unused hint.
#[derive(Debug)]
pub(crate) struct Wait<'a, C: Condition> {
    queue: &'a WaitQueue,
    condition: C,
    state: WaitState,
}

impl<'a, C: Condition> Wait<'a, C> {
    #[inline]
    pub(crate) fn new(queue: &'a WaitQueue, condition: C) -> Self {
        Self::resume(queue, condition, WaitState::Idle)
    }

    /// Continues a wait that was stopped by [`suspend`](Self::suspend).
    #[inline]
    pub(crate) fn resume(queue: &'a WaitQueue, condition: C, state: WaitState) -> Self {
        Self { queue, condition, state }
    }

    /// Stops waiting without leaving the queue. The state must be passed to
    /// [`resume`](Self::resume) later; otherwise a hint can be lost.
    #[inline]
    pub(crate) fn suspend(mut self) -> WaitState {
        std::mem::take(&mut self.state)
    }

    /// Polls for a task: calls `attempt` until it is done or the task has to wait.
    #[inline]
    pub(crate) fn poll<R>(
        &mut self,
        cx: &mut Context<'_>,
        mut attempt: impl FnMut() -> Attempt<R>,
    ) -> Poll<R> {
        self.queue.update(&mut self.state);
        let mut spin = SpinWait::new();
        loop {
            match attempt() {
                Attempt::Done(result) => {
                    self.queue.succeed(&mut self.state, &self.condition);
                    return Poll::Ready(result);
                }
                Attempt::Busy => {
                    if !spin.spin() {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
                Attempt::NotReady => {
                    if self.queue.enter(&mut self.state, cx.waker(), &self.condition) {
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    /// Waits on the calling thread, which has already made its `first` attempt: spins a little,
    /// then parks.
    pub(crate) fn block_after<R>(
        self,
        first: Attempt<R>,
        attempt: impl FnMut() -> Attempt<R>,
    ) -> R {
        self.spin_then_park(first, attempt, |future| Some(block_on(future)))
            .expect("a wait without a timeout returns a result")
    }

    /// Waits on the calling thread for at most `timeout`.
    pub(crate) fn block_timeout<R>(
        self,
        timeout: Duration,
        mut attempt: impl FnMut() -> Attempt<R>,
    ) -> Option<R> {
        self.spin_then_park(attempt(), attempt, |future| block_on_timeout(future, timeout))
    }

    fn spin_then_park<R, A: FnMut() -> Attempt<R>>(
        mut self,
        first: Attempt<R>,
        mut attempt: A,
        park: impl FnOnce(&mut (dyn Future<Output = R> + Unpin)) -> Option<R>,
    ) -> Option<R> {
        let start = self.condition.spin_wait();
        let spinning = |mut last: Attempt<R>, attempt: &mut A| {
            let mut spin = start.clone();
            loop {
                match last {
                    Attempt::Done(result) => return Attempt::Done(result),
                    unsuccessful if !spin.spin() => return unsuccessful,
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
        self.queue.leave(&mut self.state, &self.condition);
    }
}

impl WaitQueue {
    pub(crate) fn new() -> Self {
        Self { waiters: Mutex::new(WaiterList::new()) }
    }

    /// Updates the state if the waiter was notified. Called before an attempt: a successful attempt
    /// uses up a hint that came before it, and passes on a hint that came later.
    fn update(&self, state: &mut WaitState) {
        if let WaitState::Queued(key) = *state
            && self.waiters.lock().get_mut(key).is_none()
        {
            *state = WaitState::Notified;
        }
    }

    /// Enters the queue, or stays in it, with `waker` as the waker of the waiter. Returns `false`
    /// if the condition may hold already; the caller then tries again.
    fn enter(&self, state: &mut WaitState, waker: &Waker, condition: &impl Condition) -> bool {
        // Cloning and dropping a waker runs user code, so both happen outside the lock. The guard
        // is declared after the waker, and so is dropped before it.
        let mut waker = waker.clone();
        let mut waiters = self.waiters.lock();
        if let WaitState::Queued(key) = *state {
            let Some(known) = waiters.get_mut(key) else {
                *state = WaitState::Notified;
                return false;
            };
            // The flag is still set, so every change since the attempt calls `notify`.
            std::mem::swap(known, &mut waker);
            return true;
        }
        if !condition.set_waiting() {
            return false;
        }
        let key = match state {
            WaitState::Notified => waiters.push_front(waker),
            _ => waiters.push_back(waker),
        };
        *state = WaitState::Queued(key);
        true
    }

    /// Wakes up to `count` waiters, in order of arrival.
    #[cold]
    pub(crate) fn notify(&self, mut count: usize, condition: &impl Condition) {
        let mut wakers = Wakers::new();
        loop {
            let mut waiters = self.waiters.lock();
            while count > 0 && !wakers.is_full() {
                let Some(waker) = waiters.pop_front() else { break };
                wakers.push(waker);
                count -= 1;
            }
            let more = count > 0 && !waiters.is_empty();
            if waiters.is_empty() {
                condition.clear_waiting();
            }
            drop(waiters);
            if !more {
                return wakers.finish();
            }
            wakers.wake_all();
        }
    }

    /// Wakes all waiters, after the condition has become permanently true.
    pub(crate) fn notify_all(&self, condition: &impl Condition) {
        self.notify(usize::MAX, condition);
    }

    /// Ends a wait that succeeded. A hint that came before the last [`update`](Self::update) is
    /// used up; a later hint is passed on.
    #[inline]
    fn succeed(&self, state: &mut WaitState, condition: &impl Condition) {
        match state {
            WaitState::Idle => {}
            WaitState::Notified => *state = WaitState::Idle,
            WaitState::Queued(_) => self.leave(state, condition),
        }
    }

    /// Ends a wait that did not succeed: an unused hint is passed on.
    #[inline]
    fn leave(&self, state: &mut WaitState, condition: &impl Condition) {
        match std::mem::take(state) {
            WaitState::Idle => {}
            WaitState::Queued(key) => self.remove(key, condition),
            WaitState::Notified => self.notify(1, condition),
        }
    }

    #[cold]
    fn remove(&self, key: WaiterKey, condition: &impl Condition) {
        let mut waiters = self.waiters.lock();
        let waker = waiters.remove(key);
        if waker.is_some() && waiters.is_empty() {
            condition.clear_waiting();
        }
        drop(waiters);
        if waker.is_none() {
            self.notify(1, condition);
        }
    }
}
