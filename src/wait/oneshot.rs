//! A channel for one value.
#![allow(unsafe_code)]

use std::alloc::{Layout, handle_alloc_error};
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::mem::{self, MaybeUninit};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::{UnsafeCell, block_on, block_on_timeout, heap};
use crate::time::Clock;

/// The state that sender and receiver share.
///
/// # Invariants
///
/// 1. The value belongs to the sender until it sets ENDED, and to the receiver afterwards, unless
///    RECEIVER_GONE was set before. It is initialized exactly if VALUE is set and the receiver has
///    not taken it.
/// 2. The waker belongs to the receiver while WAITING is clear. If WAITING is set when ENDED is
///    set, the waker belongs to the sender from then on.
/// 3. Each side accesses the memory until it sets its own GONE bit, and not after. The side that
///    finds the bit of the other side set frees the memory. No value is left inside: if
///    RECEIVER_GONE is set before ENDED, the sender takes the value back; otherwise the receiver
///    takes the value before it leaves.
struct Shared<T> {
    state: AtomicU32,
    value: UnsafeCell<MaybeUninit<T>>,
    waker: UnsafeCell<Option<Waker>>,
}

/// The receiver has stored a waker and waits.
const WAITING: u32 = 0b1;
/// The sender has sent a value or was dropped.
const ENDED: u32 = 0b10;
/// The sender has sent a value.
const VALUE: u32 = 0b100;
const SENDER_GONE: u32 = 0b1000;
const RECEIVER_GONE: u32 = 0b1_0000;

/// The right of one side to access the shared memory.
struct Handle<T>(NonNull<Shared<T>>);

impl<T> Handle<T> {
    #[inline]
    fn shared(&self) -> &Shared<T> {
        // SAFETY: a side that has a handle has not set its GONE bit, so the memory is valid
        // (invariant 3).
        unsafe { self.0.as_ref() }
    }

    #[inline]
    fn free(self) {
        // SAFETY: the other side has set its GONE bit, and this side does not access the memory
        // again: there is no other access (invariant 3).
        let waker = self.shared().waker.with_mut(|waker| unsafe { (*waker).take() });
        // SAFETY: as above. The memory was allocated by `oneshot` with this layout.
        unsafe {
            self.0.drop_in_place();
            heap::dealloc(self.0.as_ptr().cast(), Layout::new::<Shared<T>>());
        }
        // Runs user code, so it comes last.
        drop(waker);
    }

    /// Sets the GONE bit of this side, `own`. Frees the memory if the bit of the other side was
    /// already set.
    #[inline]
    fn leave(self, own: u32, others: u32) {
        // Ordering: release, so that all accesses of this side happen before the memory is freed;
        // acquire, for the accesses of the other side.
        if self.shared().state.fetch_or(own, Ordering::AcqRel) & others != 0 {
            self.free();
        }
    }
}

/// Creates a channel for one value: a sender and a receiver, which is a future.
///
/// ```
/// use mainstay::wait::oneshot;
///
/// let (sender, receiver) = oneshot();
/// std::thread::spawn(move || sender.send(6 * 7));
/// assert_eq!(receiver.recv_blocking(), Ok(42));
/// ```
///
/// # Performance
///
/// One allocation for both halves. While the receiver does not wait, sending is one
/// compare-and-swap and receiving is one load. There are no reference counts: the state word
/// determines which side frees the memory.
#[inline]
pub fn oneshot<T>() -> (OneshotSender<T>, OneshotReceiver<T>) {
    let layout = Layout::new::<Shared<T>>();
    // SAFETY: the layout is not empty, because the state has a size.
    let memory = unsafe { heap::alloc(layout) };
    let Some(shared) = NonNull::new(memory.cast::<Shared<T>>()) else { handle_alloc_error(layout) };
    let value = Shared {
        state: AtomicU32::new(0),
        value: UnsafeCell::new(MaybeUninit::uninit()),
        waker: UnsafeCell::new(None),
    };
    // SAFETY: the memory was just allocated with the layout of `value`.
    unsafe { shared.write(value) };
    (OneshotSender { handle: Handle(shared) }, OneshotReceiver { handle: Some(Handle(shared)) })
}

