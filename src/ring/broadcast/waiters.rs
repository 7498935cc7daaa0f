//! Threads and tasks that wait for a common event.

use std::future::poll_fn;
use std::mem;
use std::panic::resume_unwind;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::sync::{Mutex, SpinWait, block_on, block_on_timeout, keep_panic};
use crate::wait::{Attempt, WaiterKey, WaiterList};

/// Waiters that are all woken at once.
///
/// A waiter [registers](Self::register), then sets a waiting flag in a word that every relevant
/// change modifies; the flag is not set if the change has already happened. The thread that makes a
/// change and finds the flag clears it, then calls [`wake_all`](Self::wake_all). The order of these
/// steps matters: a waiter that set the flag before it was cleared has registered and is woken; one
/// that sets it later is woken by the next change.
pub(super) struct Waiters {
    lists: Mutex<Lists>,
}

struct Lists {
    waiting: WaiterList<Waker>,
    /// An empty list, whose memory the next `wake_all` reuses.
    spare: WaiterList<Waker>,
}

/// An operation that may have to wait.
pub(super) trait Operation {
    type Output;

    /// Makes one attempt.
    fn attempt(&mut self) -> Attempt<Self::Output>;

    /// Sets the waiting flag after an attempt that was not ready. Returns `false` if another
    /// attempt may succeed. Called after the waiter has registered.
    fn set_waiting(&mut self) -> bool;

    /// Returns the list in which the operation registers.
    fn waiters(&self) -> &Waiters;
}

impl<O: Operation> Operation for &mut O {
    type Output = O::Output;

    #[inline]
    fn attempt(&mut self) -> Attempt<O::Output> {
        (**self).attempt()
    }

    fn set_waiting(&mut self) -> bool {
        (**self).set_waiting()
    }

    fn waiters(&self) -> &Waiters {
        (**self).waiters()
    }
}

/// An operation that waits. Dropping it ends the wait.
pub(super) struct Waiting<O: Operation> {
    pub(super) operation: O,
    key: Option<WaiterKey>,
}

impl<O: Operation> Waiting<O> {
    #[inline]
    pub(super) fn new(operation: O) -> Self {
        Self { operation, key: None }
    }

    /// Attempts the operation for a task, and registers its waker if the operation is not ready.
    #[inline]
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<O::Output> {
        let mut spin = SpinWait::new();
        loop {
            match self.operation.attempt() {
                Attempt::Done(output) => {
                    self.stop();
                    return Poll::Ready(output);
                }
                Attempt::Busy => {
                    if !spin.spin() {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
                Attempt::NotReady => {
                    self.operation.waiters().register(&mut self.key, cx.waker());
                    if self.operation.set_waiting() {
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    /// Stops waiting.
    #[inline]
    pub(super) fn stop(&mut self) {
        if let Some(key) = self.key.take() {
            self.operation.waiters().remove(key);
        }
    }

    /// Waits on the calling thread: spins a little, then parks.
    pub(super) fn block(&mut self) -> O::Output {
        match self.spin() {
            Some(output) => output,
            None => block_on(poll_fn(|cx| self.poll(cx))),
        }
    }

    /// Waits on the calling thread for at most `timeout`. Returns `None` if it elapses.
    pub(super) fn block_timeout(&mut self, timeout: Duration) -> Option<O::Output> {
        self.spin().or_else(|| block_on_timeout(&mut poll_fn(|cx| self.poll(cx)), timeout))
    }

    fn spin(&mut self) -> Option<O::Output> {
        let mut spin = SpinWait::new();
        loop {
            match self.operation.attempt() {
                Attempt::Done(output) => return Some(output),
                _ if !spin.spin() => return None,
                _ => {}
            }
        }
    }
}

impl<O: Operation> Drop for Waiting<O> {
    #[inline]
    fn drop(&mut self) {
        self.stop();
    }
}

impl Waiters {
    pub(super) fn new() -> Self {
        let lists = Lists { waiting: WaiterList::new(), spare: WaiterList::new() };
        Self { lists: Mutex::new(lists) }
    }

    /// Adds a waiter, or replaces its waker if it is still waiting.
    fn register(&self, key: &mut Option<WaiterKey>, waker: &Waker) {
        // Cloning and dropping a waker runs user code, so both happen outside the lock. The guard
        // is declared after the waker, so it is dropped before the waker.
        let mut waker = waker.clone();
        let mut lists = self.lists.lock();
        match key.and_then(|key| lists.waiting.get_mut(key)) {
            Some(known) => mem::swap(known, &mut waker),
            None => *key = Some(lists.waiting.push_back(waker)),
        }
    }

    /// Removes a waiter, unless it has been woken.
    #[cold]
    fn remove(&self, key: WaiterKey) {
        // The lock is released at the end of this statement, and the waker is dropped after it.
        let waker = self.lists.lock().waiting.remove(key);
        drop(waker);
    }

    /// Wakes all waiters in the order of their arrival. The lock is held for two exchanges of
    /// lists, however many waiters there are.
    #[cold]
    #[inline(never)]
    pub(super) fn wake_all(&self) {
        let mut taken = {
            let mut lists = self.lists.lock();
            if lists.waiting.is_empty() {
                return;
            }
            let mut taken = mem::replace(&mut lists.spare, WaiterList::new());
            lists.waiting.move_to(&mut taken);
            taken
        };
        let mut panic = None;
        while let Some(waker) = taken.pop_front() {
            keep_panic(&mut panic, || waker.wake());
        }
        // The replaced spare list is freed outside the lock.
        let spare = mem::replace(&mut self.lists.lock().spare, taken);
        drop(spare);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}
