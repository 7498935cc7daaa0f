//! One value from one place to another, once.
//!
//! [`channel`] gives a [`Sender`] and a [`Receiver`] that share one allocation. The receiver is a
//! future; a thread waits with [`Receiver::recv_blocking`].
//!
//! ```
//! use mainstay::wait::oneshot;
//!
//! let (sender, receiver) = oneshot::channel();
//! std::thread::spawn(move || sender.send(6 * 7));
//! assert_eq!(receiver.recv_blocking(), Ok(42));
//! ```

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::blocking::{block_on, block_on_for};
use crate::sync::{Arc, Mutex};

enum State<T> {
    Empty,
    /// The receiver waits.
    Waiting(Waker),
    Sent(T),
    /// One of the two is gone, or the value was taken.
    Closed,
}

/// A sender and a receiver of one value.
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let state = Arc::new(Mutex::new(State::Empty));
    (Sender { state: Arc::clone(&state) }, Receiver { state })
}

/// Sends the value. Dropped instead, it lets the receiver know that none will come.
pub struct Sender<T> {
    state: Arc<Mutex<State<T>>>,
}

/// Receives the value: a future, or [`recv_blocking`](Self::recv_blocking) for a thread.
///
/// # Cancel safety
///
/// It can be polled by reference, in a `select`, and dropped at any time; dropping it drops a value
/// that was sent and not received.
#[must_use = "futures do nothing unless polled"]
pub struct Receiver<T> {
    state: Arc<Mutex<State<T>>>,
}

/// The sender was dropped without sending, or the value was already received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no value will come: its sender is gone")
    }
}

impl Error for Closed {}

impl<T> Sender<T> {
    /// Sends `value`; gives it back if the receiver is gone.
    ///
    /// # Errors
    ///
    /// The value, if the receiver was dropped.
    pub fn send(self, value: T) -> Result<(), T> {
        let mut state = self.state.lock();
        if matches!(*state, State::Closed) {
            return Err(value);
        }
        let before = mem::replace(&mut *state, State::Sent(value));
        drop(state);
        wake(before);
        Ok(())
    }

    /// Whether the receiver is gone, so that nobody waits for the work that leads to the value.
    pub fn is_closed(&self) -> bool {
        matches!(*self.state.lock(), State::Closed)
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        if matches!(*state, State::Sent(_) | State::Closed) {
            return;
        }
        let before = mem::replace(&mut *state, State::Closed);
        drop(state);
        wake(before);
    }
}

fn wake<T>(before: State<T>) {
    if let State::Waiting(waker) = before {
        waker.wake();
    }
}

impl<T> Receiver<T> {
    /// The value, if it is there: `Ok(None)` says not yet.
    ///
    /// # Errors
    ///
    /// [`Closed`] if it will never come.
    pub fn try_recv(&mut self) -> Result<Option<T>, Closed> {
        let mut state = self.state.lock();
        match mem::replace(&mut *state, State::Closed) {
            State::Sent(value) => Ok(Some(value)),
            State::Closed => Err(Closed),
            waiting => {
                *state = waiting;
                Ok(None)
            }
        }
    }

    /// Parks until the value is there.
    ///
    /// # Errors
    ///
    /// [`Closed`] if it will never come.
    pub fn recv_blocking(self) -> Result<T, Closed> {
        block_on(self)
    }

    /// Parks until the value is there, for no longer than `patience`: `Ok(None)` says not yet, and the
    /// receiver can be asked again.
    ///
    /// # Errors
    ///
    /// [`Closed`] if it will never come.
    pub fn recv_timeout(&mut self, patience: Duration) -> Result<Option<T>, Closed> {
        block_on_for(self, patience).transpose()
    }
}

impl<T> Future for Receiver<T> {
    type Output = Result<T, Closed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Cloning and dropping a waker runs the code of others: outside the lock.
        let waker = cx.waker().clone();
        let mut state = self.state.lock();
        let before = mem::replace(&mut *state, State::Closed);
        let answer = match &before {
            State::Empty | State::Waiting(_) => {
                *state = State::Waiting(waker);
                Poll::Pending
            }
            State::Sent(_) | State::Closed => Poll::Ready(()),
        };
        drop(state);
        answer.map(|()| if let State::Sent(value) = before { Ok(value) } else { Err(Closed) })
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        // The value, or the waker, is dropped after the lock is released.
        let _before = mem::replace(&mut *self.state.lock(), State::Closed);
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}
