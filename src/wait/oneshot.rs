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
//!
//! # Cost
//!
//! One allocation. While nobody waits, sending is one compare-and-swap and receiving one load; whoever
//! lets go last frees the memory, as the word of state tells, so that no counts are kept.
#![allow(unsafe_code)]

use std::alloc::{Layout, handle_alloc_error};
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::mem::{self, MaybeUninit};
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::{UnsafeCell, heap};
use crate::sync::{block_on, block_on_timeout};

/// What the two share.
///
/// Invariants, on which the unsafe code rests:
///
/// 1. The value belongs to the sender until it sets ENDED, then to the receiver; unless the receiver was
///    GONE by then. It is initialised exactly if VALUE is set and the receiver has not taken it.
/// 2. The waker belongs to the receiver while WAITING is down. If WAITING is up when ENDED is set, it
///    belongs to the sender from then on.
/// 3. Each side touches the memory until it sets its own GONE bit, and no longer; whoever sets the second
///    one frees it. The receiver sets its bit only before ENDED or after taking the value, so that no
///    value is ever inside by then.
struct Shared<T> {
    state: AtomicU32,
    value: UnsafeCell<MaybeUninit<T>>,
    waker: UnsafeCell<Option<Waker>>,
}

/// A waker is in place.
const WAITING: u32 = 0b1;
/// The sender has said its last word.
const ENDED: u32 = 0b10;
/// And the word was a value.
const VALUE: u32 = 0b100;
const SENDER_GONE: u32 = 0b1000;
const RECEIVER_GONE: u32 = 0b1_0000;

/// One side's right to the memory.
struct Handle<T>(NonNull<Shared<T>>);

impl<T> Handle<T> {
    #[inline]
    fn shared(&self) -> &Shared<T> {
        // SAFETY: whoever has a handle has not set its GONE bit, so the memory is there (invariant 3).
        unsafe { self.0.as_ref() }
    }

    #[inline]
    fn free(self) {
        // SAFETY: both GONE bits are set, or the other side's is and this one will touch the memory no
        // more: nobody else does (invariant 3).
        let waker = self.shared().waker.with_mut(|waker| unsafe { (*waker).take() });
        // SAFETY: as above. It was allocated by `channel` with this layout.
        unsafe {
            self.0.drop_in_place();
            heap::dealloc(self.0.as_ptr().cast(), Layout::new::<Shared<T>>());
        }
        // The code of others: last.
        drop(waker);
    }

    /// Sets this side's GONE bit.
    #[inline]
    fn leave(self, own: u32, others: u32) {
        // Ordering: release, so that all that this side did happens before the memory is freed; acquire,
        // for the same from the other side.
        if self.shared().state.fetch_or(own, Ordering::AcqRel) & others != 0 {
            self.free();
        }
    }
}

/// A sender and a receiver of one value.
#[inline]
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let layout = Layout::new::<Shared<T>>();
    // SAFETY: the layout is not empty: the state has a size.
    let memory = unsafe { heap::alloc(layout) };
    let Some(shared) = NonNull::new(memory.cast::<Shared<T>>()) else { handle_alloc_error(layout) };
    let value = Shared {
        state: AtomicU32::new(0),
        value: UnsafeCell::new(MaybeUninit::uninit()),
        waker: UnsafeCell::new(None),
    };
    // SAFETY: just allocated for it.
    unsafe { shared.write(value) };
    (Sender { handle: Handle(shared) }, Receiver { handle: Some(Handle(shared)) })
}

/// Sends the value. Dropped instead, it lets the receiver know that none will come.
pub struct Sender<T> {
    handle: Handle<T>,
}

/// Receives the value: a future, or [`recv_blocking`](Self::recv_blocking) for a thread.
///
/// # Cancel safety
///
/// It can be polled by reference, in a `select`, and dropped at any time; dropping it drops a value
/// that was sent and not received.
#[must_use = "futures do nothing unless polled"]
pub struct Receiver<T> {
    /// `None` after the last word was received.
    handle: Option<Handle<T>>,
}

// SAFETY: a value goes from the sender's thread to the receiver's (`T: Send`). Through a shared reference
// to a handle nobody gets at it, so `T: Sync` is not needed.
unsafe impl<T: Send> Send for Sender<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Sender<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Receiver<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Receiver<T> {}

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
    #[inline]
    pub fn send(self, value: T) -> Result<(), T> {
        let handle = Handle(self.handle.0);
        mem::forget(self);
        // SAFETY: the value belongs to the sender (invariant 1).
        handle.shared().value.with_mut(|place| unsafe { place.cast::<T>().write(value) });
        match end(handle, VALUE) {
            None => Ok(()),
            Some(handle) => {
                // SAFETY: written above, and nobody else will read it: the receiver is gone.
                let value = handle.shared().value.with(|place| unsafe { place.cast::<T>().read() });
                handle.free();
                Err(value)
            }
        }
    }

    /// Whether the receiver is gone, so that nobody waits for the work that leads to the value.
    pub fn is_closed(&self) -> bool {
        // Ordering: relaxed; nothing is read on the strength of it.
        self.handle.shared().state.load(Ordering::Relaxed) & RECEIVER_GONE != 0
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if let Some(handle) = end(Handle(self.handle.0), 0) {
            handle.free();
        }
    }
}