/// The sending half of a [`oneshot`] channel. Dropping the sender closes the channel.
pub struct OneshotSender<T> {
    handle: Handle<T>,
}

/// The receiving half of a [`oneshot`] channel: a future that resolves to the value, or to
/// [`OneshotClosed`] if the sender was dropped without sending.
///
/// ```
/// use mainstay::wait::oneshot;
///
/// # futures::executor::block_on(async {
/// let (sender, receiver) = oneshot();
/// sender.send("value").unwrap();
/// assert_eq!(receiver.await, Ok("value"));
/// # });
/// ```
///
/// # Cancel safety
///
/// The receiver can be polled by mutable reference, for example in a `select!`, and dropped at any
/// time. Dropping it drops a value that was sent and not received.
#[must_use = "futures do nothing unless polled"]
pub struct OneshotReceiver<T> {
    /// `None` after the receiver has returned the value or [`OneshotClosed`].
    handle: Option<Handle<T>>,
}

// SAFETY: a value moves from the sender's thread to the receiver's (`T: Send`). A shared reference
// to a handle gives no access to the value, so `T: Sync` is not required.
unsafe impl<T: Send> Send for OneshotSender<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for OneshotSender<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for OneshotReceiver<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for OneshotReceiver<T> {}

// The value is never borrowed while it is in the channel, and a panic of a waker leaves the state
// consistent.
impl<T> UnwindSafe for OneshotSender<T> {}
impl<T> RefUnwindSafe for OneshotSender<T> {}
impl<T> UnwindSafe for OneshotReceiver<T> {}
impl<T> RefUnwindSafe for OneshotReceiver<T> {}

/// The error of receiving: the sender was dropped without sending, or the value was already
/// received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OneshotClosed;

impl fmt::Display for OneshotClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the oneshot channel is closed")
    }
}

impl Error for OneshotClosed {}

impl<T> OneshotSender<T> {
    /// Sends `value`.
    ///
    /// # Errors
    ///
    /// Returns the value if the receiver was dropped.
    ///
    /// ```
    /// use mainstay::wait::oneshot;
    ///
    /// let (sender, receiver) = oneshot();
    /// drop(receiver);
    /// assert_eq!(sender.send(5), Err(5));
    /// ```
    #[inline]
    pub fn send(self, value: T) -> Result<(), T> {
        let handle = Handle(self.handle.0);
        mem::forget(self);
        // SAFETY: the value belongs to the sender (invariant 1).
        handle.shared().value.with_mut(|place| unsafe { place.cast::<T>().write(value) });
        match end(handle, VALUE) {
            None => Ok(()),
            Some(handle) => {
                // SAFETY: the value was written above, and the receiver, which was dropped, has not
                // read it.
                let value = handle.shared().value.with(|place| unsafe { place.cast::<T>().read() });
                handle.free();
                Err(value)
            }
        }
    }

    /// Returns whether the receiver was dropped. The sender can then skip computing the value.
    pub fn is_closed(&self) -> bool {
        // Ordering: relaxed; no other memory is read depending on it.
        self.handle.shared().state.load(Ordering::Relaxed) & RECEIVER_GONE != 0
    }
}

impl<T> Drop for OneshotSender<T> {
    fn drop(&mut self) {
        if let Some(handle) = end(Handle(self.handle.0), 0) {
            handle.free();
        }
    }
}

/// Sets ENDED and SENDER_GONE, and wakes a waiting receiver. `value` is VALUE or 0. Returns the
/// handle if the receiver was already dropped.
#[inline]
fn end<T>(handle: Handle<T>, value: u32) -> Option<Handle<T>> {
    // Ordering: release, with the acquire of a receiver that sees ENDED and reads the value.
    let last = value | ENDED | SENDER_GONE;
    let state = &handle.shared().state;
    match state.compare_exchange(0, last, Ordering::Release, Ordering::Relaxed) {
        Ok(_) => None,
        Err(_) => end_slow(handle, value),
    }
}

