//! One shared execution of an operation, with its future, its participants and its result:
//! [`Flight`].

use super::Ending;
use super::participant::Pending;
use crate::sync::{Mutex, MutexGuard, OnceLock, PlainArc, Wakers};
use crate::time::Instant;
use crate::wait::{WaiterKey, WaiterList};
use std::task::{Wake, Waker};

/// One shared execution of an operation, for one key.
///
/// # Invariants
///
/// 1. A participant takes the future out of the state before it polls the future. So no two
///    participants poll it at the same time, and no lock is held during the poll.
/// 2. While `woken` is set and the future is in the state, at least one participant is not in the
///    list of waiters: it was woken and has not been polled since, or it is being polled. If that
///    participant is dropped before it polls the future, it wakes another one. So no wake-up of the
///    operation is lost.
/// 3. Every participant in the list is woken when the flight ends.
pub(super) struct Flight<T, E> {
    state: Mutex<State<T, E>>,
    /// Written once, before the stage becomes [`Stage::Ended`].
    ending: OnceLock<Ending<T, E>>,
}

struct State<T, E> {
    stage: Stage<T, E>,
    /// The wakers of the waiting participants. The waker of the operation wakes the first.
    waiters: WaiterList<Waker>,
    participants: usize,
    /// Whether the operation must be polled: it has never been polled, or was woken after its last
    /// poll started.
    woken: bool,
}

impl<T, E> State<T, E> {
    fn is_running(&self) -> bool {
        !matches!(self.stage, Stage::Ended | Stage::Abandoned)
    }
}

enum Stage<T, E> {
    /// The leader is calling the closure that creates the operation.
    Starting,
    /// No participant is polling the future of the operation.
    Waiting(Pending<T, E>),
    /// A participant has taken the future and is polling it.
    Polling,
    /// The result is in `ending`.
    Ended,
    /// All participants were dropped before the operation completed.
    Abandoned,
}

/// What a participant must do when it is polled.
pub(super) enum Turn<T, E> {
    /// Poll the future.
    Poll(Pending<T, E>),
    /// Wait: its waker is in the list.
    Wait,
    /// Read the result.
    Ended,
}

/// What happens to the operation when a participant leaves.
pub(super) enum Departure<T, E> {
    /// Other participants remain, or the flight has ended.
    Nothing,
    /// The leader left before it started the operation, because its closure panicked. Other
    /// participants wait for the result.
    NotStarted,
    /// The last participant left. The caller drops the future, if there is one.
    Abandoned(Option<Pending<T, E>>),
}

impl<T, E> Flight<T, E> {
    /// Creates a flight with one participant, the leader, which starts the operation.
    pub(super) fn new() -> Self {
        let state = State {
            stage: Stage::Starting,
            waiters: WaiterList::new(),
            participants: 1,
            woken: false,
        };
        Self { state: Mutex::new(state), ending: OnceLock::new() }
    }

    #[inline]
    pub(super) fn ending(&self) -> Option<&Ending<T, E>> {
        self.ending.get()
    }

    /// Returns whether the result may be reused at `now`; `None` if the flight has not ended.
    pub(super) fn is_reusable(&self, now: Instant) -> Option<bool> {
        self.ending.get().map(|ending| now < ending.reusable_until)
    }

    /// Adds a participant, unless the flight has ended or was abandoned.
    pub(super) fn join(&self) -> bool {
        let mut state = self.state.lock();
        let running = state.is_running();
        state.participants += usize::from(running);
        running
    }

    /// Returns whether the flight has neither ended nor been abandoned.
    pub(super) fn is_running(&self) -> bool {
        self.state.lock().is_running()
    }

    /// Stores the future of the operation.
    pub(super) fn start(&self, future: Pending<T, E>) {
        let mut state = self.state.lock();
        state.stage = Stage::Waiting(future);
        state.woken = true;
    }