/// The sender's last word. Gives the memory back if the receiver was gone before.
#[inline]
fn end<T>(handle: Handle<T>, word: u32) -> Option<Handle<T>> {
    // Ordering: release, with the acquire of the receiver who sees ENDED: the value is there.
    let last = word | ENDED | SENDER_GONE;
    let state = &handle.shared().state;
    match state.compare_exchange(0, last, Ordering::Release, Ordering::Relaxed) {
        Ok(_) => None,
        Err(_) => end_before_somebody(handle, word),
    }
}

/// The same when the receiver waits, or is gone.
#[cold]
fn end_before_somebody<T>(handle: Handle<T>, word: u32) -> Option<Handle<T>> {
    let shared = handle.shared();
    // Ordering: release, as in `end`; acquire, so that the waker is there, and so that the receiver is
    // done with the memory if it is gone.
    let state = shared.state.fetch_or(word | ENDED, Ordering::AcqRel);
    if state & RECEIVER_GONE != 0 {
        return Some(handle);
    }
    let waker = if state & WAITING != 0 {
        // SAFETY: it belongs to the sender now (invariant 2).
        shared.waker.with_mut(|waker| unsafe { (*waker).take() })
    } else {
        None
    };
    handle.leave(SENDER_GONE, RECEIVER_GONE);
    // The code of others: last.
    if let Some(waker) = waker {
        waker.wake();
    }
    None
}

impl<T> Receiver<T> {
    /// The value, if it is there: `Ok(None)` says not yet.
    ///
    /// # Errors
    ///
    /// [`Closed`] if it will never come.
    #[inline]
    pub fn try_recv(&mut self) -> Result<Option<T>, Closed> {
        let Some(handle) = &self.handle else { return Err(Closed) };
        // Ordering: acquire, with the release in `end`.
        let state = handle.shared().state.load(Ordering::Acquire);
        if state & ENDED == 0 { Ok(None) } else { self.last_word(state).map(Some) }
    }

    /// Takes what the sender said last, and lets go of the memory; `state` says ENDED.
    #[inline]
    fn last_word(&mut self, state: u32) -> Result<T, Closed> {
        let handle = self.handle.take().ok_or(Closed)?;
        let word = if state & VALUE == 0 {
            Err(Closed)
        } else {
            // SAFETY: it is there, and the receiver's (invariant 1), who looks for it only once: the
            // handle is gone from `self`.
            Ok(handle.shared().value.with(|place| unsafe { place.cast::<T>().read() }))
        };
        if state & SENDER_GONE == 0 {
            handle.leave(RECEIVER_GONE, SENDER_GONE);
        } else {
            handle.free();
        }
        word
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
        block_on_timeout(self, patience).transpose()
    }
}

impl<T> Shared<T> {
    /// Puts a copy of `waker` in place; fails with the state if the sender said its last word meanwhile.
    fn wait(&self, mut state: u32, waker: &Waker) -> Result<(), u32> {
        if state & WAITING != 0 {
            // Ordering: acquire, with the release in `end`.
            state = self.state.fetch_and(!WAITING, Ordering::Acquire);
            if state & ENDED != 0 {
                return Err(state);
            }
        }
        // SAFETY: the waker is the receiver's while WAITING is down (invariant 2). Nothing here refers to
        // it while the code of others runs: that is called with copies.
        let known = self
            .waker
            .with(|known| unsafe { (*known).as_ref().is_some_and(|known| known.will_wake(waker)) });
        if !known {
            let new = waker.clone();
            // SAFETY: as above.
            drop(self.waker.with_mut(|waker| unsafe { (*waker).replace(new) }));
        }
        // Ordering: release, for the sender who takes the waker; acquire, as above.
        let state = self.state.fetch_or(WAITING, Ordering::AcqRel);
        if state & ENDED == 0 { Ok(()) } else { Err(state) }
    }
}

impl<T> Future for Receiver<T> {
    type Output = Result<T, Closed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(handle) = &self.handle else { return Poll::Ready(Err(Closed)) };
        // Ordering: as in `try_recv`.
        let mut state = handle.shared().state.load(Ordering::Acquire);
        if state & ENDED == 0 {
            match handle.shared().wait(state, cx.waker()) {
                Ok(()) => return Poll::Pending,
                Err(ended) => state = ended,
            }
        }
        Poll::Ready(self.last_word(state))
    }
}

impl<T> Drop for Receiver<T> {
    #[inline]
    fn drop(&mut self) {
        if self.handle.is_some() {
            self.turn_away();
        }
    }
}

impl<T> Receiver<T> {
    #[cold]
    fn turn_away(&mut self) {
        let Some(handle) = &self.handle else { return };
        let shared = handle.shared();
        // The waker goes first, as long as it is surely the receiver's.
        // Ordering: acquire, as in `try_recv`.
        let mut state = shared.state.fetch_and(!WAITING, Ordering::Acquire);
        if state & ENDED == 0 {
            // SAFETY: the receiver's, for WAITING is down (invariant 2).
            let waker = shared.waker.with_mut(|waker| unsafe { (*waker).take() });
            state &= !WAITING;
            // Ordering: release, for the sender who frees the memory; acquire, as above.
            match shared.state.compare_exchange(
                state,
                state | RECEIVER_GONE,
                Ordering::Release,
                Ordering::Acquire,
            ) {
                Ok(_) => {
                    self.handle = None;
                    return drop(waker);
                }
                Err(ended) => state = ended,
            }
        }
        drop(self.last_word(state));
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