/// The rest of [`end`], if the receiver waits or was dropped.
#[cold]
fn end_slow<T>(handle: Handle<T>, value: u32) -> Option<Handle<T>> {
    let shared = handle.shared();
    // Ordering: release, as in `end`; acquire, for the waker that the receiver has written, and for
    // all accesses of a receiver that was dropped.
    let state = shared.state.fetch_or(value | ENDED, Ordering::AcqRel);
    if state & RECEIVER_GONE != 0 {
        return Some(handle);
    }
    let waker = if state & WAITING != 0 {
        // SAFETY: the waker belongs to the sender now (invariant 2).
        shared.waker.with_mut(|waker| unsafe { (*waker).take() })
    } else {
        None
    };
    handle.leave(SENDER_GONE, RECEIVER_GONE);
    // Runs user code, so it comes last.
    if let Some(waker) = waker {
        waker.wake();
    }
    None
}

impl<T> OneshotReceiver<T> {
    /// Returns the value if it was sent, or `Ok(None)` if the sender can still send it.
    ///
    /// # Errors
    /// Returns [`OneshotClosed`] if the sender was dropped without sending, or if the value was
    /// already received.
    #[inline]
    pub fn try_recv(&mut self) -> Result<Option<T>, OneshotClosed> {
        let Some(handle) = &self.handle else { return Err(OneshotClosed) };
        // Ordering: acquire, with the release in `end`.
        let state = handle.shared().state.load(Ordering::Acquire);
        if state & ENDED == 0 { Ok(None) } else { self.take(state).map(Some) }
    }

    /// Waits for the value for at most `timeout`. The [system clock](Clock::system) measures the
    /// timeout from the first poll. After the timeout, the future resolves to `Ok(None)`, and the
    /// receiver can be used again.
    ///
    /// ```
    /// use mainstay::wait::oneshot;
    /// use std::time::Duration;
    ///
    /// # futures::executor::block_on(async {
    /// let (_sender, mut receiver) = oneshot::<u8>();
    /// let timeout = Duration::from_millis(1);
    /// assert_eq!(receiver.recv_timeout(timeout).await, Ok(None));
    /// # });
    /// ```
    ///
    /// # Errors
    ///
    /// The future returns [`OneshotClosed`] if the sender was dropped without sending, or if the
    /// value was already received.
    pub fn recv_timeout(
        &mut self,
        timeout: Duration,
    ) -> impl Future<Output = Result<Option<T>, OneshotClosed>> {
        let received = Clock::system().timeout(timeout, self);
        async move { received.await.transpose() }
    }

    /// Blocks the thread until the value is received.
    ///
    /// # Errors
    /// Returns [`OneshotClosed`] if the sender was dropped without sending, or if the value was
    /// already received.
    pub fn recv_blocking(self) -> Result<T, OneshotClosed> {
        block_on(self)
    }

    /// Blocks the thread until the value is received, for at most `timeout`. After the timeout,
    /// returns `Ok(None)`, and the receiver can be used again.
    ///
    /// # Errors
    /// Returns [`OneshotClosed`] if the sender was dropped without sending, or if the value was
    /// already received.
    ///
    /// ```
    /// use mainstay::wait::oneshot;
    /// use std::time::Duration;
    ///
    /// let (sender, mut receiver) = oneshot();
    /// let timeout = Duration::from_millis(1);
    /// assert_eq!(receiver.recv_blocking_timeout(timeout), Ok(None));
    /// sender.send(5).unwrap();
    /// assert_eq!(receiver.recv_blocking_timeout(timeout), Ok(Some(5)));
    /// ```
    pub fn recv_blocking_timeout(&mut self, timeout: Duration) -> Result<Option<T>, OneshotClosed> {
        block_on_timeout(self, timeout).transpose()
    }