    /// Takes the future if it must be polled; otherwise adds the participant to the list, or
    /// replaces its waker there.
    pub(super) fn turn(&self, waiting: &mut Option<WaiterKey>, waker: &Waker) -> Turn<T, E> {
        // Cloning and dropping a waker runs user code. Both happen outside the lock, because the
        // guard is declared after the waker and is dropped before it.
        let mut waker = Some(waker.clone());
        let mut state = self.state.lock();
        match state.stage {
            Stage::Ended | Stage::Abandoned => return Turn::Ended,
            Stage::Waiting(_) if state.woken => {
                if let Stage::Waiting(future) = std::mem::replace(&mut state.stage, Stage::Polling)
                {
                    state.woken = false;
                    waker = waiting.take().and_then(|key| state.waiters.remove(key));
                    drop(state);
                    drop(waker);
                    return Turn::Poll(future);
                }
            }
            Stage::Starting | Stage::Polling | Stage::Waiting(_) => {}
        }
        let known = waiting.and_then(|key| state.waiters.get_mut(key));
        match known {
            Some(known) => waker = waker.map(|new| std::mem::replace(known, new)),
            None => *waiting = waker.take().map(|new| state.waiters.push_back(new)),
        }
        drop(state);
        drop(waker);
        Turn::Wait
    }

    /// Puts the future back after it returned `Pending`. Adds the participant to the front of the
    /// list, so that the same participant polls the future again and the others need not be polled.
    ///
    /// Returns `false` if the operation was woken during the poll. The participant is then not in
    /// the list, and must wake itself.
    pub(super) fn put_back(
        &self,
        future: Pending<T, E>,
        waiting: &mut Option<WaiterKey>,
        waker: &Waker,
    ) -> bool {
        let waker = waker.clone();
        let mut state = self.state.lock();
        state.stage = Stage::Waiting(future);
        if state.woken {
            drop(state);
            drop(waker);
            return false;
        }
        *waiting = Some(state.waiters.push_front(waker));
        true
    }

    /// Publishes the result and wakes all waiting participants.
    pub(super) fn end(&self, ending: Ending<T, E>) {
        // A flight ends only once: by the participant that has taken the future, or, while the
        // stage is `Starting`, by the leader.
        let _ = self.ending.set(ending);
        let mut wakers = Wakers::new();
        let mut state = self.state.lock();
        state.stage = Stage::Ended;
        loop {
            while !wakers.is_full()
                && let Some(waker) = state.waiters.pop_front()
            {
                wakers.push(waker);
            }
            let more = !state.waiters.is_empty();
            drop(state);
            if !more {
                return wakers.finish();
            }
            wakers.wake_all();
            state = self.state.lock();
        }
    }

    /// Removes a participant. If it was woken to poll the operation, it wakes the next one.
    pub(super) fn leave(&self, waiting: Option<WaiterKey>, is_leader: bool) -> Departure<T, E> {
        let mut state = self.state.lock();
        let own = waiting.and_then(|key| state.waiters.remove(key));
        state.participants -= 1;
        let departure = match state.stage {
            Stage::Ended | Stage::Abandoned => Departure::Nothing,
            Stage::Starting if is_leader && state.participants > 0 => Departure::NotStarted,
            _ if state.participants == 0 => {
                match std::mem::replace(&mut state.stage, Stage::Abandoned) {
                    Stage::Waiting(future) => Departure::Abandoned(Some(future)),
                    _ => Departure::Abandoned(None),
                }
            }
            _ => Departure::Nothing,
        };
        // A participant that is not in the list may have been woken to poll the operation.
        let next = if own.is_none() { Self::next(&mut state) } else { None };
        drop(state);
        drop(own);
        if let Some(next) = next {
            next.wake();
        }
        departure
    }

    /// If the operation must be polled, removes the first participant from the list and returns its
    /// waker.
    fn next(state: &mut MutexGuard<'_, State<T, E>>) -> Option<Waker> {
        match state.stage {
            Stage::Waiting(_) if state.woken => state.waiters.pop_front(),
            _ => None,
        }
    }
}

/// The waker of the operation. It stays valid when another participant continues the operation.
impl<T: Send + Sync + 'static, E: Send + Sync + 'static> Wake for Flight<T, E> {
    fn wake(self: PlainArc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &PlainArc<Self>) {
        let mut state = self.state.lock();
        if std::mem::replace(&mut state.woken, true) {
            return; // a participant has been woken already
        }
        let next = Self::next(&mut state);
        drop(state);
        if let Some(next) = next {
            next.wake();
        }
    }
}