    /// Returns whether no value can be received any more: the sender was dropped without sending,
    /// or the value was already received.
    pub fn is_closed(&self) -> bool {
        let Some(handle) = &self.handle else { return true };
        // Ordering: relaxed; no other memory is read depending on it.
        handle.shared().state.load(Ordering::Relaxed) & (ENDED | VALUE) == ENDED
    }

    /// Takes the value, if there is one, and gives up the access to the memory. `state` contains
    /// ENDED.
    #[inline]
    fn take(&mut self, state: u32) -> Result<T, OneshotClosed> {
        let handle = self.handle.take().ok_or(OneshotClosed)?;
        let result = if state & VALUE == 0 {
            Err(OneshotClosed)
        } else {
            // SAFETY: the value is initialized and belongs to the receiver (invariant 1). It is
            // read only once, because the handle was taken out of `self`.
            Ok(handle.shared().value.with(|place| unsafe { place.cast::<T>().read() }))
        };
        if state & SENDER_GONE == 0 {
            handle.leave(RECEIVER_GONE, SENDER_GONE);
        } else {
            handle.free();
        }
        result
    }

    /// Gives up the access to the memory before the value was received, and drops a value that was
    /// sent.
    #[cold]
    fn abandon(&mut self) {
        let Some(handle) = &self.handle else { return };
        let shared = handle.shared();
        // The waker is removed first: while ENDED is clear, it belongs to the receiver.
        // Ordering: acquire, as in `try_recv`.
        let mut state = shared.state.fetch_and(!WAITING, Ordering::Acquire);
        if state & ENDED == 0 {
            // SAFETY: the waker belongs to the receiver, because WAITING is clear (invariant 2).
            let waker = shared.waker.with_mut(|waker| unsafe { (*waker).take() });
            state &= !WAITING;
            // Ordering: release, for the sender that frees the memory; acquire, as above.
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
        drop(self.take(state));
    }
}

impl<T> Shared<T> {
    /// Stores a clone of `waker` and sets WAITING. Returns the state as an error if it contains
    /// ENDED.
    fn wait(&self, mut state: u32, waker: &Waker) -> Result<(), u32> {
        if state & WAITING != 0 {
            // Ordering: acquire, with the release in `end`.
            state = self.state.fetch_and(!WAITING, Ordering::Acquire);
            if state & ENDED != 0 {
                return Err(state);
            }
        }
        // SAFETY: the waker belongs to the receiver while WAITING is clear (invariant 2). No
        // reference to it exists while user code runs: `clone` and `drop` are called on copies, and
        // `will_wake` compares pointers.
        let known = self
            .waker
            .with(|known| unsafe { (*known).as_ref().is_some_and(|known| known.will_wake(waker)) });
        if !known {
            let new = waker.clone();
            // SAFETY: as above.
            drop(self.waker.with_mut(|waker| unsafe { (*waker).replace(new) }));
        }
        // Ordering: release, for the sender that takes the waker; acquire, as above.
        let state = self.state.fetch_or(WAITING, Ordering::AcqRel);
        if state & ENDED == 0 { Ok(()) } else { Err(state) }
    }
}

impl<T> Future for OneshotReceiver<T> {
    type Output = Result<T, OneshotClosed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(handle) = &self.handle else { return Poll::Ready(Err(OneshotClosed)) };
        // Ordering: as in `try_recv`.
        let mut state = handle.shared().state.load(Ordering::Acquire);
        if state & ENDED == 0 {
            match handle.shared().wait(state, cx.waker()) {
                Ok(()) => return Poll::Pending,
                Err(ended) => state = ended,
            }
        }
        Poll::Ready(self.take(state))
    }
}

impl<T> Drop for OneshotReceiver<T> {
    #[inline]
    fn drop(&mut self) {
        if self.handle.is_some() {
            self.abandon();
        }
    }
}

impl<T> fmt::Debug for OneshotSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OneshotSender").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for OneshotReceiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OneshotReceiver").finish_non_exhaustive()
    }
}
